"""What a restore is given from outside in the place of what was dumped: terminals, sockets, other programs."""
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess

from case import TIMEOUT
from state import read
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

    def restore_giving(self, fd, key, number, *options):
        """Restores with @fd in the place of @key, and looks whether it is descriptor @number of the root."""
        os.set_inheritable(fd, True)
        self.restored_with("--inherit-fd", f"fd[{fd}]:{key}", *options, pass_fds=(fd,))
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

    def decoded(self, name):
        """Entries of an image, by crit."""
        out = os.path.join(self.base, "decoded.json")
        code, said = self.world.run(["crit", "decode", "-i", os.path.join(self.images, name), "-o", out], TIMEOUT)
        if code != 0:
            raise Failed(f"crit decode {name}: {said}")
        with open(out, encoding="utf-8") as f:
            return json.load(f)["entries"]

    def do_inherit_file_of_other_mounts(self):
        """A file of a mount that is not in the tree's mount namespace: refused, external, asked for at restore, and replaced."""
        mounts = ("--external", "mnt[]")
        self.use("mount-outside", "outside")
        with open(f"/proc/{self.root}/fdinfo/3", encoding="utf-8") as f:
            mount = next(int(line.split()[1]) for line in f if line.startswith("mnt_id"))
        key = f"file[{mount:x}:{os.stat(f'/proc/{self.root}/fd/3').st_ino:x}]"
        code, said = self.dump(*mounts)
        if code == 0 or f"--external {key}" not in said:
            raise Failed(f"a dump that is not told of {key}: exit status {code}: {said}")
        self.must_dump(*mounts, "--external", key)
        self.must_be_gone()
        if shutil.which("crit"):
            ids = {e["mnt_id"] for n in os.listdir(self.images) if n.startswith("mountpoints-") for e in self.decoded(n)}
            files = [e["reg"] for e in self.decoded("files.img") if "reg" in e and not e["reg"].get("ext")]
            if not files or any(e.get("mnt_id") not in ids for e in files):
                raise Failed(f"mounts are {sorted(ids)}, of files {[(e['name'], e.get('mnt_id')) for e in files]}")
        self.must_fail_with(mounts, "without the file", f"--inherit-fd fd[N]:{key}")
        with open(os.path.join(self.base, "replacement"), "w+", encoding="utf-8") as new:
            self.restore_giving(new.fileno(), key, 3, *mounts)
        self.finish("after the restore")

    def do_root_of_another_file_system(self):
        """A root directory that is the whole of a file system, as the restorer's is of another one: not taken for it."""
        mounts = ("--external", "mnt[]")
        self.use("mount-given", "outer-root")
        self.world.mounts = self.world.read_mounts()   # until the victim's end
        self.must_dump(*mounts)
        self.must_be_gone()
        self.must_fail_with(mounts, "without the root", "which the restorer's is not", "--root PATH")
        self.restored_with(*mounts, "--root", os.path.join(self.dir, "root"))
        self.finish("after the restore")

    def do_file_for_a_directory(self):
        """What is given for a mount is not of the kind that its mount point is: said so, and the right one is taken afterwards."""
        self.use("mount-given", "named")
        self.world.mounts = self.world.read_mounts()   # until the victim's end
        self.must_dump("--external", f"mnt[{self.dir}/to]:there")
        self.must_be_gone()
        with open(os.path.join(self.base, "a-file"), "wb") as f:
            pass
        self.must_fail_with(["--external", f"mnt[there]:{f.name}"], "with a file", f"{self.dir}/to", "is a directory",
                            "--external mnt[there]:PATH")
        self.restored_with("--external", f"mnt[there]:{self.dir}/two")
        self.finish("after the restore")

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

    def must_fail_giving(self, fd, key, why, *words):
        os.set_inheritable(fd, True)
        plain = self.criu_run
        self.criu_run = lambda *cmd: plain(*cmd, "--inherit-fd", f"fd[{fd}]:{key}", pass_fds=(fd,))
        try:
            self.must_fail_to_restore(why, *words)
        finally:
            self.criu_run = plain

    def do_inherit_wrong_socket(self):
        """What cannot stand for a listening socket is refused; descriptors that nothing asked for, or that are too many, are named."""
        with socket.create_server(("127.0.0.1", 0)) as old:
            self.start_with("wrong", stdout=old.fileno())
            key = f"socket:[{os.fstat(old.fileno()).st_ino}]"
        self.must_dump()
        self.must_be_gone()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            self.must_fail_giving(udp.fileno(), key, "with a datagram socket", key, "type 2")
            self.must_fail_giving(tcp.fileno(), key, "with a socket that does not listen", key, "does not listen")
        with open(os.devnull, "rb") as null, socket.create_server(("127.0.0.1", 0)) as new:
            os.set_inheritable(null.fileno(), True)
            os.set_inheritable(new.fileno(), True)
            given = [w for k, f in ((key, new), (key, null), ("socket:[1]", null)) for w in ("--inherit-fd", f"fd[{f.fileno()}]:{k}")]
            self.restored_with(*given, pass_fds=(new.fileno(), null.fileno()))
            if os.stat(f"/proc/{self.root}/fd/1").st_ino != os.fstat(new.fileno()).st_ino:
                raise Failed("the first of two descriptors is not used")
        said = self.log("restore.log")
        for words in (f"({key}) is not used", "(socket:[1]) stands for nothing"):
            if words not in said:
                raise Failed(f"no warning says '{words}'")
        self.finish("after the restore")

    def do_inherit_both_ends(self):
        """A pipe of which the tree has both ends: they have one name, and one end that is given is enough for both."""
        reader, writer = os.pipe()
        os.write(writer, b"unread")
        self.start_with("ends", stdin=reader, stdout=writer)
        key = f"pipe:[{os.fstat(reader).st_ino}]"
        os.close(reader)
        os.close(writer)
        self.must_dump()
        self.must_be_gone()
        with open(os.devnull, "rb") as null:
            self.must_fail_giving(null.fileno(), key, "with what cannot be written to", key, "cannot be written to")
        reader, writer = os.pipe()
        self.restore_giving(writer, key, 1)
        for number, mode in (0, os.O_RDONLY), (1, os.O_WRONLY):
            with open(f"/proc/{self.root}/fdinfo/{number}", encoding="utf-8") as f:
                flags = next(int(line.split()[1], 8) for line in f if line.startswith("flags"))
            if flags & os.O_ACCMODE != mode or os.stat(f"/proc/{self.root}/fd/{number}").st_ino != os.fstat(writer).st_ino:
                raise Failed(f"descriptor {number} is open with flags 0{flags:o}, or is another pipe")
        if "6 bytes that were unread" not in self.log("restore.log"):
            raise Failed("no warning says that something unread is lost")
        self.finish("after the restore")
        os.close(reader)
        os.close(writer)

    def do_inherit_one_of_a_pair(self):
        """Two sockets of the tree that are connected: nobody can put one that is connected elsewhere in the place of one of them."""
        self.use("unix-pair", "kinds")
        numbers = [n for n in sorted(os.listdir(f"/proc/{self.root}/fd"), key=int)
                   if os.readlink(f"/proc/{self.root}/fd/{n}").startswith("socket:")]
        key, peer = (os.readlink(f"/proc/{self.root}/fd/{n}") for n in numbers[:2])
        self.must_dump()
        self.must_be_gone()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.must_fail_giving(theirs.fileno(), key, "with one end from outside", key, peer, "--inherit-fd")
        self.restore()
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

    def do_killed_at_an_archive(self):
        """A dumper that is killed while tar and gzip are at work on a memory file system: they end with it, and the tree goes on."""
        slow = os.path.join(self.base, "slow")
        os.mkdir(slow)
        with open(os.path.join(slow, "gzip"), "w", encoding="utf-8") as script:
            script.write("#!/bin/sh\nexec sleep 600\n")
        os.chmod(script.name, 0o755)
        self.use("mount-ns", "content")
        there = lambda: {p: read(f"/proc/{p}/comm").strip() for p in self.world.tree()}
        for whom in ("who waits", "who dumps"):
            self.new_images()
            pid = self.world.start([self.criu, "dump", "-t", str(self.root), "-D", self.images, "-o", "dump.log", "-v4"],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"PATH": slow + ":/usr/bin:/bin"})
            self.world.until(lambda: b"sleep" in there().values(), TIMEOUT, "gzip runs")
            os.kill(pid if whom == "who waits" else self.children(pid)[0], signal.SIGKILL)
            self.world.until(lambda: not {b"sleep", b"tar", b"criu"} & set(there().values()), 20, f"all end with {whom}")
            if os.path.exists(os.path.join(self.images, "inventory.img")):
                raise Failed(f"there is a set although {whom} was killed")
        self.expect_same("after dumps that were killed")
        self.finish("after dumps that were killed")
