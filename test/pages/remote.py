"""Page servers, and dumps that go to them: what the cases share."""
import os
import select
import shutil
import subprocess
import tempfile

import memory_run as memory
from world import Failed

class Server:
    """One page server, and what it has said."""

    def __init__(self, s, directory, *more, within=(), address="127.0.0.1"):
        self.s, self.dir, self.address = s, directory, address
        os.makedirs(directory, exist_ok=True)
        self.out = tempfile.NamedTemporaryFile(dir=s.base, prefix="server-")
        ready, theirs = os.pipe()
        cmd = [*within, s.args.criu, "page-server", "-D", directory, "-o", "server.log", "-v4", "--status-fd", str(theirs),
               "--address", address, *more]
        self.pid = s.world.start(cmd, stdin=subprocess.DEVNULL, stdout=self.out, stderr=subprocess.STDOUT, pass_fds=(theirs,))
        s.world.others.add(self.pid)
        os.close(theirs)
        os.set_blocking(ready, False)
        try:
            s.world.until(lambda: self.readable(ready), 10, "the page server is ready")
            if os.read(ready, 1) != b"\0":
                raise Failed(f"the page server has not come up: {self.text()}")
        finally:
            os.close(ready)
        self.port = int(self.text().split("Listening on port ")[1].split()[0])

    @staticmethod
    def readable(fd):
        return select.select([fd], [], [], 0)[0]

    def text(self):
        with open(self.out.name, encoding="utf-8", errors="replace") as f:
            return f.read()

    def log(self):
        try:
            with open(os.path.join(self.dir, "server.log"), encoding="utf-8", errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def options(self):
        return ["--page-server", "--address", self.address, "--port", str(self.port)]

    def ended(self):
        self.s.world.until(lambda: self.pid in self.s.world.ended, 20, "the end of the page server")
        self.s.world.others.discard(self.pid)
        return os.waitstatus_to_exitcode(self.s.world.ended[self.pid])

    def ends(self, code):
        got = self.ended()
        if got != code:
            raise Failed(f"the page server has ended with {got} instead of {code}: {self.log()[-300:]}")

    def images(self):
        return sorted(n for n in os.listdir(self.dir) if n.endswith(".img") or n == "parent")

    def must_be_empty(self):
        if self.images():
            raise Failed(f"left behind by a page server that has failed: {self.images()}")


class Remote(memory.Series):
    """A series of dumps whose memory goes to page servers, one for each round."""

    def __init__(self, args, base, seed):
        super().__init__(args, base, seed)
        self.seed = seed
        self.remote = None
        self.within = self.within_server = ()   # prefixes of commands: where they run
        self.address = "127.0.0.1"
        os.mkdir(os.path.join(base, "there"))
        run = self.world.run
        self.world.run = lambda cmd, *more, **kw: run([*(self.within if cmd[0] == args.criu else ()), *cmd], *more, **kw)

    def server(self, *more, parent=True):
        """The server of the next round."""
        directory = os.path.join(self.base, "there", str(self.nr + 1))
        if parent is True:
            parent = self.remote
        if parent:
            more = [*more, "--prev-images-dir", os.path.relpath(parent, directory)]
        return Server(self, directory, *more, within=self.within_server, address=self.address)

    def round(self, command, *more, server=None, code=0, server_code=0):
        server = server or self.server()
        log = self.criu(command, *server.options(), *more, code=code)
        server.ends(server_code)
        if code == 0:
            self.remote = server.dir
            here = [n for n in os.listdir(self.images) if n.startswith("pages")]
            if here:
                raise Failed(f"memory among the images of the dump: {here}")
        return log

    def merge(self):
        """What the dump has left here goes to where the memory is; from there it is restored."""
        for name in os.listdir(self.images):
            to = os.path.join(self.remote, name)
            if name.endswith(".img") and os.path.lexists(to):
                raise Failed(f"{name} is in both places")
            if name.endswith(".img"):
                shutil.copy(os.path.join(self.images, name), to)
        self.images = self.remote

    def gone(self):
        self.world.until(lambda: not self.writers(), 10, "the tree is gone after the dump")
        self.world.until(lambda: not self.keepers(), 10, "the keeper ends with the tree")

    def last(self, *more, server=None):
        log = self.round("dump", *more, server=server)
        self.gone()
        return log

    def move_to(self, within):
        """Begin anew with a process that lives elsewhere."""
        self.world.kill(self.writers())
        self.world.until(lambda: not self.writers(), 10, "the first writer is gone")
        shutil.rmtree(self.dir)
        os.mkdir(self.dir)
        self.root = self.world.start([*within, self.args.writer, self.dir, str(self.seed)], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        self.world.until(lambda: self.table(self.root)[0] > 0, 10, "the writer's first look at its memory")

    def must_go_on(self):
        """The tree is as it was before, and computes."""
        before = self.table(self.root)[0]
        self.world.until(lambda: self.differences() or self.table(self.root)[0] > before + 1, 30, "the tree goes on")
        if self.differences():
            raise Failed(self.differences())

    def criu_to(self, port, directory, *more, command="dump", address="127.0.0.1"):
        """A dump to a server of which nothing is known. Returns its exit status and what it has said."""
        os.makedirs(directory, exist_ok=True)
        return self.world.run([self.args.criu, command, "-t", str(self.root), "-D", directory, "-v4", "-o", "log", "--page-server",
                               "--address", address, "--port", str(port), *more], 60)
