"""Restorers that are unusual themselves. What they have been given is theirs, and must not show in what they restore."""
import sys

from case import TIMEOUT, first_error
from world import Failed

# Runs the rest of its arguments after it has changed all of itself that fork(2) and execve(2) hand down.
UNUSUAL = r"""
import ctypes, os, resource, signal, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
call = lambda *a: libc.syscall(*[ctypes.c_long(x) if isinstance(x, int) else x for x in a])
PRCTL, CAPGET, CAPSET, IOPRIO_SET, SET_MEMPOLICY, SCHED_SETATTR = 157, 125, 126, 251, 238, 314
def must(r):
    if r < 0:
        raise OSError(ctypes.get_errno())
must(call(SCHED_SETATTR, 0, struct.pack("IIQiIQQQ", 48, 3, 0, 4, 0, 0, 0, 0), 0))   # SCHED_BATCH, nice 4
must(call(IOPRIO_SET, 1, 0, 2 << 13 | 7))
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
call(SET_MEMPOLICY, 2, struct.pack("Q", 1), 64)      # MPOL_BIND
must(call(PRCTL, 29, 12345, 0, 0, 0))                # timer slack
must(call(PRCTL, 33, 1, 1, 0, 0))                    # memory failures: early
if "ASAN_OPTIONS" not in os.environ:                 # of terabytes, it takes the kernel hours to end that
    call(PRCTL, 67, 1, 0, 0, 0)                      # merge memory
must(call(PRCTL, 41, 1, 0, 0, 0))                    # no huge pages
must(call(PRCTL, 28, 4, 0, 0, 0))                    # securebits: no setuid fixup
head, caps = struct.pack("Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
must(call(CAPGET, head, caps))
words = list(struct.unpack("6I", caps.raw))
words[2] = words[1]                                  # inheritable: all
must(call(CAPSET, head, struct.pack("6I", *words)))
for cap in (10, 12):
    must(call(PRCTL, 47, 2, cap, 0, 0))              # ambient
call(135, 0x0040000)                                 # personality: no randomization
for name, text in (("oom_score_adj", "300"), ("coredump_filter", "0x1")):
    with open("/proc/self/" + name, "w") as f:
        f.write(text)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGCHLD])
os.umask(0o177)
resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
os.chdir("/usr")
os.execv(sys.argv[1], sys.argv[1:])
"""

IGNORES_CHILDREN = r"""
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
"""

# Without the right to change capabilities of the kind that only CAP_SETPCAP lets change.
WITHOUT_SETPCAP = r"""
import ctypes, os, sys
if ctypes.CDLL(None).prctl(24, 8, 0, 0, 0) < 0:
    sys.exit("drop CAP_SETPCAP")
os.execv(sys.argv[1], sys.argv[1:])
"""


class Restorers:
    def by(self, code, *args):
        """A run of criu by such a one."""
        return self.world.run([sys.executable, "-c", code, self.criu, *args], TIMEOUT)

    def restored_by(self, code, *more):
        status, said = self.by(code, "restore", "-d", "-D", self.images, "-o", "restore.log", "-v4", *more)
        if status != 0:
            raise Failed(f"restore by an unusual restorer: {first_error(said + self.log('restore.log'))}")
        self.expect_same("after the restore")
        self.finish("after the restore")

    def do_unusual_restorer(self):
        for victim, name in (("settings", "usual"), ("threads", "names"), ("tree", "bush")):
            self.use(victim, name)
            self.must_dump()
            self.must_be_gone()
            self.restored_by(UNUSUAL)

    def do_ambient_restorer(self):
        """Capabilities that it hands down, to a tree that would keep them: with securebits no change of user drops them."""
        for name in ("capabilities", "inheritable", "securebits"):
            self.use("creds", name)
            self.must_dump()
            self.must_be_gone()
            self.restored_by(UNUSUAL)

    def do_children_ignored(self):
        """SIGCHLD is ignored by who starts criu: children that end are no zombies, and nobody can wait for them."""
        self.use("tree", "zombies")
        self.new_images()
        status, said = self.by(IGNORES_CHILDREN, "dump", "-t", str(self.root), "-D", self.images, "-o", "dump.log", "-v4")
        if status != 0:
            raise Failed(f"dump with SIGCHLD ignored: {first_error(said + self.log('dump.log'))}")
        self.must_be_gone()
        self.restored_by(IGNORES_CHILDREN)

    def do_restorer_without_setpcap(self):
        self.use("creds", "keepcaps-without-setpcap")
        self.must_dump()
        self.must_be_gone()
        self.restored_by(WITHOUT_SETPCAP)
