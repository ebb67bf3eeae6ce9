"""Compressed pages in chains of sets, some compressed and some not, restored in every way; what cannot be done with them is
refused, and damage is found before anything runs. Cases for run.py."""
import glob
import os
import re
import struct
import subprocess

import images
import rpc
from world import Failed


PRE_DUMP, DUMP = 4, 1


def frames(directory):
    return sorted(glob.glob(os.path.join(directory, "pages-*.frames")))


def must_be(s, packed, left=()):
    """The set that was just made is compressed, or is not, as a whole. @left: files of an older one"""
    there, plain = ([f for f in found if f not in left] for found in (frames(s.images), glob.glob(os.path.join(s.images, "pages-*.img"))))
    if bool(there) != packed or bool(plain) == packed:
        raise Failed(f"set {s.nr}: {there} and {plain}, {'' if packed else 'not '}to be compressed")
    stored, written = sum(os.path.getsize(f) for f in there), s.bytes_written()
    # frames that would grow are stored as they are: what is added is heads and indices
    if packed and stored > written + len(there) * (64 + 16) + written // (256 << 10) * 16:
        raise Failed(f"set {s.nr}: {stored} bytes for {written} bytes of pages")


def step(s, *cmd, packed):
    s.criu(*cmd, *(["--compress"] if packed else []))
    must_be(s, packed)


def compressed(s):
    """Each link of a chain is one way or the other; the restore is an ordinary one, or a lazy one."""
    for i in range(s.args.rounds):
        s.images = None
        # the first three have both sorts of links for certain
        step(s, "pre-dump", packed=i != 1)
        for _ in range(s.random.randrange(1, 4)):
            s.wait()
            kind = ["dump", "--leave-running", "--track-mem"] if s.random.random() < 0.3 else ["pre-dump"]
            step(s, *kind, packed=s.random.random() < 0.5)
            s.must_skip(f"round {s.nr}")
        s.wait()
        packed = i % 2 == 1 or s.random.random() < 0.5
        s.final(*(["--compress"] if packed else []))
        must_be(s, packed)
        s.restore(*(["--lazy"] if i % 3 == 2 else []))
        s.criu("dump", "--leave-running", "--snapshot", "--compress", parent=None)
        must_be(s, True)


def refused(s, what, cmd, *words):
    status, said = s.world.run([s.args.criu, *cmd], 30)
    if status == 0 or not any(w in said for w in words):
        raise Failed(f"{what}: exit status {status}: {said.strip()[-300:]}")
    if "restore" in cmd and s.writers():
        raise Failed(f"{what}: something runs")


def compressed_refused(s):
    step(s, "pre-dump", packed=True)
    older = s.images
    s.wait()
    for more in (["--auto-dedup"], ["--stream"], ["--page-server", "--address", "127.0.0.1", "--port", "1"]):
        refused(s, more[0], ["dump", "-t", str(s.root), "-D", s.base, "--compress", *more], "cannot be combined")
    refused(s, "a server that stores nothing", ["page-server", "-D", s.base, "--compress", "--lazy-pages"], "cannot be combined")
    s.final()
    s.must_skip("the dump")
    restore = ["restore", "-d", "-D", s.images]
    refused(s, "dedup", ["dedup", "-D", s.images], "are compressed")
    refused(s, "restore --auto-dedup", [*restore, "--auto-dedup"], "is compressed")
    # the one that most of what is left to the parent is in: what was written to afterwards is not looked at
    pids = [int(n[8:-4]) for n in os.listdir(s.images) if n.startswith("pagemap-") and n[8:-4].isdigit()]
    places = [path for p in pids for path, _ in images.stored(s.images, p).values() if os.path.samefile(os.path.dirname(path), older)]
    name = max(set(places), key=places.count)[:-4] + ".frames"
    with open(name, "r+b", buffering=0) as f:
        good = f.read()
        index, = struct.unpack_from("<Q", good, 32)
        flipped = good[:64] + bytes(b ^ 0x55 for b in good[64:index]) + good[index:]
        for what, data, words in (
                ("a damaged frame", flipped, ("is damaged", "does not match its checksum")),
                ("a file that is cut short", good[:-1], ("cut short, or too long",)),
                ("an index with a flipped bit", good[:-1] + bytes([good[-1] ^ 1]), ("index does not match",)),
                ("a head with a flipped bit", good[:20] + bytes([good[20] ^ 1]) + good[21:], ("head does not match",)),
                ("nothing in it", b"", ("cut short",)),
                ("another beginning", bytes(64) + good[64:], ("begins with something else",))):
            os.pwrite(f.fileno(), data, 0)
            f.truncate(len(data))
            refused(s, what, restore, *words)
            if s.world.tree():
                raise Failed(f"{what}: left are {s.world.tree()}")
        os.pwrite(f.fileno(), good, 0)
        f.truncate(len(good))
    s.restore()


def compressed_again(s):
    """Into the directory of an older set that has its pages the other way: nothing stays of those that there are now."""
    number = lambda f: os.path.basename(f).split(".")[0]
    s.criu("dump", "--leave-running", parent=None)
    # it ends with the last one: files that it maps would go on without what was dumped
    for stays, packed in ((True, True), (True, False), (False, True)):
        for name in glob.glob(os.path.join(s.images, "pages-*")):
            os.utime(name, (0, 0))
        args = ["dump", *(["--leave-running"] if stays else []), "-t", str(s.root), "-D", s.images, "-o", "log", *(["--compress"] if packed else [])]
        status, said = s.world.run([s.args.criu, *args], 30)
        if status:
            raise Failed(f"dump into the same directory: exit status {status}: {said.strip()[-300:]}")
        pages = glob.glob(os.path.join(s.images, "pages-*"))
        left = [f for f in pages if os.path.getmtime(f) == 0]
        if {number(f) for f in left} & {number(f) for f in pages if f not in left}:
            raise Failed(f"left of an older set are {left} of {pages}")
        must_be(s, packed, left)
        if re.search("Warn", s.log("log")):
            raise Failed(f"a warning: {re.findall('Warn.*', s.log('log'))}")
    s.world.until(lambda: not s.writers(), 10, "the tree is gone")
    s.restore()


def compressed_by_rpc(s):
    """As libcriu would ask for it: a pre-dump and a dump on one connection."""
    ours, theirs = rpc.pair()
    pid = s.world.start([s.args.criu, "swrk", str(theirs.fileno())], pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    s.world.others.add(pid)
    theirs.close()
    for kind in (PRE_DUMP, DUMP):
        s.nr += 1
        previous, s.images = s.images, os.path.join(s.base, str(s.nr))
        os.mkdir(s.images)
        fd = os.open(s.images, os.O_RDONLY | os.O_DIRECTORY)
        opts = {"images_dir_fd": fd, "pid": s.root, "log_level": 4, "log_file": "log", "compress": 1}
        if previous:
            opts["parent_img"] = "../" + os.path.basename(previous)
        resp = rpc.talk(ours, rpc.request(kind, **opts))
        os.close(fd)
        if not resp or not resp.success:
            raise Failed(f"request {kind}: {resp}; {s.log('log')[-300:]}")
        must_be(s, True)
    ours.close()
    s.world.until(lambda: pid in s.world.ended, 10, "the worker's end")
    s.world.until(lambda: not s.writers(), 10, "the tree is gone after the dump")
    s.restore()


CASES = {"compressed-by-rpc": compressed_by_rpc, "compressed": compressed, "compressed-refused": compressed_refused, "compressed-again": compressed_again}
