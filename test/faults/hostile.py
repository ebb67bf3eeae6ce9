"""Trees that do not hold still, die in the middle, or belong to another tracer."""
import ctypes
import mmap
import os
import shutil
import signal
import struct
import subprocess
import time

from fault import Failed, Fault, first_error, sleep_until, state

LIBC = ctypes.CDLL(None, use_errno=True)
SIGRTMIN = signal.SIGRTMIN


class Hostile(Fault):
    # --- trees that change

    def restless(self, name, excuses=("vfork", "while"), harmed="tTZ", sample=8, victim="restless"):
        """Dumped again and again wherever it may be; each time it is whole or refused, and in the end it passes."""
        self.use(victim, name)
        for n in range(60 if self.long else sample):
            more = ("--leave-running",) if n % 3 == 0 else ()
            when = f"{victim}/{name}, dump {n} {' '.join(more)}"
            time.sleep(self.rng.random() * 0.01)
            code, said = self.dump(*more)
            if code != 0:
                self.note("refused")
                self.no_images(when)
                if not any(word in said for word in excuses):
                    raise Failed(f"{when}: exit status {code}: {first_error(said)}")
                continue
            self.note("dumped")
            self.complete()
            if not more:
                self.must_be_gone()
                self.restore()
            self.untraced_root(when, harmed)
            shutil.rmtree(self.images)
        self.finish(f"{victim}/{name}")
        self.forget()

    def untraced_root(self, when, harmed="tTZ"):
        stat = state.Snapshot.stat_of(f"/proc/{self.root}")
        if not stat:   # procfs may miss a process while a thread of it takes over its number
            time.sleep(0.01)
            stat = state.Snapshot.stat_of(f"/proc/{self.root}")
        if not stat or stat[2] in harmed:
            raise Failed(f"{when}: the root is in state {stat[2] if stat else 'gone'}")

    def do_forks(self):
        self.restless("forks")

    def do_threads(self):
        self.restless("threads")

    def do_spawns(self):
        self.restless("spawns")

    def do_execs(self):
        """A dump that waits for a thread which waits for what the dump holds: both would do so for ever. May miss it, though."""
        for name in ("execs", "slow-execs"):
            self.restless(name, ("vfork", "while", "may not be traced"),
                          harmed="tT", sample=24)  # a leader is a zombie for a moment when another thread takes its place

    def do_maps(self):
        self.restless("maps")

    # --- signals while it is dumped

    def do_signals(self):
        """Every signal sent arrives once and in order, whatever the dump does meanwhile, also across a restore."""
        self.use("restless", "counts")
        stop, said = os.path.join(self.base, "stop"), os.path.join(self.base, "sent")
        sender = os.fork()
        if sender == 0:
            try:
                self.send(stop, said)
            finally:
                os._exit(0)
        self.world.others.add(sender)
        try:
            for n in range(40 if self.long else 8):
                code, words = self.dump("--leave-running")
                if code != 0:
                    raise Failed(f"dump {n} among signals: {first_error(words)}")
                shutil.rmtree(self.images)
                self.note("dumps")
                time.sleep(0.005)
        finally:
            with open(stop, "w", encoding="utf-8"):
                pass
            self.world.until(lambda: sender in self.world.ended, 20, "the sender ends")
            self.world.others.discard(sender)
        with open(said, encoding="utf-8") as f:
            plain, queued, lost = (int(w) for w in f.read().split())
        self.note("signals", plain + queued)
        if lost:
            raise Failed(f"SIGUSR1 number {plain} did not arrive")
        self.expect_counts(plain, queued, "after dumps that left it running")
        self.pending_across(plain, queued)

    def send(self, stop, said):
        """A plain signal once the one before has been counted, since those of a kind merge; queued ones in bursts."""
        counter, plain, queued, lost = self.counter(), 0, 0, 0
        while not os.path.exists(stop) and not lost:
            os.kill(self.root, signal.SIGUSR1)
            plain += 1
            for _ in range(20):
                if LIBC.sigqueue(self.root, SIGRTMIN, ctypes.c_void_p(queued)) == 0:
                    queued += 1
            deadline = time.monotonic() + 20
            while struct.unpack_from("Q", counter)[0] < plain and not lost:
                lost = time.monotonic() > deadline
                time.sleep(0)
        with open(said, "w", encoding="utf-8") as f:
            f.write(f"{plain} {queued} {int(lost)}")

    def counter(self):
        with open(os.path.join(self.dir, "counter"), "r+b") as f:
            return mmap.mmap(f.fileno(), 4096)

    def expect_counts(self, plain, queued, when):
        counter = self.counter()
        counts = lambda: struct.unpack_from("QQQ", counter)
        try:
            self.world.until(lambda: counts()[:2] == (plain, queued), 10, "")
        except Failed:
            raise Failed(f"{when}: {plain} and {queued} signals were sent, arrived are (plain, queued, strange) {counts()}") from None

    def pending_across(self, plain, queued):
        """Sent to a stopped process, they wait, and are in the images."""
        os.kill(self.root, signal.SIGSTOP)
        self.world.until(lambda: state.Snapshot.stat_of(f"/proc/{self.root}")[2] == "T", 10, "the victim stops")
        os.kill(self.root, signal.SIGUSR1)
        for n in range(50):
            if LIBC.sigqueue(self.root, SIGRTMIN, ctypes.c_void_p(queued + n)) != 0:
                raise Failed("sigqueue")
        self.must_dump()
        self.must_be_gone()
        self.restore()
        os.kill(self.root, signal.SIGCONT)
        self.expect_counts(plain + 1, queued + 50, "queued before the dump")
        self.finish("after the signals")
        self.forget()

    # --- deaths in the middle

    def do_root_dies(self):
        self.deaths("the root is killed", lambda pids: [pids[0]])

    def do_child_dies(self):
        self.deaths("a child is killed", lambda pids: [self.rng.choice(pids[1:])])

    def do_all_die(self):
        self.deaths("all are killed", lambda pids: pids)

    def deaths(self, what, choose):
        """Never a hang, a set that lies, or a survivor that is held or stopped."""
        for victim, name in (("tree", "bush"), ("threads", "masks"), ("pipes", "ring")):
            if victim == "threads" and "child" in what:
                continue
            for k in range(150 if self.long else 8):
                self.use(victim, name)
                self.new_images()
                after = self.rng.random() * 0.025
                when = f"{victim}/{name}: {what} after {after * 1000:.1f} ms"
                start = time.monotonic()
                pid = self.spawn("dump", "-t", str(self.root), "-D", self.images, "-o", "dump.log", "-v4",
                                 *(("-R",) if k % 2 else ()))
                doomed = choose(sorted(self.before.tasks))
                sleep_until(start + after)
                for p in doomed:
                    try:
                        os.kill(p, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                code = self.reaped(pid)
                if time.monotonic() - start > 1:
                    self.note(f"slow ({name})")
                    if self.verbose:
                        print(f"slow: {when}: {time.monotonic() - start:.1f} s: {first_error(self.log('dump.log'))}", flush=True)
                self.after_death(when, code, doomed, k % 2)
                self.forget()

    def after_death(self, when, code, doomed, running):
        whole = os.path.exists(os.path.join(self.images, "inventory.img"))
        if code not in (0, 1) or whole != (code == 0):
            raise Failed(f"{when}: exit status {code}, {'an' if whole else 'no'} inventory: {first_error(self.log('dump.log'))}")
        self.note("dumped" if code == 0 else "refused")
        if code != 0:
            self.no_images(when)
            self.untraced_others(when, doomed)
            if not first_error(self.log("dump.log")):
                raise Failed(f"{when}: no word on why")
            return
        if running:
            self.untraced_others(when, doomed)
        self.world.clear()
        self.restore()
        self.world.clear()

    def untraced_others(self, when, doomed):
        """What was not killed, nor is the child of it that a death signal took along, is free."""
        self.untraced()
        for pid in self.world.tree():
            stat = state.Snapshot.stat_of(f"/proc/{pid}")
            if pid not in doomed and stat and stat[2] in "tT" and self.before.tasks[pid].get("state") == "alive":
                raise Failed(f"{when}: pid {pid} was left in state {stat[2]}")

    # --- other tracers

    def do_two_dumpers(self):
        """One of them gets the tree; the other says so, and leaves the first alone."""
        for k in range(100 if self.long else 10):
            self.use("threads", "masks") if k % 2 else self.use("tree", "bush")
            dirs = []
            for _ in range(2):
                self.new_images()
                dirs.append(self.images)
            first = self.spawn("dump", "-t", str(self.root), "-D", dirs[0], "-o", "dump.log", "-v4", "-R")
            time.sleep(self.rng.random() * 0.012)
            second = self.spawn("dump", "-t", str(self.root), "-D", dirs[1], "-o", "dump.log", "-v4", "-R")
            codes = self.reaped(first), self.reaped(second)
            when = f"two dumpers ({k}), exit status {codes}"
            for code, directory in zip(codes, dirs):
                whole = os.path.exists(os.path.join(directory, "inventory.img"))
                if code not in (0, 1) or whole != (code == 0):
                    raise Failed(f"{when}: {'an' if whole else 'no'} inventory")
                self.note("dumped" if code == 0 else "refused")
                self.images = directory
                if code:
                    self.no_images(when)
                    if "traced" not in self.log("dump.log") and "seize" not in self.log("dump.log"):
                        raise Failed(f"{when}: {first_error(self.log('dump.log'))}")
            if codes == (1, 1):
                self.note("both refused")
            self.carries_on(when)
            self.images = next((d for d, c in zip(dirs, codes) if c == 0), None)
            if self.images:
                self.comes_back(when)
            self.forget()

    def tracer(self, *cmd):
        with open(os.path.join(self.base, "tracer"), "wb") as out:
            pid = self.world.start(cmd, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        self.world.others.add(pid)
        traced = lambda: "TracerPid:\t0\n" not in state.read(f"/proc/{self.root}/status").decode()
        try:
            self.world.until(lambda: pid in self.world.ended or traced(), 20, f"{cmd[0]} attaches")
            time.sleep(0.1)
        except Failed:
            self.world.kill([pid])
            self.world.others.discard(pid)
            raise
        return pid

    def traced_by(self, *cmd):
        if not shutil.which(cmd[0]):
            return
        for victim, name in (("tree", "single"), ("threads", "masks")):
            self.use(victim, name)
            pid = self.tracer(*cmd, str(self.root))
            code, said = self.dump()
            helpers = [p for p in self.world.tree() if p not in self.before.tasks]
            os.kill(pid, signal.SIGTERM)
            if self.reaped(pid) and code not in (0, 1):
                raise Failed(f"exit status {code}")
            when = f"{victim}/{name} traced by {cmd[0]}"
            if code != 1 or cmd[0] not in said and "traced" not in said:
                raise Failed(f"{when}: exit status {code}: {first_error(said)}")
            self.no_images(when)
            self.world.kill(helpers)
            for p in self.before.tasks:   # gdb ended by a signal lets go of threads in a stop of its own
                os.kill(p, signal.SIGCONT)
            self.note("refused")
            self.carries_on(when)
            self.forget()

    def do_strace(self):
        self.traced_by("strace", "-f", "-p")

    def do_gdb(self):
        self.traced_by("gdb", "-q", "-nx", "-batch", "-ex", "continue", "-p")
