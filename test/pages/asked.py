"""Page servers that are asked for by RPC, and those that go to the background."""
import os
import socket
import subprocess

import rpc
from remote import Server
from world import Failed

DUMP, PRE_DUMP, PAGE_SERVER, WAIT_PID, PAGE_SERVER_CHLD = 1, 4, 5, 11, 12


def ps(address=None, port=None, fd=None):
    """criu_page_server_info"""
    out = rpc.field_bytes(1, address) if address else b""
    out += rpc.field_int(2, port) if port else b""
    return out + (rpc.field_int(4, fd) if fd is not None else b"")


def request(kind, server=None, keep_open=False, child=None, **opts):
    body = rpc.request(kind, **opts)
    if server is not None:
        # criu_opts is field 2 of the request: one more part of it is merged with the first
        body += rpc.field_bytes(2, rpc.field_int(1, opts["images_dir_fd"]) + rpc.field_bytes(11, server))
    if keep_open:
        body += rpc.field_int(4, 1)
    if child:
        body += rpc.field_int(6, child)
    return body


class Worker:
    def __init__(self, s, fds=()):
        self.s = s
        self.sock, theirs = rpc.pair()
        self.pid = s.world.start([s.args.criu, "swrk", str(theirs.fileno())], pass_fds=(theirs.fileno(), *fds),
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        s.world.others.add(self.pid)
        theirs.close()

    def ask(self, message):
        self.sock.settimeout(30)
        self.sock.send(message)
        data = self.sock.recv(65536)
        if not data:
            raise Failed("the worker has hung up")
        return rpc.Response(data), rpc.decode(data)

    def end(self):
        self.sock.close()
        self.s.world.until(lambda: self.pid in self.s.world.ended, 20, "the worker's end")


def directory(s, name):
    path = os.path.join(s.base, name)
    os.makedirs(path, exist_ok=True)
    return path, os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def by_rpc(s):
    """PAGE_SERVER_CHLD tells its port, a dump by RPC goes there, WAIT_PID tells how it has ended."""
    there, fd = directory(s, "there/1")
    server = Worker(s)
    resp, fields = server.ask(request(PAGE_SERVER_CHLD, ps("127.0.0.1"), keep_open=True, images_dir_fd=fd, log_level=4,
                                      log_file="ps.log"))
    info = rpc.decode(fields.get(6, b""))
    if resp.type != PAGE_SERVER or not resp.success or not info.get(2) or not info.get(3):
        raise Failed(f"PAGE_SERVER_CHLD: {resp} {info}")
    s.world.others.add(info[3])
    here, images = directory(s, "here")
    client = Worker(s)
    resp, _ = client.ask(request(DUMP, ps("127.0.0.1", info[2]), images_dir_fd=images, pid=s.root, log_level=4,
                                 log_file="log"))
    if not resp.success:
        raise Failed(f"DUMP: {resp}")
    client.end()
    s.gone()
    resp, fields = server.ask(request(WAIT_PID, child=info[3]))
    if not resp.success or fields.get(11, -1) != 0:
        raise Failed(f"WAIT_PID: {resp}, status {fields.get(11)}")
    server.end()
    s.images, s.remote = here, there
    os.close(fd)
    os.close(images)
    s.merge()
    s.restore()


def one_socket(s):
    """Rounds on one connected socket that both workers are given, as phaul of go-criu has it."""
    ours, theirs = socket.socketpair()
    previous = None
    for i in range(3):
        there, fd = directory(s, f"there/{i}")
        here, images = directory(s, f"here-{i}")
        os.set_inheritable(theirs.fileno(), True)
        server = Worker(s, (theirs.fileno(),))
        more = {"parent_img": f"../{previous}"} if previous else {}
        resp, fields = server.ask(request(PAGE_SERVER_CHLD, ps(fd=theirs.fileno()), keep_open=True, images_dir_fd=fd,
                                          log_level=4, log_file="ps.log", **more))
        pid = rpc.decode(fields.get(6, b"")).get(3)
        if not resp.success or not pid:
            raise Failed(f"PAGE_SERVER_CHLD: {resp}")
        s.world.others.add(pid)
        client = Worker(s, (ours.fileno(),))
        more = {"parent_img": f"../here-{previous}"} if previous else {}
        kind = PRE_DUMP if i < 2 else DUMP
        resp, _ = client.ask(request(kind, ps(fd=ours.fileno()), images_dir_fd=images, pid=s.root, log_level=4,
                                     log_file="log", **more))
        if not resp.success:
            raise Failed(f"round {i}: {resp}")
        client.end()
        resp, fields = server.ask(request(WAIT_PID, child=pid))
        if not resp.success or fields.get(11, -1) != 0:
            with open(os.path.join(there, "ps.log"), encoding="utf-8") as f:
                raise Failed(f"WAIT_PID: {resp}, status {fields.get(11)}: {f.read()[-300:]}")
        server.end()
        s.images, s.remote, previous = here, there, str(i)
        if i:
            s.must_skip(f"round {i}")
        s.wait()
        os.close(fd)
        os.close(images)
    s.gone()
    s.merge()
    s.restore()


def not_for_strangers(s):
    """Nothing of a request that names a socket or an address which cannot be is begun."""
    _, fd = directory(s, "there/1")
    for server, what in ((ps("example.org"), "neither IPv4 nor IPv6"), (ps(fd=987), "not open"), (ps(fd=0), "socket 0")):
        w = Worker(s)
        resp, _ = w.ask(request(PAGE_SERVER_CHLD, server, images_dir_fd=fd, log_level=4, log_file="ps.log"))
        if resp.success or what not in resp.message:
            raise Failed(f"{what}: {resp}")
        w.end()
    os.close(fd)


def background(s):
    """-d: the command ends when the server is there; pidfile and status descriptor say so."""
    there = os.path.join(s.base, "there", "1")
    os.makedirs(there)
    ready, theirs = os.pipe()
    cmd = [s.args.criu, "page-server", "-d", "-D", there, "-o", "server.log", "-v4", "--address", "127.0.0.1", "--pidfile", "pid",
           "--status-fd", str(theirs)]
    status, said = s.world.run(cmd, 20, pass_fds=(theirs,))
    os.close(theirs)
    if status != 0 or "Listening on port " not in said:
        raise Failed(f"page-server -d: exit status {status}: {said}")
    if os.read(ready, 2) != b"\0":
        raise Failed("no byte for who waits")
    os.close(ready)
    port = int(said.split("Listening on port ")[1].split()[0])
    with open(os.path.join(there, "pid"), encoding="utf-8") as f:
        pid = int(f.read())
    s.world.others.add(pid)
    for i, name in enumerate(("stdin", "stdout", "stderr")):
        if os.readlink(f"/proc/{pid}/fd/{i}") != "/dev/null":
            raise Failed(f"{name} of the server is {os.readlink(f'/proc/{pid}/fd/{i}')}")
    if os.getsid(pid) != pid:
        raise Failed("the server has no session of its own")
    # the file is there already, and so is somebody at that port
    for more, word in ((["--pidfile", "pid"], "File exists"), (["--port", str(port)], "Address already in use")):
        status, said = s.world.run([s.args.criu, "page-server", "-d", "-D", there, "--address", "127.0.0.1", *more], 20)
        if status != 1 or word not in said:
            raise Failed(f"{more}: exit status {status}: {said[-300:]}")
    s.nr = 0
    s.criu("dump", "--page-server", "--address", "127.0.0.1", "--port", str(port))
    s.gone()
    s.world.until(lambda: not os.path.exists(f"/proc/{pid}/exe") or pid in s.world.ended, 20, "the end of the server")
    s.remote = there
    os.unlink(os.path.join(there, "pid"))
    s.merge()
    s.restore()


def given_by_number(s):
    """--ps-socket: a connection that somebody else has made."""
    ours, theirs = socket.socketpair()
    there = os.path.join(s.base, "there", "1")
    os.makedirs(there)
    pid = s.world.start([s.args.criu, "page-server", "-D", there, "-o", "server.log", "--ps-socket", str(theirs.fileno())],
                        pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL)
    s.world.others.add(pid)
    here = os.path.join(s.base, "here")
    os.makedirs(here)
    status, said = s.world.run([s.args.criu, "dump", "-t", str(s.root), "-D", here, "--page-server", "--ps-socket",
                                str(ours.fileno())], 60, pass_fds=(ours.fileno(),))
    if status != 0:
        raise Failed(f"dump: exit status {status}: {said[-300:]}")
    s.world.until(lambda: pid in s.world.ended, 20, "the end of the server")
    if s.world.ended[pid] != 0:
        raise Failed(f"the server has ended with {s.world.ended[pid]:#x}")
    # it is still a connection
    ours.send(b"x")
    if theirs.recv(2) != b"x":
        raise Failed("something was left in the socket")
    s.images, s.remote = here, there
    s.gone()
    s.merge()
    s.restore()


CASES = {"by-rpc": by_rpc, "one-socket": one_socket, "not-for-strangers": not_for_strangers, "background": background,
         "given-by-number": given_by_number}
