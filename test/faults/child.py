"""The process that holds the tasks killed by itself: nobody is left who could undo anything."""
import os
import signal
import time

from fault import Failed, Fault, sleep_until, state

KILLS, LONG_KILLS = 80, 600
# Of some 1,100 kills one left one mapping, in which nothing ran (docs/ARCHITECTURE.md). Two in so few are a fault; so is any
# mask, or a process that stays stopped.
RESIDUE = 1


class Child(Fault):
    def look(self):
        """Signal masks by thread, mappings by process."""
        masks, maps = {}, {}
        for pid in self.world.tree():
            if pid not in self.before.tasks:   # the killed dumper, not reaped yet
                continue
            maps[pid] = {l.split(b" ", 1)[0] for l in state.read(f"/proc/{pid}/maps").splitlines()}
            for tid in os.listdir(f"/proc/{pid}/task"):
                text = state.read(f"/proc/{pid}/task/{tid}/status")
                masks[int(tid)] = text.split(b"SigBlk:\t")[1][:16]
        return masks, maps

    def dump_took(self):
        self.new_images()
        start = time.monotonic()
        front = self.spawn("dump", "-t", str(self.root), "-D", self.images, "-R", "-o", "dump.log")
        begun = time.monotonic() if self.child_of(front) else start
        if self.reaped(front) != 0:
            raise Failed(f"dump: {self.log('dump.log')}")
        return time.monotonic() - begun

    def kill_child(self, after):
        self.new_images()
        front = self.spawn("dump", "-t", str(self.root), "-D", self.images, "-R", "-o", "dump.log")
        child = self.child_of(front)
        sleep_until(time.monotonic() + after)
        try:
            if child:
                os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.note("kills" if self.reaped(front) != 0 else "too late")

    def harm(self):
        """What the kill has done, after the process in front has put things right. A task that is still in our code comes out of it
        by itself, when it gets to run."""
        end = time.monotonic() + 5
        while True:
            time.sleep(0.005)
            masks, maps = self.look()
            if set(maps) != set(self.maps):
                raise Failed(f"killed by it: {sorted(set(self.maps) - set(maps))}")
            masked = [t for t in self.masks if masks.get(t) != self.masks[t]]
            mapped = [p for p in self.maps if maps[p] - self.maps[p]]
            stopped = [p for p in maps if state.Snapshot.stat_of(f"/proc/{p}")[2] in "Tt"]
            if not masked + mapped + stopped or time.monotonic() > end:
                break
        self.note("harmful kills", bool(masked or stopped or mapped))
        self.note("tasks with our mask", len(masked))
        self.note("processes with our mappings", len(mapped))
        for p in mapped:
            self.left.append(f"pid {p}: {sorted(maps[p] - self.maps[p])} beside {sorted(self.maps[p] - maps[p])}")
        self.left += [f"thread {t}: mask {masks.get(t)}" for t in masked] + [f"pid {p} is stopped" for p in stopped]
        self.maps = maps
        return masked or stopped or mapped

    def do_itself(self):
        """Spread over the dump of a tree."""
        self.kill_all_over("tree", "wide", KILLS)

    def do_itself_with_a_crowd(self):
        """Of many threads, which are asked for their children while others are read about."""
        self.kill_all_over("threads", "many", KILLS // 6)

    def kill_all_over(self, victim, name, kills):
        """What was harmed is replaced."""
        self.use(victim, name)
        self.masks, self.maps = self.look()
        took = min(self.dump_took() for _ in range(5))
        harmed, grave = 0, False
        self.left = []
        for _ in self.in_time(range(LONG_KILLS if self.long else kills)):
            self.kill_child(self.rng.random() * took)
            self.untraced()
            if self.harm():
                harmed += 1
                grave |= any("beside" not in l for l in self.left)
                self.world.clear()
                self.use(victim, name)
                self.masks, self.maps = self.look()
        if grave or harmed > RESIDUE * (1 + (LONG_KILLS // KILLS if self.long else 0)):
            raise Failed(f"{harmed} kills left tasks with registers, masks or mappings of ours: {'; '.join(self.left)}")
        self.finish("after all the kills")
