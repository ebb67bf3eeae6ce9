"""Scenarios with TCP connections whose other end is outside of the tree: nothing of them may be lost, or be told to the other
end, in a dump, a restore, and what can go wrong with both."""
import os
import random
import signal
import subprocess
import sys
import time

import net
from case import TIMEOUT, first_error
from world import Failed, Skipped

HERE = os.path.dirname(os.path.abspath(__file__))
KEEP = "--tcp-established"
KILL, PTRACE, SETOPTIONS, ANY = 62, 101, 0x4200, -1   # for test/faults/cut-off.c


class Connections:
    # the peer: peer.py, in another network or in this one

    def peer_file(self, name):
        try:
            with open(os.path.join(self.base, name), encoding="utf-8") as f:
                return f.read().strip()
        except OSError:
            return ""

    def start_peer(self, address, network=None):
        enter = ["nsenter", f"--net=/proc/{network}/ns/net"] if network else []
        self.peer = self.world.start([*enter, sys.executable, os.path.join(HERE, "peer.py"), self.base, address],
                                     stdin=subprocess.DEVNULL, start_new_session=True)
        self.world.others.add(self.peer)
        self.world.until(lambda: self.peer_file("port") or self.peer in self.world.ended, TIMEOUT, "the peer listens")

    def lines(self):
        if self.peer_file("error") or self.peer in self.world.ended:
            raise Failed(f"the other end: {self.peer_file('error') or 'it ended'}")
        return int(self.peer_file("count") or 0)

    def more_lines(self, when):
        want = self.lines() + 60
        self.world.until(lambda: self.lines() >= want, TIMEOUT, f"lines go to and fro {when}")

    def start_talk(self, address="127.0.0.1", network=None):
        self.start_peer(address, network)
        self.use("tcp-outside", "client")
        self.more_lines("at first")

    def end_talk(self, when):
        with open(os.path.join(self.base, "stop"), "w", encoding="utf-8"):
            pass
        self.world.until(lambda: self.peer in self.world.ended, TIMEOUT, "the peer ends")
        if self.world.ended[self.peer]:
            raise Failed(f"the other end {when}: {self.peer_file('error')}")
        self.finish(when)

    def must_be_still(self):
        """The other end talks to nobody, and nobody answers."""
        time.sleep(0.7)
        before = self.lines()
        time.sleep(0.3)
        if self.lines() != before:
            raise Failed("lines go to and fro while the tree is gone")

    def round_trip(self, *lock):
        self.must_dump(KEEP, *lock)
        self.must_be_gone()
        if not net.ours():
            raise Failed("connections are not locked after the dump")
        self.must_be_still()
        self.restore_args = [KEEP, *lock]
        self.restore()
        net.no_tables("after the restore")
        self.more_lines("after the restore")

    def do_tcp_outside(self):
        net.own_network()
        self.start_talk()
        self.round_trip()
        self.round_trip()
        self.end_talk("after two rounds")

    def two_networks(self):
        net.own_network()
        other = self.world.start(["unshare", "--net", "sleep", "600"], stdin=subprocess.DEVNULL)
        self.world.others.add(other)
        ours = os.readlink("/proc/self/ns/net")
        self.world.until(lambda: os.readlink(f"/proc/{other}/ns/net") != ours, 10, "another network")
        inside = ["nsenter", f"--net=/proc/{other}/ns/net"]
        net.run("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1", "netns", str(other))
        net.run("ip", "addr", "add", "10.99.0.1/24", "dev", "veth0")
        net.run("ip", "link", "set", "veth0", "up")
        net.run(*inside, "ip", "addr", "add", "10.99.0.2/24", "dev", "veth1")
        net.run(*inside, "ip", "link", "set", "veth1", "up")
        return other

    def do_tcp_other_network(self):
        self.start_talk("10.99.0.2", self.two_networks())
        self.round_trip()
        self.end_talk("after the restore")

    def do_tcp_locked_by_iptables(self):
        """The other word for a lock keeps the same promises, whatever becomes of the dump."""
        lock = ("--network-lock", "iptables")
        self.start_talk("10.99.0.2", self.two_networks())
        for stage in range(1, 30, 3):
            code, _ = self.dump(KEEP, *lock, "--leave-running", "--inject-stage", str(stage))
            net.no_tables(f"after a dump that {'failed at' if code else 'has no'} stage {stage}")
            self.more_lines(f"after a dump that was to fail at stage {stage}")
            if code == 0:
                break
        for _ in range(5):
            self.kill_dumper(*lock)
        self.round_trip(*lock)
        self.end_talk("after the restore")

    def do_tcp_not_locked(self):
        """Who keeps packets away himself has nothing locked for him: neither by the dump, nor by what comes of it."""
        lock = ("--network-lock", "skip")
        other = self.two_networks()
        far = ("nsenter", f"--net=/proc/{other}/ns/net", "ip", "link", "set", "veth1")
        self.start_talk("10.99.0.2", other)
        self.must_dump(KEEP, *lock, "--leave-running")
        net.no_tables("after the dump")
        self.more_lines("after the dump")
        net.run(*far, "down")
        self.must_dump(KEEP, *lock)
        self.must_be_gone()
        net.no_tables("after the dump")
        self.restore_args = [KEEP]
        self.restore()
        net.no_tables("after the restore")
        net.run(*far, "up")
        self.more_lines("after the restore")
        self.end_talk("after the restore")

    def do_tcp_leave_running(self):
        net.own_network()
        self.start_talk()
        for _ in range(5):
            self.must_dump(KEEP, "--leave-running")
            net.no_tables("after the dump")
            self.more_lines("after the dump")
        self.end_talk("after dumps that left it running")

    def start_visitors(self):
        with open(os.path.join(self.base, "visitors"), "w", encoding="utf-8"):
            pass
        self.use("tcp-outside", "server")
        one, both = self.peer_file("server").split()
        self.peer = self.world.start([sys.executable, os.path.join(HERE, "visitors.py"), self.base, f"127.0.0.1:{one}", f"127.0.0.1:{both}",
                                      f"::1:{both}"], stdin=subprocess.DEVNULL, start_new_session=True)
        self.world.others.add(self.peer)
        self.more_lines("at first")

    def do_tcp_visitors(self):
        """Connections that come in all the time: none that was made is lost with the tree, and none stands in the way."""
        net.own_network()
        self.start_visitors()
        self.restore_args = [KEEP]
        for _ in range(6):
            self.must_dump(KEEP)
            self.must_be_gone()
            self.restore()
            net.no_tables("after the restore")
            self.more_lines("after the restore")
        self.end_talk("after six rounds")

    def do_tcp_listening_without_rights(self):
        """Who may not lock ports is told what that means, and dumps."""
        net.own_network()
        self.use("inet-listen", "listen")
        self.new_images()
        code, said = self.world.run(["setpriv", "--bounding-set=-net_admin", self.criu, "dump", "-t", str(self.root), "-D", self.images,
                                     "-v4", "-o", "dump.log"], TIMEOUT)
        said += self.log("dump.log")
        if code or "listening sockets are not locked, continuing without" not in said:
            raise Failed(f"a dump without CAP_NET_ADMIN: exit status {code}, {first_error(said) or 'without a warning'}")
        self.must_be_gone()
        self.restore()
        self.finish("after the restore")

    def do_tcp_half_open(self):
        """A client that begins a connection and says nothing more does not keep a server from being dumped, and is told of."""
        net.own_network()
        net.run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far")
        net.run("ip", "addr", "add", "192.0.2.1/24", "dev", "near")
        net.run("ip", "link", "set", "near", "up")
        net.run("ip", "link", "set", "far", "up")
        for name, text in (("visitors", ""), ("count", "0")):
            with open(os.path.join(self.base, name), "w", encoding="utf-8") as f:
                f.write(text)
        self.use("tcp-outside", "server")
        both = int(self.peer_file("server").split()[1])
        net.begin_connection("192.0.2.77", "192.0.2.1", both)
        self.world.until(lambda: net.half_open() == 1, 10, "a connection is being made")
        self.must_dump()
        if net.half_open() > 1 or "1 connections are being made to listening sockets, continuing without" not in self.log("dump.log"):
            raise Failed("the dump does not tell of the connection that was being made")
        self.must_be_gone()
        self.restore()
        self.finish("after the restore")

    def do_tcp_visitors_running(self):
        net.own_network()
        self.start_visitors()
        for _ in range(6):
            self.must_dump(KEEP, "--leave-running")
            net.no_tables("after the dump")
            self.more_lines("after the dump")
        self.end_talk("after dumps that left it running")

    def do_tcp_failed_stages(self):
        """A dump that fails at any stage, and a restore: the connection goes on as if nothing had been."""
        net.own_network()
        self.start_talk()
        for n in range(1, 30):
            code, said = self.dump(KEEP, "--inject-stage", str(n))
            if code == 0:
                self.must_be_gone()
                break
            net.no_tables(f"after a dump that failed at stage {n}")
            self.more_lines(f"after a dump that failed at stage {n}")
        else:
            raise Failed("there is no end of stages")
        for n in range(1, 30):
            code, said = self.criu_run("restore", "-d", "-D", self.images, "-o", "restore.log", "-v4", KEEP, "--inject-stage", str(n))
            if code == 0:
                break
            if not net.ours():
                raise Failed(f"connections are not locked after a restore that failed at stage {n}")
            if len(net.ours()) != 1:
                raise Failed(f"after a restore that failed at stage {n} there are {net.ours()}")
            self.lines()
            self.world.until(lambda: not self.world.tree(), 10, "a failed restore leaves no process")
        net.no_tables("after the restore")
        self.more_lines("after the restore")
        self.end_talk("after the restore")

    def kill_dumper(self, *lock):
        self.new_images()
        pid = self.world.start([self.criu, "dump", "-t", str(self.root), "-D", self.images, "-o", "dump.log", KEEP, *lock,
                                "--leave-running"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
        self.world.others.add(pid)
        time.sleep(random.uniform(0.0005, 0.02))
        # the child that dumps, and the one in front of it
        for victim in self.children(pid) if random.random() < 0.5 else [pid]:
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.world.until(lambda: pid in self.world.ended, TIMEOUT, "the dumper ends")
        self.world.until(lambda: not set(self.world.tree()) - set(self.before.tasks), 10, "its child ends")
        self.world.until(lambda: not net.ours(), 10, "no lock is left")
        self.more_lines("after a dumper was killed")

    def do_tcp_killed_dumper(self):
        net.own_network()
        self.start_talk()
        for _ in range(25):
            self.kill_dumper()
        self.end_talk("after dumpers were killed")

    def do_tcp_killed_at_the_end(self):
        """The child that dumps is killed when it is about to end the tree, or has: either it goes on or it can be restored."""
        net.own_network()
        self.start_talk()
        self.restore_args = [KEEP]
        restored = 0
        for _ in range(40):
            self.new_images()
            pid = self.world.start([self.criu, "dump", "-t", str(self.root), "-D", self.images, "-o", "dump.log", KEEP],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True)
            self.world.others.add(pid)
            path = os.path.join(self.images, "inventory.img")
            self.world.until(lambda: os.path.exists(path) or pid in self.world.ended, TIMEOUT, "the images are whole")
            time.sleep(random.uniform(0, 0.002))
            for child in self.children(pid):
                try:
                    os.kill(child, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.world.until(lambda: pid in self.world.ended, TIMEOUT, "the dumper ends")
            restored += self.goes_on_either_way("after a dumper was killed")
        self.end_talk(f"after dumpers were killed, {restored} of them too late")

    def goes_on_either_way(self, when):
        """Returns whether the tree had to be restored for that."""
        self.world.until(lambda: not self.criu_at_work(), TIMEOUT, f"what the dumper left to be done is done {when}")
        # one that was killed may not have got to its end yet; one that goes on has no lock
        self.world.until(lambda: not self.world.tree() or not net.ours(), 10, f"the tree ends or goes on {when}")
        ended = not self.world.tree()
        try:
            if ended:
                self.restore()
            self.world.until(lambda: not net.ours(), 10, "no lock is left")
            self.more_lines(when)
        except Failed as e:
            raise Failed(f"{when}, {'restored' if ended else 'not restored'}: {e}") from None
        return ended

    def do_tcp_cut_off_at_the_end(self):
        """The same at the calls by which the tree is ended, which follow each other too fast to be hit by chance."""
        net.own_network()
        self.start_talk()
        self.restore_args = [KEEP]
        for call, arg, last in (PTRACE, SETOPTIONS, 2), (KILL, ANY, 4):
            code, said = self.cut_off(call, arg, 0)
            if code or not self.goes_on_either_way("after a dump"):
                raise Failed(f"a dump that is not cut off: exit status {code}, {said}")
            count = int(said.split()[-1])
            for n in range(count, max(0, count - last), -1):
                code, said = self.cut_off(call, arg, n)
                if code not in (0, -signal.SIGKILL):
                    raise Failed(f"a dump: exit status {code}, {said}")
                self.goes_on_either_way(f"after a dumper was killed at call {call} {arg}, number {n} of {count}")
        self.end_talk("after dumpers were killed")

    def cut_off(self, call, arg, n):
        self.new_images()
        tool = os.path.join(os.path.dirname(self.victims), "faults", "cut-off")
        return self.world.run([tool, str(call), str(arg), str(n), "all", self.criu, "dump", "-t", str(self.root), "-D", self.images,
                               "-o", "dump.log", "-v4", KEEP], TIMEOUT)

    @staticmethod
    def children(pid):
        try:
            with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
                return [int(p) for p in f.read().split()]
        except OSError:
            return []

    def do_tcp_needs_option(self):
        """Images with connections are not restored without saying what is to become of them."""
        self.use("tcp-established", "idle")
        self.must_dump(KEEP)
        self.must_be_gone()
        code, said = self.criu_run("restore", "-d", "-D", self.images, "-o", "restore.log", "-v4")
        said += self.log("restore.log")
        if code == 0 or "--tcp-close" not in said:
            raise Failed(f"a restore without --tcp-established: exit status {code}: {first_error(said)}")
        self.restore_args = [KEEP]
        self.restore()
        self.finish("after the restore")
