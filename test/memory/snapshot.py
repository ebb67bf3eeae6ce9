#!/usr/bin/python3
"""Snapshots of processes that never stop to write: is what they hold of one instant, and do they notice nothing?

    snapshot.py --criu build/criu --tools build/test/memory [-k CASE] [--rounds N | --long]

Each snapshot is restored stopped, looked at from outside page by page (moments.c says what has to be so), and then let go,
to go on from there. Runs in pid and mount namespaces of its own. Prints "PASS case", "FAIL case: why" or "SKIP case: why".
"""
import functools
import os
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
import rpc   # noqa: E402
import state   # noqa: E402
from world import Failed, Skipped, World   # noqa: E402

PAGE, WORDS, RING, THREADS, CHAIN, APART = 4096, 512, 6, 2, 64, 8
CHAINS, STRIDE, SHARED, BULK = 0x100000000000, 0x1000000, 0x200000000000, 0x300000000000
MASK = (1 << 64) - 1
NAME = "criu-snapshot"
LARGE = 300   # MiB: enough for a snapshot in two rounds


def expected(n, place):
    if not n:
        return [0] * WORDS
    first = (n * 0x9e3779b97f4a7c15 + place * 0x100000001b3) & MASK
    return [n] + [(first + i) & MASK for i in range(1, WORDS - 1)] + [n]


class Subject:
    def __init__(self, args, base, mib, cgroup=None):
        if mib >= LARGE and not alone.has(args, "uffd_wp_async"):
            raise Skipped("this kernel does not watch pages by userfaultfd")
        self.args, self.base, self.world, self.nr = args, base, args.world, 0
        self.dir = os.path.join(base, "d")
        os.makedirs(self.dir)
        enter = (lambda: write(os.path.join(cgroup, "cgroup.procs"), str(os.getpid()))) if cgroup else None
        self.root = self.world.start([os.path.join(args.tools, "moments"), self.dir, str(mib)], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=enter)
        self.world.until(lambda: min(self.beats()[:RING]) > 3 and self.beats()[RING] > 0 or self.root in self.world.ended, 60,
                         "all take their turns")
        self.well("at the start")

    def beats(self):
        """Turns of each in the ring, looks at the other memory, passes through it, orders."""
        try:
            with open(os.path.join(self.dir, "beats"), "rb") as f:
                return struct.unpack(f"{RING + 3}Q", f.read(8 * (RING + 3)).ljust(8 * (RING + 3), b"\0"))
        except OSError:
            return (0,) * (RING + 3)

    def differences(self):
        return text_of(os.path.join(self.dir, "fails")).strip()

    def tree(self):
        """The subject's processes, without what a snapshot adds."""
        return [p for p in self.world.tree() if state.read(f"/proc/{p}/comm").strip() in (b"moments", b"sleep")]

    def added(self):
        """What is not the subject's: copies, zombies, dumpers."""
        return [f"{p} {state.read(f'/proc/{p}/comm').decode().strip()}" for p in self.world.tree() if p not in self.tree()]

    def well(self, when, nr=RING // THREADS):
        """All of them are there, and get on."""
        before = self.beats()
        on = lambda: all(a > b for a, b in zip(self.beats()[:RING], before)) or self.differences() or len(self.tree()) != nr
        self.world.until(on, 30, f"{when}: all take their turns")
        if self.differences() or len(self.tree()) != nr:
            raise Failed(f"{when}: {len(self.tree())} processes; {self.differences()}")

    def look(self, when):
        looks = self.beats()[RING]
        if self.root not in self.world.tree():
            raise Failed(f"{when}: the root has ended with status {self.world.ended.get(self.root)}; {self.differences()}")
        os.kill(self.root, signal.SIGUSR2)
        self.world.until(lambda: self.beats()[RING] > looks or self.differences(), 30, f"{when}: a look at all memory")
        if self.differences():
            raise Failed(f"{when}: {self.differences()}")

    def order(self, what):
        before = self.beats()[RING + 2]
        write(os.path.join(self.dir, "order"), what)
        os.kill(self.root, signal.SIGUSR1)
        self.world.until(lambda: self.beats()[RING + 2] > before, 10, f"{what}: the order is read")

    # --- snapshots

    def new_images(self):
        self.nr += 1
        self.images = os.path.join(self.base, f"images-{self.nr}")
        os.mkdir(self.images)
        return self.images

    def command(self, *more):
        return [self.args.criu, "dump", "-t", str(self.root), "-D", self.images, "-o", "log", "-v4", "--leave-running", "--snapshot",
                *more]

    def log(self):
        return text_of(os.path.join(self.images, "log"))

    def nothing_added(self, when):
        self.world.until(lambda: not self.added() or self.differences(), 10, f"{when}: nothing is left")

    def snapshot(self, *more):
        self.new_images()
        code, said = self.world.run(self.command(*more), 60)
        if code != 0:
            raise Failed(f"snapshot: exit status {code}: {said.strip()[-300:]}")
        self.world.until(lambda: not self.added(), 10, "nothing is left")   # a keeper of the round before ends by itself

    def held(self, then, *more, rounds=1):
        """A snapshot whose dumper is stopped while it writes pages, of its last round or of the one before, for as long as
        @then() takes. Returns (exit status, log)."""
        self.new_images()
        known = set(self.world.tree())
        front = self.world.start(self.command(*more), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        dumpers = []
        try:
            self.world.until(lambda: self.log().count("stage thaw") >= rounds or front in self.world.ended, 60, "the tree runs on")
            dumpers = [p for p in self.world.tree() if p not in known and state.read(f"/proc/{p}/comm").strip() == b"criu"]
            for pid in dumpers:
                os.kill(pid, signal.SIGSTOP)
            # every thread: one that is still in the middle of reading a copy keeps the kernel from taking its memory back
            stopped = lambda: all(s in "TZ" for p in dumpers for s in states_of(p))
            self.world.until(stopped, 10, "the dumper is stopped")
            if self.log().count("stage write memory") >= rounds or front in self.world.ended:
                raise Skipped("the dumper was done before it could be stopped")
            then()
        finally:
            for pid in dumpers:
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass
        self.world.until(lambda: front in self.world.ended, 60, "the dumper ends")
        return os.waitstatus_to_exitcode(self.world.ended[front]), self.log()

    # --- what is in the images

    def end(self):
        self.world.kill(self.world.tree())

    def bring_back(self, images, may_lack_bulk=False, flag=None):
        """Restored, stopped, looked at, let go, and ended."""
        code, said = self.world.run([self.args.criu, "restore", "-d", "-s", "-D", images, "-o", "restore.log", "-v4"], 60)
        if code != 0:
            raise Failed(f"restore: exit status {code}: {said.strip()[-300:]}")
        self.of_one_instant()
        flags = re.search(rf"^{BULK:x}-.*?^VmFlags:(.*?)$", text_of(f"/proc/{self.root}/smaps"), re.M | re.S) if flag else None
        if flag and flag not in flags.group(1).split():
            raise Failed(f"after the restore: its mapping has the flags {flags.group(1)} without {flag}")
        for pid in self.tree():
            os.kill(pid, signal.SIGCONT)
        self.well("after the restore")
        if not may_lack_bulk or f"{BULK:x}-" in state.read(f"/proc/{self.root}/maps").decode():
            self.look("after the restore")
        self.end()

    def of_one_instant(self):
        way, torn = [], 0
        pids = sorted(self.tree())
        if len(pids) != RING // THREADS:
            raise Failed(f"{len(pids)} processes are restored")
        for who in range(RING):
            with open(f"/proc/{pids[who // THREADS]}/mem", "rb", buffering=0) as f:
                f.seek(CHAINS + who * STRIDE)
                pages = f.read(CHAIN * PAGE)
                f.seek(SHARED + who * PAGE)
                pages += f.read(PAGE)
            for i in range(CHAIN + 1):
                place = who * CHAIN + i if i < CHAIN else RING * CHAIN + who
                words = struct.unpack_from(f"{WORDS}Q", pages, i * PAGE)
                torn += self.check_page(words, place, f"page {i} of {who}")
                way.append(words[-1])
        if torn > 1:
            raise Failed(f"{torn} pages were being written at one time")
        if any(a < b for a, b in zip(way, way[1:])) or way[0] - way[-1] > 1 or not way[-1]:
            raise Failed(f"numbers along the way are not of one instant: {way}")

    @staticmethod
    def check_page(words, place, what):
        new, old = words[0], words[-1]
        if new == old:
            if list(words) != expected(new, place):
                raise Failed(f"{what}: it is not what was written in turn {new}")
            return 0
        if new != old + 1:
            raise Failed(f"{what}: it is of turns {new} and {old}")
        a, b = expected(new, place), expected(old, place)
        nr = next((i for i in range(1, WORDS) if words[i] != a[i]), WORDS)
        if list(words[nr:]) != b[nr:]:
            raise Failed(f"{what}: it has words of neither turn {new} nor {old}")
        return 1


def state_of(pid):
    """The letter of /proc/PID/stat, "" for those that are gone."""
    return text_of(f"/proc/{pid}/stat").rpartition(") ")[2][:1]


def states_of(pid):
    """Of all its threads."""
    try:
        return [text_of(f"/proc/{pid}/task/{tid}/stat").rpartition(") ")[2][:1] for tid in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def text_of(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


# --- the cases

def one_instant(args, base):
    """Several of one tree, which goes on all the time, and each restored."""
    for n in range((args.rounds + 4) // 5):
        s = Subject(args, os.path.join(base, str(n)), 8)
        images = []
        for _ in range(min(5, args.rounds - 5 * n)):
            s.snapshot()
            images.append(s.images)
            s.well("after a snapshot")
        s.look("after snapshots")
        s.end()
        for path in images:
            s.bring_back(path)
        shutil.rmtree(s.base)


def meanwhile(what):
    def case(args, base):
        s = Subject(args, base, 64)

        def then():
            s.order(what)
            if what == "exit":
                s.world.until(lambda: s.root in s.world.ended, 10, "the root ends")
            elif what == "exec":
                s.world.until(lambda: state.read(f"/proc/{s.root}/comm").strip() == b"sleep", 10, "the root becomes another program")
            else:
                s.world.until(lambda: f"{BULK:x}-" not in state.read(f"/proc/{s.root}/maps").decode(), 10, "the memory is gone")
        code, log = s.held(then)
        if code != 0:
            raise Failed(f"exit status {code}: {re.findall('Error.*', log)}")
        if s.differences():
            raise Failed(s.differences())
        s.nothing_added("after the snapshot")
        s.end()
        s.bring_back(s.images)
    return case


def storm(args, base):
    """All pages are written to again before they are saved."""
    s = Subject(args, base, 64)

    def then():
        s.order("storm")
        s.world.until(lambda: s.beats()[RING + 1] > 1, 30, "all pages are written to")
    code, log = s.held(then)
    if code != 0:
        raise Failed(f"exit status {code}: {re.findall('Error.*', log)}")
    s.look("after the snapshot")
    s.well("after the snapshot")
    s.end()
    s.bring_back(s.images)


def memory_cgroup():
    for top, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max"),
                      ("/sys/fs/cgroup/unified", "memory.max")):
        path = os.path.join(top, f"criu-test-{os.getpid()}-{int(time.time())}")
        try:
            os.mkdir(path)
        except OSError:
            continue
        if os.path.exists(os.path.join(path, name)):
            return path, os.path.join(path, name)
        os.rmdir(path)
    raise Skipped("no memory cgroup can be made")


def short_of_memory(args, base, mib=100):
    """
    What is written to meanwhile does not fit: a copy is killed, the snapshot fails, and the tree goes on, each time. The dumper
    is stopped, so that nobody but the kernel can make room.
    """
    short, n = 0, 0
    while short < 3 and n < 8:
        short += runs_short(args, os.path.join(base, str(n)), mib)
        n += 1
    if not short:
        raise Failed(f"{n} snapshots were saved before memory ran short: this tests nothing")


def runs_short(args, base, mib):
    """False if the dumper was done before: a snapshot as any other."""
    path, limit = memory_cgroup()
    try:
        write(limit, str(mib + 60 << 20))
        s = Subject(args, base, mib, path)

        def then():
            s.order("storm")
            s.world.until(lambda: s.beats()[RING + 1] > 1 or s.root in s.world.ended, 60, "all pages are written to")
        try:
            code, log = s.held(then)
            # the kernel has killed a copy, or the dumper has seen before that it would
            if code not in (0, 1) or code and not ("memory has run short" in log or "is nearly full" in log):
                raise Failed(f"exit status {code}: {re.findall('Error.*', log)}")
            if ("inventory.img" in os.listdir(s.images)) != (code == 0):
                raise Failed(f"exit status {code}: {os.listdir(s.images)}")
            s.look("after the snapshot")
            s.well("after the snapshot")
            s.nothing_added("after the snapshot")
            return code != 0
        finally:
            s.end()
    finally:
        for _ in range(100):
            try:
                os.rmdir(path)
                break
            except OSError:
                time.sleep(0.05)


def series(args, base, mib=16):
    """Incremental snapshots: each stores what has been written to since the one before."""
    s = Subject(args, base, mib)
    previous = []
    for n in range(3):
        more = ["--prev-images-dir", os.path.join("..", os.path.basename(previous[-1]))] if previous else []
        if n < 2:
            tracked(s, ["--track-mem", *more])
        else:
            s.snapshot(*more)
        s.well("after a snapshot")
        previous.append(s.images)
    fields = rpc.decode(rpc.decode(state.read(os.path.join(s.images, "stats-dump"))[12:])[1])
    if fields.get(6, 0) < 2048:
        raise Failed(f"only {fields.get(6, 0)} pages were left to earlier snapshots")
    s.end()
    for path in previous:
        s.bring_back(path)


def tracked(s, more):
    """Leaves a keeper behind."""
    s.new_images()
    code, said = s.world.run(s.command(*more), 60)
    if code != 0:
        raise Failed(f"snapshot: exit status {code}: {said.strip()[-300:]}")
    # a keeper gives itself its name, which may be after the dumper has ended
    s.world.until(lambda: all(a.endswith("criu-keeper") for a in s.added()), 10, "a keeper at most is left")


def killed(args, base):
    """The dumper's child, and both of its processes, killed while pages are written: no copy is left, no zombie of one."""
    for whom in ("child", "both"):
        s = Subject(args, os.path.join(base, whom), 32)

        def then(s=s, whom=whom):
            dumpers = [p for p in s.world.tree() if state.read(f"/proc/{p}/comm").strip() == b"criu"]
            parents = {p: int(state.read(f"/proc/{p}/stat").rsplit(b") ", 1)[1].split()[1]) for p in dumpers}
            for pid in (p for p in dumpers if whom == "both" or parents[p] in dumpers):
                os.kill(pid, signal.SIGKILL)
        s.held(then)
        s.well(f"after {whom} were killed")
        if whom == "child":
            s.nothing_added("after the dumper's child was killed")
        else:
            alive = lambda: [p for p in s.world.tree() if p not in s.tree() and state_of(p) not in "Z"]
            s.world.until(lambda: not alive(), 10, "no copy is left")
        s.look("after the kill")
        if whom == "child":
            s.snapshot()
        s.end()
        if whom == "child":
            s.bring_back(s.images)


def talk(s, **opts):
    """A request to a worker. Returns its answer."""
    ours, theirs = rpc.pair()
    pid = s.world.start([s.args.criu, "swrk", str(theirs.fileno())], pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    theirs.close()
    fd = os.open(s.images, os.O_RDONLY | os.O_DIRECTORY)
    answer = rpc.talk(ours, rpc.request(rpc.DUMP, images_dir_fd=fd, pid=s.root, log_level=4, log_file="log", **opts))
    os.close(fd)
    ours.close()
    s.world.until(lambda: pid in s.world.ended, 10, "the worker ends")
    return answer


# --- two rounds: of large trees memory is stored before, and what is written to meanwhile is saved by the snapshot proper

SPARED, COPIED, AGAIN = f"it is not copied, of {LARGE} MiB", f"it is copied, of {LARGE} MiB", "this is tried again"


def held_in_time(s, then, rounds):
    """The last round takes but a moment."""
    for _ in range(20):
        try:
            return s.held(then, rounds=rounds)
        except Skipped:
            s.world.until(lambda: not s.added(), 10, "the dumper ends")
    raise Failed("the dumper was done too early each time")


def two_rounds(order, at, words):
    """@order: what the first process does while pages are written in round @at. @words: what must be in the log, or not (!)."""
    def case(args, base):
        s = Subject(args, base, LARGE)

        def then():
            s.order(order)
            if order == "storm":
                s.world.until(lambda: s.beats()[RING + 1] > 1, 60, "all pages are written to")
            else:
                s.world.until(lambda: f"{BULK:x}-" not in state.read(f"/proc/{s.root}/maps").decode(), 10, "the memory is gone")
        if order:
            code, log = held_in_time(s, then, at)
        else:
            code, log = 0, s.snapshot() or s.log()
        if code != 0:
            raise Failed(f"exit status {code}: {re.findall('Error.*', log)}")
        for word in words:
            if (word.lstrip("!") in log) == word.startswith("!"):
                raise Failed(f"{word!r}: {log[-2000:]}")
        if not os.path.exists(os.path.join(s.images, "parent", "inventory.img")):
            raise Failed("there is no first round")
        s.well("after the snapshot")
        if order != "unmap":
            s.look("after the snapshot")
        s.nothing_added("after the snapshot")
        s.end()
        s.bring_back(s.images, order == "unmap")
    return case


def flags_in_second_round(args, base):
    """A mapping gets another flag, and looks the same in maps, between the look at the flags and the stop: by the script."""
    s = Subject(args, base, LARGE)
    script = os.path.join(base, "script")
    write(script, f"""#!/bin/sh
[ "$CRTOOLS_SCRIPT_ACTION" = pre-dump ] || exit 0
printf flag >{s.dir}/order
kill -USR1 {s.root}
until sed -n '/^{BULK:x}-/,/^VmFlags/p' /proc/{s.root}/smaps | grep -q '^VmFlags:.* dd'; do sleep 0.01; done
""")
    os.chmod(script, 0o755)
    s.snapshot("--action-script", script)
    if SPARED not in s.log():
        raise Failed("it was copied: this tests nothing")
    s.end()
    s.bring_back(s.images, flag="dd")


def killed_in_rounds(args, base):
    """The dumper's child, in the first round and in the second: nothing is left in the tree, and the next snapshot is one."""
    for at in (1, 2):
        s = Subject(args, os.path.join(base, str(at)), LARGE)

        def children(s):
            dumpers = [p for p in s.world.tree() if state.read(f"/proc/{p}/comm").strip() == b"criu"]
            return [p for p in dumpers if int(state.read(f"/proc/{p}/stat").rsplit(b") ", 1)[1].split()[1]) in dumpers]

        def then(s=s, children=children):
            for pid in s.world.until(lambda: children(s), 10, "the dumper has a child"):
                os.kill(pid, signal.SIGKILL)
        code, _ = held_in_time(s, then, at)
        if not code or os.path.exists(os.path.join(s.images, "inventory.img")):
            raise Failed(f"round {at}: exit status {code}")
        s.well(f"after the kill in round {at}")
        s.look(f"after the kill in round {at}")
        s.nothing_added(f"after the kill in round {at}")
        s.snapshot()
        s.end()
        s.bring_back(s.images)


def ends_in_first_round(args, base):
    """No snapshot comes of it, and nothing is left."""
    s = Subject(args, base, LARGE)

    def then():
        s.order("exit")
        s.world.until(lambda: s.root in s.world.ended, 10, "the root ends")
    code, log = s.held(then)
    left = [f for f in os.listdir(s.images) if f not in ("log", "stats-dump")]
    if code != 1 or left:
        raise Failed(f"exit status {code}, {left}: {re.findall('Error.*', log)}")
    s.end()


def by_rpc(args, base):
    s = Subject(args, base, 8)
    s.new_images()
    answer = talk(s, snapshot=True)
    if not answer or answer.success or len(s.tree()) != RING // THREADS:
        raise Failed(f"without leave_running: {answer}")
    answer = talk(s, snapshot=True, leave_running=True)
    if not answer or not answer.success or "stage thaw" not in s.log():
        raise Failed(f"{answer}: {s.log()[-300:]}")
    s.well("after the snapshot")
    s.nothing_added("after the snapshot")
    s.end()
    s.bring_back(s.images)


def refused(args, base):
    """What makes no sense is refused before anything is stopped or written."""
    s = Subject(args, base, 8)
    s.new_images()
    for options, words in (((), "needs --leave-running"), (("-R", "-s"), "--leave-stopped"), (("-R", "--stream"), "--stream")):
        code, said = s.world.run([args.criu, "dump", "-t", str(s.root), "-D", s.images, "--snapshot", *options], 30)
        if code != 1 or words not in said or os.listdir(s.images):
            raise Failed(f"{options}: exit status {code}: {said.strip()[-200:]}; {os.listdir(s.images)}")
    s.well("after requests that were refused")
    s.end()


CASES = {"one-instant": one_instant, "exits-meanwhile": meanwhile("exit"), "execs-meanwhile": meanwhile("exec"),
         "unmaps-meanwhile": meanwhile("unmap"), "storm": storm, "short-of-memory": short_of_memory, "series": series,
         "short-of-memory-in-rounds": lambda args, base: short_of_memory(args, base, LARGE),
         "series-of-large": lambda args, base: series(args, base, LARGE),
         "killed": killed, "two-rounds": two_rounds(None, 0, [SPARED, "!" + AGAIN]),
         "storm-in-first-round": two_rounds("storm", 1, [COPIED, "!" + SPARED]),
         "storm-in-second-round": two_rounds("storm", 2, [SPARED, "!" + AGAIN]),
         "unmaps-in-first-round": two_rounds("unmap", 1, []),
         "unmaps-in-second-round": two_rounds("unmap", 2, [SPARED]),
         "flags-in-second-round": flags_in_second_round, "killed-in-rounds": killed_in_rounds,
         "ends-in-first-round": ends_in_first_round, "by-rpc": by_rpc, "refused": refused}


def run_one(case, args, base):
    """What is left behind is a failure, but of a case that has none of its own."""
    args.world, ours = World(), os.path.join(base, "case")
    os.mkdir(ours)
    try:
        case(args, ours)
    except (Failed, Skipped):
        args.world.clear()
        raise
    left = args.world.clear()
    if left:
        raise Failed(left)


def main():
    ap = alone.parser("tools")
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--long", action="store_true", help="200 rounds")
    args = alone.enter(ap)
    if args.long:
        args.rounds = 200
    return alone.run_cases(args, "snapshot", {name: functools.partial(run_one, case) for name, case in CASES.items()})


if __name__ == "__main__":
    sys.exit(main())
