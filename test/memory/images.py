"""Pages as a chain of image directories has them, found page by page: slow, and plain enough to be right."""
import os
import struct

import rpc

PAGE = 4096
PARENT, PRESENT = 1, 4


def read_pagemap(directory, pid):
    """Number of the pages file, and (first page, number of pages, flags) of each entry; None if there is no such image."""
    try:
        with open(os.path.join(directory, f"pagemap-{pid}.img"), "rb") as f:
            data = f.read()
    except FileNotFoundError:
        return None
    at, entries = 8, []   # behind two magic numbers
    while at < len(data):
        size, = struct.unpack_from("<I", data, at)
        entries.append(rpc.decode(data[at + 4:at + 4 + size]))
        at += 4 + size
    return entries[0][1], [(e[1] // PAGE, e.get(5, e.get(2, 0)), e.get(4, 0)) for e in entries[1:]]


def stored(directory, pid):
    """For each stored page of a process: path of the file and offset. Raises KeyError where the parent lacks a page."""
    found = read_pagemap(directory, pid)
    if found is None:
        return {}
    pages_id, entries = found
    path, off, out, parent = os.path.join(directory, f"pages-{pages_id}.img"), 0, {}, None
    if any(flags & PARENT for _, _, flags in entries):
        parent = stored(os.path.realpath(os.path.join(directory, "parent")), pid)
    for first, nr, flags in entries:
        for page in range(first, first + nr):
            if flags & PARENT:
                out[page] = parent[page]
            elif flags & PRESENT:
                out[page] = path, off
                off += PAGE
    return out


class Files:
    """Pages files, each opened once."""

    def __init__(self):
        self.open = {}

    def page(self, where):
        path, off = where
        if path not in self.open:
            self.open[path] = os.open(path, os.O_RDONLY)
        return os.pread(self.open[path], PAGE, off)

    def close(self):
        for fd in self.open.values():
            os.close(fd)
        self.open = {}


def private_pages(pid):
    """Pages of a stopped process that belong to it alone, present or swapped out."""
    out = []
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        for line in maps:
            area, perms, *_ = line.split()
            start, end = (int(x, 16) for x in area.split("-"))
            if perms[3] != "p" or start >= 1 << 63 or "[v" in line:
                continue
            words = os.pread(pagemap.fileno(), (end - start) // PAGE * 8, start // PAGE * 8)
            for i, (word,) in enumerate(struct.iter_unpack("<Q", words)):
                # 63: present, 62: swapped out, 61: of a file, 58: a guard page
                if word >> 62 & 3 and not word >> 61 & 1 and not word >> 58 & 1:
                    out.append(start // PAGE + i)
    return out


def compare(directory, pid):
    """Everything that a stopped process holds against what the chain of @directory has. Returns "" or the first difference."""
    try:
        there = stored(directory, pid)
    except KeyError as e:
        return f"pid {pid}: page {e.args[0] * PAGE:x} is in no set"
    files, nothing = Files(), bytes(PAGE)
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
            for page in sorted(set(there) | set(private_pages(pid))):
                try:
                    held = os.pread(mem.fileno(), PAGE, page * PAGE)
                except OSError as e:
                    return f"pid {pid}: page {page * PAGE:x} is stored and cannot be read: {e}"
                want = files.page(there[page]) if page in there else nothing
                if held != want:
                    where = there.get(page, ("nowhere", 0))
                    off = next(i for i in range(PAGE) if held[i:i + 1] != want[i:i + 1])
                    return (f"pid {pid}: page {page * PAGE:x} is not what is stored in {where[0]} at {where[1]:x}: from byte {off:x} "
                            f"on it is {held[off:off + 8].hex()} and not {want[off:off + 8].hex()}")
    finally:
        files.close()
    return ""
