#!/usr/bin/python3
"""Incremental dumps of a process that never stops to change its memory, compared page by page with what it must hold.

    run.py --criu build/criu --writer build/test/memory/writer [-k CASE] [--rounds N] [--seed N] [-v]

Runs in pid and mount namespaces of its own. Prints "PASS case", "FAIL case: why" or "SKIP case: why". Needs root.
"""
import contextlib
import functools
import glob
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
import alone   # noqa: E402
import compressed   # noqa: E402
import early   # noqa: E402
import failing   # noqa: E402
import images   # noqa: E402
import joined   # noqa: E402
import respected   # noqa: E402
import rpc   # noqa: E402
import state   # noqa: E402
import streamed   # noqa: E402
from world import Failed, Skipped, World   # noqa: E402

SLOW = int(os.environ.get("CRIU_E2E_SLOW", "1"))   # where instructions are emulated
ALL_PAGES = "continuing with all pages"
PRE_DUMP, DUMP = 4, 1


class Series:
    """One tree, and the directories that are made of it."""

    def __init__(self, args, base, seed, **env):
        self.args, self.base, self.world, self.random = args, base, World(), random.Random(seed)
        self.dir = os.path.join(base, "d")
        os.mkdir(self.dir)
        self.images, self.nr = None, 0
        self.root = self.world.start([args.writer, self.dir, str(seed)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL, start_new_session=True, env=dict(os.environ, **env))
        self.world.until(lambda: self.table(self.root)[0] > 0, 10 * SLOW, "the writer's first look at its memory")

    def table(self, pid):
        """How often a process has looked at all of its pages, and its steps."""
        try:
            with open(os.path.join(self.dir, f"table-{pid}"), "rb") as f:
                return struct.unpack("QQ", f.read(16).ljust(16, b"\0"))
        except OSError:
            return 0, 0

    def writers(self):
        out = []
        for pid in self.world.tree():
            try:
                with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
                    if f.read().strip() in ("writer", "exe", "idler"):
                        out.append(pid)
            except OSError:
                pass
        return out

    def keepers(self):
        out = []
        for pid in self.world.tree():
            try:
                with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
                    if f.read().strip() == "criu-keeper":
                        out.append(pid)
            except OSError:
                pass
        return out

    def differences(self):
        try:
            with open(os.path.join(self.dir, "fails"), encoding="utf-8") as f:
                return f.read().strip()
        except OSError:
            return ""

    def criu(self, command, *more, code=0, parent=True):
        """A dump into the next directory. Returns its log."""
        self.nr += 1
        previous, self.images = self.images, os.path.join(self.base, str(self.nr))
        os.mkdir(self.images)
        if parent is True:
            parent = previous
        cmd = [self.args.criu, command, "-t", str(self.root), "-D", self.images, "-o", "log", "-v4", *more]
        if parent:
            cmd += ["--prev-images-dir", os.path.relpath(parent, self.images)]
        status, said = self.world.run(cmd, 30 * SLOW)
        log = self.log("log")
        if status != code:
            ended = f"; the root has ended with {self.world.ended[self.root]}" if self.root in self.world.ended else ""
            raise Failed(f"{command}: exit status {status}: {said.strip()[-300:]}{ended} {self.differences()}")
        if self.differences():
            raise Failed(f"after {command} {self.nr}: {self.differences()}")
        return log

    def log(self, name):
        try:
            with open(os.path.join(self.images, name), encoding="utf-8", errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def pages(self):
        """Written and left to the parent, by the statistics of the last dump."""
        with open(os.path.join(self.images, "stats-dump"), "rb") as f:
            fields = rpc.decode(rpc.decode(f.read()[12:])[1])
        return fields.get(7, 0), fields.get(6, 0)

    def bytes_written(self):
        """Of private and of shared memory, by the statistics of the last dump."""
        with open(os.path.join(self.images, "stats-dump"), "rb") as f:
            fields = rpc.decode(rpc.decode(f.read()[12:])[1])
        return (fields.get(7, 0) + fields.get(14, 0)) * 4096

    def must_skip(self, what):
        if not self.pages()[1]:
            raise Failed(f"{what}: nothing was left to the parent; {re.findall('Warn.*', self.log('log'))}")

    def wait(self, low=0.01, high=0.2):
        until = time.monotonic() + self.random.uniform(low, high)
        self.world.until(lambda: time.monotonic() > until, 10 * SLOW, "time")

    def final(self, *more, parent=True):
        log = self.criu("dump", *more, parent=parent)
        self.world.until(lambda: not self.writers(), 10 * SLOW, "the tree is gone after the dump")
        self.world.until(lambda: not self.keepers(), 10 * SLOW, "the keeper ends with the tree")
        return log

    def restore(self, *more):
        status, said = self.world.run([self.args.criu, "restore", "-d", "-D", self.images, "-o", "restore.log", "-v4", *more], 30 * SLOW)
        if status != 0:
            raise Failed(f"restore: exit status {status}: {said.strip()[-300:]}")
        with open(os.path.join(self.images if "-W" not in more else self.base, "stats-restore"), "rb") as f:
            if not rpc.decode(rpc.decode(f.read()[12:])[2]).get(5, 0):
                raise Failed("no page was restored, by the statistics")
        before = {pid: self.table(pid)[0] for pid in self.writers()}
        # a kid may be ended by its parent meanwhile
        looked = lambda: self.differences() or all(self.table(p)[0] > n + 1 for p, n in before.items()
                                                   if p == self.root or p in self.writers())
        self.world.until(looked, 30 * SLOW, "all look at their memory after the restore")
        if self.differences():
            raise Failed(f"after the restore of {self.nr}: {self.differences()}")
        if self.root not in self.writers():
            raise Failed("the root is gone after the restore")

    def end(self):
        self.world.kill(self.writers())
        try:
            self.world.until(lambda: not self.world.tree(), 10 * SLOW, "all ends with the writer")
        finally:
            left = self.world.clear()
        if left:
            raise Failed(left)


# --- the cases

def series(s):
    """Pre-dumps and dumps in any number, then the last one, restored, and on from there."""
    for _ in range(s.args.rounds):
        s.images = None
        s.criu("pre-dump")
        for _ in range(s.random.randrange(4)):
            s.wait()
            more = ["--auto-dedup"] if s.random.random() < 0.3 else []
            if s.random.random() < 0.3:
                log = s.criu("dump", "--leave-running", "--track-mem", *more)
            else:
                log = s.criu("pre-dump", *more)
            if ALL_PAGES in log:
                raise Failed(f"round {s.nr}: {re.findall('Warn.*', log)}")
            s.must_skip(f"round {s.nr}")
        s.wait()
        log = s.final(*(["--auto-dedup"] if s.random.random() < 0.3 else []))
        if ALL_PAGES in log:
            raise Failed(f"last of the round: {re.findall('Warn.*', log)}")
        s.must_skip(f"last of round {s.nr}")
        s.restore()
        for done in glob.glob(os.path.join(s.base, "[0-9]*")):
            if done != s.images:
                shutil.rmtree(done)


def brute_force(s):
    """Tracking against all pages: the tree stays stopped after a dump, and what it holds is what the chain has."""
    for i in range(s.args.rounds * 2):
        s.criu("pre-dump", parent=i % 8 > 0)
        s.wait()
        s.criu("dump", "--leave-stopped", "--track-mem", *(["--auto-dedup"] if i % 3 == 2 else []))
        s.must_skip(f"round {s.nr}")
        writers = s.writers()
        stopped = lambda: all(state.read(f"/proc/{p}/stat").rpartition(b")")[2][1:2] == b"T" for p in writers)
        s.world.until(stopped, 10 * SLOW, "the tree stands still")
        different = [d for d in (images.compare(s.images, p) for p in writers) if d]
        if different:
            raise Failed(f"round {s.nr}: {different[0]}")
        for pid in writers:
            with contextlib.suppress(ProcessLookupError):   # the root may have ended a kid by then
                os.kill(pid, signal.SIGCONT)
        s.wait()
    s.final()
    s.restore()


def long_chain(s):
    """One set after the other, each on top of all before."""
    for i in range(s.args.chain):
        log = s.criu("pre-dump", parent=i > 0)
        if i and ALL_PAGES in log:
            raise Failed(f"round {s.nr}: {re.findall('Warn.*', log)}")
    s.final()
    s.must_skip("the last of the chain")
    if s.random.random() < 0.5:
        status, said = s.world.run([s.args.criu, "dedup", "-D", s.images], 60 * SLOW)
        if status:
            raise Failed(f"dedup: exit status {status}: {said}")
    s.restore()


def put(*path, text):
    with open(os.path.join(*path), "w", encoding="utf-8") as f:
        f.write(str(text))


def pressure(s):
    """The same where the kernel takes pages away: clean ones of files go and come back, page tables with them."""
    base = next((d for d in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup")
                 if os.path.exists(d + "/memory.force_empty") or os.path.exists(d + "/cgroup.subtree_control")), "")
    group = os.path.join(base, os.path.basename(s.base))
    try:
        os.mkdir(group)
    except OSError as e:
        raise Skipped(f"no memory cgroup can be made here: {e}") from None
    reclaim = next((f for f in ("memory.force_empty", "memory.reclaim") if os.path.exists(os.path.join(group, f))), None)
    try:
        if not reclaim:
            raise Skipped("no memory cgroup that can be told to shrink")
        for pid in s.writers():
            put(group, "cgroup.procs", text=pid)
        for i in range(s.args.rounds):
            s.criu("pre-dump", parent=i > 0)
            for _ in range(5):
                try:
                    put(group, reclaim, text="0" if reclaim.endswith("empty") else "64M")
                except OSError:
                    pass   # there was less than that
                s.wait(0.005, 0.02)
        s.final()
        s.must_skip("the last round")
        s.restore()
    finally:
        s.world.kill(s.writers())
        s.world.until(lambda: not s.writers(), 10 * SLOW, "the writers are gone")
        s.world.until(lambda: not state.read(os.path.join(group, "cgroup.procs")), 10 * SLOW, "the cgroup is empty")
        os.rmdir(group)


def lost_keeper(s):
    s.criu("pre-dump")
    keepers = s.world.until(s.keepers, 10 * SLOW, "a keeper is there")
    if len(keepers) != 1:
        raise Failed(f"{len(keepers)} keepers after a pre-dump")
    s.world.kill(keepers)
    s.wait()
    if ALL_PAGES not in s.criu("pre-dump"):
        raise Failed("no warning after the keeper was lost")
    if s.pages()[1]:
        raise Failed("pages were left to the parent after the keeper was lost")
    s.wait()
    s.final()
    s.must_skip("the dump after that")
    s.restore()


def older_parent(s):
    """Unchanged since the second round does not mean unchanged since the first."""
    s.criu("pre-dump")
    first = s.images
    s.wait()
    s.criu("pre-dump")
    s.wait()
    if ALL_PAGES not in s.final(parent=first):
        raise Failed("no warning about a parent that is not the last round")
    if s.pages()[1]:
        raise Failed("pages were left to an older parent")
    s.restore()


def damaged_parent(s):
    """A page that an older set has, flipped: found, with the name of the file that it is in."""
    s.criu("pre-dump")
    older = s.images
    s.wait()
    s.final()
    s.must_skip("the dump")
    # that of the process which lives through all of it; its kids come and go, and nothing may be needed of theirs
    name = max(glob.glob(os.path.join(older, "pages-*.img")), key=os.path.getsize)
    with open(name, "r+b", buffering=0) as f:
        data = f.read()
        f.seek(0)
        f.write(bytes(b ^ 1 for b in data))
    status, said = s.world.run([s.args.criu, "restore", "-d", "-D", s.images, "-o", "restore.log", "-v4"], 30 * SLOW)
    said += s.log("restore.log")
    left = s.world.clear()
    end = os.path.join(os.path.basename(older), os.path.basename(name))
    if status == 0 or left or "does not match its checksum" not in said or end not in said:
        raise Failed(f"restore with a damaged {end}: exit status {status}; {left}; {re.findall('Error.*', said)}")
    with open(name, "r+b", buffering=0) as f:
        f.write(data)
    s.restore()


def failed_rounds(s):
    """A dump that fails changes nothing for the next, and neither does one outside of the series."""
    s.criu("pre-dump")
    first = s.images
    s.wait()
    for _ in failing.stages(functools.partial(s.criu, "dump", code=1, parent=first), "write images"):
        pass
    s.criu("dump", "--leave-running", parent=None)
    s.wait()
    s.images = first
    s.criu("pre-dump")
    s.must_skip("after dumps that failed")
    # protections were renewed, but the images are not there
    second = s.images
    for _ in failing.stages(functools.partial(s.criu, "pre-dump", code=1, parent=second), "write memory", 6):
        pass
    s.wait()
    if ALL_PAGES not in s.final(parent=second):
        raise Failed("no warning after a pre-dump that failed late")
    s.restore()


def ends_tracking(s):
    """Without --track-mem a dump ends the series; nothing is left of it in the tree."""
    s.criu("pre-dump")
    s.wait()
    s.criu("dump", "--leave-running")
    s.world.until(lambda: not s.keepers(), 10 * SLOW, "the keeper ends")
    for pid in s.writers():
        with open(f"/proc/{pid}/smaps", encoding="utf-8") as f:
            if re.search(r"VmFlags:.* uw", f.read()):
                raise Failed(f"pid {pid} is still watched")
    s.final(parent=None)
    s.restore()


def blocks(s):
    return sum(os.stat(f).st_blocks for f in glob.glob(os.path.join(s.base, "[0-9]*", "pages-*.img")))


def dedup(s):
    for _ in range(4):
        s.criu("pre-dump")
        s.wait()
    s.final()
    before = blocks(s)
    status, said = s.world.run([s.args.criu, "dedup", "-D", s.images], 30 * SLOW)
    if status != 0 or blocks(s) >= before:
        raise Failed(f"dedup: exit status {status}, blocks {before} before and {blocks(s)} after: {said}")
    s.restore()
    first = os.path.join(s.base, "1")
    status, said = s.world.run([s.args.criu, "dedup", "-D", first], 30 * SLOW)
    if status != 1 or "no parent" not in said:
        raise Failed(f"dedup without a parent: exit status {status}: {said}")


def used_up(s):
    """A restore with --auto-dedup frees the images that it was made from, but only once the tree runs."""
    for _ in range(3):
        s.criu("pre-dump")
        s.wait()
    s.final()
    before = blocks(s)
    restore = [s.args.criu, "restore", "-d", "-D", s.images, "-W", s.base, "--auto-dedup"]
    subprocess.run(["mount", "--bind", s.images, s.images], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", s.images], check=True)
        status, said = s.world.run(restore, 30 * SLOW)
    finally:
        subprocess.run(["umount", s.images], check=True)
    if status != 1 or "for writing" not in said or s.writers():
        raise Failed(f"restore from images that cannot be written to: exit status {status}: {said.strip()[-300:]}")
    for stage in failing.stages(lambda *more: s.world.run([*restore, *more], 30 * SLOW)[1], "resume"):
        if s.writers() or blocks(s) != before:
            raise Failed(f"restore that fails at {stage}: {blocks(s)} blocks of {before}")
    there = images.stored(s.images, s.root)
    s.restore("--auto-dedup")
    # what newer sets have is not read from older ones, and stays there
    left, files = 0, images.Files()
    for where in there.values():
        left += files.page(where) != bytes(images.PAGE)
    files.close()
    if left or blocks(s) >= before or sum(os.stat(f).st_blocks for f in glob.glob(os.path.join(s.images, "pages-*.img"))):
        raise Failed(f"{before} blocks before the restore, {blocks(s)} after it, {left} of {len(there)} pages are still there")
    s.world.kill(s.writers())
    s.world.until(lambda: not s.world.tree(), 10 * SLOW, "the tree is gone")
    status, said = s.world.run(restore, 30 * SLOW)
    if status != 1 or "inventory" not in said or s.writers():
        raise Failed(f"restore of a set that was used up: exit status {status}: {said.strip()[-300:]}")


def bad_chains(s):
    """A parent that is missing, cut short or bites its tail is refused before anything is made."""
    s.criu("pre-dump")
    first = s.images
    s.wait()
    s.final()
    link = os.path.join(s.images, "parent")

    def refused(what, *words):
        status, said = s.world.run([s.args.criu, "restore", "-d", "-D", s.images], 30 * SLOW)
        if status != 1 or not any(w in said for w in words) or s.writers():
            raise Failed(f"{what}: exit status {status}: {said.strip()[-300:]}")
    os.rename(first, first + "x")
    refused("missing", "open the parent set")
    os.unlink(link)
    refused("no link", "should be in parent 1")
    os.symlink(".", link)
    refused("loop", "leads back")
    os.unlink(link)
    os.symlink("../1", link)
    os.rename(first + "x", first)
    # the root's: a kid may have ended before the last dump
    pages = os.path.join(first, f"pages-{images.read_pagemap(first, s.root)[0]}.img")
    with open(pages, "r+b") as f:
        size = os.path.getsize(pages)
        f.truncate(size - 4096)
        refused("cut short", "should have")
        # what was cut off was a page like any other: it is made whole again before it is needed
    for kind in (["pre-dump"], ["dump"]):
        status, said = s.world.run([s.args.criu, *kind, "-t", "1", "-D", first, "--prev-images-dir", "."], 30 * SLOW)
        if status != 1 or "the one that is to be written" not in said:
            raise Failed(f"own directory as parent: exit status {status}: {said.strip()[-300:]}")


def turns(s):
    """Two directories that are used in turn: what the previous images need is not overwritten, locally or by a page server."""
    s.criu("pre-dump")
    first = s.images
    s.wait()
    s.criu("pre-dump")
    second = s.images
    s.wait()
    whole = {n: os.stat(os.path.join(first, n)).st_mtime_ns for n in os.listdir(first) if n.endswith(".img")}
    for cmd in (["dump", "-t", str(s.root), "--track-mem"], ["pre-dump", "-t", str(s.root)], ["page-server", "--address", "127.0.0.1"]):
        status, said = s.world.run([s.args.criu, *cmd, "-D", first, "--prev-images-dir", os.path.relpath(second, first)], 30 * SLOW)
        if status != 1 or "that the previous ones need" not in said:
            raise Failed(f"{cmd[0]}: exit status {status}: {said.strip()[-300:]}")
        if {n: os.stat(os.path.join(first, n)).st_mtime_ns for n in os.listdir(first) if n.endswith(".img")} != whole:
            raise Failed(f"{cmd[0]}: images of the first round have changed")
        before = s.table(s.root)[0]
        s.world.until(lambda: s.differences() or s.table(s.root)[0] > before + 1, 30 * SLOW, "the tree goes on")
    s.images = second
    s.final()
    s.must_skip("the last round")
    s.restore()


def close_fails(s):
    """A file system that says only at close(2) that there is no room (NFS, quota): the dump fails, and the tree goes on."""
    if not shutil.which("strace"):
        raise Skipped("no strace")
    for name in ("pages-1.img", f"core-{s.root}.img", f"pagemap-{s.root}.img", "pages.sum", "inventory.img.part"):
        there = os.path.join(s.base, f"there-{name}")
        os.mkdir(there)
        status, said = s.world.run(["strace", "-f", "-qq", "-o", "/dev/null", "-P", os.path.join(there, name), "-e", "trace=close", "-e",
                                    "inject=close:error=EDQUOT", s.args.criu, "dump", "-t", str(s.root), "-D", there], 30 * SLOW)
        if status != 1 or "Disk quota exceeded" not in said or os.path.exists(os.path.join(there, "inventory.img")):
            raise Failed(f"{name}: exit status {status}: {said[-300:]}")
        before = s.table(s.root)[0]
        s.world.until(lambda: s.differences() or s.table(s.root)[0] > before + 1, 30 * SLOW, "the tree goes on")
    s.final()
    s.restore()


def by_rpc(s):
    """A loop of pre-dumps and the dump on one connection, as libcriu has it."""
    ours, theirs = rpc.pair()
    pid = s.world.start([s.args.criu, "swrk", str(theirs.fileno())], pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    s.world.others.add(pid)
    theirs.close()
    for i in range(4):
        s.nr += 1
        previous, s.images = s.images, os.path.join(s.base, str(s.nr))
        os.mkdir(s.images)
        fd = os.open(s.images, os.O_RDONLY | os.O_DIRECTORY)
        opts = {"images_dir_fd": fd, "pid": s.root, "log_level": 4, "log_file": "log"}
        if previous:
            opts["parent_img"] = "../" + os.path.basename(previous)
        kind = PRE_DUMP if i < 3 else DUMP
        resp = rpc.talk(ours, rpc.request(kind, **opts))
        os.close(fd)
        if not resp or not resp.success or resp.type != kind:
            raise Failed(f"request {i}: {resp}; {s.log('log')[-300:]}")
        if previous:
            s.must_skip(f"request {i}")
        s.wait()
    ours.close()
    s.world.until(lambda: pid in s.world.ended, 10 * SLOW, "the worker's end")
    s.world.until(lambda: not s.writers(), 10 * SLOW, "the tree is gone after the dump")
    s.restore()


CASES = {"series": series, "brute-force": brute_force, "long-chain": long_chain, "pressure": pressure,
         "lost-keeper": lost_keeper, "older-parent": older_parent, "damaged-parent": damaged_parent,
         "failed-rounds": failed_rounds, "ends-tracking": ends_tracking, "dedup": dedup, "used-up": used_up,
         "bad-chains": bad_chains, "turns": turns, "close-fails": close_fails,
         "by-rpc": by_rpc, "early": early.early, "streamed": streamed.streamed, "own-userfaultfd": respected.own_userfaultfd, **joined.CASES, **compressed.CASES}


# The number of the processor, which the kernel writes whenever a thread goes on, is none of the data that is compared.
ENV = {"brute-force": {"GLIBC_TUNABLES": "glibc.pthread.rseq=0"}}


def run_one(name, args, base):
    s = Series(args, base, args.seed, **ENV.get(name, {}))
    try:
        CASES[name](s)
    finally:
        s.end()


def main():
    ap = alone.parser("writer")
    ap.add_argument("--rounds", type=int, default=6)
    ap.add_argument("--chain", type=int, default=24, help="sets of the long chain")
    ap.add_argument("--long", action="store_true", help="200 of both")
    args = alone.enter(ap)
    if args.long:
        args.rounds = args.chain = 200
    if not alone.has(args, "mem_dirty_track"):
        print("SKIP all: this kernel cannot track memory")
        return 0
    return alone.run_cases(args, "memory", {name: functools.partial(run_one, name) for name in CASES})


if __name__ == "__main__":
    sys.exit(main())
