"""Processes that act on each other, or become something else, while they are dumped."""
import os
import shutil
import time

from fault import Failed, first_error
from hostile import Hostile

RESTLESS = [("restless", "forks"), ("restless", "execs"), ("restless", "spawns"), ("restless", "maps"), ("restless", "remaps"),
            ("changelings", "heirs"), ("changelings", "chains"), ("meddlers", "kills"), ("meddlers", "orphans")]


class Changing(Hostile):
    # --- processes that act on each other

    def meddlers(self, name, sample=4, **more):
        self.restless(name, victim="meddlers", sample=sample, **more)

    def do_stops(self):
        """A stop that waits, has come to one thread only, or is over already, is neither lost nor made to last."""
        self.meddlers("stops", sample=12)

    def do_stops_of_threads(self):
        self.meddlers("stops-threads", sample=12)

    def do_kills(self):
        self.meddlers("kills")

    def do_orphans(self):
        self.meddlers("orphans")

    def do_siblings(self):
        self.meddlers("siblings")

    def do_groups(self):
        self.meddlers("groups")

    # --- processes that become something else

    def changelings(self, name, sample=4, **more):
        self.restless(name, victim="changelings", sample=sample, **more)

    def do_heirs(self):
        """Nobody is overlooked, although procfs may show nobody while another thread takes over the number of a process."""
        self.changelings("heirs", sample=12)

    def do_chains(self):
        self.changelings("chains")

    def do_exits(self):
        self.changelings("exits")

    def do_set_users(self):
        self.changelings("set-users")

    def do_shares(self):
        self.changelings("shares", excuses=("shared with",))

    def do_confines(self):
        self.changelings("confines", excuses=("seccomp",))

    # --- rounds and snapshots of what changes meanwhile

    def do_series(self):
        """Pre-dumps and a dump that leaves to them what has not changed, of trees that make and drop memory and processes."""
        for victim, name in self.few(RESTLESS, 4):
            self.use(victim, name)
            for n in range(10 if self.long else 1):
                self.one_series(f"{victim}/{name}, series {n}")
            self.finish(f"{victim}/{name}")
            self.forget()

    def one_series(self, when):
        earlier = []
        for k in range(3):
            more = ("--prev-images-dir", os.path.join("..", os.path.basename(earlier[-1]))) if earlier else ()
            if self.tried(f"{when}, round {k}", "dump" if k == 2 else "pre-dump", "--track-mem", *more):
                earlier.append(self.images)
        if self.images != (earlier or [None])[-1]:
            return
        self.must_be_gone()
        self.restore()
        for directory in earlier:
            shutil.rmtree(directory)

    def tried(self, when, verb, *more):
        """Whole, or refused because of what passes; then nothing is left behind."""
        time.sleep(self.rng.random() * 0.01)
        self.new_images()
        code, said = self.criu_run(verb, "-t", str(self.root), "-D", self.images, "-o", "dump.log", "-v4", *more)
        if code != 0:
            words = said + self.log("dump.log")
            self.note("refused")
            self.no_images(when)
            if not any(word in words for word in ("vfork", "while")):
                raise Failed(f"{when}: exit status {code}: {first_error(words)}")
        else:
            self.note(f"{verb}s")
            self.complete()
        return code == 0

    def do_snapshots(self):
        """Each is of one instant, however much is made and dropped while its pages are being written; it ends, and no copy stays."""
        # a subreaper is told of copies whose processes have ended (docs/limits.md), which these take amiss
        others = [r for r in RESTLESS if r[1] not in ("orphans", "execs")]
        for victim, name in [("restless", "execs"), *self.few(others, 3)]:
            self.use(victim, name)
            for n in range(20 if self.long else 12 if name == "execs" else 4):
                when = f"{victim}/{name}, snapshot {n}"
                if not self.tried(when, "dump", "--snapshot", "-R", *(("--track-mem",) if n % 2 else ())):
                    continue
                self.untraced_root(when, "tT")
                if "could not be made to reap" in self.log("dump.log"):
                    raise Failed(f"{when}: it left a copy as a zombie")
                if n % 4 == 2:
                    self.world.clear()
                    self.restore()
                shutil.rmtree(self.images)
            self.finish(f"{victim}/{name}")
            self.forget()
