"""What those share who break in: an ordinary user, the service, and images that can be forged."""
import os
import socket
import struct
import subprocess
import sys
import tempfile

import client
from client import Daemon, as_user
from forgery import forge

client.need_root()
made = tempfile.TemporaryDirectory(prefix="criu-proto-")
os.chmod(made.name, 0o755)
rpc = client.load_protocol(made.name)
PREY = client.build(made.name, "prey.c")
USER = 12345
OTHER = 12346


def ask(path, req):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.connect(path)
        s.settimeout(20)
        s.send(req.SerializeToString())
        return rpc.criu_resp.FromString(s.recv(65536))


def request(kind, where, **opts):
    req = rpc.criu_req(type=kind)
    req.opts.images_dir_fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    req.opts.log_level = 4
    req.opts.log_file = "x.log"
    for name, value in opts.items():
        setattr(req.opts, name, value)
    return req


def case(func):
    """With a service, and a directory of the user's."""
    def wrapped(where):
        os.chmod(where, 0o755)
        mine = f"{where}/mine"
        os.mkdir(mine, 0o755)
        os.chown(mine, USER, USER)
        with open(f"{where}/public", "w", encoding="utf-8") as f:
            f.write("public\n")
        d = Daemon(where)
        assert d.ready == b"\0"
        try:
            return func(where, mine, d)
        finally:
            d.stop()
    wrapped.__name__ = func.__name__
    return wrapped


class Prey:
    """prey.c, dumped as USER; its images can be forged and restored again and again."""

    def __init__(self, where, mine, d):
        self.mine, self.d = mine, d
        self.proc = subprocess.Popen([PREY, f"{where}/public"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL, start_new_session=True, user=USER, group=USER,
                                     extra_groups=[], cwd="/")
        assert self.proc.stdout.read() == b""
        self.proc.stdout.close()
        self.pid = self.proc.pid
        self.images = {}
        try:
            as_user(USER, self.dump)
        except BaseException:
            self.end()
            raise
        self.proc.wait(5)
        for name in os.listdir(mine):
            with open(f"{mine}/{name}", "rb") as f:
                self.images[name] = f.read()

    def dump(self):
        resp = ask(self.d.path, request(rpc.DUMP, self.mine, pid=self.pid))
        assert resp.success, resp

    def restore(self):
        """Return: the answer, which came to a user."""
        r, w = os.pipe()

        def go():
            os.write(w, ask(self.d.path, request(rpc.RESTORE, self.mine)).SerializeToString())
        try:
            as_user(USER, go)
            return rpc.criu_resp.FromString(os.read(r, 4096))
        finally:
            os.close(r)
            os.close(w)

    def forged(self, change):
        """Restores images of which every file was changed by a statement. Return: the answer."""
        forge(f"{self.mine}/files.img", change)
        try:
            return self.restore()
        finally:
            with open(f"{self.mine}/files.img", "wb") as f:
                f.write(self.images["files.img"])

    def kill(self):
        client.end_process(self.pid)

    def end(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()
        self.kill()


def server_of(pid):
    """Who a client takes the one for that listens there: (uid, gid)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.connect(b"\0" + (b"criu-prey%d" % pid).ljust(107, b"\0"))
        return struct.unpack("iII", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1:]


# the file of prey.c becomes another one
OTHER_FILE = """if e.HasField('reg') and e.reg.name.endswith('public'):
    e.reg.name = %r
    for field in ('size', 'mode', 'build_id', 'checksum', 'ext'):
        if field in e.reg.DESCRIPTOR.fields_by_name:
            e.reg.ClearField(field)
"""
