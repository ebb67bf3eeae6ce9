"""Where cases come from: one process that has imported everything they need forks each of them, since to start an interpreter
and to import takes longer than most cases do. A case is process 1 of pid, mount and IPC namespaces of its own."""
import ctypes
import gc
import json
import os
import select
import signal
import socket
import time
import traceback

PR_SET_PDEATHSIG = 1
NEW = 0x20000000 | 0x00020000 | 0x08000000        # pid, mount, IPC
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 1 << 18
LIBC = ctypes.CDLL(None, use_errno=True)


def must(result, what):
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source, target, kind, flags, data=None):
    words = [w.encode() if w is not None else None for w in (source, target, kind)]
    must(LIBC.mount(*words, ctypes.c_ulong(flags), data.encode() if data else None), f"mount {target}")


def end_with_parent():
    must(LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def be_first(run, job, out, err):
    """Process 1; does not return."""
    code = 1
    try:
        end_with_parent()
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        null = os.open(os.devnull, os.O_RDONLY)
        for fd, place in ((null, 0), (out, 1), (err, 2)):
            os.dup2(fd, place)
        os.closerange(3, 4096)
        run(job)
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def enclose(run, job, fds):
    """Makes the namespaces, waits for process 1, and tells how it ended; does not return."""
    out, err, told = fds
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        end_with_parent()
        must(LIBC.unshare(NEW), "unshare")
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        pid = os.fork()
        if pid == 0:
            be_first(run, job, out, err)
        os.write(told, b"status %d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    except BaseException:
        os.write(err, traceback.format_exc().encode())
    finally:
        os._exit(0)


class Cradle:
    """@run: a function of a job, which carries it out. To be made while there is one thread."""

    def __init__(self, run, warm):
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            self.sock.close()
            try:
                warm()
                gc.freeze()   # or each child would write to, and so copy, all that there is
                self.serve(run, theirs)
            finally:
                os._exit(0)
        theirs.close()

    @staticmethod
    def serve(run, sock):
        signal.signal(signal.SIGINT, signal.SIG_IGN)   # the end comes when nobody is left to ask
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            text, fds, _, _ = socket.recv_fds(sock, 1 << 17, 3)
            if not text:
                return
            pid = os.fork()
            if pid == 0:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                sock.close()
                enclose(run, json.loads(text), fds)
            os.write(fds[2], b"pid %d" % pid)
            for fd in fds:
                os.close(fd)

    def run(self, job, out, err, limit):
        """Return: exit status, negative for a signal; None: it was killed, since it took longer than @limit seconds."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            socket.send_fds(self.sock, [json.dumps(job).encode()], [out.fileno(), err.fileno(), theirs.fileno()])
            theirs.close()
            end, told = time.monotonic() + limit, {}
            while True:   # two words, in any order; then everybody has gone
                if not select.select([ours], [], [], max(0, end - time.monotonic()))[0]:
                    if b"pid" in told:
                        os.kill(int(told[b"pid"]), signal.SIGKILL)
                    return None
                word = ours.recv(64)
                if not word:
                    return int(told.get(b"status", -signal.SIGKILL))
                name, value = word.split()
                told[name] = value

    def close(self):
        self.sock.close()
        os.waitpid(self.pid, 0)
