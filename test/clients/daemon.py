"""What the tests of the running service share."""
import ctypes
import os
import re
import select
import socket
import tempfile
import time

import client
from client import Daemon

client.need_root()
made = tempfile.TemporaryDirectory(prefix="criu-proto-")
os.chmod(made.name, 0o755)
rpc = client.load_protocol(made.name)
USER = 12345
OTHER = 12346
libc = ctypes.CDLL(None, use_errno=True)
VERSION = b"\x08\x0a"               # type 10
VERSION_AND_MORE = VERSION + b"\x20\x01"   # keep_open


def within(seconds, what, why):
    """Waits until what() is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, why
        time.sleep(0.02)


def connect(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(path)
    s.settimeout(20)
    return s


def talk(s, req):
    s.send(req if isinstance(req, bytes) else req.SerializeToString())
    return rpc.criu_resp.FromString(s.recv(65536))


def ask(path, req):
    with connect(path) as s:
        return talk(s, req)


def is_closed(s):
    if not select.select([s], [], [], 0)[0]:
        return False
    try:
        return s.recv(100, socket.MSG_PEEK) == b""
    except OSError:
        return True


def dump_request(where, pid, **opts):
    req = rpc.criu_req(type=rpc.DUMP)
    req.opts.images_dir_fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    req.opts.pid = pid
    req.opts.log_level = 4
    req.opts.log_file = "dump.log"
    for name, value in opts.items():
        setattr(req.opts, name, value)
    return req


def log_of(where):
    with open(f"{where}/service.log", encoding="utf-8") as f:
        return f.read()


def requests_of(where):
    return [line for line in log_of(where).splitlines() if re.match(r"\S+Z request type=", line)]


def daemon_case(*args):
    def outer(case):
        def wrapped(where):
            os.chmod(where, 0o755)
            d = Daemon(where, *args)
            assert d.ready == b"\0", "the service has not started"
            try:
                return case(where, d)
            finally:
                d.stop()
        wrapped.__name__ = case.__name__
        return wrapped
    return outer


def fds_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def children_of(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="utf-8") as f:
            found += f.read().split()
    return found


def is_whole(v):
    st = status_of(v.pid)
    return v.alive() and st["TracerPid"] == "0" and not st["State"].startswith(("t", "T"))
