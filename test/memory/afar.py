"""A machine there, beside the process here: the world of cases in which memory is left at its source."""
import os
import re
import signal
import socket
import subprocess
import sys

import lazy
import state
from world import Failed

NOTHING = 0   # an order that is carried out by listening
NEAR, FAR = "10.78.0.1", "10.78.0.2"
OTHER_PIDS = 5000   # so that the numbers of the tree are free where it goes

# reaps whoever is left to it
FIRST = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"


class Away(lazy.Sleeper):
    """The process here, and a machine there."""

    def __init__(self, args, base, seed, mib=64, *more):
        with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as f:
            f.write(str(OTHER_PIDS))
        super().__init__(args, base, seed, mib, *more)
        self.dumper = self.daemon = self.proxy = self.shell = self.there = None
        self.port = 0

    def prepare(self):
        super().prepare()
        self.there = self.machine()

    def machine(self):
        """Process 1 of a namespace of pids, with a network that a cable leads to."""
        # stderr: it has words about a child that is killed
        self.shell = self.world.start(["unshare", "--pid", "--net", "--mount", "--fork", "--kill-child", "--mount-proc", sys.executable,
                                       "-c", FIRST], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.world.others.add(self.shell)

        def first():
            kids = state.read(f"/proc/{self.shell}/task/{self.shell}/children").split()
            ignored = re.search(rb"SigIgn:\s+(\w+)", state.read(f"/proc/{int(kids[0])}/status")) if kids else None
            return int(kids[0]) if ignored and int(ignored[1], 16) >> signal.SIGCHLD - 1 & 1 else 0
        pid = self.world.until(first, 20, "the other machine")
        self.world.others.add(pid)
        subprocess.run(["ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", str(pid)], check=True)
        for prefix, address in (([], NEAR), (self.within(pid), FAR)):
            subprocess.run([*prefix, "ip", "addr", "add", f"{address}/24", "dev", "cable"], check=True)
            subprocess.run([*prefix, "ip", "link", "set", "cable", "up"], check=True)
        return pid

    def within(self, pid=None):
        return ["nsenter", "-t", str(pid or self.there), "-n", "-p", "-m"]

    def behind(self, program, *more):
        """A program of ours that has a door to accept connections from. Returns its port."""
        with socket.socket() as listener:
            listener.bind((NEAR, 0))
            listener.listen()
            self.proxy = self.world.start([sys.executable, "-c", program, *more], stdin=listener, stderr=subprocess.DEVNULL)
            self.world.others.add(self.proxy)
            return listener.getsockname()[1]

    def read_log(self, name):
        return state.read(os.path.join(self.images, name)).decode(errors="replace")

    def until_ready(self, ready, pid, what="the source is ready"):
        """Until there is word from @pid in a pipe, or none can come any more."""
        os.set_blocking(ready, False)

        def said():
            try:
                return os.read(ready, 1) == b"\0" or pid in self.world.ended
            except BlockingIOError:
                return pid in self.world.ended
        self.world.until(said, 30, what)

    def begin(self, cmd, fds=(), out=subprocess.DEVNULL, what="the source is ready"):
        """Whatever has the memory, in the background; ready to be asked when this returns, or at its end."""
        ready, theirs = os.pipe()
        with open(ready, "rb"):
            self.dumper = self.world.start([*cmd, "-v4", "--status-fd", str(theirs)], pass_fds=(theirs, *fds), stdin=subprocess.DEVNULL,
                                           stdout=out, stderr=subprocess.STDOUT)
            self.world.others.add(self.dumper)
            os.close(theirs)
            self.until_ready(ready, self.dumper, what)

    def source(self, *cmd, fds=()):
        self.begin([self.args.criu, *cmd], fds)

    def leave(self, *more, address=NEAR):
        """A lazy dump that waits."""
        self.source("dump", "-t", str(self.root), "-D", self.images, "-o", "dump.log", "--lazy-pages", "--address", address, *more)
        found = re.search(r"given away on port (\d+)", self.read_log("dump.log"))
        if self.dumper in self.world.ended or not found:
            raise Failed(f"the lazy dump does not wait: {self.read_log('dump.log')[-300:]}")
        self.port = int(found[1])

    def leave_images(self):
        """A page server with images."""
        self.source("page-server", "--lazy-pages", "-D", self.images, "-o", "dump.log", "--address", NEAR)
        found = re.search(r"page server on port (\d+)", self.read_log("dump.log"))
        if not found:
            raise Failed(f"the server does not say where it is: {self.read_log('dump.log')[-300:]}")
        self.port = int(found[1])

    def serve_there(self, *more, port=0, address=NEAR):
        name = os.path.join(self.images, "lazy.pid")
        if os.path.exists(name):
            os.unlink(name)
        before = set(self.named("criu"))
        self.far("lazy-pages", "-d", "--page-server", "--address", address, "--port", str(port or self.port), *more)
        self.daemon = next(iter(set(self.named("criu")) - before - {self.dumper}), None)

    def far(self, *cmd, code=0, fds=()):
        status, said = self.world.run([*self.within(), self.args.criu, cmd[0], "-D", self.images, "-v4", "-o", cmd[0] + ".log",
                                       *cmd[1:]], 40, pass_fds=fds)
        if status != code:
            raise Failed(f"{cmd[0]}: exit status {status}: {said.strip()[-300:]}")
        return said

    def arrive(self):
        self.far("restore", "-d", "--lazy-pages")

    def obeys_there(self, order=lazy.CHECK, what="a look at everything"):
        """It does there what it is told, which takes all of its memory."""
        self.tell(order)
        self.arrive()
        self.until_done(order, what)

    def goes_over(self, order=lazy.CHECK, what="a look at everything", more=()):
        """All of it: nothing stays here."""
        self.serve_there(*more)
        self.obeys_there(order, what)
        self.moved()

    def dumper_ends(self, code):
        self.world.until(lambda: self.dumper in self.world.ended, 20, "the end of the source")
        got = os.waitstatus_to_exitcode(self.world.ended[self.dumper])
        if got != code:
            raise Failed(f"the source has ended with {got} instead of {code}: {self.read_log('dump.log')[-300:]}")

    def daemon_ends(self):
        self.world.until(lambda: not [p for p in self.named("criu", lazy.GUARD) if p != self.dumper], 20, "the daemon ends")

    def moved(self):
        """It is there, and only there, and all of its memory."""
        self.dumper_ends(0)
        self.daemon_ends()
        if not re.search(r"lazy restore is complete: \d+ KiB", self.read_log("lazy-pages.log")):
            raise Failed(f"the daemon does not say that all is in: {self.read_log('lazy-pages.log')[-300:]}")
        if os.path.exists(f"/proc/{self.root}"):
            raise Failed("it is still here")

    def goes_on_here(self, what):
        """The process that was to be moved computes, with all that it had."""
        self.tell(NOTHING)
        self.world.until(lambda: self.see("done") == NOTHING or self.see("failed"), 10, f"{what}: it listens")
        self.tell(lazy.CHECK)
        self.until_done(lazy.CHECK, what)

    def end(self):
        self.world.kill([p for p in (self.dumper, self.proxy) if p and p not in self.world.ended])
        # at once: the kernel takes its time with the network of who has ended, and the next case has a cable of that name
        subprocess.run(["ip", "link", "del", "cable"], check=False, stderr=subprocess.DEVNULL)
        self.world.kill(self.named("criu") + [p for p in (self.there or self.shell,) if p])
        super().end()
