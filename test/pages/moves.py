"""A process that moves from one network namespace to another while it runs: pre-copy migration, as between two machines."""
import os
import subprocess
import sys

import memory_run as memory
import tls
import wire
from remote import Server
from world import Failed

HERE, THERE = "10.77.0.1", "10.77.0.2"


class Machine:
    """A network namespace, held by a process that waits."""

    def __init__(self, s, name):
        self.name = name
        self.pid = s.world.start(["unshare", "--net", "sleep", "1000"], stdin=subprocess.DEVNULL)
        s.world.others.add(self.pid)
        own = os.readlink("/proc/self/ns/net")

        def apart():
            try:
                return os.readlink(f"/proc/{self.pid}/ns/net") != own
            except OSError:
                return False
        s.world.until(apart, 10, f"the network of {name}")

    def within(self, *cmd):
        return ["nsenter", "-t", str(self.pid), "-n", *cmd]

    def ip(self, *args):
        subprocess.run(self.within("ip", *args), check=True)


def wire_up(here, there):
    """One cable between two machines."""
    here.ip("link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", str(there.pid))
    for machine, address in ((here, HERE), (there, THERE)):
        machine.ip("addr", "add", f"{address}/24", "dev", "cable")
        machine.ip("link", "set", "cable", "up")
        machine.ip("link", "set", "lo", "up")


def migrate_by_tls(s):
    p = tls.Papers(os.path.join(s.base, "papers"))
    p.authority("ours")
    p.issue("ours", "there", THERE)
    migrate(s, *p.options("ours", "there"))


def migrate(s, *options):
    """
    Rounds of memory go over while the process runs, each less than the one before; the last one stops it; it goes on
    from the images at the other end, with all that it had computed.
    """
    try:
        here, there = Machine(s, "here"), Machine(s, "there")
        wire_up(here, there)
    except (OSError, subprocess.CalledProcessError) as e:
        raise memory.Skipped(f"no network of its own: {e}") from None
    s.within, s.within_server, s.address = here.within(), there.within(), THERE
    try:
        # the process lives here from now on: dumps are made from inside of its namespaces
        s.move_to(here.within())
        first = s.round("pre-dump", *options, server=s.server(*options))
        if memory.ALL_PAGES in first:
            raise Failed(first[-300:])
        for _ in range(3):
            s.wait()
            s.round("pre-dump", *options, server=s.server(*options))
            s.must_skip(f"round {s.nr}")
        s.wait()
        looks = s.table(s.root)[0]
        s.last(*options, server=s.server(*options))
        s.must_skip("the last round")
        s.merge()
        s.within = there.within()
        s.restore()
        if s.table(s.root)[0] <= looks:
            raise Failed("it has not gone on from where it was")
        if os.readlink(f"/proc/{s.root}/ns/net") != os.readlink(f"/proc/{there.pid}/ns/net"):
            raise Failed("it is not at the other end")
    finally:
        s.world.kill([here.pid, there.pid])


def no_route(s):
    """An address that cannot be reached: nothing is stopped."""
    status, said = s.criu_to(9, os.path.join(s.base, "x"), address=THERE)
    if status != 1 or "unreachable" not in said:
        raise Failed(f"exit status {status}: {said[-300:]}")
    s.must_go_on()


CASES = {"migrate": migrate, "migrate-by-tls": migrate_by_tls, "no-route": no_route}
