"""Takes one case of a victim through the ways of checkpointing it. Runs as process 1 of namespaces of its own (cradle.py),
and prints a line of JSON per way."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import traceback

sys.dont_write_bytecode = True
import decode   # noqa: E402
import net   # noqa: E402
import rpc   # noqa: E402
import state   # noqa: E402
import streamer   # noqa: E402
from world import Failed, Skipped, World   # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
MUTATES, NO_SETSID, MORE, ALTERS, KEEP_OR_REFUSE = 1, 2, 4, 8, 16
TIMEOUT = 20 * int(os.environ.get("CRIU_E2E_SLOW", "1"))   # where instructions are emulated


def first_error(*texts):
    """What a person would look at first: the lines of a log that say Error, else its end."""
    for text in texts:
        errors = [l for l in text.splitlines() if "Error" in l]
        if errors:
            return " | ".join(errors[:4])
    return " | ".join(t.strip()[-300:] for t in texts if t.strip())


class Case:
    def __init__(self, args):
        self.victim, self.name = args["victim"], args["name"]
        self.dump_args, self.restore_args = self.asked = args["dump"].split(), args["restore"].split()
        self.refuse, self.flags = args["refuse"], args["flags"]
        self.criu, self.base, self.verbose = args["criu"], args["base"], args["verbose"]
        self.crit = args["crit"]
        self.world = World()
        self.dir = self.images = None
        self.round = 0

    # --- the victim

    def start(self, mode):
        self.dir = os.path.join(self.base, mode, "d")
        if any("@DIR@" in a for args in self.asked for a in args):
            self.dump_args, self.restore_args = ([a.replace("@DIR@", self.dir) for a in args] for args in self.asked)
        os.makedirs(self.dir)
        os.chmod(self.dir, 0o777)
        self.round = 0
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "VICTIM_MARK": "one two"}
        with open(os.path.join(self.dir, "out"), "ab") as out:
            self.root = self.world.start([self.victim, self.name], cwd=self.dir, env=env, stdin=subprocess.DEVNULL, stdout=out,
                                         stderr=out, start_new_session=not self.flags & NO_SETSID)
        path = lambda n: os.path.join(self.dir, n)
        stage = self.world.until(lambda: next((n for n in ("ready", "skip", "broken") if os.path.exists(path(n))), None)
                                 or (self.root in self.world.ended and "ended"), TIMEOUT, "the victim's setup")
        if stage != "ready":
            # the file is there before its words are
            self.world.until(lambda: self.root in self.world.ended, 10, "the victim ends after it gave up")
        if stage == "skip":
            raise Skipped(self.text("skip"))
        if stage != "ready":
            raise Failed(f"setup failed: {self.text('broken')} {self.text('out')[-300:]}")
        self.before = self.snapshot()

    def text(self, name):
        try:
            with open(os.path.join(self.dir, name), encoding="utf-8", errors="replace") as f:
                return f.read().strip()
        except OSError:
            return ""

    def snapshot(self):
        tree = self.world.tree()
        if not tree:
            raise Failed("no process is left")
        return state.Snapshot(tree, self.root)

    def expect_same(self, when):
        after = self.snapshot()
        if not self.flags & ALTERS:
            different = state.compare(self.before, after)
            if different:
                raise Failed(f"visible state {when}: " + "; ".join(different))

    def finish(self, when):
        """Gives the word to go on, and waits for the victim's own verdict."""
        with open(os.path.join(self.dir, "go"), "w", encoding="utf-8"):
            pass
        os.chmod(os.path.join(self.dir, "go"), 0o666)
        done = lambda: self.root_is_dead()
        try:
            self.world.until(done, TIMEOUT, f"the victim's checks {when}")
        finally:
            fails = self.text("fails")
            if fails:
                raise Failed(f"{when}: {fails}") from None
        if self.text("result") != "ok":
            status = self.world.ended.get(self.root)
            raise Failed(f"{when}: the victim ended without a verdict, status {status}; {self.text('out')[-300:]}")
        self.world.until(lambda: not self.world.tree(), 10, f"all processes end {when}")
        for name in ("go", "result"):
            os.unlink(os.path.join(self.dir, name))

    def root_is_dead(self):
        # A leader that has exited is a zombie whose threads live on; the number of threads is field 20.
        stat = state.Snapshot.stat_of(f"/proc/{self.root}")
        return not stat or stat[2] == "Z" and int(stat[19]) <= 1

    # --- checkpoint and restore, by command line and by RPC

    def new_images(self):
        self.round += 1
        self.images = os.path.join(os.path.dirname(self.dir), f"images-{self.round}")
        os.mkdir(self.images)

    def log(self, name):
        try:
            with open(os.path.join(self.images, name), encoding="utf-8", errors="replace") as f:
                text = f.read()
        except OSError:
            return ""
        if self.verbose > 1:
            print(text, file=sys.stderr)
        return text

    def dump(self, *more):
        """By command line. Returns (exit status, all that was said)."""
        self.new_images()
        code, said = self.world.run([self.criu, "dump", "-t", str(self.root), "-D", self.images, "-o", "dump.log", "-v4",
                                     *self.dump_args, *more], TIMEOUT)
        return code, said + "\n" + self.log("dump.log")

    def must_dump(self, *more):
        code, said = self.dump(*more)
        if code != 0:
            raise Failed(f"dump: exit status {code}: {first_error(said)}")
        self.complete()

    def complete(self):
        if not os.path.exists(os.path.join(self.images, "inventory.img")):
            raise Failed("dump succeeded, but there is no inventory.img")

    def criu_at_work(self):
        """A process of it that finishes something although the one that was started has ended."""
        return any(state.read(f"/proc/{p}/comm").startswith(b"criu") for p in self.world.tree())

    def must_be_gone(self):
        self.world.until(lambda: not self.world.tree(), 30, "the tree is gone after the dump")

    def restore(self):
        code, said = self.world.run([self.criu, "restore", "-d", "-D", self.images, "-o", "restore.log", "-v4",
                                     *self.restore_args], TIMEOUT)
        log = self.log("restore.log")
        if code != 0:
            left = self.world.clear()
            raise Failed(f"restore: exit status {code}: {first_error(said + log)}" + (f"; {left}" if left else ""))

    def rpc_opts(self, args):
        return dict(rpc.fields_of(args), log_level=4)

    def rpc_on(self, sock, kind, args, **more):
        fd = os.open(self.images, os.O_RDONLY | os.O_DIRECTORY)
        name = "dump" if kind == rpc.DUMP else "restore"
        try:
            answer = rpc.talk(sock, rpc.request(kind, images_dir_fd=fd, log_file=f"{name}.log", **self.rpc_opts(args), **more),
                              TIMEOUT)
        except OSError as e:
            raise Failed(f"{name} by RPC: no answer: {e}; {first_error(self.log(f'{name}.log'))}") from None
        finally:
            os.close(fd)
        if answer is None:
            raise Failed(f"{name} by RPC: the worker hung up; {first_error(self.log(f'{name}.log'))}")
        if answer.type != kind:
            raise Failed(f"{name} by RPC: answer of type {answer.type}")
        return answer

    def by_worker(self, kind, args, **more):
        """One request to a worker that was started for it. Returns the answer and the worker's exit status."""
        ours, theirs = rpc.pair()
        with ours:
            pid = self.world.start([self.criu, "swrk", str(theirs.fileno())], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(theirs.fileno(),))
            self.world.others.add(pid)
            theirs.close()
            try:
                answer = self.rpc_on(ours, kind, args, **more)
            finally:
                ours.close()
                try:
                    self.world.until(lambda: pid in self.world.ended, TIMEOUT, "the worker ends")
                except Failed:
                    self.world.kill([pid])
                    raise
                finally:
                    self.world.others.discard(pid)
        return answer, os.waitstatus_to_exitcode(self.world.ended[pid])

    # --- ways

    def way_cli(self):
        self.start("cli")
        if self.flags & KEEP_OR_REFUSE:
            code, said = self.dump()
            if code != 0:
                self.was_refused(said)
                return
            self.complete()
        else:
            self.must_dump()
        self.must_be_gone()
        self.decode()
        self.restore()
        self.expect_same("after the restore")
        self.finish("after the restore")
        left = [n for n in os.listdir(self.dir) if n.startswith(("link_remap.", ".cr-"))]
        if left:
            raise Failed(f"the restore left {left} beside the files")

    def way_running(self, *more):
        """The tree keeps running and is well; its images can be restored after it has ended."""
        self.start("snapshot" if more else "running")
        self.must_dump("--leave-running", *more)
        self.expect_same("after a dump that leaves it running")
        self.finish("after a dump that left it running")
        if self.flags & MUTATES:
            return
        self.restore()
        self.expect_same("after the restore")
        self.finish("after the restore")

    def way_snapshot(self):
        self.way_running("--snapshot")

    def way_rounds(self):
        self.start("rounds")
        for n in (1, 2, 3):
            self.must_dump()
            self.must_be_gone()
            self.restore()
            self.expect_same(f"after round {n}")
        self.finish("after three rounds")

    def way_swrk(self):
        self.start("swrk")
        self.new_images()
        answer, code = self.by_worker(rpc.DUMP, self.dump_args, pid=self.root)
        if not answer.success or code != 0:
            raise Failed(f"dump by swrk: {answer}, exit status {code}; {first_error(self.log('dump.log'))}")
        self.complete()
        self.must_be_gone()
        answer, code = self.by_worker(rpc.RESTORE, self.restore_args, rst_sibling=True)
        if not answer.success or code != 0:
            raise Failed(f"restore by swrk: {answer}, exit status {code}; {first_error(self.log('restore.log'))}")
        if answer.pid != self.root:
            raise Failed(f"restore by swrk: pid {answer.pid}, should be {self.root}")
        parent = state.Snapshot.stat_of(f"/proc/{self.root}")[3]
        if parent != "1":
            raise Failed(f"restore as a sibling: the parent is {parent}")
        self.expect_same("after the restore")
        self.finish("after the restore")

    def way_service(self):
        self.start("service")
        self.new_images()
        path = os.path.join(os.path.dirname(self.dir), "socket")
        log = os.path.join(os.path.dirname(self.dir), "service.log")
        service = self.world.start([self.criu, "service", "--address", path, "-o", log, "-v4"], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=self.base)
        self.world.others.add(service)
        try:
            self.world.until(lambda: os.path.exists(path) or service in self.world.ended, TIMEOUT, "the service's socket")
            for kind, args, more in ((rpc.DUMP, self.dump_args, {"pid": self.root}), (rpc.RESTORE, self.restore_args, {})):
                name = "dump" if kind == rpc.DUMP else "restore"
                with self.connect(path) as sock:
                    answer = self.rpc_on(sock, kind, args, **more)
                if not answer.success:
                    raise Failed(f"{name} by the service: {answer}; {first_error(self.log(f'{name}.log'))}")
                if kind == rpc.DUMP:
                    self.complete()
                    self.must_be_gone()
            self.world.until(lambda: set(self.world.tree()) <= set(self.before.tasks), 10, "the workers end")
            self.expect_same("after the restore")
            self.finish("after the restore")
        finally:
            if service not in self.world.ended:
                os.kill(service, signal.SIGTERM)
                try:
                    self.world.until(lambda: service in self.world.ended, 10, "the service ends on SIGTERM")
                finally:
                    self.world.kill([service])
            self.world.others.discard(service)

    def connect(self, path):
        # The name is there before the service listens.
        def attempt():
            try:
                return rpc.connect(path)
            except (ConnectionRefusedError, FileNotFoundError):
                return None
        return self.world.until(attempt, TIMEOUT, "the service listens")

    def stream_dump(self, *more, limit=None, code=0):
        """Through a streamer, which is returned; the directory is to stay empty but for the log."""
        self.new_images()
        capture = streamer.Capture(self.images, limit=limit)
        got, said = self.world.run([self.criu, "dump", "--stream", "-t", str(self.root), "-D", self.images, "-o", "dump.log", "-v4",
                                    *self.dump_args, *more], TIMEOUT)
        if got != code:
            raise Failed(f"dump --stream: exit status {got}: {first_error(said + self.log('dump.log'))}; streamer: {capture.error}")
        capture.join(30)
        if code == 0 and (capture.error or capture.is_alive() or "inventory.img" not in capture.images):
            raise Failed(f"dump --stream: the streamer: {capture.error or 'hangs'}, has {sorted(capture.images)}")
        left = set(os.listdir(self.images)) - {"dump.log", "stats-dump"}
        if left:
            raise Failed(f"dump --stream: {left} in the directory")
        return capture

    def stream_restore(self, images, *more, limit=None, code=0):
        serve = streamer.Serve(self.images, images, limit=limit)
        got, said = self.world.run([self.criu, "restore", "--stream", "-d", "-D", self.images, "-o", "restore.log", "-v4",
                                    *self.restore_args, *more], TIMEOUT)
        said += self.log("restore.log")
        if got != code:
            left = self.world.clear()
            raise Failed(f"restore --stream: exit status {got}: {first_error(said)}; streamer: {serve.error}; {left}")
        serve.join(30)
        if code == 0 and (serve.error or serve.is_alive() or [n for n in serve.images if n.startswith("pages-")]):
            raise Failed(f"restore --stream: the streamer: {serve.error or 'hangs'}, still has {sorted(serve.images)}")
        return said

    def way_stream(self):
        if self.flags & KEEP_OR_REFUSE:
            raise Skipped("may be refused")
        self.start("stream")
        images = self.stream_dump().images
        self.must_be_gone()
        self.stream_restore(images)
        self.expect_same("after the restore")
        self.finish("after the restore")

    def way_refused(self):
        """The dump fails, says all that stands in the way, leaves no images that look whole, and harms nothing. `check --tree`
        says the same of the same tree, and harms nothing either."""
        self.start("refused")
        seen = self.obstacles() if not self.dump_args else None   # it takes no other options of a dump than these
        code, said = self.dump()
        if code == 0:
            raise Failed("the dump succeeded; it should have been refused: " + self.refuse)
        if seen is not None:
            told = [m.group(1) for m in re.finditer(r"^\S+ Error \(dump\): (pid \d+ \(.*)$", said, re.M)]
            if sorted(told) != sorted(seen):
                raise Failed(f"check --tree and dump name different obstacles: {seen} and {told}")
        self.was_refused(said)

    def obstacles(self):
        """What `check --tree` finds in the way, in the words of a dump's log."""
        code, said = self.world.run([self.criu, "check", "--tree", str(self.root), "--json"], TIMEOUT)
        if code == 0:
            raise Failed("check --tree finds nothing in the way")
        line = next((l for l in said.splitlines() if l.startswith("{")), None)
        if not line:
            raise Failed(f"check --tree: {first_error(said)}")
        found = json.loads(line)["obstacles"]
        if not found:   # what is out of the question, whatever else there is: told as an error
            self.expect_words(said, "check --tree")
        for o in found:
            comm = state.read(f"/proc/{o['pid']}/comm").decode(errors="replace").rstrip("\n")
            if o["pid"] not in self.before.tasks or comm != o["comm"]:
                raise Failed(f"check --tree names a process that is not in the tree: {o}")
            fd = re.match(r"fd (\d+)$", o["where"])
            if fd and not os.path.lexists(f"/proc/{o['pid']}/fd/{fd.group(1)}"):
                raise Failed(f"check --tree names a descriptor that is not there: {o}")
        self.expect_same("after check --tree")
        told = [f"pid {o['pid']} ({o['comm']}): " + (o["where"] + ": " if o["where"] else "") + o["what"]
                + (f" ({o['advice']})" if o["advice"] else "") for o in found]
        if told:
            self.expect_words("\n".join(told), "check --tree")
        return told

    def expect_words(self, said, what):
        for word in self.refuse.split("|"):
            if word.startswith("!"):
                if word[1:].lower() in said.lower():
                    raise Failed(f"{what} names '{word[1:]}', which is not there: {said[-900:]}")
            elif word.lower() not in said.lower():
                raise Failed(f"{what} does not name '{word}': {said[-900:]}")

    def was_refused(self, said):
        for name in os.listdir(self.images):
            if name.endswith(".img"):
                raise Failed(f"a refused dump left {name}")
        # not in the rest of the log, which names a lot of things
        errors = "\n".join(l for l in said.splitlines() if "Error" in l or not re.match(r"\(\d+\.\d+\) ", l))
        self.expect_words(errors, "the error")
        self.expect_same("after the refused dump")
        self.finish("after the refused dump")

    def decode(self):
        """Every image through crit, inside one process for all of them, of the interpreter that crit asks for."""
        if not self.crit:
            return
        raw = re.compile(r"pages-|.*\.tar\.gz\.img$")
        names = sorted(n for n in os.listdir(self.images) if n.endswith(".img") and not raw.match(n))
        out = os.path.join(os.path.dirname(self.dir), "decoded.json")
        crit = shutil.which("crit") or "/usr/bin/crit"
        paths = [os.path.join(self.images, n) for n in names]
        if decode.is_ours(crit):
            code, said = 0, decode.decode_all(crit, out, paths)
        else:
            code, said = self.world.run([*decode.interpreter_of(crit), os.path.join(HERE, "decode.py"), crit, out, *paths], TIMEOUT)
        if code != 0 or said.strip():
            raise Failed(f"crit decode: {said.strip() or f'exit status {code}'}")

    def go(self, mode):
        verdict, why = "PASS", ""
        try:
            getattr(self, "way_" + mode)()
        except Skipped as e:
            verdict, why = "SKIP", str(e)
        except Failed as e:
            verdict, why = "FAIL", str(e)
        except Exception:   # a bug of the runner must not look like a passed case
            verdict, why = "FAIL", "runner: " + traceback.format_exc()[-600:].replace("\n", " / ")
        left = self.world.clear()
        if "--tcp-established" in self.dump_args and net.ours():
            left = f"{left} tables of nf_tables: {net.ours()}"
        if left and verdict == "PASS":
            verdict, why = "FAIL", left
        print(json.dumps({"mode": mode, "verdict": verdict, "why": re.sub(r"\s*\n\s*", " | ", why)}), flush=True)
        return verdict


def run(args):
    # The session of whoever started us has no number in this namespace.
    os.setsid()
    case = Case(args)
    # Connections are locked by tables of the whole network.
    if "--tcp-established" in case.dump_args:
        try:
            net.own_network()
        except Skipped:
            pass   # then they are in everybody's
    for mode in args["modes"]:
        if case.go(mode) == "SKIP":
            break
