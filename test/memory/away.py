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
import socket
import struct
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e"), os.path.join(HERE, "..", "pages")]
import alone   # noqa: E402
import broken   # noqa: E402
import lazy   # noqa: E402
import moving   # noqa: E402
import rpc   # noqa: E402
import tls   # noqa: E402
import wire   # noqa: E402
from afar import FAR, NEAR, Away   # noqa: E402
from world import Failed   # noqa: E402


def obeys(order):
    """What it is told is done at the destination, while its memory is fetched."""
    def case(args, base, seed):
        with Away(args, base, seed) as s:
            s.leave()
            s.goes_over(order, "what it was told")
    return case


def images(args, base, seed):
    """What is left is marked as the images of others are, takes no room in them, and is not restored without its source."""
    with Away(args, base, seed) as s:
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
        s.goes_over()
        with open(os.path.join(s.images, "stats-dump"), "rb") as f:
            stats = f.read()
        size, = struct.unpack_from("<I", stats, 8)
        if rpc.decode(rpc.decode(stats[12:12 + size])[1]).get(9) != left:
            raise Failed("the statistics do not say what was left")


def second_round(s, *more):
    """A pre-dump, and a place for what comes on top of it. Returns where the first one is."""
    first, s.images = s.images, os.path.join(s.base, "second")
    os.mkdir(s.images)
    status, said = s.world.run([s.args.criu, "pre-dump", "-t", str(s.root), "-D", first, "-o", "log", "-v4", *more], 30)
    if status:
        raise Failed(f"pre-dump: {said[-300:]}")
    return first


def fetched_little(s):
    found = re.search(r"(\d+) KiB of memory were fetched", s.read_log("dump.log"))
    if not found or int(found[1]) > 8192:
        raise Failed(f"fetched: {found and found[0]}")


def on_top(args, base, seed):
    """After a pre-dump, only what has changed since is left and fetched; the rest is in the images of that."""
    with Away(args, base, seed) as s:
        second_round(s)
        s.leave("--prev-images-dir", "../images")
        _, entries = wire.pagemap(os.path.join(s.images, f"pagemap-{s.root}.img"))
        left, above = (sum(n for _, n, flags in entries if flags & mask == mask and not flags & wire.PRESENT)
                       for mask in (wire.LAZY, wire.IN_PARENT))
        if left > 1000 + above or above < 16000:
            raise Failed(f"{left} pages were left, and {above} are in the parent")
        s.goes_over()
        fetched_little(s)


def compressed(args, base, seed):
    """What is stored is compressed, in the parent as well, whatever is sent."""
    with Away(args, base, seed) as s:
        first = second_round(s, "--compress")
        s.leave("--prev-images-dir", "../images", "--compress")
        for where in (first, s.images):
            there = [f for f in os.listdir(where) if re.fullmatch(r"pages-\d+\.(img|frames)", f)]
            if not there or not all(f.endswith(".frames") for f in there):
                raise Failed(f"{where}: {there}")
        s.goes_over()
        fetched_little(s)


def compressed_images(args, base, seed):
    """A page server with a compressed set gives away pages as they were."""
    with Away(args, base, seed) as s:
        s.dump("--compress")
        s.leave_images()
        s.serve_there()
        s.obeys_there()
        s.daemon_ends()
        s.dumper_ends(0)
        if not re.search(r"[1-9]\d{4,} KiB of memory were fetched", s.read_log("dump.log")):
            raise Failed(f"nothing was fetched: {s.read_log('dump.log')[-300:]}")


def from_images(args, base, seed):
    """A page server with the images of an ordinary dump, of which the destination has a hole where most of the pages are."""
    with Away(args, base, seed) as s:
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
        s.leave_images()
        near, s.images = s.images, there
        s.serve_there()
        s.obeys_there()
        s.daemon_ends()
        s.images = near
        s.dumper_ends(0)


def family(args, base, seed):
    """Each process of a tree has its own memory again, what it shared before included."""
    with Away(args, base, seed, 16, "family") as s:
        s.leave()
        s.goes_over(lazy.FAMILY, "a look of all at everything")


def given(args, base, seed):
    """A connection that somebody else has made, to both."""
    here, there = socket.socketpair()
    with Away(args, base, seed, 16) as s, here, there:
        s.source("dump", "-t", str(s.root), "-D", s.images, "-o", "dump.log", "--lazy-pages", "--ps-socket", str(here.fileno()),
                 fds=(here.fileno(),))
        here.close()
        s.far("lazy-pages", "-d", "--page-server", "--ps-socket", str(there.fileno()), fds=(there.fileno(),))
        there.close()
        s.obeys_there()
        s.moved()


def by_rpc(args, base, seed):
    """The same by request, with the descriptor that clients of old are told by."""
    with Away(args, base, seed, 16) as s:
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
        s.until_ready(ready, pid, "the worker says that it is ready")
        os.close(fd)
        if not os.path.exists(os.path.join(s.images, "inventory.img")):
            raise Failed(f"the images are not whole when they are said to be: {s.read_log('dump.log')[-300:]}")
        s.serve_there()
        s.obeys_there()
        answer = rpc.Response(ours.recv(65536))
        if not answer.success or answer.type != rpc.DUMP:
            raise Failed(f"dump: {answer}")
        ours.close()
        for end in (ready, status):
            os.close(end)
        s.world.until(lambda: pid in s.world.ended, 10, "the worker's end")
        s.dumper = pid
        s.moved()


def over_tls(args, base, seed):
    """Only who has a certificate of the authority gets memory, and only from who has one."""
    with Away(args, base, seed, 16) as s:
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
        s.goes_over(more=p.options("ours", "daemon"))


CASES = {"check": obeys(lazy.CHECK), "fork": obeys(lazy.FORK), "remap": obeys(lazy.REMAP), "calls": obeys(lazy.CALLS),
         "exec": obeys(lazy.EXEC), "images": images, "from-images": from_images, "compressed": compressed,
         "compressed-images": compressed_images, "on-top": on_top, "family": family, "given": given, **broken.CASES, "tls": over_tls,
         "by-rpc": by_rpc, "writer": moving.writer}


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
