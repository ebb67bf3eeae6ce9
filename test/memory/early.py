"""What is read of a process before it is stopped must be what it is when it is stopped."""
import os
import re
import signal
import struct
import subprocess
import sys

import rpc
from world import Failed, Skipped

MIB = 160
DONTDUMP = 1 << 16   # MADV_DONTDUMP as a bit of vma_entry.madv
SEEN = re.compile(r"mappings of (\d+) processes are known before they are stopped")


class Idler:
    """Beside the tree of @series, which ends: one that waits, and can be made to change a mapping all the time."""

    def __init__(self, series):
        self.s = series
        series.world.kill(series.writers())
        series.world.until(lambda: not series.writers(), 5, "the writer is gone")
        path = os.path.join(series.dir, "idler")
        tool = os.path.join(os.path.dirname(series.args.writer), "idler")
        series.root = series.world.start([tool, series.dir, str(MIB)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL, start_new_session=True)
        series.world.until(lambda: os.path.exists(path) and os.path.getsize(path) == 8, 30, "the idler is ready")
        with open(path, "rb") as f:
            self.at, = struct.unpack("<Q", f.read())

    def held(self):
        """By the kernel, of the mapping that changes: is it left out of core dumps?"""
        with open(f"/proc/{self.s.root}/smaps", encoding="utf-8") as f:
            mine = re.search(rf"^{self.at:x}-.*?^VmFlags:(.*?)$", f.read(), re.M | re.S)
        return " dd" in mine.group(1)

    def stored(self):
        with open(os.path.join(self.s.images, f"mm-{self.s.root}.img"), "rb") as f:
            entry = f.read()[12:]
        for number, value in rpc.fields(entry):
            if number == 14:
                vma = rpc.decode(value)
                if vma[1] == self.at:
                    return bool(vma.get(9, 0) & DONTDUMP)
        raise Failed("the mapping is not in the image")

    def compare(self):
        if self.held() != self.stored():
            raise Failed(f"dump {self.s.nr}: the mapping is left out of core dumps: {self.held()}, by the image: {self.stored()}")

    def end(self):
        os.kill(self.s.root, signal.SIGKILL)
        self.s.world.until(lambda: self.s.root in self.s.world.ended, 10, "the idler's end")


def early(s):
    idler = Idler(s)
    s.criu("pre-dump")
    found = SEEN.search(s.criu("dump", "--leave-stopped", "--track-mem"))
    if not found:
        idler.end()
        raise Skipped("system calls cannot be counted here")
    if found.group(1) != "1":
        raise Failed("an idle process was not looked at early")
    idler.compare()
    os.kill(s.root, signal.SIGCONT)
    # a sender of its own, so that changes fall into every moment of a dump
    sender = subprocess.Popen([sys.executable, "-c", "import os, random, sys, time\nwhile True:\n    os.kill(int(sys.argv[1]), 10)\n"
                               "    time.sleep(random.random() * 0.03)", str(s.root)])
    s.world.others.add(sender.pid)
    try:
        for _ in range(s.args.rounds * 2):
            s.criu("dump", "--leave-stopped", "--track-mem")
            idler.compare()
            os.kill(s.root, signal.SIGCONT)
            s.wait(0.001, 0.02)
    finally:
        sender.kill()
        s.world.until(lambda: sender.pid in s.world.ended, 5, "the sender's end")
        sender.returncode = -9
    idler.end()
