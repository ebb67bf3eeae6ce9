"""Scenarios about what a dump that goes on without something says of it."""
import os
import subprocess

import state
from case import first_error
from world import Failed


class Said:
    def events_said(self):
        """The words of the last dump about fanotify events, empty if there are none."""
        lines = self.log("dump.log").splitlines()
        return next((l for l in lines if "Warn" in l and "fanotify events" in l), "")

    def do_fanotify_events_lost(self):
        """Events that nobody has read are lost, and the log says so; it says nothing of the kind where there are none."""
        self.use("anon-fds", "fanotify")
        self.must_dump("--leave-running")
        if self.events_said():
            raise Failed(f"nothing was unread, and the log says: {self.events_said()}")
        self.finish("after a dump")
        self.use("anon-fds", "fanotify-unread")
        self.must_dump()
        if "not read yet" not in self.events_said():
            raise Failed(f"no warning about unread events: {first_error(self.log('dump.log')) or 'nothing at all'}")
        self.must_be_gone()
        self.restore()
        self.finish("after the restore")

    def do_lock_taken_meanwhile(self):
        """Somebody else has the file's lock when the tree is to come back: the error says who."""
        self.use("locks", "many")
        self.must_dump("--file-locks")
        self.must_be_gone()
        holder = self.world.start(["flock", "--no-fork", os.path.join(self.dir, "file"), "sleep", "60"], stdin=subprocess.DEVNULL)
        self.world.others.add(holder)
        self.world.until(lambda: b"FLOCK" in state.read("/proc/locks"), 10, "the lock is taken")
        code, said = self.criu_run("restore", "-d", "-D", self.images, "-o", "restore.log", "-v4", "--file-locks")
        self.world.kill([holder])
        self.world.others.discard(holder)
        left = self.world.clear()
        if code <= 0 or f"process {holder} has a lock on it by now" not in said or left:
            raise Failed(f"a restore where process {holder} has the lock: {code}, {said}, {left}")
