"""Images as those who want to do harm would make them: records are taken apart as far as the wire format goes, without
knowing what the members mean, and put together again with one of them changed."""
import os
import struct

EXTREMES = [0, 1, 0x7f, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 4096]
RAW = ("pages-", "pages.sum")   # no records at all
INVENTORY = b"\x16\x31\x31\x58"   # the only image with one magic number instead of two


def varint(value):
    out = bytearray()
    while True:
        byte = value & 0x7f
        value >>= 7
        if not value:
            out.append(byte)
            return bytes(out)
        out.append(byte | 0x80)


def read_varint(data, at):
    value = shift = 0
    while at < len(data) and shift < 70:
        value |= (data[at] & 0x7f) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
        shift += 7
    raise ValueError


def fields(data):
    """[(number, wire type, value)], or ValueError where this is no message."""
    out, at = [], 0
    while at < len(data):
        key, at = read_varint(data, at)
        number, kind = key >> 3, key & 7
        if not number:
            raise ValueError
        if kind == 0:
            value, at = read_varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = data[at:at + size], at + size
        elif kind == 2:
            size, at = read_varint(data, at)
            value, at = data[at:at + size], at + size
            if len(value) != size:
                raise ValueError
        else:
            raise ValueError
        if at > len(data):
            raise ValueError
        out.append((number, kind, value))
    return out


def join(rows):
    out = b""
    for number, kind, value in rows:
        out += varint(number << 3 | kind)
        out += varint(value) if kind == 0 else varint(len(value)) + value if kind == 2 else value
    return out


def variants(message, evil, depth=0):
    """Yields (what, message) with one member changed, removed or repeated, also inside of nested ones."""
    try:
        rows = fields(message)
    except ValueError:
        return
    for i, (number, kind, value) in enumerate(rows):
        put = lambda new, i=i: join(rows[:i] + new + rows[i + 1:])
        if kind == 0:
            for extreme in EXTREMES + [value + 1, value ^ 0x1000]:
                yield f"{number}={extreme:x}", put([(number, 0, extreme & (1 << 64) - 1)])
        elif kind in (1, 5):
            for byte in (b"\0", b"\xff"):
                yield f"{number}={byte!r}", put([(number, kind, byte * len(value))])
        else:
            nested = list(variants(value, evil, depth + 1)) if depth < 6 and value else []
            for what, new in nested:
                yield f"{number}.{what}", put([(number, 2, new)])
            if not nested or value[:1] in b"/.abcdefghijklmnopqrstuvwxyz":
                for text in evil:
                    yield f"{number}={text[:20]!r}", put([(number, 2, text)])
        yield f"{number} removed", put([])
        if depth < 2:
            yield f"{number} twice", put([(number, kind, value)] * 2)
    yield "strange member", message + varint(999 << 3) + varint(5)


def edited(message, path, change):
    """The message with @change(rows) in place of the members that the numbers of @path lead to; of several parents the first."""
    rows = fields(message)
    mine = [r for r in rows if r[0] == path[0]]
    if not mine:
        return message
    if len(path) > 1:
        new = [(path[0], 2, edited(mine[0][2], path[1:], change))] + mine[1:]
    else:
        new = change(mine)
    at = rows.index(mine[0])
    rest = [r for r in rows if r[0] != path[0]]
    before = len([r for r in rows[:at] if r[0] != path[0]])
    return join(rest[:before] + new + rest[before:])


def changed(message, evil, rng, depth=0):
    """One of variants() by chance, without making all of them."""
    try:
        rows = fields(message)
    except ValueError:
        rows = []
    if not rows:
        return message
    i = rng.randrange(len(rows))
    number, kind, value = rows[i]
    chance = rng.random()
    if chance < 0.1:
        new = []
    elif chance < 0.2:
        new = [rows[i]] * 2
    elif kind == 0:
        new = [(number, 0, rng.choice(EXTREMES + [value + 1, value ^ 0x1000]) & (1 << 64) - 1)]
    elif kind != 2:
        new = [(number, kind, rng.choice((b"\0", b"\xff")) * len(value))]
    else:
        nested = changed(value, evil, rng, depth + 1) if depth < 6 else value
        new = [(number, 2, nested if nested != value and chance < 0.9 else rng.choice(evil))]
    return join(rows[:i] + new + rows[i + 1:])


def changed_file(data, evil, rng, times):
    head, payloads, rest = records(data)
    for _ in range(times if payloads else 0):
        i = rng.randrange(len(payloads))
        payloads[i] = changed(payloads[i], evil, rng)
    return assemble(head, payloads, rest)


def point_to(file_entry, path, flags):
    """A file_entry of a plain file with another path and other flags, of whatever size; None if it is no plain file."""
    rows = fields(file_entry)
    for i, (number, kind, value) in enumerate(rows):
        try:
            inner = fields(value) if kind == 2 else []
        except ValueError:
            continue
        # reg_file_entry: 2 flags, 6 name, 8 size
        if any(n == 6 and k == 2 and v[:1] == b"/" for n, k, v in inner):
            inner = [(n, k, path if n == 6 else flags if n == 2 else v) for n, k, v in inner if n != 8]
            return join(rows[:i] + [(number, kind, join(inner))] + rows[i + 1:])
    return None


def records(data):
    """(head, [payloads], rest that is no record) of an image file."""
    at = 4 if data[:4] == INVENTORY else 8
    head, out = data[:at], []
    while at + 4 <= len(data):
        size = struct.unpack_from("<I", data, at)[0]
        if at + 4 + size > len(data):
            break
        try:
            fields(data[at + 4:at + 4 + size])
        except ValueError:
            break
        out.append(data[at + 4:at + 4 + size])
        at += 4 + size
    return head, out, data[at:]


def assemble(head, payloads, rest):
    return head + b"".join(struct.pack("<I", len(p)) + p for p in payloads) + rest


def contents(data, rng, evil, limit=None):
    """[(what, new content)] of a file; at most @limit per kind of change, chosen by @rng."""
    some = lambda rows: rows if limit is None or len(rows) <= limit else rng.sample(rows, limit)
    size = len(data)
    out = [(f"cut to {n}", data[:n]) for n in some(sorted({n for n in (0, 1, 3, 4, 7, 8, 9, 11, 12, 13, size // 3, size // 2, size - 5,
                                                                      size - 1) if 0 <= n < size}))]
    out += some([("more bytes", data + b"\xff" * 7), ("a record of nothing", data + b"\0" * 4), ("twice", data + data),
                 ("all zeros", b"\0" * size), ("all ones", b"\xff" * size), ("noise", rng.randbytes(size))])
    places = range(size) if limit is None and size < 600 else [rng.randrange(size) for _ in range(300 if limit is None else limit)]
    for at in places if size else []:
        out.append((f"bit of byte {at}", data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:]))
    for at in some([rng.randrange(max(1, size - 4)) for _ in range(60)]):
        value = rng.choice([0, 1, 0xffffffff, 0x7fffffff, 0x80000000, 0xfffffff0])
        out.append((f"word at {at}={value:x}", data[:at] + struct.pack("<I", value) + data[at + 4:]))
    head, payloads, rest = records(data)
    rows = []
    for i, payload in enumerate(payloads):
        put = lambda new, i=i: assemble(head, payloads[:i] + new + payloads[i + 1:], rest)
        rows += [(f"record {i} removed", put([])), (f"record {i} twice", put([payload, payload])), (f"record {i} empty", put([b""]))]
        for what, new in variants(payload, evil):
            rows.append((f"record {i}: {what}", put([new])))
        for claim in (0, size, 0x7fffffff, 0xffffffff):
            rows.append((f"record {i} claims {claim:x}", assemble(head, payloads[:i], b"") + struct.pack("<I", claim) + payload))
    if len(payloads) > 1:
        rows.append(("records reversed", assemble(head, payloads[::-1], rest)))
    return out + (rows if limit is None else rng.sample(rows, min(len(rows), limit * 3)))


def replacements(path, others):
    """[(what, function that puts something else there)]"""
    def link(target):
        os.unlink(path)
        os.symlink(target, path)

    def fifo():
        os.unlink(path)
        os.mkfifo(path)

    def directory():
        os.unlink(path)
        os.mkdir(path)

    def unreadable():
        os.unlink(path)
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))   # /dev/zero

    out = [("removed", lambda: os.unlink(path)), ("a link to nowhere", lambda: link("nowhere")), ("a link to itself", lambda: link(path)),
           ("a link to /dev/zero", lambda: link("/dev/zero")), ("a link to /proc/kmsg", lambda: link("/proc/kmsg")), ("a fifo", fifo),
           ("a directory", directory), ("a device", unreadable)]
    return out + [(f"a link to {os.path.basename(o)}", lambda o=o: link(o)) for o in others if o != path]
