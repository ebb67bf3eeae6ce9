"""Dumps into directories that were used before: what an older dump has left there is never taken for what the new one did not need
to store. Sets that lack page maps. Cases for scenarios.py."""
import ctypes
import glob
import os
import re
import shutil
import subprocess

from case import TIMEOUT
from world import Failed

KEEP_SIZE, PUNCH_HOLE = 1, 2   # linux/falloc.h
# shared anonymous memory, a memory file, System V segments outside of a namespace and in one of the tree
SHARED = [("shared", "anonymous"), ("shared", "memfd"), ("shared", "sysv"), ("ipc-ns", "segments")]


class Again:
    def shared_mappings(self):
        """(process, first byte, end) of every mapping of shared memory that the tree may write to."""
        out = []
        for pid in self.world.tree():
            with open(f"/proc/{pid}/maps", encoding="utf-8") as f:
                out += [(pid, int(m[1], 16), int(m[2], 16)) for m in
                        re.finditer(r"^(\w+)-(\w+) rw.s .* (?:/dev/zero|/memfd:\S+|/SYSV\w+) \(deleted\)$", f.read(), re.M)]
        if not out:
            raise Failed("no shared memory is mapped")
        return out

    def empty_shared(self, mappings):
        """What is behind them becomes a hole, as by MADV_REMOVE of the tree itself."""
        libc = ctypes.CDLL(None, use_errno=True)
        for pid, start, end in mappings:
            with open(f"/proc/{pid}/map_files/{start:x}-{end:x}", "r+b", buffering=0) as f:
                size = ctypes.c_long(-(-os.fstat(f.fileno()).st_size // 4096) * 4096)
                if libc.fallocate(f.fileno(), PUNCH_HOLE | KEEP_SIZE, ctypes.c_long(0), size) < 0:
                    raise Failed(f"cannot empty shared memory: {os.strerror(ctypes.get_errno())}")

    def must_be_zero(self, mappings, when):
        for pid, start, end in mappings:
            with open(f"/proc/{pid}/mem", "rb", buffering=0) as f:
                f.seek(start)
                held = f.read(end - start)
            if held.strip(b"\0"):
                raise Failed(f"{when}: {len(held) - held.count(0)} bytes of {start:x}-{end:x} of process {pid} are not zero")

    def to_server(self, directory, *more):
        """A dump whose pages go to a page server that stores them in @directory."""
        ready, theirs = os.pipe()
        with open(os.path.join(self.base, "server"), "w+b") as out:
            pid = self.world.start([self.criu, "page-server", "-D", directory, "-o", "server.log", "-v4", "--address", "127.0.0.1",
                                    "--status-fd", str(theirs)], stdin=subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=(theirs,))
            self.world.others.add(pid)
            os.close(theirs)
            with os.fdopen(ready, "rb") as f:
                f.read(1)
            out.seek(0)
            port = re.search(rb"port (\d+)", out.read())[1].decode()
        try:
            self.must_dump(*more, "--page-server", "--address", "127.0.0.1", "--port", port)
            self.world.until(lambda: pid in self.world.ended, TIMEOUT, "the page server ends")
        finally:
            self.world.others.discard(pid)

    def used_again(self, victim, name, dump, between=lambda: None):
        """Two dumps by @dump, which takes more options, with shared memory that is emptied before the second."""
        self.use(victim, name)
        self.new_images()
        self.new_images = lambda: None
        try:
            dump("--leave-running")
            mappings = self.shared_mappings()
            self.empty_shared(mappings)
            dump()
            self.must_be_gone()
            between()
            self.restore()
            self.must_be_zero(mappings, f"{victim}/{name}")
            if self.shared_mappings() != mappings:
                raise Failed(f"{victim}/{name}: other mappings after the restore")
        finally:
            del self.new_images
        self.world.clear()
        self.decode()
        with open("/proc/sysvipc/shm", encoding="ascii") as f:
            for line in f.readlines()[1:]:
                ctypes.CDLL(None).shmctl(int(line.split()[1]), 0, None)

    def do_used_directory(self):
        """A shared segment that has no data any more does not get that of the older dump."""
        for victim, name in SHARED:
            self.used_again(victim, name, self.must_dump)

    def do_used_directory_snapshot(self):
        def snapshot(*running):
            self.must_dump("--snapshot", "--leave-running")
            if not running:
                self.world.clear()
        for victim, name in SHARED:
            self.used_again(victim, name, snapshot)

    def do_used_directory_compressed(self):
        self.used_again(*SHARED[0], lambda *more: self.must_dump("--compress", *more))

    def do_used_server(self):
        """The same where the pages went, whose files are put beside the others."""
        there = os.path.join(self.base, "there")
        os.mkdir(there)

        def merge():
            for name in os.listdir(there):
                if name.startswith("page"):
                    shutil.copyfile(os.path.join(there, name), os.path.join(self.images, name))
        for victim, name in SHARED:
            self.used_again(victim, name, lambda *more: self.to_server(there, *more), merge)

    def do_server_after_local(self):
        """Page maps of an older dump, which had its pages here, go when those of the new one are elsewhere."""
        self.use("shared", "anonymous")
        self.new_images()
        self.new_images = lambda: None
        there = os.path.join(self.base, "there")
        os.mkdir(there)
        self.must_dump("--leave-running")
        self.to_server(there)
        self.must_be_gone()
        old = glob.glob(os.path.join(self.images, "pagemap-*.img"))
        if old:
            raise Failed(f"page maps of the older dump: {old}")
        self.must_fail_to_restore("without the files of the page server", f"pagemap-{self.root}.img", f"pid {self.root}", "beside the images")
        for name in os.listdir(there):
            if name.startswith("page"):
                shutil.copyfile(os.path.join(there, name), os.path.join(self.images, name))
        self.restore()
        self.finish("with the files of the page server")

    # --- page maps that are missing

    def do_page_map_missing(self):
        """A process without its page map would have nothing but zeroes: nothing is made of such a set."""
        for victim, name in (("tree", "bush"), ("mappings", "vdso-gone"), ("memory", "sparse")):
            self.use(victim, name)
            self.must_dump()
            self.must_be_gone()
            maps = [n for n in os.listdir(self.images) if re.fullmatch(r"pagemap-\d+\.img", n)]
            if len(maps) != len([n for n in os.listdir(self.images) if re.fullmatch(r"mm-\d+\.img", n)]):
                raise Failed(f"{victim}/{name}: page maps are {maps}")
            for n in maps:
                os.rename(os.path.join(self.images, n), os.path.join(self.images, n + ".away"))
                self.must_fail_to_restore(f"of {victim}/{name} without {n}", n, f"pid {n[8:-4]}", "beside the images")
                if "stage open" in self.log("restore.log"):
                    raise Failed(f"{victim}/{name} without {n}: files were opened before it was refused")
                os.rename(os.path.join(self.images, n + ".away"), os.path.join(self.images, n))
            self.restore()
            self.finish("when all page maps were there again")

    def do_page_map_of_segment_missing(self):
        """Others write none for a segment without data."""
        self.use("shared", "anonymous")
        mappings = self.shared_mappings()
        self.empty_shared(mappings)
        self.must_dump()
        self.must_be_gone()
        maps = glob.glob(os.path.join(self.images, "pagemap-shmem-*.img"))
        if not maps:
            raise Failed("no page map of shared memory")
        for path in maps:
            os.unlink(path)
        self.restore()
        self.must_be_zero(mappings, "without page maps of shared memory")
        self.world.clear()
