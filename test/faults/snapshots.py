"""Snapshots: every stage made to fail, and both processes of the dumper killed at any instant. No copy of a task may be left,
no zombie of one either, and no task may notice."""
import os
import signal
import time

from fault import Failed, Fault, TARGETS, first_error, sleep_until, state

SNAPSHOT = ("--leave-running", "--snapshot")
KILLS, LONG_KILLS = 40, 400
# As in child.py: what a killed child can leave at worst is a mapping in which nothing runs.
RESIDUE = 1


# A tracer that is killed before it has asked for a stop of its (PTRACE_EVENT_STOP) leaves the number of that stop where procfs
# shows it, until the thread stops or ends the next time (task_struct.exit_code). Nothing else looks at it.
STOP_SEEN = f"exit_code: was 0, is {int(signal.SIGTRAP) | 128 << 8}"


class Snapshots(Fault):
    def do_stages(self):
        for victim, name in self.few(TARGETS, 3):
            stage, failed = 0, 0
            while True:
                stage += 1
                self.use(victim, name)
                code, said = self.dump("--inject-stage", str(stage), *SNAPSHOT)
                when = f"{victim}/{name}, stage {stage} of a snapshot"
                if code == 0:
                    break
                if "on purpose" not in said:
                    raise Failed(f"{when}: failed for another reason: {first_error(said)}")
                failed += 1
                self.note("failed snapshots")
                self.no_images(when)
                self.carries_on(when)
                self.forget()
            self.expect_same(f"{victim}/{name} after a snapshot")
            self.finish(f"{victim}/{name} after a snapshot")
            self.forget()
            if failed < 8:
                raise Failed(f"only {failed} stages of a snapshot could be made to fail")

    def spawned(self):
        self.new_images()
        front = self.spawn("dump", "-t", str(self.root), "-D", self.images, "-o", "dump.log", "-v1", *self.dump_args, *SNAPSHOT)
        return front, self.child_of(front)

    def took(self):
        out = []
        for _ in range(3):
            start = time.monotonic()
            front, child = self.spawned()
            begun = time.monotonic() if child else start
            if self.reaped(front) != 0:
                raise Failed(f"snapshot: {first_error(self.log('dump.log'))}")
            out.append(time.monotonic() - begun)
        return min(out)

    def settled(self, when):
        """All that is ours is gone, be it by itself: what is left is the tree."""
        self.world.until(lambda: set(self.world.tree()) == set(self.before.tasks), 10, f"{when}: nothing but the tree is there")
        self.untraced()

    def lasting_differences(self):
        """All of them, and those that matter. A task that is on its way back finds it by itself, when it gets to run."""
        end = time.monotonic() + 5
        while True:
            different = self.differences()
            harm = [d for d in different if not d.endswith(STOP_SEEN)]
            if not harm or time.monotonic() > end:
                return different, harm
            time.sleep(0.02)

    def mappings(self):
        return {p: {line.split(b" ", 1)[0] for line in state.read(f"/proc/{p}/maps").splitlines()} for p in self.world.tree()}

    def kill_all_over(self, victim, name, front_too):
        self.use(victim, name)
        took, residue, maps = self.took(), 0, self.mappings()
        for _ in self.in_time(range(LONG_KILLS if self.long else KILLS)):
            after = self.rng.random() * took
            when = f"{victim}/{name}: {'front' if front_too else 'child'} of a snapshot killed after {after * 1000:.1f} ms"
            front, child = self.spawned()
            sleep_until(time.monotonic() + after)
            try:
                if child:
                    os.kill(front if front_too else child, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.note("kills" if self.reaped(front) != 0 else "too late")
            self.settled(when)
            different, harm = self.lasting_differences()
            if harm and self.mappings() != maps and not front_too:
                residue += 1
                self.note("mappings left")
            elif harm:
                raise Failed(f"{when}: " + "; ".join(harm[:5]))
            if different:
                self.forget()
                self.use(victim, name)
                maps = self.mappings()
        if residue > RESIDUE * (1 + (LONG_KILLS // KILLS if self.long else 0)):
            raise Failed(f"{residue} kills left mappings of ours")
        self.finish("after all the kills")

    def do_front_killed(self):
        self.kill_all_over("tree", "bush", True)

    def do_child_killed(self):
        self.kill_all_over("tree", "bush", False)

    def do_child_killed_with_threads(self):
        self.kill_all_over("threads", "masks", False)
