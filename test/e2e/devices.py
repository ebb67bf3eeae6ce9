"""Scenarios with network devices that end with the tree, and must not before it is there again."""
import os
import sys

import net
from case import first_error
from world import Failed

HERE = os.path.dirname(os.path.abspath(__file__))

PERSIST = 0x800   # IFF_PERSIST, linux/if_tun.h


class Devices:
    def device(self):
        """Whether the device is there, and outlives its descriptors."""
        try:
            with open("/sys/class/net/victim0/tun_flags", encoding="ascii") as f:
                return "outlives" if int(f.read(), 16) & PERSIST else "passes"
        except OSError:
            return "gone"

    def must_be(self, state, when):
        if self.device() != state:
            raise Failed(f"{when} the device is one that {self.device()}, it should be one that {state}")

    def do_tun_failed_stages(self):
        """A dump, and a restore, that fail at any stage: the device is neither lost nor does it stay for good."""
        net.own_network()
        self.use("tuns", "passing")
        for n in range(1, 30):
            code, _ = self.dump("--inject-stage", str(n))
            if code == 0:
                break
            self.must_be("passes", f"after a dump that failed at stage {n}")
        self.must_be_gone()
        for n in range(1, 30):
            self.must_be("outlives", f"before a restore that is to fail at stage {n}")
            code, _ = self.criu_run("restore", "-d", "-D", self.images, "-o", "restore.log", "-v4", "--inject-stage", str(n))
            if code == 0:
                break
            self.world.until(lambda: not self.world.tree(), 10, "a failed restore leaves no process")
        self.must_be("passes", "after the restore")
        self.finish("after the restore")
        self.must_be("gone", "after the tree")

    def do_tun_of_connected(self):
        """A dump that fails at the very end, when the device stays already: the table that is to keep packets away is there."""
        script = os.path.join(self.base, "script")
        with open(script, "w", encoding="utf-8") as f:
            f.write(f"""#!{sys.executable}
import os, sys
sys.path.insert(0, {HERE!r})
import net
if os.environ["CRTOOLS_SCRIPT_ACTION"] == "post-dump":
    for name in net.ours():
        net.add_table(name.replace("-hold-", "-lock-"))
""")
        os.chmod(script, 0o755)
        net.own_network()
        self.use("tuns", "passing-connected")
        code, said = self.dump("--tcp-established", "--action-script", script)
        if code == 0 or "exists" not in said:
            raise Failed(f"a dump that was to fail at its end: exit status {code}: {first_error(said)}")
        self.must_be("passes", "after a dump that failed at its end")
        self.finish("after a dump that failed at its end")
        self.must_be("gone", "after the tree")

    def do_tun_lost(self):
        """Whoever restores where the device is not is told its name, and how to make it."""
        net.own_network()
        self.use("tuns", "passing")
        self.must_dump("--leave-running")
        self.must_be("passes", "after a dump that leaves it running")
        self.world.kill(self.world.tree())
        self.must_be("gone", "after the tree")
        code, said = self.criu_run("restore", "-d", "-D", self.images, "-o", "restore.log", "-v4")
        said += self.log("restore.log")
        if code == 0 or "tun device victim0" not in said or "ip tuntap add dev victim0" not in said:
            raise Failed(f"a restore without the device: exit status {code}: {first_error(said)}")
        self.must_be("gone", "after a restore that failed")
        net.run("umount", "/sys")   # of the victim
