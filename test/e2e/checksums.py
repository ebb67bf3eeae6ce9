"""Checksums of pages: damage is found before anything runs, wherever it is, and sets without them restore as ever. Cases for
scenarios.py."""
import os
import shutil
import struct

from case import first_error
from world import Failed

# private memory, shared between relatives, shared anonymous memory, memory files, System V segments
DAMAGED = [("memory", "sparse"), ("memory-large", "pieces"), ("tree", "bush"), ("shared", "copy-on-write"),
           ("shared", "anonymous"), ("shared", "memfd"), ("shared", "sysv")]


class Checksums:
    def sums(self):
        return os.path.join(self.images, "pages.sum")

    def page_files(self):
        return sorted(n for n in os.listdir(self.images) if n.startswith("pages-"))

    def flip(self, name, nth):
        """One bit of the nth page of those that are not holes; returns what puts it back."""
        path = os.path.join(self.images, name)
        with open(path, "r+b", buffering=0) as f:
            size, data, pages = os.fstat(f.fileno()).st_size, 0, []
            while data < size:
                try:
                    data = os.lseek(f.fileno(), data, os.SEEK_DATA)
                except OSError:
                    break
                end = os.lseek(f.fileno(), data, os.SEEK_HOLE)
                pages += range(data & ~4095, end, 4096)
                data = end
            at = pages[nth % len(pages)] + 4096 * 5 // 7
            byte = os.pread(f.fileno(), 1, at)
            os.pwrite(f.fileno(), bytes([byte[0] ^ 0x20]), at)
        return lambda: self.write_at(path, at, byte)

    @staticmethod
    def write_at(path, at, data):
        with open(path, "r+b", buffering=0) as f:
            os.pwrite(f.fileno(), data, at)

    def do_flipped_bits(self):
        """In each pages file, in a first, a last and some other page; the vDSO's are among them."""
        for victim, name in DAMAGED:
            self.use(victim, name)
            self.must_dump()
            self.must_be_gone()
            for file in self.page_files():
                for nth in (0, -1, 7):
                    undo = self.flip(file, nth)
                    self.must_fail_to_restore(f"of {victim}/{name} with a bit of {file} flipped", "does not match its checksum",
                                              f"/{file}", "--no-checksums")
                    undo()
            self.restore()
            if victim == "memory-large" and ("threads_to_read" in self.log("restore.log")) != (len(os.sched_getaffinity(0)) > 1):
                raise Failed("whether large memory is read by several threads")
            self.expect_same("after the damage was undone")
            self.finish("after the damage was undone")

    def do_damage_ignored(self):
        """Whoever says so gets the damaged memory."""
        self.use("memory", "sparse")
        self.must_dump()
        self.must_be_gone()
        undo = self.flip(self.page_files()[0], 3)
        self.restore_args = ["--no-checksums"]
        code, said = self.criu_run("restore", "-d", "-D", self.images, "-o", "restore.log", "-v4", "--leave-stopped", *self.restore_args)
        if code != 0:
            raise Failed(f"restore --no-checksums: {first_error(said + self.log('restore.log'))}")
        self.world.clear()
        undo()
        self.restore_args = []
        self.restore()
        self.finish("after the restore")

    def do_without_checksums(self):
        for how in ("none made", "removed", "of another dump"):
            self.use("tree", "bush")
            if how == "of another dump":
                self.must_dump("--leave-running")
                other = self.sums()
            self.must_dump(*(["--no-checksums"] if how == "none made" else []))
            self.must_be_gone()
            if os.path.exists(self.sums()) == (how == "none made"):
                raise Failed(f"{how}: pages.sum is {'' if how == 'none made' else 'not '}there")
            if how == "removed":
                os.unlink(self.sums())
            elif how == "of another dump":
                shutil.copyfile(other, self.sums())
            self.restore()
            if ("of another dump" in self.log("restore.log")) != (how == "of another dump"):
                raise Failed(f"{how}: what the log says of the checksums")
            self.expect_same(f"{how}: after the restore")
            self.finish(f"{how}: after the restore")

    def do_damaged_checksums(self):
        self.use("tree", "bush")
        self.must_dump()
        self.must_be_gone()
        with open(self.sums(), "rb") as f:
            good = f.read()
        files = struct.unpack_from("<I", good, 16)[0]
        first = 96 + 16 * files
        bad_sum = bytearray(good)
        for at in range(first, len(good)):
            bad_sum[at] ^= 0xff
        cases = {"cut short": good[:-1], "cut in the head": good[:50], "empty": b"", "too long": good + b"\0",
                 "a flipped bit in the head": bytes([good[0], good[1] ^ 1]) + good[2:],
                 "a flipped bit in the index": good[:100] + bytes([good[100] ^ 1]) + good[101:],
                 "sums of something else": bytes(bad_sum)}
        for what, content in cases.items():
            with open(self.sums(), "wb") as f:
                f.write(content)
            words = ["does not match its checksum"] if what.startswith("sums") else ["pages.sum"]
            self.must_fail_to_restore(f"with a pages.sum that has {what}", *words, "--no-checksums")
        os.unlink(self.sums())
        os.mkfifo(self.sums())
        self.must_fail_to_restore("with a fifo for pages.sum", "pages.sum")
        os.unlink(self.sums())
        with open(self.sums(), "wb") as f:
            f.write(good)
        self.restore()
        self.expect_same("after the restore")
        self.finish("after the restore")
