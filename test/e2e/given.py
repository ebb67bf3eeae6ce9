"""What a restore is given from outside in the place of what was dumped: terminals, sockets, other programs."""
import os
import pty
import re
import shutil
import socket
import subprocess

from case import TIMEOUT
from world import Failed

# the note that a linker writes: sizes of name and id, type 3, the name, and an id of 20 bytes
BUILD_ID = re.compile(rb"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0.{20}", re.DOTALL)


class Given:
    def start_with(self, what, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, program=None):
        self.victim, self.name = program or os.path.join(self.victims, "tree"), "single"
        self.dir = os.path.join(self.base, what, "d")
        os.makedirs(self.dir)
        self.root = self.world.start([self.victim, self.name], cwd=self.dir, stdin=stdin, stdout=stdout,
                                     stderr=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin"}, start_new_session=True)
        self.world.until(lambda: os.path.exists(os.path.join(self.dir, "ready")), TIMEOUT, "the victim's setup")
        self.before = self.snapshot()

    def restore_giving(self, fd, key, number):
        """Restores with @fd in the place of @key, and looks whether it is descriptor @number of the root."""
        os.set_inheritable(fd, True)
        self.restored_with("--inherit-fd", f"fd[{fd}]:{key}", pass_fds=(fd,))
        want, got = os.fstat(fd), os.stat(f"/proc/{self.root}/fd/{number}")
        if (got.st_dev, got.st_ino) != (want.st_dev, want.st_ino):
            raise Failed(f"descriptor {number} is {os.readlink(f'/proc/{self.root}/fd/{number}')}, not the inherited one")

    def do_inherit_terminal(self):
        """A terminal whose master is outside: refused, external, asked for at restore, and replaced."""
        master, slave = pty.openpty()
        self.start_with("terminal", stdin=slave)
        stat = os.fstat(slave)
        key = f"tty[{stat.st_rdev:x}:{stat.st_dev:x}]"
        os.close(slave)
        self.refused("a terminal of others", "--external tty[")
        self.must_dump("--external", key)
        self.must_be_gone()
        os.close(master)
        self.must_fail_to_restore("without the terminal", f"--inherit-fd fd[N]:{key}")
        master, slave = pty.openpty()
        self.restore_giving(slave, key, 0)
        os.close(slave)
        self.finish("after the restore")
        os.close(master)

    def do_inherit_listener(self):
        """A listening socket in whose place the restored server has that of its new manager."""
        with socket.create_server(("127.0.0.1", 0)) as old:
            self.start_with("listener", stdout=old.fileno())
            key = f"socket:[{os.fstat(old.fileno()).st_ino}]"
        self.must_dump()
        self.must_be_gone()
        with socket.create_server(("127.0.0.1", 0)) as new:
            self.restore_giving(new.fileno(), key, 1)
        self.finish("after the restore")

    def do_other_build(self):
        """A program that was built anew in between, of the same size, is not the one that ran; unless only sizes are to be compared."""
        program = os.path.join(self.base, "program")
        shutil.copy(os.path.join(self.victims, "tree"), program)
        self.start_with("build", program=program)
        self.must_dump()
        self.must_be_gone()
        with open(program, "rb") as f:
            before = f.read()
        found = BUILD_ID.search(before)
        if not found:
            raise Failed("the victim has no build id")
        last = found.end() - 1
        with open(program, "wb") as f:
            f.write(before[:last] + bytes([before[last] ^ 1]) + before[last + 1:])
        self.must_fail_to_restore("with another build", program, "another build")
        self.must_fail_with(["--file-validation", "buildid"], "with another build", program, "another build")
        self.restored_with("--file-validation", "filesize")
        self.finish("after a restore that compares sizes")
