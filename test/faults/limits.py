"""criu short of something: room on a disk, the right to write, descriptors, memory, a place to talk to."""
import ctypes
import fcntl
import glob
import os
import re
import select
import shutil
import subprocess

from fault import Failed, Fault, TIMEOUT, first_error, listing, state

# What a dump writes beside pages; enough for the images of memory/big but not for its pages is 8 MiB.
DISK_SIZES = [0, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 128, 512, 2048, 8192]   # KiB


class Limits(Fault):
    def mounted(self, where, kib):
        """A small disk: tmpfs; even an empty one holds names, so its inodes are few, too, when it is very small."""
        size = f"size={max(kib, 4)}k" + (",nr_inodes=2" if kib == 0 else "")
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "small", where], check=True)

    def refused_dump(self, when, *words, args=(), before=(), images=None):
        """The dump fails for the reason said, leaves nothing, and the victim does not notice."""
        code, said = self.criu_run("dump", "-t", str(self.root), "-D", images or self.images, "-v4", *self.dump_args, *args,
                                   before=before)
        said += self.log("dump.log")
        if code != 1:
            raise Failed(f"{when}: exit status {code}: {first_error(said)}")
        self.expect_any(when, said, words)
        self.no_images(when)
        self.carries_on(when)
        return said

    @staticmethod
    def expect_any(when, said, words):
        if words and not any(w.lower() in said.lower() for w in words):
            raise Failed(f"{when}: the error says none of {words}: {first_error(said)}")

    # --- disks

    def do_full_disk(self):
        for victim, name in (("memory", "big"), ("tree", "bush"), ("files", "unlinked")):
            for i, kib in enumerate(self.few(DISK_SIZES, 5)):
                self.use(victim, name)
                self.dump_args += ["--compress"] if i % 2 else []
                self.new_images()
                self.mounted(self.images, kib)
                when = f"{victim}/{name} to a disk of {kib} KiB"
                try:
                    self.small_disk(when)
                finally:
                    subprocess.run(["umount", "-l", self.images], check=False)
                self.forget()

    def small_disk(self, when):
        code, said = self.criu_run("dump", "-t", str(self.root), "-D", self.images, "-v4", *self.dump_args)
        if code == 0:
            self.note("fitted")
            self.must_be_gone()
            self.comes_back(when)
            return
        self.note("full disks")
        self.expect_any(when, said, ("No space left",))
        self.no_images(when)
        self.carries_on(when)

    def do_full_work_dir(self):
        """A log that cannot be written is no reason to fail once it was there, and none to harm the tree."""
        for kib in (0, 4, 16):
            self.use("tree", "bush")
            self.new_images()
            work = self.images + "-work"
            os.mkdir(work)
            self.mounted(work, kib)
            when = f"a work directory of {kib} KiB"
            try:
                with open(os.path.join(work, "filler"), "wb") as f:
                    try:
                        f.write(b"x" * 65536)
                    except OSError:
                        pass
            except OSError:
                pass
            try:
                code, said = self.criu_run("dump", "-t", str(self.root), "-D", self.images, "-W", work, "-o", "dump.log", "-v4")
                if code == 0:
                    self.note("dumped without log")
                    self.must_be_gone()
                    self.comes_back(when)
                else:
                    self.note("refused")
                    self.no_images(when)
                    self.carries_on(when)
            finally:
                subprocess.run(["umount", "-l", work], check=False)
            self.forget()

    def do_full_disk_at_restore(self):
        """Ghost files and pipes need room at restore; the log does, too."""
        self.use("files", "unlinked")
        self.must_dump()
        self.must_be_gone()
        self.files_before = listing(self.dir)
        images = [n for n in os.listdir(self.images) if not n.endswith(".log")]
        code, said = self.criu_run("restore", "-d", "-D", self.images, "-o", "/dev/full", "-v4", *self.restore_args)
        if code == 0:
            self.expect_same("after a restore with a full log")
            self.world.clear()
        else:
            self.nothing_left("a restore with a full log", images)
        code, said = self.criu_run("restore", "-d", "-D", self.images, "-v0", *self.restore_args, before=("prlimit", "--fsize=0"))
        if code == 0:
            raise Failed("ghost files were made although no file may be written")
        self.nothing_left("a restore under RLIMIT_FSIZE 0", images)
        self.comes_back("after restores without room")

    # --- directories

    def do_read_only_directory(self):
        self.use("tree", "bush")
        self.new_images()
        self.mounted(self.images, 1024)
        subprocess.run(["mount", "-o", "remount,ro", self.images], check=True)
        try:
            self.refused_dump("to a read-only directory", "Read-only file system")
        finally:
            subprocess.run(["umount", "-l", self.images], check=False)

    def do_read_only_directory_at_restore(self):
        """Images can be restored from where nothing can be written."""
        self.use("tree", "bush")
        self.must_dump()
        self.must_be_gone()
        subprocess.run(["mount", "--bind", self.images, self.images], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", self.images], check=True)
        try:
            code, said = self.criu_run("restore", "-d", "-D", self.images, "-v4")
            if code != 0:
                raise Failed(f"restore from a read-only directory: {first_error(said)}")
            self.expect_same("after a restore from a read-only directory")
        finally:
            subprocess.run(["umount", "-l", self.images], check=False)
        self.finish("after a restore from a read-only directory")

    def do_odd_directories(self):
        plain = os.path.join(self.base, "plain")
        with open(plain, "w", encoding="utf-8"):
            pass
        for path, word in ((os.path.join(self.base, "missing"), "No such file"), (plain, "Not a directory"),
                           (os.path.join(plain, "below"), "Not a directory"), ("/proc/self/fd", ""), ("x" * 5000, "")):
            self.use("tree", "single")
            self.new_images()
            self.refused_dump(f"to {path[:40] or 'an empty name'}", *([word] if word else []), images=path)
            code, said = self.criu_run("restore", "-d", "-D", path)
            if code != 1 or self.world.clear():
                raise Failed(f"restore from {path[:40]}: exit status {code}: {first_error(said)}")
            self.forget()

    def do_vanishing_directory(self):
        """Images taken away at a known point of the dump, which stands still meanwhile: without all of them there is no set."""
        writing, written = "stage ask:", "stage write images:"   # each line is there while the next stage works
        removals = [(writing, "the directory"), (written, "the directory"), (written, "all images")]
        for point, what in removals + [(written, name) for name in self.few(self.image_names(), 4)]:
            self.use("tree", "bush")
            self.new_images()
            code, said = self.held_dump(point, lambda what=what: self.take_away(what))
            when = f"{what} removed after '{point}', exit status {code}"
            if os.path.exists(os.path.join(self.images, "inventory.img")):
                raise Failed(f"{when}: there is an inventory, and not all of the images")
            if code != 1:
                raise Failed(f"{when}: {first_error(said)}")
            self.expect_any(when, said, ("was removed", "No such file"))
            self.no_images(when)
            self.carries_on(when)
            self.note("noticed")
            self.forget()

    def image_names(self):
        """Pids of victims depend on what was started before, so names are told without them."""
        self.use("tree", "bush")
        self.must_dump()
        self.must_be_gone()
        names = sorted({re.sub(r"\d+", "*", n) for n in os.listdir(self.images) if n.endswith(".img")} -
                       {"inventory.img", "stats-dump"})
        self.forget()
        return names

    def take_away(self, what):
        if what == "the directory":
            shutil.rmtree(self.images)
            return
        names = glob.glob(os.path.join(self.images, "*" if what == "all images" else what))
        for name in names if what == "all images" else names[:1]:
            os.unlink(name)

    def held_dump(self, point, act):
        """
        A dump whose log goes into a pipe that holds one line: it stands still at the line behind the one that was not
        taken out. Calls @act() while it stands at the line behind @point.
        """
        reader, writer = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
        pid = self.world.start([self.criu, "dump", "-t", str(self.root), "-D", self.images, "-v4", *self.dump_args],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=writer, cwd=self.base)
        self.world.others.add(pid)
        os.close(writer)
        said, acted = "", False
        try:
            while select.select([reader], [], [], TIMEOUT)[0]:
                line = self.peek(reader)
                if not acted and point in line:
                    self.world.until(lambda: self.writes_to_pipe(pid), TIMEOUT, "the dump stands still")
                    act()
                    acted = True
                if not os.read(reader, 65536):
                    break
                said += line
        finally:
            os.close(reader)
        if not acted:
            raise Failed(f"the dump never said '{point}': {said[-300:]}")
        return self.reaped(pid), said

    @staticmethod
    def peek(reader):
        """What the next read will give, "" at the end; tee(2) takes nothing out."""
        r, w = os.pipe()
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            n = libc.tee(reader, w, 65536, 0)
            return os.read(r, n).decode(errors="replace") if n > 0 else ""
        finally:
            os.close(r)
            os.close(w)

    @staticmethod
    def writes_to_pipe(pid):
        """Does the dump, or the child that works for it, sleep in write(2) to standard error?"""
        ours = [p for p in state.pids() if p == pid or (state.Snapshot.stat_of(f"/proc/{p}") or [])[3:4] == [str(pid)]]
        return any(state.read(f"/proc/{p}/syscall").decode().split()[:2] == ["1", "0x2"] for p in ours)

    # --- limits of the tool

    def do_limits(self):
        """Too little is said, enough is enough; in between nothing is harmed."""
        # An address space for a sanitizer has terabytes.
        space = [] if "ASAN_OPTIONS" in os.environ else [f"--as={n << 20}" for n in (4, 6, 8, 12, 16, 24, 32, 48, 64, 256)]
        limits = ([f"--nofile={n}" for n in (3, 4, 6, 8, 10, 12, 16, 24, 32, 48, 64)] + space +
                  [f"--fsize={n}" for n in (0, 1, 100, 4096, 20000, 100000)] + [f"--stack={n}" for n in (16384, 65536, 131072)] +
                  ["--nproc=1", "--memlock=0", "--data=1000000", "--sigpending=0", "--rttime=1", "--core=0"])
        for limit in self.few(limits, 10):
            self.use("pipes", "ring")
            self.new_images()
            when = f"dump under prlimit {limit}"
            code, said = self.limited(limit, "dump", "-t", str(self.root), "-D", self.images, "-o", "dump.log", "-v4")
            self.after_limit(when, code, said)
            self.forget()

    def limited(self, limit, *cmd):
        """What is said goes through a pipe: where no file may be written, a word to one would be lost."""
        return self.world.run(["bash", "-o", "pipefail", "-c", '"$@" 2>&1 | cat', "bash", "prlimit", limit, self.criu, *cmd], 20)

    def after_limit(self, when, code, said):
        said += self.log("dump.log")
        whole = os.path.exists(os.path.join(self.images, "inventory.img"))
        if code in (-11, -6, -7, 139, 134):
            # not even the loader, or main(), had what it needs: no word from criu, nothing done
            if "(0" in said or whole:
                raise Failed(f"{when}: ended with {code}: {said[-300:]}")
        elif code != 0 and not said.strip():
            raise Failed(f"{when}: exit status {code} without a word")
        if code == 0:
            self.note("enough")
            self.must_be_gone()
            self.comes_back(when)
            return
        self.note("not enough")
        if whole:
            raise Failed(f"{when}: exit status {code}, but there is an inventory")
        self.no_images(when)
        self.carries_on(when)

    def do_limits_at_restore(self):
        """Soft limits, since nobody can raise a hard one above the restorer's own without CAP_SYS_RESOURCE."""
        self.use("pipes", "ring")
        self.must_dump()
        self.must_be_gone()
        images = [n for n in os.listdir(self.images) if not n.endswith(".log")]
        space = [] if "ASAN_OPTIONS" in os.environ else [f"--as={n << 20}:" for n in (4, 6, 8, 12, 16, 24, 32, 64)]
        for limit in self.few([f"--nofile={n}:" for n in (3, 5, 8, 12, 16, 20, 24, 32, 48)] + space + ["--nproc=1:", "--fsize=0:"], 8):
            when = f"restore under prlimit {limit}"
            code, said = self.limited(limit, "restore", "-d", "-D", self.images, "-o", "restore.log", "-v4")
            said += self.log("restore.log")
            if code == 0:
                self.note("enough")
                different = self.differences()
                if different:
                    raise Failed(f"{when}: {different[:4]}")
                self.world.clear()
                continue
            self.note("not enough")
            if not said.strip() and code not in (-11, 127):
                raise Failed(f"{when}: exit status {code} without a word")
            self.nothing_left(when, set(images) | {n for n in os.listdir(self.images) if n.startswith("stats-")})
        self.comes_back("after restores under limits")

    # --- nobody to talk to

    def do_closed_streams(self):
        """The next file that is opened gets the number of a standard stream; no message may end up in it."""
        for closed in ("<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
            for log in ((), ("-o", "dump.log")):
                self.use("pipes", "ring")
                self.new_images()
                when = f"dump with {closed} {' '.join(log)}"
                code, said = self.criu_run("dump", "-t", str(self.root), "-D", self.images, "-v4", *log,
                                           before=("sh", "-c", f'exec "$@" {closed}', "sh"))
                if code != 0:
                    raise Failed(f"{when}: exit status {code}: {first_error(said + self.log('dump.log'))}")
                self.must_be_gone()
                self.comes_back(when)
                self.world.clear()
                code, said = self.criu_run("restore", "-d", "-D", self.images, "-v4",
                                           before=("sh", "-c", f'exec "$@" {closed}', "sh"))
                if code != 0:
                    raise Failed(f"restore with {closed}: exit status {code}: {first_error(said)}")
                different = self.differences()
                if different:
                    raise Failed(f"restore with {closed}: {different[:4]}")
                self.forget()

    def do_broken_pipe(self):
        """Nobody reads what criu prints: no reason to end in the middle."""
        for where in (("-v4",), ("-v4", "-o", "/dev/full"), ("-v4", "--display-stats")):
            self.use("tree", "bush")
            self.new_images()
            code = self.into_closed_pipe("dump", "-t", str(self.root), "-D", self.images, *where)
            when = f"dump {' '.join(where)} into a closed pipe, exit status {code}"
            if os.path.exists(os.path.join(self.images, "inventory.img")):
                self.must_be_gone()
                self.world.clear()
                self.comes_back(when)
                self.note("dumped")
            else:
                self.carries_on(when)
                self.note("given up")
            if code < 0:
                raise Failed(f"{when}: ended by a signal")
            self.forget()

    def into_closed_pipe(self, *cmd):
        reader, writer = os.pipe()
        os.close(reader)
        pid = self.world.start([self.criu, *cmd], stdin=subprocess.DEVNULL, stdout=writer, stderr=writer, restore_signals=True)
        os.close(writer)
        self.world.others.add(pid)
        return self.reaped(pid)
