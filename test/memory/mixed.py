#!/usr/bin/python3
"""Files of several dumps that lie together, or are used together: nobody restores registers of one with memory of another.

    mixed.py --criu build/criu --tools build/test/memory [-k CASE]

Runs in pid, mount and network namespaces of its own. Prints "PASS case", "FAIL case: why" or "SKIP case: why". Needs root.
"""
import functools
import glob
import os
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]
import alone   # noqa: E402
import images   # noqa: E402
from world import Failed, World   # noqa: E402

TRACKED = ("--track-mem", "--leave-running")


class Two:
    """A process, and directories in which dumps of it are."""

    def __init__(self, args, base):
        self.args, self.base, self.world = args, base, World()
        self.root = self.world.start(["/bin/sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL, start_new_session=True)
        with open(f"/proc/{self.root}/wchan", encoding="ascii") as wchan:
            self.world.until(lambda: wchan.seek(0) == 0 and "nanosleep" in wchan.read(), 10, "the process sleeps")

    def at(self, name):
        path = os.path.join(self.base, name)
        os.makedirs(path, exist_ok=True)
        return path

    def criu(self, name, what, *more, code=0):
        path = os.path.join(self.at(name), f"{what}.log")
        status, said = self.world.run([self.args.criu, what, "-D", self.at(name), "-v4", "-o", path, *more], 30)
        with open(path, encoding="utf-8", errors="replace") as log:
            said += log.read()
        if (status == 0) != (code == 0):
            raise Failed(f"{what} of {name}: exit status {status}: {said[-600:]}")
        return said

    def dump(self, name, *more):
        self.criu(name, "dump", "-t", str(self.root), *more)

    def ended(self):
        if self.root in self.world.tree():
            self.world.kill([self.root])

    def refused(self, name, *words, more=()):
        """A restore that says why, and leaves nobody."""
        self.ended()
        said = self.criu(name, "restore", "-d", *more, code=1)
        errors = "\n".join(line for line in said.splitlines() if "Error" in line)
        for word in words:
            if word not in errors:
                raise Failed(f"restore of {name}: the error does not say '{word}': {errors[-600:]}")
        if self.root in self.world.tree():
            raise Failed(f"restore of {name} was refused, and the process is there")

    def restored(self, name, *more):
        self.ended()
        self.criu(name, "restore", "-d", *more)
        if self.root not in self.world.tree():
            raise Failed(f"restore of {name}: there is no process")

    def child(self):
        """"new", which leaves pages to "old"."""
        self.dump("old", *TRACKED)
        self.dump("new", *TRACKED, "--prev-images-dir", "../old")
        entries = images.read_pagemap(self.at("new"), self.root)[1]
        if not any(flags & images.PARENT for _, _, flags in entries):
            raise Failed("nothing was left to the parent: nothing is tried here")


def parent_written_again(s):
    s.child()
    s.dump("old", *TRACKED)
    s.refused("new", "parent 1", "not the dump that these images were made against")
    s.restored("old")


def parent_used_up(s):
    s.child()
    s.ended()
    s.criu("old", "restore", "-d", "--auto-dedup")
    s.refused("new", "parent 1", "inventory.img is gone")


def parent_begun_anew(s):
    """A dump into it was killed: the first that it does is to take the inventory away."""
    s.child()
    os.unlink(os.path.join(s.at("old"), "inventory.img"))
    s.refused("new", "parent 1", "inventory.img is gone")


def parent_is_right(s):
    """Also without checksums, and after both have been moved."""
    s.child()
    s.restored("new", "--no-checksums")
    for name in "old", "new":
        os.makedirs(os.path.join(s.base, "elsewhere"), exist_ok=True)
        shutil.move(s.at(name), os.path.join(s.base, "elsewhere", name))
    s.restored("elsewhere/new")


def files_of_another(s):
    """Page maps and pages of one dump among the images of another."""
    s.dump("one", "--leave-running")
    s.dump("two")
    for path in glob.glob(os.path.join(s.at("one"), "page*")):
        shutil.copy(path, s.at("two"))
    s.refused("two", "the page map is of another dump than inventory.img")
    s.restored("one")


def daemon_of_another(s):
    """A lazy-pages daemon that was started with other images than the restore."""
    s.dump("one", "--leave-running")
    s.dump("two")
    work = s.at("work")
    for name in "one", "two":
        s.criu(name, "lazy-pages", "-d", "-W", work, "--pidfile", f"{name}.pid")
        if name == "one":
            s.refused("two", "another dump", more=("--lazy-pages", "-W", work))
            s.world.until(lambda: not s.world.tree(), 10, "the daemon ends")
        else:
            s.restored("two", "--lazy-pages", "-W", work)


def source_of_another(s):
    """A page server that gives away the memory of another dump than the daemon has the images of."""
    s.dump("one", "--leave-running")
    s.dump("two")
    for name in "one", "two":
        s.criu(name, "page-server", "--lazy-pages", "-d", "--address", "127.0.0.1", "--port", "7123", "--pidfile", "server.pid")
        asked = ("--page-server", "--address", "127.0.0.1", "--port", "7123", "-W", s.at("work"))
        if name == "one":
            said = s.criu("two", "lazy-pages", *asked, code=1)
            if "has the memory of another dump" not in said:
                raise Failed(f"the daemon does not say why: {said[-600:]}")
            s.world.kill(s.world.tree())
        else:
            s.criu("two", "lazy-pages", "-d", "--pidfile", "lazy.pid", *asked)
            s.restored("two", "--lazy-pages", "-W", s.at("work"))
            s.world.until(lambda: s.world.tree() == [s.root], 20, "daemon and server end")


CASES = {f.__name__.replace("_", "-"): f for f in (parent_written_again, parent_used_up, parent_begun_anew, parent_is_right,
                                                     files_of_another, daemon_of_another, source_of_another)}


def run_one(case, args, base):
    s = Two(args, base)
    try:
        case(s)
    finally:
        left = s.world.clear()
        if left and not re.search(r"\((sleep|criu)", left):
            print(left, file=sys.stderr)


def main():
    args = alone.enter(alone.parser("tools"), net=True)
    if not alone.has(args, "mem_dirty_track"):
        print("SKIP all: this kernel cannot track memory")
        return 0
    return alone.run_cases(args, "mixed", {name: functools.partial(run_one, case) for name, case in CASES.items()})


if __name__ == "__main__":
    sys.exit(main())
