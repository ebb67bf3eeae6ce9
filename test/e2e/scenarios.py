"""What is not about a kind of state but about the act itself: other endings of a dump, other ways to restore, and all
that can go wrong. After everything that goes wrong, the tree and the machine have to be unharmed.

Each method named do_... is a case; run.py lists them with --cases and runs each in namespaces of its own.
"""
import os
import random
import shutil
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import rpc   # noqa: E402
import state   # noqa: E402
from again import Again   # noqa: E402
from case import Case, TIMEOUT, first_error   # noqa: E402
from checksums import Checksums   # noqa: E402
from connections import Connections   # noqa: E402
from devices import Devices   # noqa: E402
from given import Given   # noqa: E402
from jobs import Jobs   # noqa: E402
from outside import Outside   # noqa: E402
from restorers import Restorers   # noqa: E402
from said import Said   # noqa: E402
from streams import Streams   # noqa: E402
from terminals import Terminals   # noqa: E402
from world import Failed, Skipped   # noqa: E402

# Victims that between them have several processes, threads, pending signals, pipes and memory of all kinds.
RICH = [("tree", "bush"), ("threads", "masks"), ("pipes", "ring"), ("shared", "anonymous"), ("signals", "pending-threads"), ("unix-queue", "rights")]


class Scenario(Jobs, Terminals, Outside, Given, Restorers, Connections, Devices, Checksums, Streams, Said, Again, Case):
    def __init__(self, args):
        super().__init__(dict(args, victim="", dump="", restore="", refuse="", flags=0))
        self.victims = args["victim"]
        self.serial = 0

    def use(self, victim, name):
        """Starts a victim."""
        self.victim, self.name = os.path.join(self.victims, victim), name
        self.serial += 1
        self.start(f"{victim}-{name}-{self.serial}")

    def criu_run(self, *cmd, pass_fds=()):
        return self.world.run([self.criu, *cmd], TIMEOUT, pass_fds=pass_fds)

    def must_fail_to_restore(self, why, *words):
        code, said = self.criu_run("restore", "-d", "-D", self.images, "-o", "restore.log", "-v4")
        said += self.log("restore.log")
        if code == 0:
            raise Failed(f"a restore {why} succeeded")
        if code < 0:
            raise Failed(f"a restore {why} ended by signal {-code}: {first_error(said)}")
        for word in words:
            if word.lower() not in said.lower():
                raise Failed(f"the error of a restore {why} does not say '{word}': {first_error(said)}")
        left = self.world.clear()
        if left:
            raise Failed(f"a restore {why}: {left}")

    def stopped(self):
        return all(state.Snapshot.stat_of(f"/proc/{p}")[2] == "T" for p in self.world.tree())

    def resume(self):
        for pid in self.world.tree():
            os.kill(pid, signal.SIGCONT)

    # --- endings of a dump

    def do_leave_stopped(self):
        self.use("tree", "bush")
        self.must_dump("--leave-stopped")
        self.world.until(self.stopped, 10, "all tasks are stopped")
        self.resume()
        self.world.until(lambda: not self.stopped(), 10, "the tasks go on")
        self.expect_same("after a dump that left it stopped")
        self.finish("after a dump that left it stopped")

    def do_leave_stopped_by_others(self):
        """What was stopped before keeps the signal that it was stopped by."""
        self.use("stops", "seen")
        self.must_dump("--leave-stopped")
        self.world.until(self.stopped, 10, "all tasks are stopped")
        os.kill(self.root, signal.SIGCONT)
        self.finish("after a dump that left it stopped")

    def do_restore_stopped_by_others(self):
        self.use("stops", "seen")
        self.must_dump()
        self.must_be_gone()
        code, said = self.criu_run("restore", "-d", "-s", "-D", self.images, "-o", "restore.log", "-v4")
        if code != 0:
            raise Failed(f"restore -s: {first_error(said + self.log('restore.log'))}")
        self.world.until(self.stopped, 10, "all tasks are stopped")
        os.kill(self.root, signal.SIGCONT)
        self.finish("after a restore that left it stopped")

    def do_restore_stopped(self):
        self.use("tree", "bush")
        self.must_dump()
        self.must_be_gone()
        code, said = self.criu_run("restore", "-d", "-s", "-D", self.images, "-o", "restore.log", "-v4")
        if code != 0:
            raise Failed(f"restore -s: {first_error(said + self.log('restore.log'))}")
        self.world.until(self.stopped, 10, "all tasks are stopped")
        self.resume()
        self.world.until(lambda: not self.stopped(), 10, "the tasks go on")
        self.finish("after a restore that left it stopped")

    def do_zeroes_stay_holes(self):
        """Of 6144 pages 1135 are zeroes; their place in the images takes no room."""
        self.use("memory", "zeroes")
        self.must_dump()
        self.must_be_gone()
        pages = os.stat(os.path.join(self.images, "pages-1.img"))
        if pages.st_size < 6144 * 4096 or pages.st_size - pages.st_blocks * 512 < 1135 * 4096 - (64 << 10):
            raise Failed(f"pages-1.img has {pages.st_size} bytes and takes {pages.st_blocks * 512}")
        self.restore()
        self.finish("restored from sparse images")

    def do_pre_existing_images(self):
        """A second dump into the same directory replaces the first."""
        self.use("memory", "sparse")
        self.must_dump("--leave-running")
        images = self.images
        self.new_images = lambda: setattr(self, "images", images)
        self.must_dump()
        self.must_be_gone()
        self.restore()
        self.expect_same("after the restore")
        self.finish("after the restore")

    # --- ways to restore

    def do_foreground(self):
        """criu waits for the root, and ends as it does."""
        self.use("tree", "single")
        self.must_dump()
        self.must_be_gone()
        pid = self.world.start([self.criu, "restore", "-D", self.images, "-o", "restore.log", "-v4"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.world.others.add(pid)
        self.world.until(lambda: pid in self.world.ended or self.running_freely(), TIMEOUT, "the restore is over")
        if pid in self.world.ended:
            raise Failed(f"criu did not wait: {first_error(self.log('restore.log'))}")
        os.kill(self.root, signal.SIGTERM)
        self.world.until(lambda: pid in self.world.ended, 10, "criu ends with its root")
        code = os.waitstatus_to_exitcode(self.world.ended[pid])
        if code == 0:
            raise Failed("the root was killed, and criu ended with 0")

    def do_sibling(self):
        self.use("tree", "single")
        self.must_dump()
        self.must_be_gone()
        code, said = self.criu_run("restore", "-d", "-S", "-D", self.images, "-o", "restore.log", "-v4")
        if code != 0:
            raise Failed(f"restore -S: {first_error(said + self.log('restore.log'))}")
        self.expect_same("after the restore")
        self.finish("after the restore")

    def do_pidfile(self):
        self.use("tree", "single")
        self.must_dump()
        self.must_be_gone()
        code, said = self.criu_run("restore", "-d", "-D", self.images, "-o", "restore.log", "--pidfile", "root.pid")
        if code != 0:
            raise Failed(f"restore --pidfile: {first_error(said + self.log('restore.log'))}")
        with open(os.path.join(self.images, "root.pid"), encoding="utf-8") as f:
            text = f.read().strip()
        if text != str(self.root):
            raise Failed(f"the pidfile says {text}, should be {self.root}")
        self.finish("after the restore")
        code, said = self.criu_run("restore", "-d", "-D", self.images, "-o", "restore.log", "--pidfile", "root.pid")
        left = self.world.clear()
        if code == 0 or left:
            raise Failed(f"a pidfile that exists: exit status {code}; {left}")

    def outside_file(self, kind):
        """A victim whose standard output comes from outside, is external to the dump and is replaced at restore."""
        self.victim, self.name = os.path.join(self.victims, "tree"), "single"
        self.dir = os.path.join(self.base, kind, "d")
        os.makedirs(self.dir)
        theirs = os.path.join(self.base, kind, "theirs")
        if kind == "file":
            fd = os.open(theirs, os.O_RDWR | os.O_CREAT)
        else:
            reader, fd = os.pipe()
        self.root = self.world.start([self.victim, self.name], cwd=self.dir, stdin=subprocess.DEVNULL, stdout=fd,
                                     stderr=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin"}, start_new_session=True)
        self.world.until(lambda: os.path.exists(os.path.join(self.dir, "ready")), TIMEOUT, "the victim's setup")
        self.before = self.snapshot()
        stat = os.fstat(fd)
        with open(f"/proc/self/fdinfo/{fd}", encoding="utf-8") as f:
            mount = next(int(l.split()[1]) for l in f if l.startswith("mnt_id"))
        os.close(fd)
        return f"file[{mount:x}:{stat.st_ino:x}]" if kind == "file" else f"pipe:[{stat.st_ino}]"

    def replace_outside(self, kind):
        key = self.outside_file(kind)
        self.must_dump(*(["--external", key] if kind == "file" else []))
        self.must_be_gone()
        if kind == "pipe" and f"{key} leads out of the tree" not in self.log("dump.log"):
            raise Failed("no warning names the pipe whose other end is outside")
        path = os.path.join(self.base, kind, "replacement")
        if kind == "file":
            fd = os.open(path, os.O_RDWR | os.O_CREAT)
        else:
            reader, fd = os.pipe()
        os.set_inheritable(fd, True)
        want = os.fstat(fd)
        code, said = self.criu_run("restore", "-d", "-D", self.images, "-o", "restore.log", "-v4", "--inherit-fd", f"fd[{fd}]:{key}",
                                   pass_fds=(fd,))
        if code != 0:
            raise Failed(f"restore with --inherit-fd fd[{fd}]:{key}: {first_error(said + self.log('restore.log'))}")
        got = os.stat(f"/proc/{self.root}/fd/1")
        if (got.st_dev, got.st_ino) != (want.st_dev, want.st_ino):
            raise Failed(f"descriptor 1 is {os.readlink(f'/proc/{self.root}/fd/1')}, not the inherited one")
        os.close(fd)
        self.finish("after the restore")

    def do_inherit_file(self):
        self.replace_outside("file")

    def do_inherit_pipe(self):
        self.replace_outside("pipe")

    def do_raised_limit(self):
        """A limit above what criu itself may have: it comes back, or a warning names it and the restore goes on."""
        self.use("tree", "single")
        self.must_dump()
        self.must_be_gone()
        code, said = self.world.run(["prlimit", "--locks=5:5", self.criu, "restore", "-d", "-D", self.images, "-o", "restore.log",
                                     "-v4"], TIMEOUT)
        said += self.log("restore.log")
        if code != 0:
            raise Failed(f"a restore below the task's limits: {first_error(said)}")
        limits = state.read(f"/proc/{self.root}/limits")
        if limits != self.before.tasks[self.root]["limits"] and "LOCKS" not in said.upper():
            raise Failed("a limit was lost, and no warning names it")
        self.finish("after the restore")

    def do_service_many(self):
        """Twenty requests to one service, some at the same time; it does not grow with them."""
        path = os.path.join(self.base, "socket")
        service = self.world.start([self.criu, "service", "--address", path, "-o", os.path.join(self.base, "service.log")],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True, cwd=self.base)
        self.world.others.add(service)
        try:
            def rss():
                text = state.read(f"/proc/{service}/status").decode()
                return int(text.split("VmRSS:")[1].split()[0])
            socks = []
            for n in range(20):
                socks.append(self.connect(path))
                socks[-1].send(rpc.request(rpc.VERSION))
                if n == 3:
                    before = rss()
            for sock in socks:
                sock.settimeout(10)
                if not rpc.Response(sock.recv(4096)).success:
                    raise Failed("VERSION failed")
                sock.close()
            if rss() > before + 1024:
                raise Failed(f"the service grew from {before} to {rss()} KiB")
        finally:
            os.kill(service, signal.SIGTERM)
            self.world.until(lambda: service in self.world.ended, 10, "the service ends on SIGTERM")
            self.world.others.discard(service)

    # --- what can go wrong

    def do_pid_taken(self):
        self.use("tree", "bush")
        self.must_dump("--leave-running")
        code, said = self.criu_run("restore", "-d", "-D", self.images, "-o", "restore.log", "-v4")
        said += self.log("restore.log")
        if code == 0 or str(self.root) not in first_error(said):
            raise Failed(f"restore beside the running tree: exit status {code}: {first_error(said)}")
        self.expect_same("after a restore whose pids were taken")
        self.finish("after a restore whose pids were taken")

    def do_full_cgroup(self):
        """A page more in a memory cgroup without room would get a process of the tree killed: refused before that."""
        v1, v2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
        base, limit, usage = (v1, "memory.limit_in_bytes", "memory.usage_in_bytes") if os.path.isdir(v1) else \
                             (v2, "memory.max", "memory.current")
        group = os.path.join(base, f"criu-e2e-{random.randrange(1 << 40):x}")
        home = os.path.join(base, next((l.split(":", 2)[2].strip("/\n") for l in open("/proc/self/cgroup", encoding="utf-8")
                                        if ("memory" in l if base == v1 else l.startswith("0:"))), ""))
        try:
            os.mkdir(group)
            if not os.path.exists(os.path.join(group, limit)):
                raise OSError("no memory controller")
        except OSError as e:
            if os.path.isdir(group):
                os.rmdir(group)
            raise Skipped(f"no memory cgroup can be made here: {e}") from None
        put = lambda where, name, value: open(os.path.join(where, name), "w", encoding="utf-8").write(str(value))
        try:
            put(group, "cgroup.procs", os.getpid())
            try:
                self.use("memory", "big")
            finally:
                put(home, "cgroup.procs", os.getpid())
            for _ in range(10):   # the caches go, what remains is in use
                try:
                    put(group, limit, int(state.read(os.path.join(group, usage))) - 4096)
                except OSError:
                    break
            # some room for what the kernel does for it meanwhile, and less than a dump wants
            put(group, limit, int(state.read(os.path.join(group, usage))) + (400 << 10))
            code, said = self.dump()
            if code == 0 or "is full" not in said:
                raise Failed(f"dump in a full memory cgroup: exit status {code}: {first_error(said)}")
            self.expect_same("after the refused dump")
            put(group, limit, int(state.read(os.path.join(group, usage))) + (2 << 20))
            self.must_dump()
            self.must_be_gone()
            self.restore()
            self.finish("after the restore")
        finally:
            self.world.clear()
            self.world.until(lambda: not state.read(os.path.join(group, "cgroup.procs")), 10, "the cgroup is empty")
            os.rmdir(group)

    def do_no_such_process(self):
        self.new_images_dir()
        code, said = self.criu_run("dump", "-t", "30000", "-D", self.images)
        if code == 0 or "30000" not in said:
            raise Failed(f"dump of a process that is not there: exit status {code}: {said}")

    def new_images_dir(self):
        self.dir = os.path.join(self.base, "x", "d")
        os.makedirs(self.dir)
        self.new_images()

    def do_empty_directory(self):
        self.new_images_dir()
        self.must_fail_to_restore("from an empty directory", "inventory")

    def do_no_inventory(self):
        self.use("tree", "single")
        self.must_dump()
        self.must_be_gone()
        os.unlink(os.path.join(self.images, "inventory.img"))
        self.must_fail_to_restore("without inventory", "inventory")

    def do_missing_images(self):
        """Each image taken away in turn: an error, or a restore that did not need it; never a crash, nothing left."""
        self.damage("is missing", lambda path, rng: os.unlink(path))

    def do_truncated_images(self):
        def cut(path, rng):
            os.truncate(path, rng.randrange(os.path.getsize(path)))
        self.damage("is cut short", cut, times=3)

    def do_flipped_bits(self):
        def flip(path, rng):
            with open(path, "r+b") as f:
                data = bytearray(f.read())
                for _ in range(rng.randrange(1, 4)):
                    at = rng.randrange(min(len(data), 20000))
                    data[at] ^= 1 << rng.randrange(8)
                f.seek(0)
                f.write(data)
        self.damage("has flipped bits", flip, times=5)

    def damage(self, what, harm, times=1):
        self.use("pipes", "ring")
        self.must_dump()
        self.must_be_gone()
        good = self.images
        rng = random.Random(20260101)
        for name in sorted(n for n in os.listdir(good) if n.endswith(".img")):
            if os.path.getsize(os.path.join(good, name)) == 0:
                continue
            for n in range(times):
                self.images = os.path.join(self.base, f"harmed-{name}-{n}")
                shutil.copytree(good, self.images)
                harm(os.path.join(self.images, name), rng)
                code, said = self.criu_run("restore", "-d", "-D", self.images, "-o", "restore.log", "-v1")
                if code < 0 or "Sanitizer" in said or "runtime error" in said:
                    raise Failed(f"{name} {what} ({n}): the restore ended with {code}: {said[-300:]}")
                left = self.world.tree()
                if code != 0 and left:
                    time.sleep(0.05)
                    left = self.world.tree()
                if code != 0 and left:
                    raise Failed(f"{name} {what} ({n}): the restore failed and left processes {left}: "
                                 f"{first_error(said + self.log('restore.log'))}")
                self.world.clear()
                shutil.rmtree(self.images)
        self.images = good
        # trees that came back from harmed images may have noticed the harm
        for name in ("fails", "result"):
            if os.path.exists(os.path.join(self.dir, name)):
                os.unlink(os.path.join(self.dir, name))
        self.restore()
        self.finish("after the restore of the undamaged images")

    def do_stages_of_dump(self):
        """Every stage made to fail: no images that look whole, and a tree that goes on."""
        for victim, name in RICH:
            for stage in range(1, 30):
                self.use(victim, name)
                code, said = self.dump("--inject-stage", str(stage))
                whole = os.path.exists(os.path.join(self.images, "inventory.img"))
                if code == 0:
                    if stage < 4:
                        raise Failed(f"only {stage - 1} stages could be made to fail")
                    self.world.clear()
                    break
                if code < 0:
                    raise Failed(f"stage {stage}: ended by signal {-code}")
                if not self.world.tree() and whole:
                    break   # the last one: images are committed, and the tree has ended
                if whole:
                    raise Failed(f"stage {stage}: the dump failed and left a whole image set")
                self.expect_same(f"after stage {stage} of the dump failed")
                self.finish(f"after stage {stage} of the dump failed")

    def do_stages_of_restore(self):
        for victim, name in RICH:
            self.use(victim, name)
            self.must_dump()
            self.must_be_gone()
            for stage in range(1, 30):
                code, said = self.criu_run("restore", "-d", "-D", self.images, "-o", "restore.log", "-v4", "--inject-stage", str(stage))
                if code == 0:
                    if stage < 4:
                        raise Failed(f"only {stage - 1} stages could be made to fail")
                    break
                left = self.world.tree()
                if left:
                    raise Failed(f"{victim}/{name}: stage {stage} of the restore failed and left processes {left}: "
                                 f"{first_error(said + self.log('restore.log'))}")
                if code < 0:
                    raise Failed(f"stage {stage}: ended by signal {-code}")
            self.expect_same("after the restore")
            self.finish("after the restore")

    def do_killed_dumper(self):
        """SIGKILL at many instants: nothing borrowed stays in the tree, and it can be continued."""
        rng = random.Random(7)
        for victim, name in RICH:
            self.use(victim, name)
            start = time.monotonic()
            self.must_dump("--leave-running")
            took = time.monotonic() - start
            self.world.clear()
            for n in range(12):
                self.use(victim, name)
                self.new_images()
                pid = self.world.start([self.criu, "dump", "-R", "-t", str(self.root), "-D", self.images, "-o", "dump.log", "-v4"],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                self.world.others.add(pid)
                time.sleep(took * (n + rng.random()) / 12)
                if pid not in self.world.ended:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                self.world.until(lambda: pid in self.world.ended, 10, "the dumper is gone")
                self.world.others.discard(pid)
                when = f"after the dumper of {victim}/{name} was killed ({n} of 12)"
                self.until_same(when)
                self.finish(when)

    def until_same(self, when):
        """Whoever cleans up after a killed dumper may take a moment; a tree that it leaves stopped can be continued."""
        deadline = time.monotonic() + 3
        while True:
            self.world.reap()
            try:
                self.expect_same(when)
                return
            except Failed:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)
            if time.monotonic() > deadline - 2:
                for pid in self.world.tree():
                    if state.Snapshot.stat_of(f"/proc/{pid}")[2] == "T":
                        os.kill(pid, signal.SIGCONT)

    def do_killed_restorer(self):
        """SIGKILL of criu in the middle of a restore takes the half-made tree along."""
        rng = random.Random(11)
        for victim, name in RICH:
            self.use(victim, name)
            self.must_dump()
            self.must_be_gone()
            start = time.monotonic()
            self.restore()
            took = time.monotonic() - start
            self.world.clear()
            for n in range(12):
                pid = self.world.start([self.criu, "restore", "-d", "-D", self.images, "-o", "restore.log", "-v4"],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                self.world.others.add(pid)
                time.sleep(took * (n + rng.random()) / 12)
                self.world.reap()
                if pid not in self.world.ended:
                    os.kill(pid, signal.SIGKILL)
                self.world.until(lambda: pid in self.world.ended, 10, "criu is gone")
                self.world.others.discard(pid)
                if self.world.ended[pid] != 0:
                    try:
                        self.world.until(lambda: not self.world.tree() or self.running_freely(), 10, "the half-made tree is gone")
                    except Failed:
                        self.world.reap()
                        if not self.world.tree():
                            continue   # it went while the failure was written
                        raise Failed(f"{victim}/{name}: a restore that was killed ({n} of 12) left {self.world.tree()}: "
                                     f"{'; '.join(state.compare(self.before, self.snapshot())[:4])}") from None
                self.world.clear()

    def running_freely(self):
        """The restore was over already when criu was killed: all is there, and nothing is stopped or traced."""
        tree = self.world.tree()
        if set(tree) != set(self.before.tasks) or any(state.Snapshot.stat_of(f"/proc/{p}") is None for p in tree):
            return False
        return not state.compare(self.before, self.snapshot())

    def do_full_disk(self):
        self.use("memory", "big")
        self.new_images()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "full", self.images], check=True)
        try:
            code, said = self.criu_run("dump", "-t", str(self.root), "-D", self.images, "-o", "dump.log", "-v4")
            said += self.log("dump.log")
            if code == 0 or os.path.exists(os.path.join(self.images, "inventory.img")):
                raise Failed(f"a dump to a full disk: exit status {code}")
            if "No space left" not in said:
                raise Failed(f"the error does not say that the disk is full: {first_error(said)}")
            self.expect_same("after a dump to a full disk")
            self.finish("after a dump to a full disk")
        finally:
            subprocess.run(["umount", "-l", self.images], check=False)

    def do_changed_file(self):
        """A file that has another size by now is not the file that was open."""
        self.use("files", "shared-positions")
        self.must_dump()
        self.must_be_gone()
        with open(os.path.join(self.dir, "alphabet"), "a", encoding="utf-8") as f:
            f.write("more")
        self.must_fail_to_restore("with a file of another size", "alphabet")

    def do_missing_file(self):
        self.use("files", "shared-positions")
        self.must_dump()
        self.must_be_gone()
        os.unlink(os.path.join(self.dir, "alphabet"))
        self.must_fail_to_restore("with a file missing", "alphabet")

    def do_fifo_for_file(self):
        """Where a file was, a fifo lies: nobody will ever open its other end, and a restore does not wait for that."""
        self.use("files", "shared-positions")
        self.must_dump()
        self.must_be_gone()
        os.unlink(os.path.join(self.dir, "alphabet"))
        os.mkfifo(os.path.join(self.dir, "alphabet"))
        self.must_fail_to_restore("with a fifo for a file", "alphabet")

    def go(self, mode):
        self.name = mode
        return super().go(mode)

    def __getattr__(self, name):
        if name.startswith("way_"):
            return getattr(self, "do_" + name[4:])
        raise AttributeError(name)


def names():
    return [name[3:] for name in dir(Scenario) if name.startswith("do_")]


def run(args):
    os.setsid()
    Scenario(args).go(args["name"])
