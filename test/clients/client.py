"""What the client tests share: the protocol compiled to Python, workers and daemons, and one line per case."""
import ctypes
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CRIU = os.environ.get("CRIU", os.path.join(ROOT, "build", "criu"))

# PR_SET_CHILD_SUBREAPER: restored processes are orphans, whose numbers are free only once somebody has taken note of their end.
# Process 1 does that in its own time, which in a container may be seconds.
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def skip(why):
    print(why)
    sys.exit(77)


def load_protocol(where):
    """rpc.proto as a Python module, made by protoc."""
    if not shutil.which("protoc"):
        skip("protoc is not installed")
    try:
        import google.protobuf  # noqa: F401
    except ImportError:
        skip("python3-protobuf is not installed")
    subprocess.run(["protoc", f"--python_out={where}", f"-I{ROOT}/libcriu-proto/proto", "rpc.proto"], check=True)
    sys.path.insert(0, where)
    import rpc_pb2
    return rpc_pb2


def need_root():
    if os.geteuid() != 0:
        skip("needs root")
    if not os.access(CRIU, os.X_OK):
        skip(f"{CRIU} is not built")


def end_page_server(resp):
    """It serves one connection: one that says nothing ends it."""
    assert resp.ps.port, resp
    socket.create_connection(("127.0.0.1", resp.ps.port), 5).close()


class Worker:
    """criu swrk at the other end of a socket."""

    def __init__(self, env=None, close_stdio=False, args=(), memory=None, pass_fds=()):
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(20)
        theirs.set_inheritable(True)
        argv = [CRIU, "swrk", str(theirs.fileno()), *args]
        if close_stdio:
            argv = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *argv]
        self.proc = subprocess.Popen(argv, pass_fds=[theirs.fileno(), *pass_fds], env=dict(os.environ, **(env or {})),
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                     preexec_fn=memory and (lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory))))
        theirs.close()

    def send(self, req):
        self.sock.send(req if isinstance(req, bytes) else req.SerializeToString())

    def leave(self):
        self.sock.close()
        return self.exit_code()

    def exit_code(self):
        try:
            return self.proc.wait(20)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            raise


class Daemon:
    """criu service in a directory of its own."""

    def __init__(self, where, *args, address="service.socket"):
        self.path = os.path.join(where, address)
        ready, status = os.pipe()
        os.set_inheritable(status, True)
        self.proc = subprocess.Popen([CRIU, "service", "-W", where, "--address", address, "--pidfile", "service.pid",
                                      "-o", "service.log", "-v4", "--status-fd", str(status), *args],
                                     pass_fds=[status])
        os.close(status)
        self.ready = os.read(ready, 1)
        os.close(ready)

    def connect(self):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.connect(self.path)
        s.settimeout(20)
        return s

    def stop(self, sig=signal.SIGTERM):
        if self.proc.poll() is None:
            self.proc.send_signal(sig)
        return self.proc.wait(20)


class Victim:
    """A process that lets nobody find anything outside of itself: own session, no terminal, /dev/null."""

    def __init__(self, uid=None, before=None):
        self.proc = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL, start_new_session=True, user=uid, group=uid,
                                     extra_groups=[] if uid else None, cwd="/", preexec_fn=before)
        time.sleep(0.1)
        self.pid = self.proc.pid

    def alive(self):
        return self.proc.poll() is None

    def end(self):
        if self.alive():
            self.proc.kill()
        self.proc.wait()


def as_user(uid, func, before=lambda: None, groups=()):
    """Runs func in a child that is that user and nothing else; before is run while it is still root."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            before()
            os.setgroups(groups)
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)   # PR_SET_DUMPABLE
            func()
            os._exit(0)
        except BaseException as e:  # noqa: BLE001
            os.write(w, (traceback.format_exc() + str(e)).encode()[-3000:])
        os._exit(1)
    os.close(w)
    text = b""
    while chunk := os.read(r, 65536):
        text += chunk
    os.close(r)
    assert os.waitpid(pid, 0)[1] == 0, text.decode()


def wait_for(what, why, seconds=30):
    for _ in range(seconds * 50):
        if what():
            return
        time.sleep(0.02)
    raise AssertionError(why)


def is_gone(pid):
    """Has it ended, and is its number free? One that was left to us is taken note of."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
    return not os.path.exists(f"/proc/{pid}")


def end_process(pid):
    """Ends a restored process, which may be a child of anybody."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    wait_for(lambda: is_gone(pid), f"process {pid} does not go away", 10)


def must_be_free(pid):
    """Nobody traces it and it is not stopped. It need not sleep yet: under load it may still be on its way back."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    assert status["TracerPid"] == "0" and status["State"][0] in "SRD", status


def sanitized():
    """Such a build reserves terabytes of addresses."""
    with open(CRIU, "rb") as f:
        return b"__asan_init" in f.read()


def build(where, source):
    """A program of this folder, linked statically so that its images are few."""
    if not shutil.which("cc"):
        skip("cc is not installed")
    path = os.path.join(where, source[:-2])
    subprocess.run(["cc", "-O1", "-Wall", "-static", "-o", path, os.path.join(ROOT, "test", "clients", source)], check=True)
    return path


class SelfDumper:
    """A program that has itself dumped (self-dump.c)."""

    def __init__(self, binary, way, place, images, out, uid=None):
        self.images, self.out = images, out
        self.proc = subprocess.Popen([binary, way, place, images, out], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd="/",
                                     user=uid, group=uid, extra_groups=[] if uid else None)
        self.pid = self.proc.pid

    def ended(self):
        """Exit code once it has been dumped; what it was told if it was not."""
        try:
            return self.proc.wait(20)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            log = os.path.join(self.images, "criu.log")
            raise AssertionError(self.heard() + (open(log).read()[-2000:] if os.path.exists(log) else "")) from None

    def heard(self, end="end", timeout=10):
        """What it has read, once it has come to the end."""
        text = ""
        for _ in range(timeout * 50):
            text = open(self.out).read() if os.path.exists(self.out) else ""
            if end in text:
                break
            time.sleep(0.02)
        return text


def run_cases(cases):
    """Each case gets a fresh directory. Exit status 1 if one failed."""
    failed = 0
    for case in cases:
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="criu-client-") as where:
            try:
                note = case(where)
                print(f"{case.__name__}: {note or 'ok'} ({time.monotonic() - begin:.1f} s)", flush=True)
            except Exception:  # noqa: BLE001
                failed += 1
                traceback.print_exc()
                print(f"{case.__name__}: failed", flush=True)
    print(f"{len(cases) - failed} of {len(cases)} cases passed")
    sys.exit(1 if failed else 0)
