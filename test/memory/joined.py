"""
Marks of write protection that stay where nothing is watched any more, or where what was watched is gone: mappings that the kernel has
joined to one, and dropped pages of files. Cases for run.py.
"""
import os
import signal
import struct
import subprocess
import time

import state
from world import Failed


class Subject:
    """A program that takes a step with each SIGUSR1 and looks at its memory; the tree of a series until it ends."""

    def __init__(self, series, program, *more):
        self.s, self.there, self.root = series, os.path.join(series.base, program), series.root
        os.mkdir(self.there)
        self.pid = series.world.start([os.path.join(os.path.dirname(series.args.writer), program), self.there, *more],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                      start_new_session=True)
        series.root, series.images = self.pid, None
        series.world.until(self.step, 30, f"the {program} is ready")

    def step(self):
        path, fails = os.path.join(self.there, "step"), os.path.join(self.there, "fails")
        if os.path.exists(fails) and os.path.getsize(fails):
            raise Failed(state.read(fails).decode())
        return struct.unpack("Q", state.read(path).ljust(8, b"\0"))[0] if os.path.exists(path) else 0

    def tell(self):
        before = self.step()
        os.kill(self.pid, signal.SIGUSR1)
        return before

    def go(self, what):
        before = self.tell()
        self.s.world.until(lambda: self.step() > before, 30, what)

    def move(self):
        """A dump on top of what there is, and a restore of it."""
        self.s.criu("dump")
        self.s.world.until(lambda: not os.path.exists(f"/proc/{self.pid}"), 10, "it is gone after the dump")
        status, said = self.s.world.run([self.s.args.criu, "restore", "-d", "-D", self.s.images, "-o", "restore.log", "-v4"], 30)
        if status:
            raise Failed(f"restore: {said[-300:]}")

    def end(self):
        self.s.world.kill([self.pid])
        self.s.root = self.root


def joined(kind, full_dumps):
    """@full_dumps: dumps that go on with all of the tree's descriptors instead of pre-dumps."""
    def case(s):
        subject = Subject(s, "joiner", kind)

        def round_of(what):
            if full_dumps:
                s.criu("dump", "--leave-running", "--track-mem")
            else:
                s.criu("pre-dump")
            subject.go(what)
        try:
            mappings = len(state.read(f"/proc/{subject.pid}/maps").splitlines())
            round_of("it joins two mappings and writes")
            if len(state.read(f"/proc/{subject.pid}/maps").splitlines()) >= mappings:
                raise Failed("the kernel has not joined the mappings")
            round_of("it writes again")
            round_of("it writes once more")
            s.must_skip("the last round")
            subject.move()
            subject.go("it looks at its memory after the restore")
        finally:
            subject.end()
    return case


def dropped(s):
    """It is stopped in the midst of writing, most likely after a page has come and before the word is in it."""
    subject = Subject(s, "dropper")
    try:
        for n in range(12):
            s.images = None
            s.criu("pre-dump")
            before = subject.tell()
            time.sleep(s.random.uniform(0, 0.02))
            subject.move()
            s.world.until(lambda: subject.step() > before, 30, f"round {n}: it looks at its memory after the restore")
    finally:
        subject.end()


CASES = {"dropped": dropped, **{f"joined-{kind}{name}": joined(kind, full)
                                for kind in ("pages", "huge", "file") for name, full in (("", False), ("-dumps", True))}}
