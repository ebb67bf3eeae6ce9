#!/usr/bin/python3
"""Lazy restores: of a process that knows every word of its memory and does all sorts of things with it before it is there, and
of one that never stops to change it. Pagers and their guards are killed at any instant: a task ends then, but never reads zeroes.

    lazy.py --criu build/criu --tools build/test/memory [-k CASE] [--rounds N] [--seed N]

Runs in pid and mount namespaces of its own. Prints "PASS case", "FAIL case: why" or "SKIP case: why". Needs root.
"""
import contextlib
import functools
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
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]
import alone   # noqa: E402
import counted   # noqa: E402
import failing   # noqa: E402
import rpc     # noqa: E402
import state   # noqa: E402
from run import Series   # noqa: E402
from world import Failed, World   # noqa: E402

CHECK, FORK, REMAP, CALLS, EXEC, LOOP, CHILD_LOOP, GUARDS, FAMILY = range(1, 10)
FIELDS = ("ready", "order", "done", "bad", "zero", "beats", "failed", "members")
PAGER, GUARD = "criu-lazy", "criu-lazy-guard"
WITH_TASKS = ("create tasks", "announce", "resume")   # stages of a restore behind which there is something to be undone


class Sleeper:
    """The process that is told what to do, its images, and who brings its memory in."""

    def __init__(self, args, base, seed, mib=64, *more):
        self.args, self.base, self.world, self.random = args, base, World(), random.Random(seed)
        self.images, self.board = os.path.join(base, "images"), os.path.join(base, "board")
        os.mkdir(self.images)
        with open(self.board, "wb") as f:
            f.write(bytes(4096))
        self.root = self.world.start([os.path.join(args.tools, "sleeper"), base, str(mib), *more], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def __enter__(self):
        try:
            self.prepare()
        except Exception:
            self.give_up()   # or the next case would find it there
            raise
        return self

    def __exit__(self, failure, *_):
        if failure:
            self.give_up()
        else:
            self.end()

    def give_up(self):
        """The end of what has failed: what else is wrong then is no news."""
        with contextlib.suppress(Failed):
            self.end()

    def prepare(self):
        self.world.until(lambda: self.see("ready"), 20, "the sleeper's memory")

    def see(self, name):
        with open(self.board, "rb") as f:
            f.seek(8 * FIELDS.index(name))
            return struct.unpack("Q", f.read(8))[0]

    def tell(self, order):
        with open(self.board, "r+b") as f:
            f.seek(8 * FIELDS.index("order"))
            f.write(struct.pack("Q", order))

    def named(self, *names):
        return [p for p in self.world.tree() if state.read(f"/proc/{p}/comm").decode(errors="replace").strip() in names]

    def state_of(self, pid):
        return state.read(f"/proc/{pid}/stat").rsplit(b")", 1)[-1].split()[:1]

    def stop_pager(self):
        """Returns its number; 0: it has done its work already."""
        for pid in self.named(PAGER):
            kill_one(pid, signal.SIGSTOP)
            self.world.until(lambda p=pid: self.state_of(p) in ([b"T"], []), 10, "the pager stops, or ends")
            return pid if self.state_of(pid) else 0
        return 0

    def criu(self, *cmd, code=0):
        status, said = self.world.run([self.args.criu, cmd[0], "-D", self.images, "-v4", "-o", cmd[0] + ".log", *cmd[1:]], 30)
        if status != code:
            raise Failed(f"{cmd[0]}: exit status {status}: {said.strip()[-300:]}")
        return said

    def dump(self, *more):
        self.criu("dump", "-t", str(self.root), *more)
        self.world.until(lambda: self.root not in self.world.tree(), 5, "the tree is gone after the dump")

    def restore(self, *more):
        self.criu("restore", "-d", *(more or ["--lazy"]))

    def log(self):
        with open(os.path.join(self.images, "restore.log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def judge(self, what):
        if self.see("bad") or self.see("failed"):
            raise Failed(f"{what}: {self.see('bad')} words are wrong, {self.see('zero')} of them zero; line {self.see('failed')}")

    def until_done(self, order, what, timeout=30):
        self.world.until(lambda: self.see("done") == order or self.see("failed") or self.see("bad"), timeout, what)
        self.judge(what)

    def until_complete(self):
        """Nothing is left of a pager, neither processes nor watched memory, and the log says how much there was."""
        self.world.until(lambda: not self.named(PAGER, GUARD), 20, "the pager ends")
        for pid in self.named("sleeper", "exe"):
            if re.search(r"VmFlags:.* um", state.read(f"/proc/{pid}/smaps").decode(errors="replace")):
                raise Failed(f"pid {pid} is still watched")
        found = re.search(r"lazy restore is complete: (\d+) KiB, (\d+) times on demand", self.log())
        if not found:
            raise Failed(f"the log does not say that all is in: {self.log()[-300:]}")
        return int(found[1]), int(found[2])

    def end(self):
        self.world.kill(self.named("sleeper", "sleeper-child", "exe", "writer"))
        for pid in self.named(PAGER):
            kill_one(pid, signal.SIGCONT)
        try:
            self.world.until(lambda: not self.world.tree(), 10, "all ends with the sleeper")
        finally:
            left = self.world.clear()
        if left:
            raise Failed(left)


def obeys(order):
    """What is ordered before the restore is carried out while memory is missing, and is right."""
    def case(args, base, seed):
        with Sleeper(args, base, seed) as s:
            s.dump()
            s.tell(order)
            s.restore()
            s.until_done(order, "what it was told")
            kib, asked = s.until_complete()
            if not asked and order != EXEC:
                raise Failed(f"nothing was asked for, of {kib} KiB")
            if order == CHECK and kib < 64 << 10:
                raise Failed(f"only {kib} KiB came later")
            if order not in (REMAP, GUARDS, EXEC):
                s.tell(CHECK if order != CHECK else FORK)
                s.until_done(CHECK if order != CHECK else FORK, "a look at everything afterwards")
    return case


def family(args, base, seed):
    """What processes share copy-on-write they share again; the rest comes later, to each its own."""
    def shared():
        total = 0
        for pid in s.named("sleeper"):
            text = state.read(f"/proc/{pid}/smaps_rollup").decode()
            total += sum(int(n) for n in re.findall(r"^Shared_(?:Clean|Dirty): +(\d+)", text, re.M))
        return total
    with Sleeper(args, base, seed, 16, "family") as s:
        before = shared()
        s.dump()
        s.tell(FAMILY)
        s.restore()
        s.until_done(FAMILY, "a look of all at everything")
        kib, _ = s.until_complete()
        if kib < 3 * (16 << 10):
            raise Failed(f"only {kib} KiB came later")
        if shared() < before * 0.8:
            raise Failed(f"{before} KiB were shared, {shared()} are")


def huge(args, base, seed):
    """A page that is needed at once, a thread's stack, lies between others that come later, where huge pages are wanted."""
    with Sleeper(args, base, seed, 16, "huge") as s:
        s.dump()
        s.tell(CHECK)
        s.restore()
        s.until_done(CHECK, "a look at everything")
        s.until_complete()


def script(s, text):
    """A script for certain moments. Returns its path."""
    path = os.path.join(s.base, "script")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"#!/bin/sh\n{text}\n")
    os.chmod(path, 0o755)
    return path


def restore_without_pager(s):
    """It is stopped before the task runs: whatever comes unasked comes later. Returns its number."""
    s.restore("--lazy", "--action-script",
              script(s, "[ $CRTOOLS_SCRIPT_ACTION != post-restore ] || for f in /proc/[0-9]*/comm; do\n"
                        f"\tread -r name <$f && [ $name = {PAGER} ] && f=${{f%/comm}} && kill -STOP ${{f##*/}}\ndone\nexit 0"))
    pager = s.named(PAGER)
    if not pager or s.state_of(pager[0]) != [b"T"]:
        raise Failed("the pager is not stopped")
    return pager[0]


def again(args, base, seed):
    """A tree whose memory is not in yet is not dumped; once it is, it is like any other."""
    with Sleeper(args, base, seed) as s:
        s.dump()
        pager = restore_without_pager(s)
        images, s.images = s.images, os.path.join(base, "second")
        os.mkdir(s.images)
        said = s.criu("dump", "-t", str(s.root), code=1)
        if "lazy restore" not in said:
            raise Failed(f"refused for another reason: {said.strip()[-300:]}")
        os.kill(pager, signal.SIGCONT)
        s.images, second = images, s.images
        s.until_complete()
        s.images = second
        s.dump()
        s.tell(CHECK)
        s.restore()
        s.until_done(CHECK, "a look at everything after the second restore")
        s.until_complete()


def waits(args, base, seed):
    """Who misses a page waits as long as the pager does not answer, and goes on with what belongs there."""
    with Sleeper(args, base, seed) as s:
        shown = [state.read(f"/proc/{s.root}/{name}") for name in ("cmdline", "environ")]
        s.dump()
        pager = restore_without_pager(s)
        if shown != [state.read(f"/proc/{s.root}/{name}") for name in ("cmdline", "environ")]:
            raise Failed("command line or environment are not shown while memory is missing")
        s.tell(CHECK)

        def stands():
            before = s.see("beats")
            time.sleep(0.1)
            return before == s.see("beats")
        s.world.until(lambda: stands() or s.see("done") == CHECK, 10, "it waits for memory")
        if s.see("done") == CHECK:
            raise Failed("it did not have to wait")
        s.judge("while it waits")
        os.kill(pager, signal.SIGCONT)
        s.until_done(CHECK, "a look at everything")
        s.until_complete()


def kill_one(pid, signo=signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signo)


def killed(order, how):
    """The pager or its guard is killed at some instant, or both. Nobody reads zeroes."""
    def case(args, base, seed):
        with Sleeper(args, base, seed, 48) as s:
            s.dump()
            for _ in range(s.args.rounds):
                s.tell(order)
                s.restore()
                until = time.monotonic() + s.random.uniform(0, 0.06)
                s.world.until(lambda: time.monotonic() > until, 5, "time")
                pager, guard = s.named(PAGER), s.named(GUARD)
                if how == "both":
                    # both at the same instant: neither may run in between
                    for pid in pager + guard:
                        kill_one(pid, signal.SIGSTOP)
                for pid in guard if how == "guard" else pager if how == "pager" else s.random.sample(pager + guard, len(pager + guard)):
                    kill_one(pid)
                if how == "guard":
                    s.until_complete()
                beats = s.see("beats")
                s.world.until(lambda: s.root not in s.world.tree() or s.see("beats") > beats + 20000 or s.see("bad"), 20,
                              "it ends or goes on")
                s.judge(f"after the kill of {how}")
                if how == "guard" and s.root not in s.world.tree():
                    raise Failed("it has ended with the guard")
                s.world.until(lambda: not s.named(PAGER, GUARD) or s.named("sleeper-child", "sleeper"), 10, "no pager stays alone")
                s.world.kill(s.named("sleeper", "sleeper-child"))
                s.world.until(lambda: not s.world.tree(), 10, "all ends")
                s.judge("at the end")
    return case


def by_rpc(args, base, seed):
    with Sleeper(args, base, seed) as s:
        s.dump()
        s.tell(CHECK)
        ours, theirs = rpc.pair()
        pid = s.world.start([args.criu, "swrk", str(theirs.fileno())], pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        s.world.others.add(pid)
        theirs.close()
        fd = os.open(s.images, os.O_RDONLY | os.O_DIRECTORY)
        resp = rpc.talk(ours, rpc.request(rpc.RESTORE, images_dir_fd=fd, log_level=4, log_file="restore.log", lazy=1))
        os.close(fd)
        ours.close()
        if not resp or not resp.success:
            raise Failed(f"restore: {resp}")
        s.until_done(CHECK, "a look at everything")
        s.world.until(lambda: pid in s.world.ended, 5, "the worker's end")
        s.until_complete()


def fails(args, base, seed):
    """A restore that fails behind the start of its pager leaves none, and no task."""
    with Sleeper(args, base, seed) as s:
        s.dump()
        seen = []
        for stage in failing.stages(functools.partial(s.criu, "restore", "-d", "--lazy", code=1), "resume"):
            s.world.until(lambda: not s.world.tree(), 5, f"nothing is left after a failure at stage {stage}")
            seen.append(stage)
        if not set(WITH_TASKS) <= set(seen):
            raise Failed(f"stages are {seen}")
        s.tell(CHECK)
        s.restore()
        s.until_done(CHECK, "a look at everything")
        s.until_complete()


def truncated(args, base, seed):
    """Images that lose their end behind a restore end the task, with a reason in the log."""
    with Sleeper(args, base, seed) as s:
        s.dump()
        s.restore()
        pager = s.stop_pager()
        if not pager:
            return
        for name in os.listdir(s.images):
            if name.startswith("pages-"):
                os.truncate(os.path.join(s.images, name), 4096)
        os.kill(pager, signal.SIGCONT)
        s.world.until(lambda: not s.named(PAGER, GUARD), 10, "the pager ends")
        if "complete" not in s.log():
            s.world.until(lambda: s.root not in s.world.tree(), 5, "the task ends with it")
            if "its tasks are ended" not in s.log():
                raise Failed("the log does not say why")
        s.judge("with images that are gone")


def start_daemon(s, *more):
    """criu lazy-pages in the background, which has ended with success when it listens. Returns its pid."""
    name = os.path.join(s.images, "lazy.pid")
    if os.path.exists(name):
        os.unlink(name)
    s.criu("lazy-pages", "-d", "--pidfile", "lazy.pid", *more)
    with open(name, encoding="utf-8") as f:
        return int(f.read())


def daemon(args, base, seed):
    """A daemon that was started by hand does the same, and ends with its work."""
    with Sleeper(args, base, seed) as s:
        s.dump()
        said = s.criu("restore", "-d", "--lazy-pages", code=1)
        if "lazy-pages.socket" not in said or s.world.tree():
            raise Failed(f"without a daemon: {said.strip()[-300:]}")
        for order in (CHECK, FORK, REMAP):
            pid = start_daemon(s)
            if "in use" not in s.criu("lazy-pages", "-d", "--log-file", "second.log", code=1):
                raise Failed("a second daemon was not refused")
            if order == FORK:
                for _ in failing.stages(functools.partial(s.criu, "restore", "-d", "--lazy-pages", code=1), "plan"):
                    pass
            s.tell(order)
            s.restore("--lazy-pages")
            s.until_done(order, "what it was told")
            s.world.until(lambda: pid not in s.world.tree(), 20, "the daemon ends")
            with open(os.path.join(s.images, "lazy-pages.log"), encoding="utf-8") as f:
                if not re.search(r"lazy restore is complete: \d+ KiB, [1-9]", f.read()):
                    raise Failed("the log does not say that all is in")
            if os.path.exists(os.path.join(s.images, "lazy-pages.socket")):
                raise Failed("the socket is still there")
            s.world.kill(s.named("sleeper"))
        # a name that was left behind is no obstacle, and one that nobody wants goes
        pid = start_daemon(s)
        kill_one(pid)
        s.world.until(lambda: not s.world.tree(), 5, "the daemon is gone")
        pid = start_daemon(s)
        os.kill(pid, signal.SIGTERM)
        s.world.until(lambda: not s.world.tree(), 5, "the daemon ends when it is asked to")
        # before it waits as well: it has a name when scripts are told
        start_daemon(s, "--action-script", script(s, f"[ $CRTOOLS_SCRIPT_ACTION != status-ready ] || kill $(cat {s.images}/lazy.pid)"))
        s.world.until(lambda: not s.world.tree(), 5, "the daemon ends when it has been asked to before it waits")
        with open(os.path.join(s.images, "lazy-pages.log"), encoding="utf-8") as f:
            if "interrupted before there was a restore" not in f.read():
                raise Failed("the log does not say why it has ended")
        if os.path.exists(os.path.join(s.images, "lazy-pages.socket")):
            raise Failed("the socket is still there")


def daemon_killed(args, base, seed):
    with Sleeper(args, base, seed) as s:
        s.dump()
        for _ in range(args.rounds):
            pid = start_daemon(s)
            s.tell(LOOP)
            s.restore("--lazy-pages")
            until = time.monotonic() + s.random.uniform(0, 0.06)
            s.world.until(lambda: time.monotonic() > until, 5, "time")
            kill_one(pid)
            beats = s.see("beats")
            s.world.until(lambda: s.root not in s.world.tree() or s.see("beats") > beats + 20000 or s.see("bad"), 20,
                          "it ends or goes on")
            s.judge("after the kill of the daemon")
            s.world.kill(s.named("sleeper"))
            s.world.until(lambda: not s.world.tree(), 10, "all ends")


def daemon_of_others(args, base, seed):
    """A daemon with other images says so, and nothing is restored."""
    with Sleeper(args, base, seed) as s:
        s.dump()
        other = os.path.join(base, "other")
        shutil.copytree(s.images, other)
        for name in os.listdir(other):
            if name.startswith("pagemap-"):
                os.unlink(os.path.join(other, name))
        s.criu("lazy-pages", "-d", "-W", s.images, "-D", other)
        said = s.criu("restore", "-d", "--lazy-pages", code=1)
        if "which the restore lacks" not in said:
            raise Failed(f"refused for another reason: {said.strip()[-300:]}")
        s.world.until(lambda: not s.world.tree(), 10, "all ends")


def compressed(args, base, seed):
    """Any page is found in a compressed set, whoever brings it; none comes out of a frame that is damaged."""
    with Sleeper(args, base, seed) as s:
        s.dump("--compress")
        frames = max((os.path.join(s.images, f) for f in os.listdir(s.images) if f.endswith(".frames")), key=os.path.getsize)
        for order, by_hand in ((CHECK, False), (REMAP, False), (CALLS, True), (FORK, True)):
            pid = start_daemon(s) if by_hand else 0
            s.tell(order)
            s.restore("--lazy-pages" if by_hand else "--lazy")
            s.until_done(order, "what it was told")
            s.world.until(lambda: pid not in s.world.tree(), 20, "the daemon ends")
            if order == CHECK and s.until_complete()[0] < 64 << 10:
                raise Failed(f"most of the memory came at once: {s.log()[-300:]}")
            s.world.kill(s.named("sleeper"))
        with open(frames, "r+b") as f:
            middle = os.path.getsize(frames) // 2
            good = os.pread(f.fileno(), 4096, middle)
            os.pwrite(f.fileno(), bytes(b ^ 0x55 for b in good), middle)
        s.tell(CHECK)
        s.restore()
        s.world.until(lambda: not s.world.tree(), 10, "all ends")
        s.judge("with a damaged frame")
        if not re.search("is damaged|does not match its checksum", s.log()):
            raise Failed(f"the log does not say why: {s.log()[-300:]}")


def damaged(args, base, seed):
    """A page that does not match its checksum is not put in: the task ends before it sees it."""
    with Sleeper(args, base, seed) as s:
        s.dump()
        pages = max((os.path.join(s.images, f) for f in os.listdir(s.images) if f.startswith("pages-")), key=os.path.getsize)
        with open(pages, "r+b") as f:
            f.seek(os.path.getsize(pages) // 2)
            byte = f.read(1)[0]
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([byte ^ 1]))
        s.tell(CHECK)
        s.restore()
        s.world.until(lambda: not s.world.tree(), 10, "all ends")
        s.judge("with a damaged page")
        if "does not match its checksum" not in s.log():
            raise Failed(f"the log does not say why: {s.log()[-300:]}")
        # nobody looks at it, as asked for
        s.restore("--lazy", "--no-checksums")
        s.world.until(lambda: s.see("bad"), 20, "the damage is seen")
        s.until_complete()


def writer(args, base, seed):
    """Always changing, dumped as soon as all is in, again and again."""
    args.writer = os.path.join(args.tools, "writer")
    s = Series(args, base, seed)
    try:
        for _ in range(args.rounds):
            s.images = None
            s.final()
            s.restore("--lazy")
            # what ends while it is watched, or is younger than the restore, is followed as well
            s.world.until(lambda: not [p for p in s.world.tree() if state.read(f"/proc/{p}/comm").startswith(b"criu-lazy")], 20,
                          "the pager ends")
            if s.differences():
                raise Failed(f"when all was in: {s.differences()}")
    finally:
        s.end()


CASES = {"compressed": compressed, "check": obeys(CHECK), "fork": obeys(FORK), "remap": obeys(REMAP), "calls": obeys(CALLS), "exec": obeys(EXEC),
         "guards": obeys(GUARDS), "family": family, "huge": huge, "again": again, "waits": waits, "kill-pager": killed(LOOP, "pager"),
         "kill-guard": killed(LOOP, "guard"), "kill-both": killed(LOOP, "both"), "kill-pager-of-child": killed(CHILD_LOOP, "pager"),
         "kill-both-of-child": killed(CHILD_LOOP, "both"), "by-rpc": by_rpc, "fails": fails, "truncated": truncated, "damaged": damaged, "daemon": daemon,
         "daemon-killed": daemon_killed, "daemon-of-others": daemon_of_others, "writer": writer, "statistics": counted.statistics(Sleeper)}


def seeded(case, args, base):
    case(args, base, args.seed)


def main():
    ap = alone.parser("tools")
    ap.add_argument("--rounds", type=int, default=5)
    args = alone.enter(ap)
    if not alone.has(args, "uffd-noncoop"):
        print("SKIP all: this kernel has no userfaultfd with all of its events")
        return 0
    return alone.run_cases(args, "lazy", {name: functools.partial(seeded, case) for name, case in CASES.items()})


if __name__ == "__main__":
    sys.exit(main())
