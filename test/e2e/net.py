"""Networks of cases that need one of their own, and what may be left behind in them."""
import ctypes
import os
import socket
import struct
import subprocess

from world import Failed, Skipped

NEWNET = 0x40000000
NFT_GETTABLE = 10 << 8 | 1


def run(*cmd):
    p = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if p.returncode:
        raise Failed(f"{' '.join(cmd)}: {p.stdout.decode().strip()}")


def own_network():
    """This process and what it starts from now on are in a network of their own, with a loopback device that is up."""
    if ctypes.CDLL(None, use_errno=True).unshare(NEWNET) < 0:
        raise Skipped(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    run("ip", "link", "set", "lo", "up")


def begin_connection(source, target, port):
    """The first packet of a connection to @target of this machine, as if @source had sent it, who says nothing more."""
    pseudo = socket.inet_aton(source) + socket.inet_aton(target)
    tcp = struct.pack(">HHIIBBHHH", 40000, port, 1, 0, 5 << 4, 2, 1000, 0, 0)
    total = sum(struct.unpack(">16H", pseudo + struct.pack(">HH", 6, len(tcp)) + tcp))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    tcp = tcp[:16] + struct.pack(">H", ~total & 0xffff) + tcp[18:]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as s:
        s.sendto(struct.pack(">BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + pseudo + tcp, (target, 0))


def half_open():
    """How many connections are being made here (TCP_SYN_RECV)."""
    n = 0
    for name in ("tcp", "tcp6"):
        with open(f"/proc/net/{name}", encoding="ascii") as f:
            n += sum(line.split()[3] == "03" for line in f)
    return n


def tables():
    """Names of all nf_tables tables of this network; None where that cannot be told."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as s:
            s.settimeout(10)
            s.send(struct.pack("=IHHII", 20, NFT_GETTABLE, 0x301, 1, 0) + struct.pack("=BBH", 0, 0, 0))
            names = []
            while True:
                data = s.recv(65536)
                while data:
                    size, kind = struct.unpack_from("=IH", data)
                    if kind in (2, 3):
                        return names
                    at = 20
                    while at + 4 <= size:
                        length, attr = struct.unpack_from("=HH", data, at)
                        if attr & 0x3fff == 1:
                            names.append(data[at + 4:at + length - 1].decode())
                        at += max(4, (length + 3) & ~3)
                    data = data[(size + 3) & ~3:]
    except OSError:
        return None


def add_table(name):
    """An empty one, of the inet family, which stays."""
    def message(kind, flags, family, attributes=b"", res_id=0):
        body = struct.pack("=BB", family, 0) + struct.pack(">H", res_id) + attributes
        return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body
    text = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(text), 1) + text + b"\0" * (-len(text) % 4)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as s:
        s.settimeout(10)
        # NFNL_MSG_BATCH_BEGIN, NFT_MSG_NEWTABLE with NLM_F_CREATE and an answer, NFNL_MSG_BATCH_END
        s.send(message(16, 1, 0, b"", 10) + message(10 << 8, 0x405, 1, attribute) + message(17, 1, 0, b"", 10))
        _, kind, _, _, _, code = struct.unpack_from("=IHHIIi", s.recv(4096))
        if kind != 2 or code:
            raise Failed(f"table {name}: {os.strerror(-code)}")


def ours():
    return [n for n in tables() or [] if n.startswith("criu-")]


def no_tables(when):
    left = ours()
    if left:
        raise Failed(f"{when} a table of nf_tables is left: {left}")
