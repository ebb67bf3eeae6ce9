"""criu ended by a signal at any instant of its work."""
import os
import signal
import time

from fault import Failed, Fault, TARGETS, sleep_until, state

STEP = 0.0002
KILL, PTRACE, CONT, SETOPTIONS = 62, 101, 7, 0x4200
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
WATCHED = [t for t in TARGETS if t[1] in ("bush", "masks", "ring", "poll", "pending-threads", "unlinked", "anonymous")]


def all_instants(took):
    return [(s, i) for s in SIGNALS for i in range(int(took / STEP) + 10)]


class Kills(Fault):
    def __init__(self, args):
        super().__init__(args)
        self.harms = []

    def verdict(self):
        """How often harm comes about matters as much as that it does, so all instants are tried before it is said."""
        if self.harms:
            raise Failed(f"{len(self.harms)} of {self.notes.get('kills', 0)} kills did harm: " +
                         " | ".join(self.harms[:40 if self.long else 5]))

    def attempt(self, how, when, *args):
        try:
            how(*args, when)
        except Failed as e:
            self.note("harmed")
            self.harms.append(str(e))

    # --- the dumper

    def do_dumper(self):
        """The tree goes on and passes; what looks like a whole image set is one."""
        attempts = []
        for target in self.few(WATCHED, 2):
            took = self.time_of_dump(*target)
            attempts += [(target, took, s, i * STEP) for s, i in self.few(all_instants(took), 24)]
        for (victim, name), took, signo, after in self.in_time(attempts):
            self.use(victim, name)
            when = f"{victim}/{name}: dumper ended by {signo.name} after {after * 1000:.1f} of {took * 1000:.1f} ms"
            self.attempt(self.kill_dumper, when, signo, after)
            self.forget()
        self.verdict()

    def time_of_dump(self, victim, name):
        took = []
        for _ in range(3):
            self.use(victim, name)
            start = time.monotonic()
            self.must_dump()
            took.append(time.monotonic() - start)
            self.forget()
        return min(took)

    def kill_dumper(self, signo, after, when):
        self.new_images()
        start = time.monotonic()
        pid = self.spawn("dump", "-t", str(self.root), "-D", self.images, "-o", "dump.log", "-v4", *self.dump_args)
        sleep_until(start + after)
        try:
            os.kill(pid, signo)
        except ProcessLookupError:
            pass
        code = self.reaped(pid)
        self.note("kills" if code < 0 else "too late")
        self.at_rest(when)
        whole = os.path.exists(os.path.join(self.images, "inventory.img"))
        if code >= 0:
            if code != 0 or not whole:
                raise Failed(f"{when}: exit status {code}, {'an' if whole else 'no'} image set")
            return
        if whole:
            self.note("after the commit")
            self.whole_set(when)
        else:
            self.unharmed(when)

    def at_rest(self, when):
        """The child of a killed dumper decides whether all was done or all is undone: images may go again until it has."""
        self.world.until(lambda: not self.criu_at_work(), 10, f"{when}: the dumper's child ends")

    def whole_set(self, when):
        """The images were committed: they count, whatever is left of the tree was to be ended anyway."""
        tree = self.world.tree()
        if set(tree) == set(self.before.tasks):
            self.note("after the commit, tree goes on")
        elif tree:
            self.note("after the commit, half of the tree ended")
        self.world.clear()
        self.comes_back(when)

    def unharmed(self, when):
        """Whoever puts things right after the dumper may take a moment."""
        start = time.monotonic()
        while True:
            self.world.reap()
            different = self.differences() if self.world.tree() else ["the tree is gone"]
            if not different or time.monotonic() > start + 10:
                break
            time.sleep(0.01)
        if different:
            raise Failed(f"{when}: " + "; ".join(different[:5]) + f" [{self.words_on_tree()}]")
        self.carries_on(when)

    def do_dumper_over_images(self):
        """Killed while it writes into a directory that holds a whole set: no inventory beside images not its own."""
        for victim, name in self.few(WATCHED, 1):
            took = self.time_of_dump(victim, name)
            for after in self.few([i * STEP for i in range(int(took / STEP) + 10)], 12):
                self.use(victim, name)
                self.must_dump("--leave-running")
                when = f"{victim}/{name}: second dumper killed after {after * 1000:.1f} of {took * 1000:.1f} ms"
                images, fresh = self.images, self.new_images
                self.new_images = lambda: setattr(self, "images", images)
                try:
                    self.kill_over(after, when)
                finally:
                    self.new_images = fresh
                self.forget()

    def kill_over(self, after, when):
        start = time.monotonic()
        pid = self.spawn("dump", "-t", str(self.root), "-D", self.images, "-o", "dump.log", "-v4", "-R", *self.dump_args)
        sleep_until(start + after)
        os.kill(pid, signal.SIGKILL)
        code = self.reaped(pid)
        self.note("kills" if code < 0 else "too late")
        self.at_rest(when)
        self.world.clear()
        if os.path.exists(os.path.join(self.images, "inventory.img")):
            self.note("whole sets")
            self.comes_back(when)

    # --- by halves: what the kernel takes for one object at a time

    def do_no_half_trees(self):
        """Killed between two of many tasks, the tool leaves the whole tree or nothing of it."""
        self.use("tree", "bush")
        self.must_dump()
        self.must_be_gone()
        for n in self.instants("restore", PTRACE, SETOPTIONS):
            when = f"restorer killed when it sets options of a task for the {n}. time"
            code, _ = self.cut_off("restore", PTRACE, SETOPTIONS, n)
            if code == -signal.SIGKILL:
                self.whole_or_none(when)
            self.world.clear()
        self.comes_back("after restorers that were killed")
        self.forget()
        for n in range(1, 400, 1 if self.long else 8):
            self.use("tree", "bush")
            self.new_images()
            code, _ = self.cut_off("dump", KILL, -1, n)
            self.at_rest("the dumper was killed")
            if code == 0:
                break
            self.whole_or_none(f"dumper killed when it sends its {n}. signal")
            self.forget()

    def do_no_half_stops(self):
        """Killed between two SIGSTOPs of a dump that leaves the tree stopped: it stops as a whole, or goes on."""
        for n in range(1, 400, 1 if self.long else 8):
            self.use("tree", "bush")
            self.new_images()
            code, _ = self.cut_off("dump", KILL, -1, n, "-s")
            self.at_rest("the dumper was killed")
            if code == 0:
                break
            states = lambda: [state.Snapshot.stat_of(f"/proc/{p}")[2] for p in self.world.tree()]
            stopped = lambda: {s == "T" for s in states() if s != "Z"}
            self.world.until(lambda: len(stopped()) == 1, 10, f"dumper killed when it sends its {n}. signal: all are stopped, or none is")
            self.note("all stopped" if True in stopped() else "none stopped")
            if True in stopped():
                self.whole_set("stopped as a whole")
            else:
                self.carries_on(f"dumper killed when it sends its {n}. signal")
            self.forget()
        self.forget()

    def do_pre_dumper(self):
        """Killed when it lets a task run: neither our memory nor the descriptor by which memory is watched stays in there."""
        self.use("tree", "bush")
        self.new_images()
        code, said = self.cut_off("pre-dump", PTRACE, CONT, 0)
        self.forget()
        count = int(said.split()[-1])
        if code != 0 or count < 41:
            raise Failed(f"pre-dump: exit status {code}, {said[-200:]}")
        for n in self.few(range(1, count + 1), 30):
            self.use("tree", "bush")
            self.new_images()
            self.cut_off("pre-dump", PTRACE, CONT, n)
            self.world.until(lambda: not self.named(b"criu\n"), 10, "the dumper's child ends")
            self.world.kill(self.named(b"criu-keeper\n"))
            self.unharmed(f"pre-dump killed when it lets a task go on for the {n}. time")
            self.note("kills")
            self.forget()

    def named(self, comm):
        return [p for p in self.world.tree() if state.read(f"/proc/{p}/comm") == comm]

    def instants(self, verb, call, arg):
        """Which of its calls to cut it off at, by number."""
        code, said = self.cut_off(verb, call, arg, 0)
        self.world.clear()
        count = int(said.split()[-1])
        if code != 0 or count < 41:
            raise Failed(f"{verb}: exit status {code}, {said[-200:]}")
        return self.few(range(1, count + 1), 16)

    def cut_off(self, verb, call, arg, n, *more):
        dump = "dump" in verb
        return self.world.run([os.path.join(self.own, "cut-off"), str(call), str(arg), str(n), "all" if dump else "own", self.criu, verb,
                               *(("-t", str(self.root)) if dump else ("-d",)), "-D", self.images, "-o", f"{verb}.log", "-v4", *more], 20)

    def whole_or_none(self, when):
        self.note("cut off")
        try:
            self.world.until(lambda: not self.world.tree() or self.running_freely(), 10, "")
        except Failed:
            raise Failed(f"{when}: left {self.words_on_tree()}: {'; '.join(self.differences()[:4])}") from None
        self.note("all left" if self.world.tree() else "none left")

    # --- the restorer

    def do_restorer(self):
        """Nothing of a half-made tree stays; the same images can be restored afterwards."""
        for victim, name in self.in_time(self.few(WATCHED, 2)):
            self.use(victim, name)
            self.must_dump()
            self.must_be_gone()
            images = [n for n in os.listdir(self.images) if not n.endswith(".log")]
            start = time.monotonic()
            self.restore()
            took = time.monotonic() - start
            self.world.clear()
            for signo, n in self.in_time(self.few(all_instants(took), 24)):
                after = n * STEP
                when = f"{victim}/{name}: restorer ended by {signo.name} after {after * 1000:.1f} of {took * 1000:.1f} ms"
                self.attempt(self.kill_restorer, when, signo, after, images)
                self.world.clear()
            self.verdict()
            self.comes_back(f"{victim}/{name}: after restorers that were killed")
            self.forget()

    def kill_restorer(self, signo, after, images, when):
        start = time.monotonic()
        pid = self.spawn("restore", "-d", "-D", self.images, "-o", "restore.log", "-v4", *self.restore_args)
        sleep_until(start + after)
        try:
            os.kill(pid, signo)
        except ProcessLookupError:
            pass
        code = self.reaped(pid)
        self.note("kills" if code < 0 else "too late")
        if code > 0:
            raise Failed(f"{when}: exit status {code}: {self.log('restore.log')[-200:]}")
        if code < 0:
            try:
                self.world.until(lambda: not self.world.tree() or self.running_freely(), 10, "")
            except Failed:
                raise Failed(f"{when}: left {self.words_on_tree()}: {'; '.join(self.differences()[:4])}") from None
            self.note("restored although killed" if self.world.tree() else "nothing left")
        self.world.clear()
        if code < 0:
            self.nothing_left(when, images)

    def words_on_tree(self):
        rows = []
        for pid in self.world.tree():
            stat = state.Snapshot.stat_of(f"/proc/{pid}")
            where = state.read(f"/proc/{pid}/wchan").decode()
            rows.append(f"{pid} {stat[1]} {stat[2]} parent {stat[3]} in {where}" if stat else f"{pid} gone")
        return "; ".join(rows[:6])

    def running_freely(self):
        """The restore was over already when criu was killed: all is there, and nothing is stopped or traced."""
        tree = self.world.tree()
        if set(tree) != set(self.before.tasks):
            return False
        try:
            self.untraced()
            return not state.compare(self.before, self.snapshot())
        except (Failed, OSError):
            return False
