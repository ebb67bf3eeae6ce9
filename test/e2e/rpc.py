"""The client's side of the RPC protocol: requests encoded and answers decoded by hand, which needs no package."""
import os
import socket
import struct

DUMP, RESTORE, CHECK, NOTIFY, VERSION = 1, 2, 3, 6, 10

# criu_opts: name -> (field number, kind)
OPTS = {
    "images_dir_fd": (1, "int"), "pid": (2, "int"), "leave_running": (3, "int"), "tcp_established": (5, "int"),
    "shell_job": (7, "int"), "file_locks": (8, "int"), "log_level": (9, "int"), "log_file": (10, "bytes"),
    "notify_scripts": (12, "int"), "parent_img": (14, "bytes"), "track_mem": (15, "int"), "work_dir_fd": (17, "int"), "link_remap": (18, "int"),
    "rst_sibling": (26, "int"),
    "inherit_fd": (27, "inherit_fd"), "ghost_limit": (35, "int"), "external": (37, "list"),
    "orphan_pts_master": (50, "int"), "tcp_close": (52, "int"), "leave_stopped": (69, "int"), "snapshot": (10001, "int"),
    "lazy": (10002, "int"), "compress": (10003, "int"),
}

# what a command line says, as fields
FROM_ARGS = {"--shell-job": ("shell_job", None), "--file-locks": ("file_locks", None), "--link-remap": ("link_remap", None),
             "--ghost-limit": ("ghost_limit", "size"), "--external": ("external", "text"),
             "--tcp-established": ("tcp_established", None), "--tcp-close": ("tcp_close", None)}


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 0x7f:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field_int(number, value):
    return varint(number << 3) + varint(int(value))


def field_bytes(number, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def request(kind, **opts):
    body = b""
    for name, value in opts.items():
        number, how = OPTS[name]
        if how == "int":
            body += field_int(number, value)
        elif how == "bytes":
            body += field_bytes(number, value)
        elif how == "list":
            body += b"".join(field_bytes(number, v) for v in value)
        else:
            body += b"".join(field_bytes(number, field_bytes(1, key) + field_int(2, fd)) for key, fd in value)
    return field_int(1, kind) + (field_bytes(2, body) if opts else b"")


def fields(data):
    """The fields of one message in turn, number and value; embedded messages stay bytes."""
    at = 0

    def read_varint():
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
        key = read_varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, read_varint()
        elif kind == 2:
            size = read_varint()
            yield key >> 3, data[at:at + size]
            at += size
        elif kind == 5:
            yield key >> 3, struct.unpack_from("<I", data, at)[0]
            at += 4
        else:
            yield key >> 3, struct.unpack_from("<Q", data, at)[0]
            at += 8


def decode(data):
    """One message as {field: last value}."""
    return dict(fields(data))


class Response:
    """type 1, success 2, restore 4 {pid 1}, notify 5, cr_errno 7, cr_errmsg 9"""

    def __init__(self, data):
        fields = decode(data)
        self.type = fields.get(1, 0)
        self.success = bool(fields.get(2, 0))
        pid = decode(fields.get(4, b"")).get(1, 0)
        self.pid = pid - (1 << 64) if pid >> 63 else pid
        self.errno = fields.get(7, 0)
        self.message = fields.get(9, b"").decode(errors="replace").strip()

    def __str__(self):
        return f"success={self.success} cr_errno={self.errno} cr_errmsg={self.message!r}"


def fields_of(args):
    """Options of a command line as fields of criu_opts."""
    out, args = {}, list(args)
    while args:
        name, how = FROM_ARGS[args.pop(0)]
        if how is None:
            out[name] = True
        elif how == "size":
            text = args.pop(0)
            out[name] = int(text.rstrip("KMG")) << {"K": 10, "M": 20, "G": 30}.get(text[-1], 0)
        else:
            out.setdefault(name, []).append(args.pop(0))
    return out


def talk(sock, message, timeout=20):
    """Sends a request and returns the answer; None when the other side hung up without one."""
    sock.settimeout(timeout)
    sock.send(message)
    data = sock.recv(65536)
    return Response(data) if data else None


def pair():
    """A socket for us, and one that a worker inherits."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    os.set_inheritable(theirs.fileno(), True)
    return ours, theirs


def connect(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(path)
    return sock
