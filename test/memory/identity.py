#!/usr/bin/python3
"""Whose memory is it? Series of dumps of a process that is not the one that it was: another has its pid, or it has begun another
program. What the round before has of it must count for nothing.

    identity.py --criu build/criu --tools build/test/memory [-k CASE] [--seed N]

Runs in pid and mount namespaces of its own. Prints "PASS case", "FAIL case: why" or "SKIP case: why". Needs root.
"""
import functools
import glob
import os
import random
import re
import signal
import struct
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e"), os.path.join(HERE, "..", "pages")]
import alone   # noqa: E402
import images   # noqa: E402
import memory_run as memory   # noqa: E402
import state   # noqa: E402
from world import Failed, World   # noqa: E402

WRITE, EXEC, EXEC_BY_THREAD, KID, NEW_KID = 1, 2, 3, 4, 5
PAGES = 2048         # of its area, of which it writes to three quarters
ALL_OF_IT = PAGES // 4 * 3
OF_ANOTHER = "was in a series of another tree"
# the number of the processor, which the kernel writes whenever a thread goes on, is none of the data that is compared
ENV = dict(os.environ, GLIBC_TUNABLES="glibc.pthread.rseq=0")


def put_last(pid):
    with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as f:
        f.write(str(pid))


class Reborn(memory.Series):
    """A series of a process, and of who comes after it."""

    def __init__(self, args, base, seed):
        self.args, self.base, self.world, self.random = args, base, World(), random.Random(seed)
        self.dir = os.path.join(base, "d")
        os.mkdir(self.dir)
        self.images, self.nr, self.lives = None, 0, 0
        self.root = None
        self.born()

    def born(self, pid=None, name="it"):
        """A new one, by that number."""
        self.lives += 1
        last = state.read("/proc/sys/kernel/ns_last_pid")
        if pid:
            put_last(pid - 1)
            self.world.ended.pop(pid, None)
        self.root = self.world.start([os.path.join(self.args.tools, "reborn"), self.dir, name, str(self.lives)],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                     start_new_session=True, env=ENV)
        if pid:
            put_last(int(last))   # other numbers are not to come again
        if pid and self.root != pid:
            raise Failed(f"the new process has pid {self.root} and not {pid}")
        self.looks(name, self.lives)

    def died(self):
        """It ends, and is forgotten."""
        pid = self.root
        os.kill(pid, signal.SIGKILL)
        self.world.until(lambda: pid in self.world.ended and not os.path.exists(f"/proc/{pid}"), 10, "the end of the process")

    def talk(self, name="it"):
        """How often it has looked at its memory, its seed, what was written, order, orders done, pid of the kid."""
        return struct.unpack("6Q", state.read(os.path.join(self.dir, name))[:48].ljust(48, b"\0"))

    def looks(self, name="it", seed=None):
        """All of its memory is what it must be, as it sees it."""
        at = lambda: self.talk(name)[0] if seed in (None, self.talk(name)[1]) else 0
        before = at()
        self.world.until(lambda: self.differences() or at() > before + 1, 20, f"{name} looks at its memory")
        if self.differences():
            raise Failed(self.differences())

    def order(self, what, name="it"):
        done = self.talk(name)[4]
        with open(os.path.join(self.dir, name), "r+b", buffering=0) as f:
            f.seek(24)
            f.write(struct.pack("Q", what))
        if what in (EXEC, EXEC_BY_THREAD):
            self.looks(name, self.talk(name)[1] + 1)
        else:
            self.world.until(lambda: self.differences() or self.talk(name)[4] > done, 10, f"order {what} is carried out")
        self.looks(name)
        if what in (KID, NEW_KID):
            self.world.until(lambda: self.differences() or self.talk(name + "-kid")[1] == self.talk(name)[1] + (1 if what == KID else 2),
                             10, "the kid begins")
            self.looks(name + "-kid")

    def writers(self):
        return [p for p in self.world.tree() if state.read(f"/proc/{p}/comm").strip() in (b"reborn", b"exe", b"3")]

    def of(self, pid):
        """Pages that the last dump has of a process by itself, and those that it leaves to the parent."""
        entries = images.read_pagemap(self.images, pid)[1]
        return tuple(sum(nr for _, nr, flags in entries if flags & bit) for bit in (images.PRESENT, images.PARENT))

    def must_be_whole(self, pid):
        here, there = self.of(pid)
        if there or here < ALL_OF_IT:
            raise Failed(f"dump {self.nr} of pid {pid}: {here} pages are stored, {there} are left to the parent")

    def must_share(self, pid):
        here, there = self.of(pid)
        if there < ALL_OF_IT // 2:
            raise Failed(f"dump {self.nr} of pid {pid}: {here} pages are stored, {there} are left to the parent: nothing is tried here")

    def compare(self):
        """The tree that a dump has left stopped, with what the sets have; then it goes on."""
        for pid in self.writers():
            different = images.compare(self.images, pid)
            if different:
                raise Failed(f"dump {self.nr}: {different}")
        for pid in self.writers():
            os.kill(pid, signal.SIGCONT)

    def restore(self, *names):
        before = {name: self.talk(name)[0] for name in names}
        status, said = self.world.run([self.args.criu, "restore", "-d", "-D", self.images, "-o", "restore.log", "-v4"], 30)
        if status != 0:
            raise Failed(f"restore: exit status {status}: {said.strip()[-300:]}")
        for name in names:
            self.looks(name)
            if self.talk(name)[0] <= before[name]:
                raise Failed(f"{name} does not go on")


def warned(log):
    if memory.ALL_PAGES not in log:
        raise Failed(f"no warning: {re.findall('Warn.*', log)}")


def root_again(s):
    """Another process by the root's number, with the same mappings at the same addresses."""
    s.criu("pre-dump")
    s.order(WRITE)
    s.criu("pre-dump")
    s.must_share(s.root)
    pid, starts = s.root, state.read(f"/proc/{s.root}/maps")
    s.died()
    s.born(pid)
    if state.read(f"/proc/{pid}/maps") != starts:
        raise Failed("the new one has other mappings: nothing is tried here")
    log = s.criu("dump", "--leave-stopped", "--track-mem")
    warned(log)
    s.must_be_whole(pid)
    s.compare()
    # and it has a series of its own from here on
    s.order(WRITE)
    s.criu("dump", "--leave-stopped", "--track-mem")
    s.must_share(pid)
    s.compare()
    s.final()
    s.restore("it")


def root_of_an_orphan(s):
    """The same while a kid of the former one keeps the keeper alive."""
    s.order(KID)
    s.criu("pre-dump")
    pid, kid = s.root, s.talk()[5]
    s.died()
    if kid not in s.writers() or not s.keepers():
        raise Failed("the kid or its keeper has ended as well: nothing is tried here")
    s.born(pid)
    images_of_it = s.images
    warned(s.criu("pre-dump"))
    s.must_be_whole(pid)
    s.order(WRITE)
    log = s.criu("dump", "--leave-running")
    if memory.ALL_PAGES in log:
        raise Failed(f"nothing is known of the round: {re.findall('Warn.*', log)}")
    s.must_share(pid)
    # the kid, by itself and with the parent that was of its tree
    root, s.root, s.images = s.root, kid, images_of_it
    warned(s.criu("dump"))
    s.must_be_whole(kid)
    s.world.until(lambda: kid not in s.writers(), 10, "the kid is gone after the dump")
    s.restore("it-kid")
    s.root = root
    s.looks("it")


def part_of_it(s):
    """
    Dumps of a part of a tree that is in a series: one by itself changes nothing, a series of the part takes it out of the other,
    and the other way round.
    """
    s.order(KID)
    s.criu("pre-dump")
    root, kid, of_root = s.root, s.talk()[5], s.images
    s.root = kid
    for more in (["--leave-running"], ["--leave-stopped"]):
        s.criu("dump", *more, parent=None)
        s.must_be_whole(kid)
    os.kill(kid, signal.SIGCONT)
    s.order(WRITE, "it-kid")
    s.root, s.images = root, of_root
    if memory.ALL_PAGES in s.criu("pre-dump"):
        raise Failed("dumps of a part have ended the series")
    s.must_share(kid)
    s.must_share(root)
    of_root, s.root = s.images, kid
    if OF_ANOTHER not in s.criu("pre-dump", parent=None):
        raise Failed("no word of the series that the kid was in")
    of_kid = s.images
    s.order(WRITE, "it-kid")
    s.root, s.images = root, of_root
    log = s.criu("dump", "--leave-stopped", "--track-mem")
    if OF_ANOTHER not in log or memory.ALL_PAGES in log:
        raise Failed(f"of the tree: {re.findall('Warn.*', log)}")
    s.must_share(root)
    s.must_be_whole(kid)
    s.compare()
    of_root = s.images
    s.order(WRITE, "it-kid")
    s.root, s.images = kid, of_kid
    warned(s.criu("dump", "--leave-running"))
    s.must_be_whole(kid)
    s.root, s.images = root, of_root
    s.final()
    s.must_share(root)
    s.must_share(kid)
    s.restore("it", "it-kid")


def kid_again(s):
    """The number of a kid belongs to another kid in the next round; the root is the one that it was."""
    s.order(KID)
    s.criu("pre-dump")
    s.criu("pre-dump")
    kid = s.talk()[5]
    s.must_share(kid)
    for kind in (["pre-dump"], ["dump", "--leave-stopped", "--track-mem"], ["dump", "--leave-stopped", "--track-mem", "--auto-dedup"]):
        s.order(NEW_KID)
        if s.talk()[5] != kid:
            raise Failed(f"the new kid has pid {s.talk()[5]}")
        log = s.criu(*kind)
        if memory.ALL_PAGES in log:
            raise Failed(f"the root is taken for another: {re.findall('Warn.*', log)}")
        s.must_share(s.root)
        s.must_be_whole(kid)
        if kind[0] == "dump":
            s.compare()
    s.order(NEW_KID)
    s.final()
    s.must_be_whole(kid)
    s.restore("it", "it-kid")


def exec_between(s):
    """The same process with another program's memory: by its main thread, and by another, which becomes the main one."""
    s.criu("pre-dump")
    for how in (EXEC, EXEC_BY_THREAD):
        starts = state.read(f"/proc/{s.root}/stat").rsplit(b")", 1)[1].split()[19]
        s.order(how)
        if state.read(f"/proc/{s.root}/stat").rsplit(b")", 1)[1].split()[19] != starts:
            raise Failed("it has another start time: nothing is tried here")
        s.criu("dump", "--leave-stopped", "--track-mem")
        s.must_be_whole(s.root)
        s.compare()
        s.order(WRITE)
        s.criu("pre-dump")
        s.must_share(s.root)
    s.order(EXEC)
    s.final()
    s.must_be_whole(s.root)
    s.restore("it")


def stranger(s):
    """Another process altogether, by another number, with that parent: its number is in no image of the parent."""
    s.criu("pre-dump")
    first = s.root
    s.born(name="other")
    warned(s.criu("dump", "--leave-stopped", "--track-mem"))
    s.must_be_whole(s.root)
    for name in glob.glob(os.path.join(s.images, "pagemap-*.img")):
        if f"-{first}." in name:
            raise Failed(f"{name} in a dump of pid {s.root}")
    os.kill(s.root, signal.SIGCONT)


CASES = {"root-again": root_again, "root-of-an-orphan": root_of_an_orphan, "part-of-it": part_of_it, "kid-again": kid_again, "exec-between": exec_between,
         "stranger": stranger}


def run_one(case, args, base):
    s = Reborn(args, base, args.seed)
    try:
        case(s)
    finally:
        s.end()


def main():
    args = alone.enter(alone.parser("tools"))
    if not alone.has(args, "mem_dirty_track"):
        print("SKIP all: this kernel cannot track memory")
        return 0
    return alone.run_cases(args, "identity", {name: functools.partial(run_one, case) for name, case in CASES.items()})


if __name__ == "__main__":
    sys.exit(main())
