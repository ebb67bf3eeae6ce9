"""What all cases of this folder share: a victim, a way to hurt criu, and the questions asked afterwards.

Built on the small world of test/e2e: every case runs as process 1 of namespaces of its own.
"""
import json
import os
import random
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
sys.dont_write_bytecode = True
import failing   # noqa: E402, F401
import state   # noqa: E402
from case import Case, TIMEOUT, first_error   # noqa: E402
from world import Failed, Skipped   # noqa: E402, F401

# Victims that between them have a tree with threads, zombies, pipes with data, shared memory, ghosts, links made for the
# dump, locks, pending signals and system calls that were interrupted.
TARGETS = [("tree", "bush"), ("threads", "masks"), ("tree", "zombies"), ("pipes", "ring"), ("shared", "anonymous"),
           ("files", "unlinked"), ("files", "link-remap"), ("files", "locks"), ("signals", "pending-threads"),
           ("syscalls", "poll"), ("stops", "seen"), ("shared", "sysv"), ("memory", "deleted-file"), ("creds", "not-dumpable"),
           ("ipc-ns", "segments"), ("mount-ns", "content")]
ANSWER = 20   # seconds in which a refusal has to be there


def sysv_segments():
    with open("/proc/sysvipc/shm", encoding="utf-8") as f:
        return sorted(line.split()[1] for line in f.readlines()[1:])


def listing(directory):
    """All names below a directory with what kind of thing they are; logs, statistics and what a victim says are left out."""
    out = []
    for where, dirs, files in os.walk(directory):
        for name in dirs + files:
            path = os.path.join(where, name)
            out.append((os.path.relpath(path, directory), os.lstat(path).st_mode >> 12))
    return sorted(r for r in out if r[0] not in ("go", "result", "fails", "out"))


class Fault(Case):
    def __init__(self, args):
        super().__init__(dict(args, victim="", dump="", restore="", refuse="", flags=0, crit=False))
        self.victims, self.own = args["victims"], args["own"]
        self.long, self.seed = args["long"], args["seed"]
        self.rng = random.Random(args["seed"])
        self.last_start = time.monotonic() + args["limit"] * 0.8
        self.serial = 0
        self.notes = {}

    def few(self, items, count):
        """All of them in a long run, otherwise so many, spread evenly; which ones depends on the seed."""
        items = list(items)
        if self.long or len(items) <= count:
            return items
        step = len(items) / count
        shift = self.rng.random()
        return [items[min(len(items) - 1, int((i + shift) * step))] for i in range(count)]

    def in_time(self, items):
        """Yields in any order until most of the time that the case has is over, so that what was found is told."""
        items = list(items)
        self.rng.shuffle(items)
        for item in items:
            if time.monotonic() > self.last_start:
                self.note("out of time")
                return
            yield item

    def note(self, what, count=1):
        self.notes[what] = self.notes.get(what, 0) + count

    # --- a victim

    def use(self, victim, name, directory=None):
        """Starts a victim with the options of its case."""
        self.victim = os.path.join(directory or self.victims, victim)
        if not os.path.exists(self.victim):
            self.victim = os.path.join(self.own, victim)
        self.name = name
        rows = subprocess.run([self.victim, "--cases"], stdout=subprocess.PIPE, timeout=10, check=True).stdout.decode()
        row = next(r for r in rows.splitlines() if r.split("\t")[0] == name)
        _, dump, restore, self.refuse, flags = row.split("\t")
        self.dump_args, self.restore_args, self.flags = dump.split(), restore.split(), int(flags)
        self.serial += 1
        self.start(f"{victim}-{name}-{self.serial}")
        self.files_before, self.shm_before = listing(self.dir), sysv_segments()

    def forget(self):
        """Ends the victim and drops its directory: long runs make thousands."""
        self.world.clear()
        for shm in sysv_segments():
            subprocess.run(["ipcrm", "-m", shm], check=False)
        if not self.verbose:
            shutil.rmtree(os.path.dirname(self.dir), ignore_errors=True)

    # --- questions afterwards

    def differences(self):
        return state.compare(self.before, self.snapshot(), 1000)

    def untraced(self):
        """Nobody traces the tree any more, soon: a dumper whose front was killed lets go between two of its stages."""
        end = time.monotonic() + 10
        while True:
            try:
                return self.untraced_now()
            except Failed:
                if time.monotonic() > end:
                    raise
            time.sleep(0.05)

    def untraced_now(self):
        for pid in self.world.tree():
            for tid in os.listdir(f"/proc/{pid}/task"):
                text = state.read(f"/proc/{pid}/task/{tid}/status").decode()
                if "TracerPid:\t0\n" not in text:
                    raise Failed(f"task {tid} of pid {pid} still has a tracer")

    def no_litter(self, when):
        now = listing(self.dir)
        new, gone = sorted(set(now) - set(self.files_before)), sorted(set(self.files_before) - set(now))
        if new or gone:
            raise Failed(f"{when}: files of the victim's directory: new {new[:4]}, gone {gone[:4]}")
        if self.shm_before != sysv_segments():
            raise Failed(f"{when}: SysV segments were {self.shm_before}, are {sysv_segments()}")

    def no_images(self, when):
        try:
            left = [n for n in os.listdir(self.images) if not n.endswith(".log")]
        except OSError:
            return
        if left:
            raise Failed(f"{when}: left in the image directory: {sorted(left)[:6]}")

    def carries_on(self, when):
        """The victim is what it was, nobody holds it, nothing was added to it or beside it, and its own checks pass."""
        self.untraced()
        self.expect_same(when)
        self.no_litter(when)
        self.finish(when)

    def nothing_left(self, when, images_before):
        """After a restore that failed: no process, mount, file or segment that was not there before it."""
        try:
            self.world.until(lambda: not self.world.tree(), 10, "")
        except Failed:
            raise Failed(f"{when}: processes left: {self.world.clear()}") from None
        left = self.world.clear()
        if left:
            raise Failed(f"{when}: {left}")
        self.no_litter(when)
        now, was = ({n for n in names if not n.endswith(".log") and not n.startswith("stats-")}
                    for names in (os.listdir(self.images), images_before))
        if now != was:
            raise Failed(f"{when}: image directory: new {sorted(now - was)}, gone {sorted(was - now)}")

    def comes_back(self, when):
        """The images are fit for a restore, and the victim passes afterwards."""
        for name in ("fails", "result"):   # said by a tree that was ended by force
            if os.path.exists(os.path.join(self.dir, name)):
                os.unlink(os.path.join(self.dir, name))
        try:
            self.restore()
            self.expect_same(when)
            self.finish(when)
        except Failed as e:
            raise Failed(f"{when}: {e}") from None

    # --- criu

    def criu_run(self, *cmd, timeout=TIMEOUT, before=(), pass_fds=()):
        """Runs criu, behind another program if that is asked for. Never may it end by a signal or a sanitizer."""
        code, said = self.world.run([*before, self.criu, *cmd], timeout, cwd=self.base, pass_fds=pass_fds)
        if code < 0 or code in (128 + 6, 128 + 11, 128 + 7) or "Sanitizer" in said or "runtime error:" in said:
            raise Failed(f"criu {cmd[0]} ended with {code}: {said[-600:]}")
        return code, said

    def spawn(self, *cmd):
        pid = self.world.start([self.criu, *cmd], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        self.world.others.add(pid)
        return pid

    def child_of(self, front):
        """The process that works for it; None if it has ended before that could be seen. Looks all the time: it is to be early."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            children = state.read(f"/proc/{front}/task/{front}/children").split()
            if children:
                return int(children[0])
            stat = state.Snapshot.stat_of(f"/proc/{front}")
            if not stat or stat[2] == "Z":
                break
        return None

    def reaped(self, pid):
        self.world.until(lambda: pid in self.world.ended, TIMEOUT, "criu ends")
        self.world.others.discard(pid)
        return os.waitstatus_to_exitcode(self.world.ended.pop(pid))

    def go(self, mode):
        verdict = super().go(mode)
        if self.notes:
            print(json.dumps({"notes": self.notes}), flush=True)
        return verdict

    def __getattr__(self, name):
        if name.startswith("way_"):
            return getattr(self, "do_" + name[4:])
        raise AttributeError(name)


def sleep_until(moment):
    """Finer than the scheduler's slack: sleeps for most of the time and looks at the clock for the rest."""
    rest = moment - time.monotonic()
    if rest > 0.0005:
        time.sleep(rest - 0.0003)
    while time.monotonic() < moment:
        pass
