"""Mappings that the kernel has joined to one, and then forgets to watch, with marks that stay on their pages. Cases for run.py."""
import os
import signal
import struct
import subprocess

import state
from world import Failed


def joined(kind, full_dumps):
    """@full_dumps: dumps that go on with all of the tree's descriptors instead of pre-dumps."""
    def case(s):
        there = os.path.join(s.base, "joiner")
        os.mkdir(there)
        pid = s.world.start([os.path.join(os.path.dirname(s.args.writer), "joiner"), there, kind], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        root, s.root = s.root, pid

        def step():
            path, fails = os.path.join(there, "step"), os.path.join(there, "fails")
            if os.path.exists(fails) and os.path.getsize(fails):
                raise Failed(f"{kind}: {state.read(fails).decode()}")
            return struct.unpack("Q", state.read(path).ljust(8, b"\0"))[0] if os.path.exists(path) else 0

        def go(what):
            before = step()
            os.kill(pid, signal.SIGUSR1)
            s.world.until(lambda: step() > before, 30, f"{kind}: {what}")

        def round_of(what):
            if full_dumps:
                s.criu("dump", "--leave-running", "--track-mem")
            else:
                s.criu("pre-dump")
            go(what)
        try:
            s.world.until(step, 30, "the joiner is ready")
            s.images = None
            mappings = len(state.read(f"/proc/{pid}/maps").splitlines())
            round_of("it joins two mappings and writes")
            if len(state.read(f"/proc/{pid}/maps").splitlines()) >= mappings:
                raise Failed(f"{kind}: the kernel has not joined the mappings")
            round_of("it writes again")
            round_of("it writes once more")
            s.must_skip("the last round")
            s.criu("dump")
            s.world.until(lambda: not os.path.exists(f"/proc/{pid}"), 10, "it is gone after the dump")
            status, said = s.world.run([s.args.criu, "restore", "-d", "-D", s.images, "-o", "restore.log", "-v4"], 30)
            if status:
                raise Failed(f"{kind}: restore: {said[-300:]}")
            go("it looks at its memory after the restore")
        finally:
            s.world.kill([pid])
            s.root = root
    return case


CASES = {f"joined-{kind}{name}": joined(kind, full)
         for kind in ("pages", "huge", "file") for name, full in (("", False), ("-dumps", True))}
