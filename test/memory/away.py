#!/usr/bin/python3
"""Lazy migration: a process goes on elsewhere, behind a network, while its memory is still where it was. Every page is looked
at; what breaks on the way must leave one of the two, whole, and nobody who reads zeroes.

    away.py --criu build/criu --tools build/test/memory [-k CASE] [--rounds N] [--seed N]

Runs in pid, mount and network namespaces of its own; the destination has others. Prints "PASS case", "FAIL case: why" or
"SKIP case: why". Needs root.
"""
import functools
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e"), os.path.join(HERE, "..", "pages")]
import alone   # noqa: E402
import failing # noqa: E402
import lazy    # noqa: E402
import moving  # noqa: E402
import rpc     # noqa: E402
import state   # noqa: E402
import tls     # noqa: E402
import wire    # noqa: E402
from world import Failed   # noqa: E402

NOTHING = 0   # an order that is carried out by listening
NEAR, FAR = "10.78.0.1", "10.78.0.2"
OTHER_PIDS = 5000   # so that the numbers of the tree are free where it goes

# reaps whoever is left to it
FIRST = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"

# passes so much of what the server says, and then cuts, or holds the rest back
RELAY = """import signal, socket, sys, threading
left, port, holds = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
conn, _ = socket.socket(fileno=0).accept()
out = socket.create_connection(("127.0.0.1", port))
def there():
    try:
        while data := conn.recv(65536):
            out.sendall(data)
    except OSError:
        pass
    out.shutdown(1)
threading.Thread(target=there, daemon=True).start()
while left and (data := out.recv(min(left, 65536))):
    conn.sendall(data)
    left -= len(data)
while holds:
    signal.pause()
"""


class Away(lazy.Sleeper):
    """The process here, and a machine there."""

    def __init__(self, args, base, seed, mib=64, *more):
        with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as f:
            f.write(str(OTHER_PIDS))
        super().__init__(args, base, seed, mib, *more)
        self.dumper = self.daemon = self.proxy = None
        self.port = 0
        self.there = self.machine()

    def machine(self):
        """Process 1 of a namespace of pids, with a network that a cable leads to."""
        shell = self.world.start(["unshare", "--pid", "--net", "--mount", "--fork", "--kill-child", "--mount-proc",
                                  sys.executable, "-c", FIRST],
                                 stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)   # it has words about a child that is killed
        self.world.others.add(shell)

        def first():
            kids = state.read(f"/proc/{shell}/task/{shell}/children").split()
            ignored = re.search(rb"SigIgn:\s+(\w+)", state.read(f"/proc/{int(kids[0])}/status")) if kids else None
            return int(kids[0]) if ignored and int(ignored[1], 16) >> signal.SIGCHLD - 1 & 1 else 0
        pid = self.world.until(first, 10, "the other machine")
        self.world.others.add(pid)
        subprocess.run(["ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", str(pid)], check=True)
        for prefix, address in (([], NEAR), (self.within(pid), FAR)):
            subprocess.run([*prefix, "ip", "addr", "add", f"{address}/24", "dev", "cable"], check=True)
            subprocess.run([*prefix, "ip", "link", "set", "cable", "up"], check=True)
        return pid

    def within(self, pid=None):
        return ["nsenter", "-t", str(pid or self.there), "-n", "-p", "-m"]

    def read_log(self, name):
        return state.read(os.path.join(self.images, name)).decode(errors="replace")

    def source(self, *cmd, fds=()):
        """Whatever has the memory, in the background; ready to be asked when this returns."""
        ready, theirs = os.pipe()
        self.dumper = self.world.start([self.args.criu, *cmd, "-v4", "--status-fd", str(theirs)], pass_fds=(theirs, *fds),
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.world.others.add(self.dumper)
        os.close(theirs)
        os.set_blocking(ready, False)

        def said():
            try:
                return os.read(ready, 1) == b"\0" or self.dumper in self.world.ended
            except BlockingIOError:
                return False
        try:
            self.world.until(said, 20, "the source is ready")
        finally:
            os.close(ready)

    def leave(self, *more, address=NEAR):
        """A lazy dump that waits."""
        self.source("dump", "-t", str(self.root), "-D", self.images, "-o", "dump.log", "--lazy-pages", "--address", address, *more)
        found = re.search(r"given away on port (\d+)", self.read_log("dump.log"))
        if self.dumper in self.world.ended or not found:
            raise Failed(f"the lazy dump does not wait: {self.read_log('dump.log')[-300:]}")
        self.port = int(found[1])

    def serve_there(self, *more, port=0, address=NEAR):
        name = os.path.join(self.images, "lazy.pid")
        if os.path.exists(name):
            os.unlink(name)
        before = set(self.named("criu"))
        self.far("lazy-pages", "-d", "--page-server", "--address", address, "--port", str(port or self.port), *more)
        self.daemon = next(iter(set(self.named("criu")) - before - {self.dumper}), None)

    def far(self, *cmd, code=0, fds=()):
        status, said = self.world.run([*self.within(), self.args.criu, cmd[0], "-D", self.images, "-v4", "-o", cmd[0] + ".log",
                                       *cmd[1:]], 40, pass_fds=fds)
        if status != code:
            raise Failed(f"{cmd[0]}: exit status {status}: {said.strip()[-300:]}")
        return said

    def arrive(self):
        self.far("restore", "-d", "--lazy-pages")

    def dumper_ends(self, code):
        self.world.until(lambda: self.dumper in self.world.ended, 20, "the end of the source")
        got = os.waitstatus_to_exitcode(self.world.ended[self.dumper])
        if got != code:
            raise Failed(f"the source has ended with {got} instead of {code}: {self.read_log('dump.log')[-300:]}")

    def daemon_ends(self):
        self.world.until(lambda: not [p for p in self.named("criu", lazy.GUARD) if p != self.dumper], 20, "the daemon ends")

    def moved(self):
        """It is there, and only there, and all of its memory."""
        self.dumper_ends(0)
        self.daemon_ends()
        if not re.search(r"lazy restore is complete: \d+ KiB", self.read_log("lazy-pages.log")):
            raise Failed(f"the daemon does not say that all is in: {self.read_log('lazy-pages.log')[-300:]}")
        if os.path.exists(f"/proc/{self.root}"):
            raise Failed("it is still here")

    def goes_on_here(self, what):
        """The process that was to be moved computes, with all that it had."""
        self.tell(NOTHING)
        self.world.until(lambda: self.see("done") == NOTHING or self.see("failed"), 10, f"{what}: it listens")
        self.tell(lazy.CHECK)
        self.until_done(lazy.CHECK, what)

    def state_of(self, pid):
        return state.read(f"/proc/{pid}/stat").rsplit(b")", 1)[-1].split()[:1]

    def end(self):
        self.world.kill([p for p in (self.dumper, self.proxy) if p and p not in self.world.ended])
        # at once: the kernel takes its time with the network of who has ended, and the next case has a cable of that name
        subprocess.run(["ip", "link", "del", "cable"], check=False, stderr=subprocess.DEVNULL)
        self.world.kill(self.named("criu") + [self.there])
        super().end()


def obeys(order):
    """What it is told is done at the destination, while its memory is fetched."""
    def case(args, base, seed):
        s = Away(args, base, seed)
        try:
            s.leave()
            s.serve_there()
            s.tell(order)
            s.arrive()
            s.until_done(order, "what it was told")
            s.moved()
        finally:
            s.end()
    return case


def images(args, base, seed):
    """What is left is marked as the images of others are, takes no room in them, and is not restored without its source."""
    s = Away(args, base, seed)
    try:
        s.leave()
        number, entries = wire.pagemap(os.path.join(s.images, f"pagemap-{s.root}.img"))
        left = sum(n for _, n, flags in entries if flags == wire.LAZY)
        stored = os.path.getsize(os.path.join(s.images, f"pages-{number}.img")) // wire.PAGE
        if left < 64 << 8 or stored != sum(n for _, n, flags in entries if flags & wire.PRESENT) or stored > 1000:
            raise Failed(f"{left} pages were left and {stored} stored: {entries}")
        if any(flags not in (wire.LAZY, wire.PRESENT, wire.LAZY | wire.PRESENT) for _, _, flags in entries):
            raise Failed(f"flags: {entries}")
        for how in ([], ["--lazy"]):
            said = s.far("restore", "-d", *how, code=1)
            if "left at their source" not in said:
                raise Failed(f"restored without its source: {said[-300:]}")
        if s.state_of(s.root) != [b"t"]:
            raise Failed(f"it is not held: {s.state_of(s.root)}")
        s.serve_there()
        s.tell(lazy.CHECK)
        s.arrive()
        s.until_done(lazy.CHECK, "a look at everything")
        s.moved()
        with open(os.path.join(s.images, "stats-dump"), "rb") as f:
            stats = f.read()
        size, = struct.unpack_from("<I", stats, 8)
        if rpc.decode(rpc.decode(stats[12:12 + size])[1]).get(9) != left:
            raise Failed("the statistics do not say what was left")
    finally:
        s.end()


def on_top(args, base, seed):
    """After a pre-dump, only what has changed since is left and fetched; the rest is in the images of that."""
    s = Away(args, base, seed)
    try:
        first, s.images = s.images, os.path.join(base, "second")
        os.mkdir(s.images)
        status, said = s.world.run([args.criu, "pre-dump", "-t", str(s.root), "-D", first, "-o", "log", "-v4"], 30)
        if status:
            raise Failed(f"pre-dump: {said[-300:]}")
        s.leave("--prev-images-dir", "../images")
        _, entries = wire.pagemap(os.path.join(s.images, f"pagemap-{s.root}.img"))
        left, above = (sum(n for _, n, flags in entries if flags & mask == mask and not flags & wire.PRESENT)
                       for mask in (wire.LAZY, wire.IN_PARENT))
        if left > 1000 + above or above < 16000:
            raise Failed(f"{left} pages were left, and {above} are in the parent")
        s.serve_there()
        s.tell(lazy.CHECK)
        s.arrive()
        s.until_done(lazy.CHECK, "a look at everything")
        s.moved()
        found = re.search(r"(\d+) KiB of memory were fetched", s.read_log("dump.log"))
        if not found or int(found[1]) > 8192:
            raise Failed(f"fetched: {found and found[0]}")
    finally:
        s.end()


def compressed(args, base, seed):
    """What is stored is compressed, in the parent as well, whatever is sent."""
    s = Away(args, base, seed)
    try:
        first, s.images = s.images, os.path.join(base, "second")
        os.mkdir(s.images)
        status, said = s.world.run([args.criu, "pre-dump", "-t", str(s.root), "-D", first, "-o", "log", "-v4", "--compress"], 30)
        if status:
            raise Failed(f"pre-dump: {said[-300:]}")
        s.leave("--prev-images-dir", "../images", "--compress")
        for where in (first, s.images):
            there = [f for f in os.listdir(where) if re.fullmatch(r"pages-\d+\.(img|frames)", f)]
            if not there or not all(f.endswith(".frames") for f in there):
                raise Failed(f"{where}: {there}")
        s.serve_there()
        s.tell(lazy.CHECK)
        s.arrive()
        s.until_done(lazy.CHECK, "a look at everything")
        s.moved()
        found = re.search(r"(\d+) KiB of memory were fetched", s.read_log("dump.log"))
        if not found or int(found[1]) > 8192:
            raise Failed(f"fetched: {found and found[0]}")
    finally:
        s.end()


def compressed_images(args, base, seed):
    """A page server with a compressed set gives away pages as they were."""
    s = Away(args, base, seed)
    try:
        s.dump("--compress")
        s.source("page-server", "--lazy-pages", "-D", s.images, "-o", "dump.log", "--address", NEAR)
        s.port = int(re.search(r"page server on port (\d+)", s.read_log("dump.log"))[1])
        s.serve_there()
        s.tell(lazy.CHECK)
        s.arrive()
        s.until_done(lazy.CHECK, "a look at everything")
        s.daemon_ends()
        s.dumper_ends(0)
        if not re.search(r"[1-9]\d{4,} KiB of memory were fetched", s.read_log("dump.log")):
            raise Failed(f"nothing was fetched: {s.read_log('dump.log')[-300:]}")
    finally:
        s.end()


def from_images(args, base, seed):
    """A page server with the images of an ordinary dump, of which the destination has a hole where most of the pages are."""
    s = Away(args, base, seed)
    try:
        s.dump()
        there = os.path.join(base, "there")
        shutil.copytree(s.images, there)
        number, entries = wire.pagemap(os.path.join(there, f"pagemap-{s.root}.img"))
        at = 0
        with open(os.path.join(there, f"pages-{number}.img"), "r+b") as f:
            for _, nr, flags in entries:
                if flags & wire.LAZY and nr > 1000:
                    f.seek(at * wire.PAGE)
                    f.write(bytes(nr * wire.PAGE))
                at += nr
        said = s.criu("page-server", "--lazy-pages", "--auto-dedup", code=1)
        if "--auto-dedup" not in said:
            raise Failed(f"--auto-dedup: {said[-300:]}")
        s.source("page-server", "--lazy-pages", "-D", s.images, "-o", "dump.log", "--address", NEAR)
        found = re.search(r"page server on port (\d+)", s.read_log("dump.log"))
        if not found:
            raise Failed(f"the server does not say where it is: {s.read_log('dump.log')[-300:]}")
        s.port = int(found[1])
        near, s.images = s.images, there
        s.serve_there()
        s.tell(lazy.CHECK)
        s.arrive()
        s.until_done(lazy.CHECK, "a look at everything")
        s.daemon_ends()
        s.images = near
        s.dumper_ends(0)
    finally:
        s.end()


def family(args, base, seed):
    """Each process of a tree has its own memory again, what it shared before included."""
    s = Away(args, base, seed, 16, "family")
    try:
        s.leave()
        s.serve_there()
        s.tell(lazy.FAMILY)
        s.arrive()
        s.until_done(lazy.FAMILY, "a look of all at everything")
        s.moved()
    finally:
        s.end()


def never_starts(args, base, seed):
    """As long as nothing has run elsewhere, whatever fails gives the process back to where it was."""
    s = Away(args, base, seed, 16)

    def given_back(what):
        s.dumper_ends(1)
        s.daemon_ends()
        s.goes_on_here(what)
        if os.path.exists(os.path.join(s.images, "inventory.img")):
            raise Failed(f"{what}: images whose memory is gone look whole")
    try:
        s.leave()
        s.serve_there()
        s.world.kill([s.daemon])
        given_back("the daemon was killed")
        s.leave()
        s.serve_there()
        for stage in failing.stages(functools.partial(s.far, "restore", "-d", "--lazy-pages", code=1), "resume"):
            if stage in lazy.WITH_TASKS:
                given_back(f"a restore failed at stage {stage}")
                s.leave()
                s.serve_there()
            elif s.dumper in s.world.ended or s.daemon not in s.named("criu"):
                # one that fails before it has made anything can be tried again
                raise Failed(f"a restore failed at stage {stage}, and is not waited for any more: {s.read_log('dump.log')[-300:]}")
        s.world.kill([s.daemon])
        given_back("another daemon was killed")
        s.leave()
        os.kill(s.dumper, signal.SIGKILL)
        s.world.until(lambda: s.dumper in s.world.ended, 10, "the dump is killed")
        s.world.until(lambda: not s.named("criu"), 10, "nobody is left of it")
        s.goes_on_here("the dump was killed")
    finally:
        s.end()


def given(args, base, seed):
    """A connection that somebody else has made, to both."""
    s = Away(args, base, seed, 16)
    here, there = socket.socketpair()
    try:
        s.source("dump", "-t", str(s.root), "-D", s.images, "-o", "dump.log", "--lazy-pages", "--ps-socket", str(here.fileno()),
                 fds=(here.fileno(),))
        here.close()
        s.far("lazy-pages", "-d", "--page-server", "--ps-socket", str(there.fileno()), fds=(there.fileno(),))
        there.close()
        s.tell(lazy.CHECK)
        s.arrive()
        s.until_done(lazy.CHECK, "a look at everything")
        s.moved()
    finally:
        here.close()
        there.close()
        s.end()


def fails_late(args, base, seed):
    """
    A restore that fails, or is killed, when it has said that its tasks start, ends them: that is not taken for a tree which
    needs no more of its memory. Nor is one that says nonsense; but one that ends by itself is.
    """
    starts, runs = struct.pack("<I", 1), struct.pack("<I", 2)
    for words, ends, here in (((), 1, b"S"), ((starts,), 1, b"T"), ((runs,), 1, b"S"), ((b"?",), 1, b"S"), ((starts, starts), 1, b"T"),
                              ((starts, runs), 0, None)):
        s = Away(args, base, seed, 4)
        try:
            s.leave()
            s.serve_there()
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as restore:
                restore.settimeout(20)
                restore.connect(os.path.join(s.images, "lazy-pages.socket"))
                restore.send(struct.pack("<8sIi", b"crlazy2", 0, 1))
                for i, word in enumerate((b"", *words)):
                    if word:
                        restore.send(word)
                    # what it is told of what it lacks, and the first time that it says that it starts
                    if (i == 0 or i == 1 and word == starts) and restore.recv(4096)[:4] != bytes(4):
                        raise Failed(f"{words}: refused")
            s.dumper_ends(ends)
            s.daemon_ends()
            if here:
                s.world.until(lambda: s.state_of(s.root) == [here], 10, f"{words}: its state here is {here.decode()}")
            elif os.path.exists(f"/proc/{s.root}"):
                raise Failed(f"{words}: it is still here")
        finally:
            s.end()
        shutil.rmtree(s.images)
        os.unlink(s.board)


def relay(s, size, holds=False):
    """Somebody between the two who hangs up after so many bytes, or passes no more. Returns its port."""
    with socket.socket() as between:
        between.bind((NEAR, 0))
        between.listen()
        pid = s.world.start([sys.executable, "-c", RELAY, str(size), str(s.port), str(holds)], stdin=between,
                            stderr=subprocess.DEVNULL)
        s.world.others.add(pid)
        s.proxy = pid
        return between.getsockname()[1]


def cut(args, base, seed):
    """
    The connection breaks when the process runs elsewhere already: it ends there without having read a zero, and is stopped
    here, where it goes on when it is told to.
    """
    s = Away(args, base, seed)
    try:
        s.leave(address="127.0.0.1")
        port = relay(s, 24 << 20)
        s.serve_there(port=port)
        s.tell(lazy.CHECK)
        s.arrive()
        s.dumper_ends(1)
        s.daemon_ends()
        s.world.until(lambda: s.proxy in s.world.ended, 10, "the end of what was in between")
        s.judge("after the cut")
        if s.see("done") == lazy.CHECK:
            raise Failed("it has seen everything, although half of it was cut off")
        s.world.until(lambda: s.named("sleeper") == [s.root], 10, "it is gone there")
        s.world.until(lambda: s.state_of(s.root) == [b"T"], 10, "it is stopped here")
        if "left stopped here" not in s.read_log("dump.log"):
            raise Failed(f"no word about it: {s.read_log('dump.log')[-300:]}")
        s.tell(NOTHING)
        os.kill(s.root, signal.SIGCONT)
        s.goes_on_here("after SIGCONT")
    finally:
        s.end()


def killed(who):
    """
    In the midst of the move somebody is killed: never two that run, nobody reads zeroes, and what is here is whole. "dump" is
    the process that people see, "holder" the one that has the tasks.
    """
    def case(args, base, seed):
        s = Away(args, base, seed)
        try:
            s.leave(address="127.0.0.1")
            port = relay(s, 24 << 20, holds=True)
            s.serve_there(port=port)
            s.tell(lazy.CHECK)
            s.arrive()
            kids = state.read(f"/proc/{s.dumper}/task/{s.dumper}/children").split()
            victims = {"daemon": [s.daemon], "dump": [s.dumper], "holder": [int(kids[0])], "both": [s.dumper, int(kids[0])]}[who]
            for pid in victims:
                os.kill(pid, signal.SIGSTOP)   # at the same instant
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            if who != "daemon":
                s.world.kill([s.proxy])          # as the network would tell
            s.world.until(lambda: s.dumper in s.world.ended, 20, "the end of the dump")
            s.daemon_ends()
            s.world.until(lambda: not s.named("criu"), 10, "nobody is left of it")
            s.world.until(lambda: s.named("sleeper") == [s.root], 10, "it is gone there")
            s.judge(f"after the kill of the {who}")
            s.world.until(lambda: s.state_of(s.root) == [b"T"], 10, "it is stopped here")
            s.tell(NOTHING)
            os.kill(s.root, signal.SIGCONT)
            s.goes_on_here(f"after the kill of the {who}")
        finally:
            s.end()
    return case


def strangers(args, base, seed):
    """Who does not ask for memory, or for what is not there, gets nothing, and the one who is waited for still finds it."""
    s = Away(args, base, seed, 16)
    try:
        s.leave(address="127.0.0.1")
        nothing = wire.record(wire.GET, 1, 0x1000, s.root)
        silent = [wire.Wire(s.port) for _ in range(40)]
        for name, data in {"words": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(64), "no page": nothing,
                           "no process": wire.record(wire.GET, 1, 0x1000, 1), "nowhere": wire.record(wire.GET, 1, 1 << 60, s.root),
                           "too many": wire.record(wire.GET, 1 << 52, 0x1000, s.root), "none": wire.record(wire.GET, 0, 0x1000, s.root),
                           "brings pages": wire.record(wire.ADD_F, 1, 0x1000, wire.task(s.root), wire.PRESENT) + bytes(4096),
                           "old": struct.pack("<IIQQ", wire.GET, 1, 0x1000, s.root) * 4, "gone": b""}.items():
            w = wire.Wire(s.port)
            w.say(data)
            if not data:
                w.close()
                continue
            if len(w.hear(4096)) != 0:
                raise Failed(f"{name}: it was answered")
            w.close()
        if s.dumper in s.world.ended or s.state_of(s.root) != [b"t"]:
            raise Failed(f"the dump does not wait any more: {s.read_log('dump.log')[-300:]}")
        _, entries = wire.pagemap(os.path.join(s.images, f"pagemap-{s.root}.img"))
        at, nr, _ = max((e for e in entries if e[2] == wire.LAZY), key=lambda e: e[1])
        # by hand, as others do: no greeting, and in order
        w = wire.Wire(s.port)
        w.say(wire.record(wire.GET, nr, at, s.root), wire.record(wire.GET, 1, at, s.root), wire.record(wire.CLOSE))
        if w.hear(32) != wire.record(wire.ADD_F, nr, at, s.root, wire.PRESENT):
            raise Failed("GET was not answered with what was asked for")
        mem = w.hear(nr * wire.PAGE)
        with open(f"/proc/{s.root}/mem", "rb") as f:
            f.seek(at)
            if f.read(nr * wire.PAGE) != mem:
                raise Failed("the pages are not those of the process")
        if w.hear(32) != wire.record(wire.ADD_F, 1, at, s.root, wire.PRESENT) or w.hear(wire.PAGE) != mem[:wire.PAGE]:
            raise Failed("the second GET was not answered")
        if w.number() != 0:
            raise Failed("CLOSE was not answered with 0")
        w.close()
        s.dumper_ends(0)
        for w in silent:
            w.close()
    finally:
        s.end()


LIAR = """import socket, struct, sys
how = sys.argv[1]
while True:
    conn, _ = socket.socket(fileno=0).accept()
    while len(rec := conn.recv(32, socket.MSG_WAITALL)) == 32:
        cmd, pad, nr, at, dst = struct.unpack("<IIQQQ", rec)
        if cmd == 5:
            conn.sendall(struct.pack("<i", 0))
        elif cmd == 7:
            if how == "elsewhere": at += 4096
            if how == "others": dst += 1
            if how == "more": nr += 1
            if how == "none": nr = 0
            flags = 2 if how == "empty" else 4
            head = struct.pack("<IIQQQ", 6 | flags << 16, 0, nr, at, dst)
            if how == "words": head = b"HTTP/1.1 200 OK" + bytes(32)
            if how == "nothing": head = b""
            if how == "half": nr = 0
            conn.sendall(head + b"x" * 4096 * min(nr, 512))
            if how in ("nothing", "half"):
                conn.close()
                break
"""


def liars(args, base, seed):
    """A source that answers with anything but what was asked for: nothing is restored, and nothing is left of it."""
    s = Away(args, base, seed, 16)
    try:
        s.leave(address="127.0.0.1")
        kept = os.path.join(base, "kept")
        shutil.copytree(s.images, kept)
        s.world.kill([s.dumper])
        s.world.until(lambda: not s.named("criu"), 10, "nobody is left of the dump")
        s.world.kill(s.named("sleeper"))
        s.images = kept
        for how in ("elsewhere", "others", "more", "none", "empty", "words", "nothing", "half"):
            with socket.socket() as door:
                door.bind((NEAR, 0))
                door.listen()
                liar = s.world.start([sys.executable, "-c", LIAR, how], stdin=door, stderr=subprocess.DEVNULL)
                s.world.others.add(liar)
                s.serve_there(port=door.getsockname()[1])
            said = s.far("restore", "-d", "--lazy-pages", code=1)
            if "lazy-pages daemon" not in said:
                raise Failed(f"{how}: {said[-300:]}")
            s.daemon_ends()
            s.world.kill([liar])
            s.world.until(lambda: not s.named("sleeper"), 10, f"{how}: nothing was restored")
    finally:
        s.end()


def by_rpc(args, base, seed):
    """The same by request, with the descriptor that clients of old are told by."""
    s = Away(args, base, seed, 16)
    try:
        ours, theirs = rpc.pair()
        pid = s.world.start([args.criu, "swrk", str(theirs.fileno())], pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        s.world.others.add(pid)
        theirs.close()
        ask = rpc.field_int(1, 9) + rpc.field_int(4, 1) + rpc.field_bytes(5, rpc.field_int(2, 1))
        ours.settimeout(20)
        ours.send(ask)
        answer = rpc.decode(ours.recv(65536))
        if rpc.decode(answer.get(8, b"")).get(2) != 1:
            raise Failed(f"the feature is not there: {answer}")
        with socket.socket() as free:
            free.bind((NEAR, 0))
            s.port = free.getsockname()[1]
        ready, status = os.pipe()
        fd = os.open(s.images, os.O_RDONLY | os.O_DIRECTORY)
        # the address is that of a page server elsewhere: with lazy pages it is of no meaning
        opts = rpc.field_int(1, fd) + rpc.field_int(2, s.root) + rpc.field_int(9, 4) + rpc.field_bytes(10, "dump.log") + \
            rpc.field_int(48, 1) + rpc.field_int(49, status) + \
            rpc.field_bytes(11, rpc.field_bytes(1, "192.0.2.1") + rpc.field_int(2, s.port))
        ours.send(rpc.field_int(1, rpc.DUMP) + rpc.field_bytes(2, opts))
        os.set_blocking(ready, False)

        def said():
            try:
                return os.read(ready, 1) == b"\0"
            except BlockingIOError:
                return pid in s.world.ended
        s.world.until(said, 20, "the worker says that it is ready")
        os.close(fd)
        if not os.path.exists(os.path.join(s.images, "inventory.img")):
            raise Failed(f"the images are not whole when they are said to be: {s.read_log('dump.log')[-300:]}")
        s.serve_there()
        s.tell(lazy.CHECK)
        s.arrive()
        s.until_done(lazy.CHECK, "a look at everything")
        answer = rpc.Response(ours.recv(65536))
        if not answer.success or answer.type != rpc.DUMP:
            raise Failed(f"dump: {answer}")
        ours.close()
        for end in (ready, status):
            os.close(end)
        s.world.until(lambda: pid in s.world.ended, 10, "the worker's end")
        s.dumper = pid
        s.moved()
    finally:
        s.end()


def over_tls(args, base, seed):
    """Only who has a certificate of the authority gets memory, and only from who has one."""
    s = Away(args, base, seed, 16)
    try:
        p = tls.Papers(os.path.join(base, "papers"))
        for name in ("ours", "theirs"):
            p.authority(name)
        p.issue("ours", "source", NEAR)
        p.issue("ours", "daemon", FAR)
        p.issue("theirs", "stranger", NEAR)
        s.leave(*p.options("ours", "source"))
        near = ["lazy-pages", "--page-server", "--address", NEAR, "--port", str(s.port)]
        # with TLS the other side is known only in the background, where the log has it
        s.far(*near, code=1)
        s.far(*near, *p.options("theirs", "stranger"), code=1)
        if "TLS" not in s.read_log("lazy-pages.log"):
            raise Failed(f"refused for another reason: {s.read_log('lazy-pages.log')[-300:]}")
        if os.path.exists(os.path.join(s.images, "lazy-pages.socket")) or s.dumper in s.world.ended:
            raise Failed("a stranger has ended the dump, or left a socket")
        s.serve_there(*p.options("ours", "daemon"))
        s.tell(lazy.CHECK)
        s.arrive()
        s.until_done(lazy.CHECK, "a look at everything")
        s.moved()
    finally:
        s.end()


CASES = {"check": obeys(lazy.CHECK), "fork": obeys(lazy.FORK), "remap": obeys(lazy.REMAP), "calls": obeys(lazy.CALLS),
         "exec": obeys(lazy.EXEC), "images": images, "from-images": from_images, "compressed": compressed, "compressed-images": compressed_images, "on-top": on_top, "family": family, "never-starts": never_starts, "fails-late": fails_late, "given": given, "cut": cut,
         **{f"kill-{who}": killed(who) for who in ("daemon", "dump", "holder", "both")},
         "strangers": strangers, "liars": liars, "tls": over_tls, "by-rpc": by_rpc, "writer": moving.writer(Away)}


def main():
    ap = alone.parser("tools")
    ap.add_argument("--rounds", type=int, default=3)
    args = alone.enter(ap, net=True)
    if not alone.has(args, "uffd-noncoop"):
        print("SKIP all: this kernel has no userfaultfd with all of its events")
        return 0
    return alone.run_cases(args, "away", {name: functools.partial(lazy.seeded, case) for name, case in CASES.items()})


if __name__ == "__main__":
    sys.exit(main())
