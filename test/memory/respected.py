"""A process that has a userfaultfd of its own: what is watched by that is not watched by us, and works as before. A case for run.py."""
import os
import re
import signal
import struct
import subprocess

import state
from world import Failed, Skipped


def own_userfaultfd(s):
    if tuple(int(n) for n in os.uname().release.split(".")[:2]) < (6, 7):
        raise Skipped("by soft-dirty bits such a process is not watched, and its pre-dump is refused as its dump is")
    there = os.path.join(s.base, "watcher")
    os.mkdir(there)
    pid = s.world.start([os.path.join(os.path.dirname(s.args.writer), "watcher"), there], stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    root, s.root = s.root, pid

    def looks():
        """How often it has seen all of its memory, how many pages it has had filled, and how often it has written to the rest."""
        return struct.unpack("QQQ", state.read(os.path.join(there, "count"))[:24].ljust(24, b"\0"))

    def well(what):
        before = looks()[0]
        fails = os.path.join(there, "fails")
        wrong = lambda: os.path.exists(fails) and state.read(fails)
        s.world.until(lambda: looks()[0] > before + 2 or wrong(), 10, f"{what}: it looks at its memory")
        if wrong():
            raise Failed(f"{what}: {wrong().decode()}")

    def one_more(what):
        before = looks()[2]
        os.kill(pid, signal.SIGUSR1)
        s.world.until(lambda: looks()[2] > before, 10, f"{what}: it has another page filled")
        well(what)
    try:
        s.world.until(lambda: looks()[0], 10, "its first look")
        s.images = None
        for n in range(3):
            s.criu("pre-dump")
            flags = re.findall(r"VmFlags:(.*)", state.read(f"/proc/{pid}/smaps").decode())
            if not any(" um" in f and " uw" not in f for f in flags) or not any(" uw" in f and " um" not in f for f in flags):
                raise Failed(f"round {n}: watched is {[f for f in flags if ' u' in f]}")
            one_more(f"after round {n}")
        s.must_skip("the last round")
        images = s.images
        if "userfaultfd" not in s.criu("dump", code=1):
            raise Failed("refused for another reason")
        one_more("after a dump that was refused")
        s.images = images
        os.kill(pid, signal.SIGUSR2)
        s.world.until(lambda: looks()[1] == 512, 10, "it has let go of it")
        s.criu("pre-dump")
        one_more("without it")
        s.criu("dump")
        s.world.until(lambda: not os.path.exists(f"/proc/{pid}"), 10, "it is gone after the dump")
        s.world.run([s.args.criu, "restore", "-d", "-D", s.images, "-o", "restore.log", "-v4"], 30)
        well("after the restore")
    finally:
        s.world.kill([pid])
        s.root = root
