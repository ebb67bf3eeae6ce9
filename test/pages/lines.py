"""Connections to page servers: over IPv6, many at once, by request and with TLS, and those whose ends are killed."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import asked
import rpc
import state
import tls
import wire
from remote import Server
from world import Failed

TLS = {"tls_cacert": 54, "tls_cert": 56, "tls_key": 57}

# passes on so much of what a dump sends, says so, and then cuts, or holds the rest back until a line comes
BETWEEN = """import socket, sys, threading
left, holds = int(sys.argv[1]), sys.argv[3] == "hold"
out = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
conn, _ = socket.socket(fileno=int(sys.argv[4])).accept()
def back():
    try:
        while data := out.recv(65536):
            conn.sendall(data)
    except OSError:
        pass
    conn.close() if holds else None
threading.Thread(target=back, daemon=True).start()
while left and (data := conn.recv(min(left, 65536))):
    out.sendall(data)
    left -= len(data)
if holds:
    open(sys.argv[5], "w").close()
    sys.stdin.readline()
    try:
        while data := conn.recv(65536):
            out.sendall(data)
        out.shutdown(1)
        while out.recv(65536):
            pass
    except OSError:
        pass
"""


class Between:
    """Somebody on the way to a server."""

    def __init__(self, s, server, size, holds):
        self.s, self.reached = s, os.path.join(s.base, f"reached-{size}-{server.port}")
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            self.port = listener.getsockname()[1]
            read, self.tell = os.pipe()
            self.pid = s.world.start([sys.executable, "-c", BETWEEN, str(size), str(server.port), "hold" if holds else "cut",
                                      str(listener.fileno()), self.reached], stdin=read, pass_fds=(listener.fileno(),))
            os.close(read)
        s.world.others.add(self.pid)

    def held(self):
        self.s.world.until(lambda: os.path.exists(self.reached), 30, "so much has been sent")

    def go_on(self):
        os.write(self.tell, b"\n")

    def ends(self):
        os.close(self.tell)
        self.s.world.until(lambda: self.pid in self.s.world.ended, 20, "the end of who was in between")


def begin_dump(s, port, directory, *more, pid=None):
    os.makedirs(directory, exist_ok=True)
    started = s.world.start([s.args.criu, "dump", "-t", str(pid or s.root), "-D", directory, "-v4", "-o", "log", "--page-server",
                             "--address", "127.0.0.1", "--port", str(port), *more], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    s.world.others.add(started)
    return started


def ended(s, pid):
    s.world.until(lambda: pid in s.world.ended, 60, "the end of a dump")
    return os.waitstatus_to_exitcode(s.world.ended[pid])


def anywhere(s, name):
    """A server that was told of no address. Returns its directory and port."""
    there = os.path.join(s.base, "there", name)
    os.makedirs(there)
    status, said = s.world.run([s.args.criu, "page-server", "-d", "-D", there, "-o", "server.log", "--pidfile", "pid"], 20)
    if status != 0 or "Listening on port " not in said:
        raise Failed(f"page-server -d: exit status {status}: {said}")
    with open(os.path.join(there, "pid"), encoding="utf-8") as f:
        pid = int(f.read())
    s.world.others.add(pid)
    os.unlink(os.path.join(there, "pid"))
    return there, int(re.search(r"port (\d+)", said).group(1)), pid


def addresses(s):
    """IPv6 by number; a server at all addresses hears both families."""
    s.address = "::1"
    s.round("pre-dump")
    s.address = "127.0.0.1"
    s.wait()
    s.last()
    s.must_skip("the second round")
    s.merge()
    s.restore()
    for address in ("127.0.0.1", "::1"):
        there, port, pid = anywhere(s, f"any-{address.replace(':', '')}")
        s.images = os.path.join(s.base, f"here-{address.replace(':', '')}")
        status, said = s.criu_to(port, s.images, address=address)
        if status != 0:
            raise Failed(f"by {address}: exit status {status}: {said[-300:]}")
        s.gone()
        s.world.until(lambda: not os.path.exists(f"/proc/{pid}/exe") or pid in s.world.ended, 20, "the end of the server")
        s.remote = there
        s.merge()
        s.restore()


def killed_server(s):
    """SIGKILL in the middle: the dump fails, the tree goes on, and in the same place all can be done again."""
    there = os.path.join(s.base, "there", "killed")
    for size in (3000, 500000):
        server = Server(s, there)
        between = Between(s, server, size, True)
        dump = begin_dump(s, between.port, os.path.join(s.base, "x"))
        between.held()
        os.kill(server.pid, signal.SIGKILL)
        if ended(s, dump) != 1:
            raise Failed(f"a dump whose server was killed has ended with {s.world.ended[dump]:#x}")
        between.ends()
        s.must_go_on()
        if os.path.exists(os.path.join(s.base, "x", "inventory.img")):
            raise Failed("images of a dump that has failed look whole")
        with open(os.path.join(s.base, "x", "log"), encoding="utf-8") as f:
            if "page server" not in f.read():
                raise Failed("no word about the page server")
    s.last(server=Server(s, there))
    s.merge()
    s.restore()


def killed_dump(s):
    """
    The dump is told to end, or killed, or who does it is, while nothing is taken from it: the tree goes on at once, however long
    the connection stands still, and the server keeps nothing.
    """
    p = tls.papers(s)
    secure = p.options("ours", "here")
    left = [(signal.SIGTERM, False, []), (signal.SIGKILL, False, []), (signal.SIGKILL, True, []), (signal.SIGTERM, False, secure)]
    for n in range(20):
        how, child, options = left[0]
        server = Server(s, os.path.join(s.base, f"there-{n}"), *options)
        between = Between(s, server, 400000, True)
        dump = begin_dump(s, between.port, os.path.join(s.base, "x"), *options)
        between.held()
        with open(f"/proc/{dump}/task/{dump}/children", encoding="utf-8") as f:
            kids = [int(k) for k in f.read().split()]
        if len(kids) != 1:
            raise Failed(f"children of who is seen are {kids}: nothing is tried here")
        # as much is under way as goes into the buffers of sockets, and no more
        s.world.until(lambda: state.read(f"/proc/{kids[0]}/stat").rpartition(b")")[2][1:2] == b"S", 10, "it waits")
        began = time.monotonic()
        os.kill(kids[0] if child else dump, how)
        s.must_go_on()
        took = time.monotonic() - began
        if took > 15:
            raise Failed(f"after {how.name} the tree has stood still for {took:.0f} s")
        s.world.until(lambda: dump in s.world.ended, 20, "the end of the dump")
        between.go_on()
        between.ends()
        # all that there was may have been under way
        if server.ended() != 0:
            server.ends(1)
            server.must_be_empty()
            left.pop(0)
        if not left:
            break
        s.wait()
    if left:
        raise Failed(f"nothing was left to be sent each time: {left}")
    s.last()
    s.merge()
    s.restore()


def tls_cut(s):
    """A connection that breaks in the middle of what is sent by TLS."""
    p = tls.papers(s)
    options = p.options("ours", "here")
    for size in (200, 4000, 70000, 1 << 20):
        server = Server(s, os.path.join(s.base, f"cut-{size}"), *options)
        between = Between(s, server, size, False)
        status, said = s.criu_to(between.port, os.path.join(s.base, "x"), *options)
        between.ends()
        if status != 1 or not ("page server" in said or "TLS" in said):
            raise Failed(f"cut after {size}: exit status {status}: {said[-300:]}")
        # who has not begun with anything is not what the server waits for
        if size > 10000:
            server.ends(1)
            server.must_be_empty()
        elif server.pid in s.world.ended:
            raise Failed(f"cut after {size}: the server has ended: {server.log()[-300:]}")
        else:
            s.world.kill([server.pid])
        s.must_go_on()
    s.last(*options, server=s.server(*options))
    s.merge()
    s.restore()


def many(s):
    """More connections at once than are served at a time: each has its turn, and all are one set."""
    page, nr = os.urandom(wire.PAGE), 24
    server = Server(s, os.path.join(s.base, "many"))
    lines = [wire.Wire(server.port) for _ in range(nr)]
    for i, w in enumerate(lines):
        w.say(wire.record(wire.OPEN2, dst=wire.task(10 + i)), wire.record(wire.ADD, 1, 0x1000 * (i + 1), 0), page)
    for w in lines:
        w.say(wire.record(wire.CLOSE))
        if w.hear(1) != b"\0" or w.number() != 0:
            raise Failed("not answered")
        w.close()
    server.ends(0)
    for i in range(nr):
        number, entries = wire.pagemap(os.path.join(server.dir, f"pagemap-{10 + i}.img"))
        with open(os.path.join(server.dir, f"pages-{number}.img"), "rb") as f:
            if entries != [(0x1000 * (i + 1), 1, 4)] or f.read() != page:
                raise Failed(f"pagemap-{10 + i}.img: {entries}")


def two_trees(s):
    """Two dumps at the same time send to one server; both trees go on from what it has stored."""
    idler = s.world.start([os.path.join(os.path.dirname(s.args.writer), "idler"), s.base, "8"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    s.world.until(lambda: os.path.exists(os.path.join(s.base, "idler")) and os.path.getsize(os.path.join(s.base, "idler")) == 8,
                  20, "the second tree is ready")
    server = Server(s, os.path.join(s.base, "there", "both"))
    between = Between(s, server, 100000, True)
    here, other = os.path.join(s.base, "here"), os.path.join(s.base, "other")
    first = begin_dump(s, between.port, other, pid=idler)
    between.held()
    # in the middle of the first one
    status, said = s.criu_to(server.port, here)
    if status != 0:
        raise Failed(f"the second dump: exit status {status}: {said[-300:]}")
    between.go_on()
    if ended(s, first) != 0:
        raise Failed(f"the first dump has ended with {s.world.ended[first]:#x}")
    between.ends()
    server.ends(0)
    s.gone()
    for images in (here, other):
        for name in os.listdir(server.dir):
            if name.startswith("pages") or re.fullmatch(r"pagemap-.*\.img", name):
                shutil.copy(os.path.join(server.dir, name), images)
    s.images = other
    status, said = s.world.run([s.args.criu, "restore", "-d", "-D", other], 30)
    if status != 0 or not os.path.exists(f"/proc/{idler}"):
        raise Failed(f"restore of the other tree: exit status {status}: {said[-300:]}")
    s.world.kill([idler])
    s.images = here
    s.restore()


def by_request(s):
    """PAGE_SERVER: the server is nobody's child, tells its port, and is there when the one who has asked is gone."""
    there, fd = asked.directory(s, "there/1")
    worker = asked.Worker(s)
    resp, fields = worker.ask(asked.request(asked.PAGE_SERVER, asked.ps("127.0.0.1"), images_dir_fd=fd, log_level=4,
                                            log_file="ps.log"))
    info = rpc.decode(fields.get(6, b""))
    if resp.type != asked.PAGE_SERVER or not resp.success or not info.get(2):
        raise Failed(f"PAGE_SERVER: {resp} {info}")
    worker.end()
    os.close(fd)
    server = next(p for p in s.world.tree() if os.path.realpath(f"/proc/{p}/exe") == os.path.realpath(s.args.criu))
    s.world.others.add(server)
    if info.get(3) not in (None, 0, server):
        raise Failed(f"told is pid {info[3]}, it has {server}")
    with open(f"/proc/{server}/stat", encoding="utf-8") as f:
        parent, _, session = (int(n) for n in f.read().rsplit(")", 1)[1].split()[1:4])
    if session == os.getsid(0) or parent == worker.pid or os.readlink(f"/proc/{server}/fd/0") != "/dev/null":
        raise Failed(f"the server {server} is in session {session}, its parent is {parent} and its input {os.readlink(f'/proc/{server}/fd/0')}")
    here, images = asked.directory(s, "here")
    client = asked.Worker(s)
    resp, _ = client.ask(asked.request(asked.DUMP, asked.ps("127.0.0.1", info[2]), images_dir_fd=images, pid=s.root, log_level=4,
                                       log_file="log"))
    if not resp.success:
        raise Failed(f"DUMP: {resp}")
    client.end()
    os.close(images)
    s.gone()
    s.world.until(lambda: server in s.world.ended, 20, "the end of the server")
    s.images, s.remote = here, there
    s.merge()
    s.restore()


def tls_by_request(s):
    """The same with TLS, both ends by RPC; who is asked for it without is refused, and so is the other way round."""
    p = tls.papers(s)
    words = {"tls_cacert": p.path("ours.pem"), "tls_cert": p.path("here.pem"), "tls_key": p.path("here.key")}

    def request(kind, server, fd, secure, **opts):
        body = asked.request(kind, server, images_dir_fd=fd, log_level=4, log_file=f"log-{kind}", **opts)
        more = b"".join(rpc.field_bytes(TLS[n], v) for n, v in words.items()) + rpc.field_int(58, 1) if secure else b""
        return body + rpc.field_bytes(2, rpc.field_int(1, fd) + more)
    there, fd = asked.directory(s, "there/1")
    here, images = asked.directory(s, "here")
    server = asked.Worker(s)
    resp, fields = server.ask(request(asked.PAGE_SERVER_CHLD, asked.ps("127.0.0.1"), fd, True, keep_open=True))
    info = rpc.decode(fields.get(6, b""))
    if not resp.success:
        raise Failed(f"PAGE_SERVER_CHLD: {resp}")
    s.world.others.add(info[3])
    for secure in (False, True):
        client = asked.Worker(s)
        resp, _ = client.ask(request(asked.DUMP, asked.ps("127.0.0.1", info[2]), images, secure, pid=s.root))
        if resp.success != secure:
            raise Failed(f"DUMP, {'with' if secure else 'without'} TLS: {resp}")
        client.end()
    s.gone()
    resp, fields = server.ask(asked.request(asked.WAIT_PID, child=info[3]))
    if not resp.success or fields.get(11, -1) != 0:
        raise Failed(f"WAIT_PID: {resp}, status {fields.get(11)}")
    server.end()
    s.images, s.remote = here, there
    s.merge()
    s.restore()


CASES = {"addresses": addresses, "killed-server": killed_server, "killed-dump": killed_dump, "tls-cut-midway": tls_cut, "many": many,
         "two-trees": two_trees, "by-request": by_request, "tls-by-request": tls_by_request}
