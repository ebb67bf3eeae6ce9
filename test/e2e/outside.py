"""What is outside of the tree: peers of UNIX sockets that are refused, allowed, connected again or replaced; files that sockets
are bound to, after a restore that failed; System V objects that are changed meanwhile. Cases for scenarios.py."""
import ctypes
import os
import re
import socket
import stat
import struct
import threading

import rpc
from case import TIMEOUT, first_error
from world import Failed, Skipped

IPC_RMID, IPC_SET, IPC_STAT, SHM_UNLOCK, SHM_RDONLY = 0, 1, 2, 12, 0o10000   # linux/ipc.h, linux/shm.h
GETVAL, SETVAL = 12, 16   # linux/sem.h
SHM_HUGETLB = 0o4000
SEGMENT = 8 * 4096   # bytes of the one that mappings/shm-locked has; it has written to the first two pages


class Service(threading.Thread):
    """Listens, takes note of datagrams, and answers who asks whether it is alive."""

    def __init__(self, base):
        super().__init__(daemon=True)
        self.log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.log.bind(os.path.join(base, "log"))
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(os.path.join(base, "service"))
        self.listener.listen(5)
        for name in ("log", "service"):
            os.chmod(os.path.join(base, name), 0o777)
        self.talks = []

    def run(self):
        try:
            while True:
                self.talks.append(self.listener.accept()[0])
                threading.Thread(target=self.answer, args=(self.talks[-1],), daemon=True).start()
        except OSError:
            pass

    @staticmethod
    def answer(sock):
        try:
            while sock.recv(64) == b"alive":
                sock.sendall(b"welcome")
        except OSError:
            pass


class Outside:
    def refused(self, what, *words, **kw):
        code, said = self.dump(**kw)
        if code == 0:
            raise Failed(f"a dump of {what} succeeded")
        for word in words:
            if word not in said:
                raise Failed(f"the error of a dump of {what} does not name '{word}': {first_error(said)}")
        return said

    def must_fail_with(self, options, why, *words):
        plain = self.criu_run
        self.criu_run = lambda *cmd: plain(*cmd, *options)
        try:
            self.must_fail_to_restore(why, *words)
        finally:
            self.criu_run = plain

    def restored_with(self, *options, pass_fds=()):
        code, said = self.criu_run("restore", "-d", "-D", self.images, "-o", "restore.log", "-v4", *options, pass_fds=pass_fds)
        if code != 0:
            raise Failed(f"restore {' '.join(options)}: {first_error(said + self.log('restore.log'))}")

    @staticmethod
    def semaphores():
        with open("/proc/sysvipc/sem", encoding="ascii") as f:
            return [int(line.split()[1]) for line in f.readlines()[1:]]

    def do_semaphore_taken(self):
        """A restore that fails because a semaphore is somebody else's by now leaves the others as they were."""
        libc = ctypes.CDLL(None, use_errno=True)
        before = set(self.semaphores())
        self.use("undo", "outside")
        ours = sorted(set(self.semaphores()) - before)
        values = lambda: [libc.semctl(ours[0], i, GETVAL) for i in range(4)]
        try:
            self.must_dump()
            self.must_be_gone()
            at_end = values()
            if at_end != [2, 2, 10, 3]:
                raise Failed(f"after the end of the tree the semaphores are {at_end}")
            for nr, by in ((2, 3), (0, 1), (3, 0)):
                libc.semctl(ours[0], nr, SETVAL, by)
                taken = values()
                self.must_fail_to_restore(f"although semaphore {nr} is taken")
                self.world.until(lambda: not self.world.tree(), 10, "a failed restore leaves no process")
                if values() != taken:
                    raise Failed(f"a restore that failed has changed {taken} to {values()}")
                libc.semctl(ours[0], nr, SETVAL, at_end[nr])
            self.restored_with()
            self.finish("after the restore")
        finally:
            for semid in set(self.semaphores()) & set(ours):
                libc.semctl(semid, 0, IPC_RMID, 0)

    def do_unix_service_outside(self):
        """Clients of a service outside are connected to it again, by its name."""
        service = Service(self.base)
        service.start()
        self.use("unix-outside", "named")
        self.refused("a client of a service outside", "--ext-unix-sk")
        self.must_dump("--ext-unix-sk")
        self.must_be_gone()
        self.must_fail_to_restore("without the option", "--ext-unix-sk")
        self.must_fail_with(("--inherit-fd", "fd[0]:something"), "without the option, with a descriptor for something else",
                            "outside of the tree")
        self.restored_with("--ext-unix-sk")
        self.finish("after the restore")
        service.log.settimeout(20)
        if service.log.recv(64) != b"alive":
            raise Failed("the datagram did not come to the service")

    def do_unix_service_gone(self):
        """Without the service the restore fails, says so, and leaves nothing behind."""
        service = Service(self.base)
        self.use("unix-outside", "named")
        said = self.refused("a client of a service outside", "--external unix[")
        allowed = [w for ino in set(re.findall(r"--external (unix\[\d+\])", said)) for w in ("--external", ino)]
        self.must_dump(*allowed)
        self.must_be_gone()
        service.listener.close()
        self.must_fail_with(allowed, "without the service", "refused", "service")

    def do_unix_client_outside(self):
        """A connection whose other end has no name goes on with what the caller gives."""
        Service(self.base)
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        starter = threading.Thread(target=self.connect_when_asked, args=(client,), daemon=True)
        starter.start()
        self.use("unix-outside", "accepted")
        said = self.refused("a server with a client outside", "--external unix[")
        peer = re.search(r"--external (unix\[\d+\])", said).group(1)
        self.must_dump("--external", peer)
        self.must_be_gone()
        client.close()
        self.must_fail_with(("--external", peer), "with nothing in place of the client", "--inherit-fd")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        os.set_inheritable(theirs.fileno(), True)
        self.restored_with("--external", peer, "--inherit-fd", f"fd[{theirs.fileno()}]:{peer}", pass_fds=(theirs.fileno(),))
        theirs.close()
        threading.Thread(target=Service.answer, args=(ours,), daemon=True).start()
        self.finish("after the restore")

    def connect_when_asked(self, client):
        asked = os.path.join(self.base, "listening")
        while not os.path.exists(asked):
            threading.Event().wait(0.01)
        client.connect(os.path.join(self.dir, "accepting"))

    def socket_file(self):
        st = os.stat(os.path.join(self.dir, "server"))
        return st.st_mode, st.st_uid, st.st_gid

    def fail_at_every_stage(self, check):
        for stage in range(1, 30):
            code, said = self.criu_run("restore", "-d", "-D", self.images, "-o", "restore.log", "-v4", "--inject-stage", str(stage))
            if code == 0:
                return
            if self.world.tree():
                raise Failed(f"stage {stage} of the restore failed and left processes: {first_error(said)}")
            check(stage)

    def do_unix_file_undone(self):
        """A restore that fails leaves the file of a socket as it was, or where there was none, none."""
        self.use("unix-named", "path")
        self.must_dump()
        self.must_be_gone()
        path, was = os.path.join(self.dir, "server"), self.socket_file()

        def gone(stage):
            if os.path.exists(path):
                raise Failed(f"stage {stage} of the restore failed and left the file of a socket")

        def same(stage):
            if self.socket_file() != was:
                raise Failed(f"stage {stage} of the restore failed, and the file is {self.socket_file()}, was {was}")

        images = self.images
        self.fail_at_every_stage(same)
        self.expect_same("after the restore")
        self.new_images()
        self.must_dump()
        self.must_be_gone()
        os.unlink(path)
        self.fail_at_every_stage(gone)
        same("no")
        self.finish("after the restore")
        self.images = images

    def do_unix_file_not_ours_to_give(self):
        """A restore that may not give the file of a socket to its owner fails, and leaves the older one where it was."""
        self.use("unix-named", "path")
        self.must_dump()
        self.must_be_gone()
        plain = self.criu_run
        self.criu_run = lambda *cmd, **kw: self.world.run(["setpriv", "--bounding-set", "-chown", self.criu, *cmd], TIMEOUT, **kw)
        try:
            self.must_fail_to_restore("without CAP_CHOWN", "owner and mode", os.path.join(self.dir, "server"))
        finally:
            self.criu_run = plain
        if not stat.S_ISSOCK(self.socket_file()[0]):
            raise Failed("the file of the socket is another one")
        self.restore()
        self.finish("after the restore")

    def do_unix_name_taken(self):
        """What others have put in the place of a socket's file stays, and the error names it."""
        self.use("unix-named", "path")
        self.must_dump()
        self.must_be_gone()
        path = os.path.join(self.dir, "server")
        os.unlink(path)
        with open(path, "w", encoding="utf-8") as f:
            f.write("precious")
        self.must_fail_to_restore("over a file", "no socket", path)
        with open(path, encoding="utf-8") as f:
            if f.read() != "precious":
                raise Failed("the file was changed")
        os.unlink(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            other.bind(path)
            other.listen(1)
            self.must_fail_to_restore("over the socket of somebody else", "somebody else", path)
            client.connect(path)
        self.restore()
        self.finish("after the restore")

    # --- System V segments

    def do_segment_unlocked_meanwhile(self):
        """A segment that the end of the tree leaves where it is: the restored tree has it locked, as it was."""
        self.use("mappings", "shm-locked")
        with open("/proc/sysvipc/shm") as f:
            ids = [int(line.split()[1]) for line in f.readlines()[1:]]
        if len(ids) != 1:
            raise Failed(f"{len(ids)} segments in place of one")
        self.must_dump()
        self.must_be_gone()
        if ctypes.CDLL(None, use_errno=True).shmctl(ids[0], SHM_UNLOCK, None) < 0:
            raise Failed(f"cannot unlock the segment: {os.strerror(ctypes.get_errno())}")
        self.restore()
        self.finish("after its segment was unlocked")

    def segment_left(self):
        """The segment of a tree that has been dumped, all of it written to by somebody else since; and who can do so."""
        self.use("mappings", "shm-locked")
        with open("/proc/sysvipc/shm") as f:
            shmid = int(f.readlines()[1].split()[1])
        self.must_dump()
        self.must_be_gone()
        libc = ctypes.CDLL(None, use_errno=True)
        libc.shmat.restype = ctypes.c_void_p
        at = libc.shmat(shmid, None, 0)
        ctypes.memset(at, 0x5a, SEGMENT)
        if libc.shmdt(ctypes.c_void_p(at)) < 0:
            raise Failed(f"cannot change the segment: {os.strerror(ctypes.get_errno())}")
        return libc, shmid

    def segment_is(self, libc, shmid, first, rest, when):
        at = libc.shmat(shmid, None, SHM_RDONLY)
        held = ctypes.string_at(at, SEGMENT)
        libc.shmdt(ctypes.c_void_p(at))
        if (held[:8192] == b"\x5a" * 8192) != first or held[8192:] != bytes([rest]) * (SEGMENT - 8192):
            raise Failed(f"{when} the segment has {held[:8].hex()} and {held[8192:8200].hex()}")

    def do_segment_written_meanwhile(self):
        """What was never written to when it was dumped is zero again, whatever others have put there."""
        libc, shmid = self.segment_left()
        self.restore()
        self.segment_is(libc, shmid, False, 0, "after the restore")
        self.finish("after its segment was written to")

    def do_segment_whose_pages_are_missing(self):
        """Nothing says what was in it, so it is left alone; as soon as something does, it is filled."""
        libc, shmid = self.segment_left()
        name = os.path.join(self.images, f"pagemap-shmem-{shmid}.img")
        os.rename(name, name + ".away")
        self.must_fail_to_restore("without the segment's page map", f"segment {shmid} is there already", os.path.basename(name))
        self.segment_is(libc, shmid, True, 0x5a, "after a restore without its page map")
        os.rename(name + ".away", name)
        with open(name, "r+b") as f:
            first = f.read(1)
            f.seek(0)
            f.write(bytes([first[0] ^ 1]))
        self.must_fail_to_restore("with a damaged page map of the segment")
        self.segment_is(libc, shmid, True, 0x5a, "after a restore with a damaged page map")
        with open(name, "r+b") as f:
            f.write(first)
        self.restore()
        self.finish("after its page map was whole again")

    def do_segment_filled_by_half(self):
        """A restore that fails while it is filled says so, and the next one starts from nothing."""
        libc, shmid = self.segment_left()
        with open(os.path.join(self.images, f"pagemap-shmem-{shmid}.img"), "rb") as f:
            head = f.read()[8:]   # behind two magic numbers
        pages = f"pages-{rpc.decode(head[4:4 + struct.unpack_from('<I', head)[0]])[1]}.img"
        undo = self.flip(pages, 1)
        self.must_fail_to_restore("with a damaged page of the segment", "does not match its checksum",
                                  f"segment {shmid} has lost what was in it")
        undo()
        self.restore()
        self.segment_is(libc, shmid, False, 0, "after the restore")
        self.finish("after a restore that had failed")

    def do_segment_in_use_meanwhile(self):
        """Who has it attached keeps what he sees."""
        libc, shmid = self.segment_left()
        at = libc.shmat(shmid, None, SHM_RDONLY)
        self.restore()
        if ctypes.string_at(at, SEGMENT) != b"\x5a" * SEGMENT or f"segment {shmid} is in use" not in self.log("restore.log"):
            raise Failed("a segment that somebody has attached was written to, or nobody says that it was not")
        libc.shmdt(ctypes.c_void_p(at))
        self.world.clear()
        libc.shmctl(shmid, IPC_RMID, None)

    def do_segment_of_huge_pages(self):
        """One that has the same id, key and size and is certainly not the one that was dumped."""
        with open("/proc/sys/vm/nr_hugepages") as f:
            if int(f.read()) < 1:
                raise Skipped("no huge pages are reserved (vm.nr_hugepages)")
        libc, shmid = self.segment_left()
        libc.shmctl(shmid, IPC_RMID, None)
        with open("/proc/sys/kernel/shm_next_id", "w") as f:
            f.write(str(shmid))
        if libc.shmget(0, SEGMENT, 0o1600 | SHM_HUGETLB) != shmid:
            raise Failed(f"cannot make a segment of huge pages: {os.strerror(ctypes.get_errno())}")
        self.must_fail_to_restore("onto a segment of huge pages", f"segment {shmid} is there already", "huge pages")
        libc.shmctl(shmid, IPC_RMID, None)
        self.restore()
        self.finish("after the segment of huge pages had gone")

    def do_segment_of_another_owner(self):
        """Same id, key and size, as happens between machines: it is neither taken nor written to."""
        libc, shmid = self.segment_left()
        about = ctypes.create_string_buffer(512)
        if libc.shmctl(shmid, IPC_STAT, about) < 0:
            raise Failed(f"cannot look at the segment: {os.strerror(ctypes.get_errno())}")

        def give_to(uid):
            struct.pack_into("I", about, 4, uid)   # shm_perm.uid
            if libc.shmctl(shmid, IPC_SET, about) < 0:
                raise Failed(f"cannot give the segment away: {os.strerror(ctypes.get_errno())}")

        give_to(65534)
        self.must_fail_to_restore("onto the segment of another", f"segment {shmid} is there already", "another owner")
        self.segment_is(libc, shmid, True, 0x5a, "as another's")
        give_to(0)
        self.restore()
        self.finish("after the segment has its owner again")
