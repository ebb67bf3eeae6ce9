"""Every stage of a dump and of a restore made to fail."""
import functools
import os

from fault import Failed, Fault, TARGETS, failing, first_error, listing, sysv_segments

ENDINGS = [(), ("--leave-running",), ("--leave-stopped",)]


class Stages(Fault):
    def do_stages_of_dump(self):
        """No image, no link and no mapping stays; the tree goes on as if nothing had been."""
        for n, (victim, name) in enumerate(self.few(TARGETS, 3)):
            ending = ENDINGS[n % len(ENDINGS)]
            stage = 0
            while True:
                stage += 1
                self.use(victim, name)
                if self.one_dump(stage, f"{victim}/{name}, stage {stage} of a dump {' '.join(ending)}", ending):
                    break
                self.forget()
            self.forget()
            if stage < 6:
                raise Failed(f"only {stage - 1} stages of a dump could be made to fail")

    def one_dump(self, stage, when, ending):
        """Returns True once there is no such stage."""
        code, said = self.dump("--inject-stage", str(stage), *ending)
        if code == 0:
            return True
        if "on purpose" not in said:
            raise Failed(f"{when}: failed for another reason: {first_error(said)}")
        self.note("failed dumps")
        self.no_images(when)
        self.carries_on(when)
        return False

    def do_dump_after_failures(self):
        """One tree, all stages in turn, and in the end a dump and a restore: failures must not add up to something."""
        for victim, name in self.few(TARGETS, 2):
            self.use(victim, name)
            stage = 0
            while True:
                stage += 1
                code, said = self.dump("--inject-stage", str(stage))
                if code == 0:
                    break
                self.no_images(f"stage {stage}")
                self.untraced()
                self.expect_same(f"{victim}/{name} after stage {stage} of a dump failed")
            self.must_be_gone()
            self.comes_back(f"{victim}/{name}: a dump after failed ones")
            self.forget()

    def do_dump_over_images(self):
        """Into a directory that holds a whole set already: it is that set, or a new one, or none, but never a mixture."""
        for victim, name in self.few([t for t in TARGETS if t[1] in ("bush", "masks", "ring", "anonymous")], 1):
            for stage in failing.stages(functools.partial(self.dump_again, victim, name), "end"):
                when = f"{victim}/{name}: a dump into a used directory that failed at stage {stage}"
                self.expect_same(when)
                if self.contents() == self.first:
                    self.note("old set kept")
                elif "inventory.img" in self.contents():
                    raise Failed(f"{when}: an inventory beside images that are not its own")
                else:
                    self.note("no set left")
                self.finish(when)
                self.forget()

    def dump_again(self, victim, name, *where):
        self.use(victim, name)
        self.must_dump("--leave-running")
        self.first = self.contents()
        code, said = self.criu_run("dump", "-t", str(self.root), "-D", self.images, "-o", "dump.log", "-v4", *self.dump_args, *where)
        if code != 1:
            raise Failed(f"{victim}/{name}: a dump into a used directory, {' '.join(where)}: exit status {code}")
        return said

    def contents(self):
        out = {}
        for name in (n for n in os.listdir(self.images) if n.endswith(".img")):
            with open(os.path.join(self.images, name), "rb") as f:
                out[name] = f.read()
        return out

    def do_stages_of_restore(self):
        for victim, name in self.few(TARGETS, 3):
            self.use(victim, name)
            self.must_dump()
            self.must_be_gone()
            self.files_before, self.shm_before = self.at_rest()
            images = [n for n in os.listdir(self.images) if not n.endswith(".log")]
            for more in (("-d", "--pidfile", "root.pid"), ("-d", "-s"), ("-d", "-S"), ()):
                self.all_stages(f"{victim}/{name}, restore {' '.join(more)}", images, more)
            self.comes_back(f"{victim}/{name}: a restore after failed ones")
            self.forget()

    def at_rest(self):
        """What a tree has beside its images while it is only images: links made for the dump, but no segments."""
        return listing(self.dir), sysv_segments()

    def all_stages(self, what, images, more):
        def run(*where):
            code, said = self.criu_run("restore", "-D", self.images, "-o", "restore.log", "-v4", *self.restore_args, *more, *where)
            if code != 1:
                raise Failed(f"{what}, {' '.join(where)}: exit status {code}: {first_error(said, self.log('restore.log'))}")
            return said + self.log("restore.log")
        for stage in failing.stages(run, "resume"):
            self.note("failed restores")
            self.nothing_left(f"{what}, stage {stage}", images)
