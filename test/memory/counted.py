"""What stats-dump and stats-restore say, counted once more by other means: in images, in procfs, by a clock. A case for lazy.py."""
import glob
import os
import re
import signal
import struct
import time

import images
import rpc
import state
from world import Failed

DUMP = ("freezing", "frozen", "memdump", "memwrite", "scanned", "skipped", "written", "irmap", "lazy", "pipes", "bufs", "shscanned",
        "shskipped", "shwritten")
RESTORE = ("compared", "cow", "forking", "restore", "restored")
SOME = 64   # pages that come and go at a restore: stacks, what C libraries write to


def said(directory, which, names):
    """The fields by name."""
    data = state.read(os.path.join(directory, f"stats-{'dump' if which == 1 else 'restore'}"))
    size, = struct.unpack_from("<I", data, 8)
    fields = rpc.decode(rpc.decode(data[12:12 + size])[which])
    return {name: fields.get(i, 0) for i, name in enumerate(names, 1)}


def in_pagemaps(directory, pattern, flag):
    """Pages with that flag in all page maps of a kind."""
    total = 0
    for path in glob.glob(os.path.join(directory, pattern)):
        name = os.path.basename(path)[len("pagemap-"):-len(".img")]
        total += sum(nr for _, nr, flags in images.read_pagemap(directory, name)[1] if flags & flag)
    return total


def considered(pid):
    """Pages of all private mappings, and how many of them are there."""
    text = state.read(f"/proc/{pid}/maps").decode()
    areas = [(int(a, 16), int(b, 16)) for a, b in re.findall(r"^(\w+)-(\w+) ...p (?!.*\[v[vs])", text, re.M)]
    return sum(b - a for a, b in areas if b < 1 << 63) // images.PAGE, len(images.private_pages(pid))


def shared_with_others(pid):
    """Anonymous pages that are not this process's alone (bit 56 of pagemap, Linux 4.2)."""
    pages, total = images.private_pages(pid), 0
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as f:
        for page in pages:
            word, = struct.unpack("<Q", os.pread(f.fileno(), 8, page * 8))
            total += not word >> 56 & 1
    return total


def same(what, got, counted, slack=0):
    if abs(got - counted) > slack:
        raise Failed(f"{what}: the statistics say {got}, there are {counted}")


def dumped(s, directory, took):
    """One dump's statistics. Returns them."""
    st = said(directory, 1, DUMP)
    same("pages_written", st["written"], in_pagemaps(directory, "pagemap-[0-9]*.img", images.PRESENT))
    same("pages_skipped_parent", st["skipped"], in_pagemaps(directory, "pagemap-[0-9]*.img", images.PARENT))
    same("shpages_written", st["shwritten"], in_pagemaps(directory, "pagemap-shmem-*.img", images.PRESENT))
    same("all pages", st["written"] + st["shwritten"],
         sum(os.path.getsize(f) for f in glob.glob(os.path.join(directory, "pages-*.img"))) // images.PAGE)
    if st["shscanned"] < st["shwritten"] or st["lazy"] or st["shskipped"] or st["irmap"] or st["pipes"] or st["bufs"]:
        raise Failed(f"of a dump: {st}")
    # frozen is who is the first to stop, so that freezing is a part of it; and writing is a part of the time for memory
    if not 0 < st["freezing"] <= st["frozen"] <= took or not 0 < st["memwrite"] < st["memdump"] <= took:
        raise Failed(f"times of a dump that took {took} us: {st}")
    return st


def timed(s, *cmd):
    """Runs a command. Returns its output and how long it took, in microseconds."""
    start = time.monotonic()
    out = s.criu(*cmd)
    return out, int((time.monotonic() - start) * 1e6)


def shown(out, st, *rows):
    """The same numbers, printed."""
    for row, name in rows:
        if not re.search(rf"^{row}: {st[name]}(?: us| \(0x{st[name]:x}\))$", out, re.M):
            raise Failed(f"{row}: {st[name]} is not in what is shown: {out}")


def statistics(sleeper):
    def case(args, base, seed):
        with sleeper(args, base, seed, 16, "family") as s:
            rounds(s, base)
            s.world.until(lambda: s.root not in s.world.tree(), 5, "the tree is gone after the dump")
            restored(s, said(s.images, 1, DUMP)["written"])
    return case


def rounds(s, base):
    """A pre-dump, a dump on top of that, and one by itself."""
    _, took = timed(s, "pre-dump", "-t", str(s.root))
    first = dumped(s, s.images, took)
    s.images = os.path.join(base, "second")
    os.mkdir(s.images)
    family = s.named("sleeper")
    _, took = timed(s, "dump", "-t", str(s.root), "-s", "--track-mem", "--prev-images-dir", "../images")
    second = dumped(s, s.images, took)
    mappings, there = (sum(n) for n in zip(*(considered(p) for p in family)))
    same("pages of the tree", second["written"] + second["skipped"], there, SOME * len(family))
    if not there <= second["scanned"] <= mappings:
        raise Failed(f"pages_scanned: {second['scanned']} of {mappings}, of which {there} are there")
    if second["skipped"] < 3 * first["written"] // 4:
        raise Failed(f"pages_skipped_parent: {second['skipped']}, after {first['written']} written")
    for pid in family:
        os.kill(pid, signal.SIGCONT)
    s.images = os.path.join(base, "third")
    os.mkdir(s.images)
    out, took = timed(s, "dump", "-t", str(s.root), "--display-stats")
    third = dumped(s, s.images, took)
    shown(out, third, ("Freezing time", "freezing"), ("Frozen time", "frozen"), ("Memory dump time", "memdump"),
          ("Memory write time", "memwrite"), ("Memory pages scanned", "scanned"), ("Memory pages skipped from parent", "skipped"),
          ("Memory pages written", "written"), ("Lazy memory pages", "lazy"))


def restored(s, stored):
    out, took = timed(s, "restore", "-d", "-s", "--display-stats")
    st = said(s.images, 2, RESTORE)
    shown(out, st, ("Pages compared", "compared"), ("Pages skipped COW", "cow"), ("Pages restored", "restored"),
          ("Restore time", "restore"), ("Forking time", "forking"))
    same("pages_restored and pages_skipped_cow", st["restored"] + st["cow"], stored, SOME)
    children = [p for p in s.named("sleeper") if p != s.root]
    same("pages_skipped_cow", st["cow"], sum(shared_with_others(p) for p in children), SOME * len(children))
    if not st["cow"] <= st["compared"] <= stored or not st["cow"]:
        raise Failed(f"pages_compared: {st} of {stored}")
    if not 0 < st["forking"] <= st["restore"] <= took:
        raise Failed(f"times of a restore that took {took} us: {st}")


