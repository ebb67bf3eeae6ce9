#!/usr/bin/python3
"""Killed at any of its system calls: a lazy restore, its daemon, a lazy dump, a snapshot, and the rounds of a chain. Nobody reads
zeroes, a tree is whole or is not there, and what was not dumped goes on as if nothing had been.

    sweeps.py --criu build/criu --tools build/test/memory [-k CASE] [--shots N] [--seed N]

Of all calls a sample of so many is tried. Runs in pid, mount and network namespaces of its own. Prints "PASS case", "FAIL case:
why" or "SKIP case: why". Needs root.
"""
import contextlib
import functools
import os
import re
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e"), os.path.join(HERE, "..", "pages")]
import alone   # noqa: E402
import lazy    # noqa: E402
import state   # noqa: E402
from afar import NEAR, OTHER_PIDS, Away   # noqa: E402
from run import Series   # noqa: E402
from world import Failed   # noqa: E402

OURS = ("criu", "criu-snapshot", lazy.PAGER, lazy.GUARD, "cut-off")
LISTENS = 0


def cut_off(args, n, whose, *cmd):
    """A command whose process is killed at the @n-th of its calls; whose: "own", or "all" with those of its children."""
    return [os.path.join(args.tools, "..", "faults", "cut-off"), "-1", "-1", str(n), whose, args.criu, *cmd]


def sample(s, count):
    """Which calls, spread evenly, each time others."""
    if count < 100:
        raise Failed(f"only {count} calls are made")
    step = count / s.args.shots
    shift = s.random.random()
    return sorted({int((i + shift) * step) + 1 for i in range(s.args.shots)}) if step > 1 else range(1, count + 1)


def counted(status, said):
    """How many calls there were in a run that was not cut off."""
    if status != 0:
        raise Failed(f"without a kill: exit status {status}: {said.strip()[-300:]}")
    return int(said.split()[-1])


def ours(s):
    return s.named(*OURS)


def one_or_none(s, what):
    """Until the restored process has seen all of its memory, or nothing is there any more."""
    over = lambda: not s.world.tree() or s.see("done") == lazy.CHECK or s.see("bad") or s.see("failed")
    s.world.until(over, 20, f"{what}: it sees everything, or is gone")
    s.judge(what)
    whole = s.see("done") == lazy.CHECK
    s.world.until(lambda: not ours(s), 20, f"{what}: nothing of ours stays")
    s.world.kill(s.named("sleeper"))
    s.world.until(lambda: not s.world.tree(), 10, f"{what}: all ends")
    return whole


def rearm(s):
    """The process of before may have ended in the midst of its look."""
    with open(s.board, "r+b") as f:
        for name in ("order", "done"):
            f.seek(8 * lazy.FIELDS.index(name))
            f.write(bytes(8))
    s.tell(lazy.CHECK)


def restore_command(s, *more):
    return "restore", "-d", "-D", s.images, "-o", "restore.log", "-v4", *more


def lazy_restore(args, base, seed):
    with lazy.Sleeper(args, base, seed, 16) as s:
        s.dump()
        rearm(s)
        count = counted(*s.world.run(cut_off(args, 0, "own", *restore_command(s, "--lazy")), 60))
        one_or_none(s, "without a kill")
        whole = 0
        for n in sample(s, count):
            rearm(s)
            s.world.run(cut_off(args, n, "own", *restore_command(s, "--lazy")), 60)
            whole += one_or_none(s, f"restorer killed at call {n} of {count}")
        print(f"# lazy-restore: {whole} whole of {args.shots}")
        rearm(s)
        s.restore()
        s.until_done(lazy.CHECK, "after all the kills")
        s.until_complete()


def with_daemon(args, base, seed, whom):
    """The daemon is killed, or the restore that it serves; the other may be there in the next round."""
    def run(n):
        socket, serve = os.path.join(s.images, "lazy-pages.socket"), ("lazy-pages", "-D", s.images, "-o", "lazy-pages.log", "-v4")
        rearm(s)
        daemon = s.world.start(cut_off(args, n, "own", *serve) if whom == "daemon" else [args.criu, *serve], stdin=subprocess.DEVNULL,
                               stdout=out, stderr=subprocess.STDOUT)
        s.world.others.add(daemon)
        s.world.until(lambda: os.path.exists(socket) or daemon in s.world.ended, 20, "the daemon listens")
        cmd = restore_command(s, "--lazy-pages")
        status, said = s.world.run(cut_off(args, n, "own", *cmd) if whom == "restore" else [args.criu, *cmd], 60)
        # one that nobody has come to waits on
        if status != 0 and daemon not in s.world.ended:
            over = lambda: daemon in s.world.ended or not [p for p in s.world.tree() if p not in ours(s)]
            s.world.until(over, 20, f"call {n}: the tree ends")
            for pid in s.named("criu") or [daemon]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        whole = one_or_none(s, f"{whom} killed at call {n}")
        s.world.until(lambda: daemon in s.world.ended, 20, f"call {n}: the end of the daemon")
        s.world.others.discard(daemon)
        if os.path.exists(socket):
            os.unlink(socket)
        return whole, status, said
    with lazy.Sleeper(args, base, seed, 16) as s, open(os.path.join(base, "said"), "w+", encoding="utf-8") as out:
        s.dump()
        whole, status, said = run(0)
        out.seek(0)
        count = counted(status, said if whom == "restore" else out.read())
        if not whole:
            raise Failed("without a kill: it did not come back")
        whole = sum(run(n)[0] for n in sample(s, count))
        print(f"# {whom}: {whole} whole of {args.shots}")
        if not run(0)[0]:
            raise Failed("after all the kills: it did not come back")


def mappings(pid):
    return len(state.read(f"/proc/{pid}/maps").splitlines())


def goes_on(s, what):
    """The process is whole, nobody holds it, and nothing of ours is beside it."""
    s.world.until(lambda: not ours(s), 20, f"{what}: nothing of ours stays")
    for order in (LISTENS, lazy.CHECK):
        s.tell(order)
        s.world.until(lambda o=order: s.see("done") == o or s.see("failed") or s.see("bad"), 20, f"{what}: it obeys")
    s.judge(what)


def snapshots(args, base, seed):
    with lazy.Sleeper(args, base, seed, 16) as s:
        cmd = ("dump", "-t", str(s.root), "-D", s.images, "-o", "dump.log", "-v4", "-R", "--snapshot")
        count = counted(*s.world.run(cut_off(args, 0, "all", *cmd), 60))
        goes_on(s, "without a kill")
        before, more = mappings(s.root), 0
        for n in sample(s, count):
            s.world.run(cut_off(args, n, "all", *cmd), 60)
            goes_on(s, f"snapshot killed at call {n} of {count}")
            more += mappings(s.root) > before
        if more > 1:
            raise Failed(f"{more} kills left a mapping")
        s.dump()
        rearm(s)
        s.restore()
        s.until_done(lazy.CHECK, "after all the kills")
        s.until_complete()


def chains(args, base, seed):
    """A round of a process that never stops to write is killed; the next one, and the dump after it, are right all the same."""
    args.writer = os.path.join(args.tools, "writer")
    s = Series(args, base, seed)

    def cut(n, *how):
        """Returns what it said, and makes its images the parent of the next if they are whole."""
        s.nr += 1
        images = os.path.join(base, f"cut-{s.nr}")
        os.mkdir(images)
        status, said = s.world.run(cut_off(args, n, "all", *how, "-t", str(s.root), "-D", images, "-o", "log", "-v4", "--prev-images-dir",
                                           os.path.relpath(s.images, images)), 60)
        s.world.until(lambda: not s.named("criu"), 20, "nobody is left of it")
        if s.differences() or s.root not in s.writers():
            raise Failed(f"{how[0]} killed at call {n}: {s.differences()} {s.writers()}")
        if os.path.exists(os.path.join(images, "inventory.img")):
            s.images = images
        return status, said
    s.named = lambda *names: [p for p in s.world.tree() if state.read(f"/proc/{p}/comm").decode(errors="replace").strip() in names]
    try:
        ways = (("pre-dump",), ("dump", "-R", "--track-mem"))
        s.criu("pre-dump")
        counts = [counted(*cut(0, *how)) for how in ways]
        for k, (a, b) in enumerate(zip(*(sample(s, count) for count in counts))):
            if k % 4 == 0:
                s.criu("pre-dump")
            for n, how in zip((a, b), ways):
                cut(n, *how)
            s.wait(0, 0.02)
            s.final()
            s.restore()
            s.criu("pre-dump", parent=None)
        s.final()
        s.restore()
    finally:
        s.end()


def lazy_dump(args, base, seed):
    """
    Whoever makes the n-th call of a lazy dump: until its tasks run elsewhere they go on here; from then on they are there, or are
    stopped here, and never two of them run.
    """
    said, seen = os.path.join(base, "said"), {}

    def run(n):
        with open(said, "w", encoding="utf-8") as out:
            s.begin(cut_off(args, n, "all", "dump", "-t", str(s.root), "-D", s.images, "-o", "dump.log", "--lazy-pages", "--address",
                            NEAR), out=out, what=f"call {n}: it is ready, or has ended")
        found = re.search(r"given away on port (\d+)", s.read_log("dump.log"))
        if found:
            peer(found[1])
        s.world.until(lambda: s.dumper in s.world.ended, 30, f"call {n}: the end of the dump")
        s.world.others.discard(s.dumper)
        return outcome(n)

    def peer(port):
        """The other side, which may find nobody."""
        s.tell(lazy.CHECK)
        for cmd in (("lazy-pages", "-d", "--page-server", "--address", NEAR, "--port", port), ("restore", "-d", "--lazy-pages")):
            status, _ = s.world.run([*s.within(), args.criu, cmd[0], "-D", s.images, "-v4", "-o", cmd[0] + ".log", *cmd[1:]], 40)
            if status:
                break

    def outcome(n):
        what = f"lazy dump killed at call {n}"
        s.world.until(lambda: not ours(s), 30, f"{what}: nothing of ours stays")
        s.judge(what)
        here = s.root in s.named("sleeper")
        others = [p for p in s.named("sleeper") if p != s.root]
        if here and others:
            # killed in the midst of ending it here
            s.world.until(lambda: s.state_of(s.root) in ([b"T"], []), 10, f"{what}: it runs there, and does not run here")
            s.world.kill([s.root])
        elif here:
            stopped = s.state_of(s.root) == [b"T"]
            if stopped:
                s.tell(LISTENS)
                os.kill(s.root, signal.SIGCONT)
            goes_on(s, what)
            return "stopped here" if stopped else "here"
        if not others:
            raise Failed(f"{what}: it is nowhere")
        s.world.until(lambda: s.see("done") == lazy.CHECK or s.see("bad"), 30, f"{what}: it sees everything there")
        s.judge(what)
        return "there"
    with Away(args, base, seed, 16) as s:
        if run(0) != "there":
            raise Failed("without a kill: it is not there")
        with open(said, encoding="utf-8") as f:
            count = int(f.read().split()[-1])
        for n in sample(s, count):
            if s.root not in s.named("sleeper"):
                s.world.kill(s.named("sleeper"))
                renew(s, args, seed)
            where = run(n)
            seen[where] = seen.get(where, 0) + 1
        print("# lazy-dump: " + ", ".join(f"{v} {k}" for k, v in seen.items()))


def renew(s, args, seed):
    """Another process of the kind."""
    for name in os.listdir(s.images):
        os.unlink(os.path.join(s.images, name))
    with open(s.board, "wb") as f:
        f.write(bytes(4096))
    with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as f:
        f.write(str(OTHER_PIDS + s.random.randrange(5000)))
    s.root = s.world.start([os.path.join(args.tools, "sleeper"), s.base, "16"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, start_new_session=True)
    s.world.until(lambda: s.see("ready"), 20, "the sleeper's memory")


CASES = {"lazy-restore": lazy_restore, "lazy-daemon": functools.partial(with_daemon, whom="daemon"),
         "restore-from-daemon": functools.partial(with_daemon, whom="restore"), "snapshot": snapshots, "chain": chains,
         "lazy-dump": lazy_dump}


def main():
    ap = alone.parser("tools")
    ap.add_argument("--shots", type=int, default=6)
    args = alone.enter(ap, net=True)
    if not alone.has(args, "uffd-noncoop") or not alone.has(args, "mem_dirty_track"):
        print("SKIP all: this kernel has no userfaultfd with all of its events")
        return 0
    return alone.run_cases(args, "sweeps", {name: functools.partial(lazy.seeded, case) for name, case in CASES.items()})


if __name__ == "__main__":
    sys.exit(main())
