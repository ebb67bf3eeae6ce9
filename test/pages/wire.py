"""The protocol of page servers, spoken by hand: what another implementation would send."""
import socket
import struct

ADD, HOLE, OPEN, OPEN2, PARENT, ADD_F, GET, CLOSE, FORCE_CLOSE = 1, 2, 3, 4, 5, 6, 7, 0x1023, 0x1024
IN_PARENT, LAZY, PRESENT = 1, 2, 4
PAGE = 4096


def task(pid):
    return pid << 8 | 1


def segment(number):
    return number << 8 | 2


def record(cmd, nr=0, vaddr=0, dst=0, flags=0):
    return struct.pack("<IIQQQ", cmd | flags << 16, 0, nr, vaddr, dst)


class Wire:
    def __init__(self, port, address="127.0.0.1"):
        self.sock = socket.create_connection((address, port), 10)
        self.sock.settimeout(20)

    def say(self, *parts):
        self.sock.sendall(b"".join(parts))

    def hear(self, size):
        """@size bytes, or fewer at the end."""
        got = b""
        while len(got) < size:
            try:
                more = self.sock.recv(size - len(got))
            except ConnectionResetError:
                break
            if not more:
                break
            got += more
        return got

    def number(self):
        data = self.hear(4)
        return struct.unpack("<i", data)[0] if len(data) == 4 else None

    def close(self):
        self.sock.close()


def pagemap(path):
    """(pages_id, [(vaddr, nr_pages, flags)]) of a pagemap image, decoded by hand."""
    with open(path, "rb") as f:
        data = f.read()[8:]
    at, out = 0, []
    while at < len(data):
        size, = struct.unpack_from("<I", data, at)
        out.append(fields(data[at + 4:at + 4 + size]))
        at += 4 + size
    return out[0][1], [(e[1], e[5], e[4]) for e in out[1:]]


def fields(data):
    out, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value
    while at < len(data):
        key = varint()
        if key & 7 == 2:
            size = varint()
            out[key >> 3] = data[at:at + size]
            at += size
        else:
            out[key >> 3] = varint()
    return out
