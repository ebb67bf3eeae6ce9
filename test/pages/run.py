#!/usr/bin/python3
"""Page servers: dumps whose memory goes elsewhere, compared page by page with what the process must hold.

    run.py --criu build/criu --writer build/test/memory/writer [-k CASE] [--seed N]

Runs in pid, mount and network namespaces of its own. Prints "PASS case", "FAIL case: why" or "SKIP case: why". Needs root.
"""
import errno
import functools
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]
import alone   # noqa: E402
import asked   # noqa: E402
import lines   # noqa: E402
import memory_run as memory   # noqa: E402
import moves   # noqa: E402
import tls   # noqa: E402
import wire   # noqa: E402
from remote import Remote, Server   # noqa: E402
from world import Failed, Skipped   # noqa: E402


# --- dumps

def dump(s):
    """One dump, restored from where its memory went."""
    s.last()
    s.merge()
    s.restore()


def chain(s):
    """Pre-dumps and the dump, each with a server of its own."""
    s.round("pre-dump")
    for i in range(3):
        s.wait()
        log = s.round(*(["dump", "--leave-running", "--track-mem"] if i == 1 else ["pre-dump"]))
        if memory.ALL_PAGES in log:
            raise Failed(f"round {s.nr}: {log[-300:]}")
        s.must_skip(f"round {s.nr}")
    s.wait()
    s.last()
    s.must_skip("last round")
    s.merge()
    s.restore()


def same_directory(s):
    """The server's directory may be that of the dump: numbers of images do not meet."""
    directory = os.path.join(s.base, "1")
    server = Server(s, directory)
    s.images = None
    status, said = s.criu_to(server.port, directory)
    if status != 0:
        raise Failed(f"dump: exit status {status}: {said[-300:]}")
    server.ends(0)
    s.images = directory
    s.gone()
    s.restore()


def older_parent(s):
    """What is unchanged since the second round must not be taken from the first, whatever directory the server is given."""
    s.round("pre-dump")
    first = s.remote
    s.wait()
    s.round("pre-dump")
    s.wait()
    server = s.server(parent=first)
    s.last(server=server)
    if s.pages()[1]:
        raise Failed("pages were left to an older parent")
    if "not of the dump since" not in server.log():
        raise Failed(f"no word about the parent: {server.log()[-300:]}")
    s.merge()
    s.restore()


def parent_replaced(s):
    """Files of an older round in the place of the parent's: said so at the restore, which makes nothing."""
    s.round("pre-dump")
    oldest = s.remote
    s.wait()
    s.round("pre-dump")
    parent = s.remote
    s.wait()
    s.last()
    if not s.pages()[1]:
        raise Failed("nothing was left to the parent: nothing is tried here")
    s.merge()
    for name in os.listdir(oldest):
        if name.startswith("page"):
            shutil.copy(os.path.join(oldest, name), parent)
    status, said = s.world.run([s.args.criu, "restore", "-d", "-D", s.images, "-v4", "-o", "replaced.log"], 30)
    if status != 1 or "not the dump that these images were made against" not in said or s.writers():
        raise Failed(f"exit status {status}: {said[-300:]}")


def no_parent(s):
    """A server that was told of no parent takes all pages."""
    s.round("pre-dump")
    s.wait()
    s.last(server=s.server(parent=None))
    if s.pages()[1]:
        raise Failed("pages were left to a parent that the server does not have")
    s.merge()
    s.restore()


def dedup(s):
    """--auto-dedup at the server frees what is stored anew."""
    used = lambda: sum(os.stat(os.path.join(p, f)).st_blocks for p, _, names in os.walk(os.path.join(s.base, "there"))
                       for f in names if f.startswith("pages-"))
    s.round("pre-dump")
    s.wait(0.2, 0.3)
    first = used()
    server = s.server("--auto-dedup")
    s.last(server=server)
    freed = first - (used() - sum(os.stat(os.path.join(server.dir, f)).st_blocks for f in os.listdir(server.dir)
                                  if f.startswith("pages-")))
    if freed <= 0:
        raise Failed(f"nothing was freed of {first} blocks")
    s.merge()
    s.restore()


def dedup_whole(s):
    """
    `criu dedup` of what a page server stored frees older pages, unless the server was killed, or one of its connections was: then
    nothing tells which pages are missing.
    """
    page, nr = os.urandom(wire.PAGE), 64

    def round_of(name, how, parent=None):
        directory = os.path.join(s.base, name)
        server = Server(s, directory, *(["--prev-images-dir", os.path.relpath(parent, directory)] if parent else []))
        w, other = wire.Wire(server.port), wire.Wire(server.port)
        w.say(wire.record(wire.OPEN, dst=wire.task(7)), wire.record(wire.ADD, nr, 0x1000, 0), page * nr)
        if how != "killed":
            w.say(wire.record(wire.CLOSE))
            if w.number() != 0:
                raise Failed(f"{name}: not answered with 0")
        if how == "cut":
            other.say(wire.record(wire.OPEN2, dst=wire.task(8)))
            other.hear(1)
        if how == "killed":
            s.world.until(lambda: os.path.exists(os.path.join(directory, "pages-65537.img")), 10, "something is written")
            os.kill(server.pid, signal.SIGKILL)
            server.ended()
        w.close()
        other.close()
        if how != "killed":
            server.ends(1 if how == "cut" else 0)
        return directory

    def blocks(directory):
        return os.stat(os.path.join(directory, "pages-65537.img")).st_blocks

    first = round_of("whole", "")
    full = blocks(first)
    for how in ("killed", "cut", ""):
        newer = round_of(f"newer-{how}", how, first)
        if how == "cut" and blocks(newer) != full:
            raise Failed("what was answered with 0 has not been kept")
        status, said = s.world.run([s.args.criu, "dedup", "-D", newer], 10)
        if how and (status != 1 or "not whole" not in said or blocks(first) != full):
            raise Failed(f"{how}: exit status {status}: {said[-300:]}; {blocks(first)} blocks of {full} are left")
        if not how and (status != 0 or blocks(first)):
            raise Failed(f"exit status {status}: {said[-300:]}; {blocks(first)} blocks of {full} are left")


def flip(path, page=0):
    """One bit of a page."""
    with open(path, "r+b") as f:
        f.seek(page + 100)
        byte = f.read(1)[0]
        f.seek(page + 100)
        f.write(bytes([byte ^ 1]))


def damaged(s, directory):
    """A page of each process that is in a directory is changed, then back again: a restore says so, and makes nothing."""
    pids = [int(n[8:-4]) for n in os.listdir(s.images) if n.startswith("pagemap-") and n[8:-4].isdigit()]
    used = [[at for at in memory.images.stored(s.images, p).values() if os.path.samefile(os.path.dirname(at[0]), directory)]
            for p in pids]
    for at in (u[0] for u in used if u):
        flip(*at)
    status, said = s.world.run([s.args.criu, "restore", "-d", "-D", s.images, "-v4", "-o", "damaged.log"], 30)
    if status != 1 or "does not match its checksum" not in said or s.writers():
        raise Failed(f"{directory}: exit status {status}: {said[-300:]}")
    for at in (u[0] for u in used if u):
        flip(*at)


def checksums(s):
    """The server makes them, of the dump and of a round before it, which has no inventory; a restore compares them."""
    s.round("pre-dump")
    before = s.remote
    s.wait()
    s.last()
    s.merge()
    s.restore()
    s.world.kill(s.writers())
    for directory in (before, s.images):
        if not os.path.exists(os.path.join(directory, "pages.sum")):
            raise Failed(f"no checksums in {directory}")
    damaged(s, before)
    damaged(s, s.images)


def no_checksums(s):
    """--no-checksums at the server: there are none."""
    s.last(server=s.server("--no-checksums"))
    s.merge()
    if os.path.exists(os.path.join(s.images, "pages.sum")):
        raise Failed("checksums, although none are wanted")
    s.restore()


def packed(s):
    """Servers that compress what they store, in a chain with one that does not; damage shows."""
    frames = lambda d: [n for n in os.listdir(d) if n.endswith(".frames")]
    for i, more in enumerate((["--compress"], [], ["--compress"])):
        s.round(*(["dump"] if i == 2 else ["pre-dump"]), server=s.server(*more))
        plain = [n for n in os.listdir(s.remote) if n.startswith("pages-") and n.endswith(".img")]
        if bool(frames(s.remote)) != bool(more) or bool(plain) == bool(more):
            raise Failed(f"round {i}: {os.listdir(s.remote)}")
        if i:
            s.must_skip(f"round {i}")
        if i < 2:
            s.wait()
    s.gone()
    s.merge()
    s.restore(*(["--lazy"] if s.random.random() < 0.5 else []))
    s.world.kill(s.writers())
    big = max((os.path.join(s.images, n) for n in frames(s.images)), key=os.path.getsize)
    flip(big)
    status, said = s.world.run([s.args.criu, "restore", "-d", "-D", s.images, "-v4", "-o", "damaged.log"], 30)
    if status != 1 or s.writers():
        raise Failed(f"damaged: exit status {status}: {said[-300:]}")
    for more, words in ((["--auto-dedup"], "--auto-dedup"), (["--lazy-pages"], "--lazy-pages")):
        status, said = s.world.run([s.args.criu, "page-server", "-D", s.base, "--compress", *more], 10)
        if status != 1 or "cannot be combined" not in said or words not in said:
            raise Failed(f"{more}: exit status {status}: {said[-300:]}")


# --- what goes wrong

def nobody(s):
    """Without a server, or with somebody else at its port, nothing is stopped."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        status, said = s.criu_to(deaf.getsockname()[1], os.path.join(s.base, "x"))
        if status != 1 or "Connection refused" not in said:
            raise Failed(f"nobody there: exit status {status}: {said[-300:]}")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        s.world.others.add(echo := s.world.start([sys.executable, "-c", "import socket,sys; s=socket.socket(fileno=0);"
                                                  "c,_=s.accept(); c.recv(32); c.send(b'HTTP/1.1 400'); c.close()"],
                                                 stdin=other))
        status, said = s.criu_to(other.getsockname()[1], os.path.join(s.base, "x"))
        s.world.until(lambda: echo in s.world.ended, 10, "the other server ends")
        if status != 1 or "to the greeting" not in said:
            raise Failed(f"somebody else: exit status {status}: {said[-300:]}")
    s.must_go_on()
    for args in (["--page-server"], ["--page-server", "--address", "127.0.0.1"]):
        status, said = s.world.run([s.args.criu, "dump", "-t", str(s.root), "-D", s.base, *args], 20)
        if status != 1 or "needs --port" not in said:
            raise Failed(f"{args}: exit status {status}: {said[-300:]}")


CUT = """import socket, sys
left = int(sys.argv[1])
out = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
conn, _ = socket.socket(fileno=0).accept()
import threading
def back():
    while data := out.recv(65536):
        conn.sendall(data)
threading.Thread(target=back, daemon=True).start()
while left and (data := conn.recv(min(left, 65536))):
    out.sendall(data)
    left -= len(data)
"""


def cut(s):
    """A connection that breaks: the tree goes on, the server keeps nothing, and cannot be gone on with."""
    for size in (32, 100, 70000, 1 << 20):
        server = Server(s, os.path.join(s.base, f"cut-{size}"))
        with socket.socket() as between:
            between.bind(("127.0.0.1", 0))
            between.listen()
            proxy = s.world.start([sys.executable, "-c", CUT, str(size), str(server.port)], stdin=between)
            s.world.others.add(proxy)
            status, said = s.criu_to(between.getsockname()[1], os.path.join(s.base, "x"))
        if status != 1 or "page server" not in said:
            raise Failed(f"cut after {size}: exit status {status}: {said[-300:]}")
        server.ends(1)
        server.must_be_empty()
        s.must_go_on()
        status, said = s.criu_to(server.port, os.path.join(s.base, "x"))
        if status != 1 or "Connection refused" not in said:
            raise Failed(f"after the cut: exit status {status}: {said[-300:]}")
        s.world.until(lambda: proxy in s.world.ended, 10, "the end of what was in between")
    if os.path.exists(os.path.join(s.base, "x", "inventory.img")):
        raise Failed("images of a dump that has failed look whole")
    s.last()
    s.merge()
    s.restore()


def disk_full(s):
    """The server's disk is full: the dump hears why."""
    there = os.path.join(s.base, "small")
    os.mkdir(there)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "small", there], check=True)
    try:
        server = Server(s, there)
        status, said = s.criu_to(server.port, os.path.join(s.base, "x"))
        if status != 1 or "No space left on device" not in said:
            raise Failed(f"exit status {status}: {said[-300:]}")
        server.ends(1)
        server.must_be_empty()
        s.must_go_on()
    finally:
        subprocess.run(["umount", "-l", there], check=False)


ROUND = {"nr": 0x1122334455667788, "vaddr": 0x99aabbccddeeff00}   # whose dump pages are of, as our dumps say it


def sums_full(s):
    """
    The disk is full when all pages are there and their checksums are to be written: the dump is told so. What a connection before
    it was told to be kept is still whole, without checksums.
    """
    page, nr = os.urandom(wire.PAGE), 4096
    for before in (False, True):
        there = os.path.join(s.base, f"full-{before}")
        os.mkdir(there)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "small", there], check=True)
        try:
            server = Server(s, there)
            b = wire.Wire(server.port)   # so that the server does not end with the first one
            if before:
                a = wire.Wire(server.port)
                a.say(wire.record(wire.OPEN, dst=wire.task(7), **ROUND), wire.record(wire.ADD, 2, 0x1000, 0), page * 2,
                      wire.record(wire.CLOSE))
                if a.number() != 0 or not os.path.exists(os.path.join(there, "pages.sum")):
                    raise Failed(f"the first connection was not answered, or has no checksums: {os.listdir(there)}")
                a.close()
            b.say(wire.record(wire.OPEN, dst=wire.task(8), **ROUND))
            # room for the pages, the page map and a longer log, and not for the sums
            space = os.statvfs(there)
            with open(os.path.join(there, "ballast"), "wb") as f:
                f.write(bytes((space.f_bavail - nr - 2) * space.f_bsize))
            b.say(wire.record(wire.ADD, nr, 0x1000, 0), page * nr, wire.record(wire.CLOSE))
            code = b.number()
            if code != -errno.ENOSPC:
                raise Failed(f"the last word was {code}; the server has {os.listdir(there)}")
            b.close()
            server.ends(1)
            left = sorted(n for n in os.listdir(there) if n not in ("ballast", "server.log"))
            if left != (["pagemap-7.img", "pages-65537.img"] if before else []):
                raise Failed(f"left are {left}")
            if before and wire.pagemap(os.path.join(there, "pagemap-7.img")) != (65537, [(0x1000, 2, 4)]):
                raise Failed("the page map of the first connection has changed")
            if before and "without checksums of what came before" not in server.log():
                raise Failed(f"no word about the checksums: {server.log()[-300:]}")
        finally:
            subprocess.run(["umount", "-l", there], check=False)


def strangers(s):
    """Somebody who begins an image and hangs up, while a dump is told that all is well or after that, takes nothing of it away."""
    page = os.urandom(wire.PAGE)
    server = s.server()
    stranger = wire.Wire(server.port)
    stranger.say(wire.record(wire.OPEN2, dst=wire.task(999)))
    if stranger.hear(1) != b"\0":
        raise Failed("not answered")
    s.criu("dump", *server.options())
    s.gone()
    stranger.say(wire.record(wire.ADD, 2, 0x1000, 0), page)
    stranger.close()
    server.ends(1)
    s.remote = server.dir
    names = os.listdir(s.remote)
    if "pages.sum" not in names or "pagemap-999.img" in names:
        raise Failed(f"kept are {names}")
    s.merge()
    s.restore()


def unheard(s):
    """Of a connection that the last word cannot be said to nothing stays: its dump has failed."""
    server = Server(s, os.path.join(s.base, "unheard"))
    other = wire.Wire(server.port)
    w = wire.Wire(server.port)
    w.say(wire.record(wire.OPEN2, dst=wire.task(7)), wire.record(wire.ADD, 1, 0x1000, 0), os.urandom(wire.PAGE))
    if w.hear(1) != b"\0":
        raise Failed("not answered")
    os.kill(server.pid, signal.SIGSTOP)
    w.say(wire.record(wire.CLOSE))
    w.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    w.close()
    other.close()
    os.kill(server.pid, signal.SIGCONT)
    server.ends(1)
    server.must_be_empty()


def close_fails(s):
    """A file system that says only at close(2) that there is no room (NFS, quota): the dump hears of it."""
    if not shutil.which("strace"):
        raise Skipped("no strace")
    for name in ("pages-65537.img", f"pagemap-{s.root}.img", "pages.sum"):
        there = os.path.join(s.base, f"there-{name}")
        server = Server(s, there, within=["strace", "-f", "-qq", "-o", "/dev/null", "-P", os.path.join(there, name), "-e", "trace=close",
                                          "-e", "inject=close:error=EDQUOT"])
        status, said = s.criu_to(server.port, os.path.join(s.base, "x"))
        if status != 1 or "Disk quota exceeded" not in said:
            raise Failed(f"{name}: exit status {status}: {said[-300:]}")
        server.ends(1)
        server.must_be_empty()
        s.must_go_on()


# --- the protocol, by hand

def by_hand(s):
    """What others send, old numbers and answers included."""
    server = Server(s, os.path.join(s.base, "hand"))
    w = wire.Wire(server.port)
    a, b = os.urandom(wire.PAGE), bytes(wire.PAGE)
    w.say(wire.record(wire.PARENT, dst=wire.task(7)))
    if w.number() != 0:
        raise Failed("there is a parent where there is none")
    w.say(wire.record(wire.OPEN2, dst=wire.task(7)))
    if w.hear(1) != b"\0":
        raise Failed("OPEN2: there is a parent where there is none")
    w.say(wire.record(wire.ADD_F, 1, 0x1000, wire.task(7), wire.PRESENT | wire.LAZY), a,
          wire.record(wire.ADD_F, 2, 0x2000, wire.task(7), wire.PRESENT | wire.LAZY), b, a,
          wire.record(wire.ADD, 1, 0x9000, wire.task(7)), b,
          wire.record(wire.ADD_F, 3, 0xa000, wire.task(7), wire.LAZY),
          wire.record(wire.OPEN, dst=5 << 8 | 27), wire.record(wire.ADD, 1, 0, 0), a,
          wire.record(wire.CLOSE))
    if w.number() != 0:
        raise Failed("CLOSE was not answered with 0")
    w.close()
    server.ends(0)
    number, entries = wire.pagemap(os.path.join(server.dir, "pagemap-7.img"))
    if number <= 0x10000 or entries != [(0x1000, 3, 6), (0x9000, 1, 4), (0xa000, 3, 2)]:
        raise Failed(f"pagemap-7.img: {number:#x} {entries}")
    with open(os.path.join(server.dir, f"pages-{number}.img"), "rb") as f:
        if f.read() != a + b + a + b:
            raise Failed("the pages are not what was sent")
    number, entries = wire.pagemap(os.path.join(server.dir, "pagemap-shmem-5.img"))
    if entries != [(0, 1, 4)]:
        raise Failed(f"pagemap-shmem-5.img: {entries}")


def garbage(s):
    """What is no such conversation ends the server, with nothing kept and the reason told."""
    begin = wire.record(wire.OPEN, dst=wire.task(7))
    page = bytes(wire.PAGE)
    some = begin + wire.record(wire.ADD, 1, 0x5000, 0) + page
    cases = {
        "random": os.urandom(4096),
        "unknown command": some + wire.record(99),
        "pages of nothing": wire.record(wire.ADD, 1, 0x1000, 0) + page,
        "out of order": some + wire.record(wire.ADD, 1, 0x4000, 0) + page,
        "twice the same": some + wire.record(wire.ADD, 1, 0x5000, 0) + page,
        "overlapping": begin + wire.record(wire.ADD, 2, 0x1000, 0) + page * 2 + wire.record(wire.ADD, 1, 0x2000, 0) + page,
        "not aligned": begin + wire.record(wire.ADD, 1, 0x1001, 0) + page,
        "too many": begin + wire.record(wire.ADD, 1 << 52, 0x1000, 0) + page,
        "wraps around": begin + wire.record(wire.ADD, (1 << 64) - 1, 0x1000, 0) + page,
        "none": begin + wire.record(wire.ADD, 0, 0x1000, 0),
        "no process": wire.record(wire.OPEN, dst=1),
        "no kind": wire.record(wire.OPEN, dst=7 << 8 | 99),
        "a parent that is none": begin + wire.record(wire.HOLE, 1, 0x1000, 0),
        "here and in the parent": begin + wire.record(wire.ADD_F, 1, 0x1000, 0, 5),
        "opened twice": some + begin,
        "asks for pages": wire.record(wire.GET, 1, 0x1000, 7),
        "old records": struct_old(wire.OPEN2) + struct_old(wire.ADD_F),
        "ends early": some,
        "goes on after its end": some + wire.record(wire.CLOSE) + b"and more",
        "ends within pages": begin + wire.record(wire.ADD, 2, 0x1000, 0) + page,
    }
    for name, data in cases.items():
        server = Server(s, os.path.join(s.base, "g-" + name.replace(" ", "-")))
        w = wire.Wire(server.port)
        try:
            w.say(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        if name.startswith("ends"):
            w.sock.shutdown(1)
        code = w.number()
        w.close()
        server.ends(1)
        server.must_be_empty()
        if code is None or code >= 0:
            raise Failed(f"{name}: answered with {code}")


def struct_old(cmd):
    """As up to version 4.1: 24 bytes."""
    return struct.pack("<IIQQ", cmd, 1, 0x1000, wire.task(7))


def together(s):
    """Several connections at once make one set; of one that breaks nothing stays, and what others were told to be kept does."""
    page = os.urandom(wire.PAGE)
    for whole in (True, False):
        server = Server(s, os.path.join(s.base, f"together-{whole}"))
        lines = [wire.Wire(server.port) for _ in range(5)]
        for i, w in enumerate(lines):
            w.say(wire.record(wire.OPEN2, dst=wire.task(10 + i)))
        for w in lines:
            if w.hear(1) != b"\0":
                raise Failed("OPEN2 was not answered")
        for i, w in enumerate(lines):
            w.say(wire.record(wire.ADD, 2, 0x1000 * (i + 1), 0), page)
        for i, w in enumerate(lines[:-1]):
            w.say(page, wire.record(wire.CLOSE))
            if w.number() != 0:
                raise Failed("CLOSE was not answered with 0")
            w.close()
        if whole:
            lines[-1].say(page, wire.record(wire.CLOSE))
            if lines[-1].number() != 0:
                raise Failed("the last CLOSE was not answered with 0")
        lines[-1].close()
        server.ends(0 if whole else 1)
        nr = 5 if whole else 4
        left = [n for n in os.listdir(server.dir) if n.endswith(".img")]
        if len(left) != 2 * nr:
            raise Failed(f"of {nr} connections there are {left}")
        numbers = set()
        for i in range(nr):
            number, entries = wire.pagemap(os.path.join(server.dir, f"pagemap-{10 + i}.img"))
            numbers.add(number)
            if entries != [(0x1000 * (i + 1), 2, 4)]:
                raise Failed(f"pagemap-{10 + i}.img: {entries}")
            with open(os.path.join(server.dir, f"pages-{number}.img"), "rb") as f:
                if f.read() != page * 2:
                    raise Failed(f"pages-{number}.img is not what was sent")
        if len(numbers) != nr:
            raise Failed(f"numbers of pages: {numbers}")


CASES = {"dump": dump, "chain": chain, "same-directory": same_directory, "older-parent": older_parent,
         "parent-replaced": parent_replaced, "no-parent": no_parent, "dedup": dedup, "dedup-whole": dedup_whole, "checksums": checksums,
         "no-checksums": no_checksums, "packed": packed, "nobody": nobody, "cut": cut, "disk-full": disk_full,
         "sums-full": sums_full, "strangers": strangers, "unheard": unheard, "close-fails": close_fails, "by-hand": by_hand, "garbage": garbage,
         "together": together, **asked.CASES, **tls.CASES, **moves.CASES, **lines.CASES}


def run_one(case, args, base):
    s = Remote(args, base, args.seed)
    try:
        case(s)
    finally:
        s.end()


def main():
    args = alone.enter(alone.parser("writer"), net=True)
    return alone.run_cases(args, "pages", {name: functools.partial(run_one, case) for name, case in CASES.items()})


if __name__ == "__main__":
    sys.exit(main())
