"""criu ended by a signal at any instant of its work."""
import os
import signal
import time

from fault import Failed, Fault, TARGETS, sleep_until, state

STEP = 0.0002
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
        busy = lambda: any(state.read(f"/proc/{p}/comm").startswith(b"criu") for p in self.world.tree())
        self.world.until(lambda: not busy(), 3, f"{when}: the dumper's child ends")

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
            if not different or time.monotonic() > start + 1.5:
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
                self.world.until(lambda: not self.world.tree() or self.running_freely(), 3, "")
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
