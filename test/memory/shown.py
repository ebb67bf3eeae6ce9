#!/usr/bin/python3
"""What is shown while memory is on its way: on a terminal, in a pipe, and in the statistics afterwards.

    shown.py --criu build/criu --tools build/test/memory [-k CASE] [--seed N]

Runs in pid, mount and network namespaces of its own. Prints "PASS case" or "FAIL case: why". Needs root.
"""
import contextlib
import functools
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "e2e")]
import alone     # noqa: E402
import counted   # noqa: E402
import state     # noqa: E402
from world import Failed, Skipped, World   # noqa: E402

MIB = 48
WIPE = b"\r\x1b[K"
LINE = re.compile(rb"^(dump|pre-dump|restore|page-server) (shared )?memory: (?:(\d+)% of ([\d.]+) MiB|([\d.]+) MiB)$")

# passes on what a dump sends, not faster than so many bytes in a millisecond
SLOW = """import socket, sys, threading, time
out = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
conn, _ = socket.socket(fileno=0).accept()
conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
def back():
    while data := out.recv(65536):
        conn.sendall(data)
    conn.close()
threading.Thread(target=back, daemon=True).start()
left = time.monotonic()
while data := conn.recv(65536):
    left = max(left + len(data) / float(sys.argv[2]) / 1000, time.monotonic())
    time.sleep(max(0, left - time.monotonic()))
    out.sendall(data)
out.shutdown(1)
time.sleep(0.1)
"""


class Shown:
    """A process that waits, and commands that people look at."""

    def __init__(self, args, base):
        self.args, self.base, self.world, self.others = args, base, World(), []
        self.root = self.world.start([os.path.join(args.tools, "idler"), base, str(MIB)], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        ready = os.path.join(base, "idler")
        self.world.until(lambda: os.path.exists(ready) and os.path.getsize(ready) == 8, 60, "the process is ready")

    def folder(self, name):
        path = os.path.join(self.base, name)
        os.makedirs(path, exist_ok=True)
        return path

    def begin(self, *cmd, term=True):
        """Starts a command; on a terminal, or with a pipe in its place. Returns its pid and where it shows things."""
        if term:
            master, slave = pty.openpty()
        else:
            master, slave = os.pipe()
        os.set_blocking(master, False)
        pid = self.world.start([self.args.criu, *cmd], stdin=slave if term else subprocess.DEVNULL, stdout=slave, stderr=slave,
                               start_new_session=True)
        self.world.others.add(pid)
        os.close(slave)
        return pid, master

    @staticmethod
    def more(master):
        with contextlib.suppress(OSError):
            return os.read(master, 1 << 16)
        return b""

    def run(self, *cmd, term=True, meanwhile=lambda text: None, code=0):
        """Runs it to its end. Returns all that it has shown."""
        pid, master = self.begin(*cmd, term=term)
        text = b""

        def over():
            nonlocal text
            text += self.more(master)
            meanwhile(text)
            return pid in self.world.ended
        self.world.until(over, 120, f"{cmd[0]} ends")
        text += self.more(master)
        os.close(master)
        if os.waitstatus_to_exitcode(self.world.ended[pid]) != code:
            raise Failed(f"{cmd}: exit status {self.world.ended[pid]:#x}: {text[-300:]}")
        return text

    def gone(self):
        self.world.until(lambda: not os.path.exists(f"/proc/{self.root}"), 20, "the tree is gone")

    def held(self, text):
        """Meanwhile of a restore: its task stands still until something was shown, so that it takes long enough."""
        self.stopped = getattr(self, "stopped", False)
        with contextlib.suppress(ProcessLookupError):
            if not self.stopped and not text:
                os.kill(self.root, signal.SIGSTOP)
                self.stopped = True
            elif text:
                os.kill(self.root, signal.SIGCONT)

    def end(self):
        self.world.kill([p for p in self.world.tree()])
        left = self.world.clear()
        if left and "processes" not in left:
            raise Failed(left)


def lines(text, command, log=False):
    """What stood on the last line, one after the other: (percent, MiB). Lines of the log stand alone."""
    shown = []
    for full in text.replace(b"\r\n", b"\n").split(b"\n"):
        parts = full.split(WIPE)
        if parts[-1] and not LINE.match(parts[-1]) and not log:
            raise Failed(f"{command}: shown is {parts[-1]!r}")
        for part in parts:
            m = LINE.match(part)
            if not m and part and not (log and part is parts[-1]):
                raise Failed(f"{command}: a line of something else: {part!r}")
            if m:
                if m.group(1).decode() != command:
                    raise Failed(f"{command}: shown is {part!r}")
                shown.append((int(m.group(3)) if m.group(3) else None, float(m.group(4) or m.group(5))))
    if LINE.search(text.rpartition(WIPE)[2].rpartition(b"\n")[2]):
        raise Failed(f"{command}: something is left on the last line: {text[-100:]!r}")
    return shown


def must_rise(command, shown, mib):
    percents = [p for p, _ in shown]
    if not shown or percents != sorted(percents) or not 0 <= percents[0] <= percents[-1] <= 100:
        raise Failed(f"{command}: {shown}")
    if not all(mib <= m < mib + 32 for _, m in shown):
        raise Failed(f"{command}: of {MIB} MiB and a little, {shown}")


def on_a_terminal(s):
    """Dumps and restores tell how far they are, wherever the log goes, and leave nothing behind."""
    t = ["-t", str(s.root)]
    for n, log in enumerate((["-o", "log"], [], ["-v4"], ["-o", "-", "-v4"])):
        for command, more in (("pre-dump", []), ("dump", ["-R"]), ("dump", ["-R", "--compress"])):
            images = s.folder(f"{command}-{n}-{len(more)}")
            text = s.run(command, *t, "-D", images, *more, *log)
            must_rise(command, lines(text, command, "-v4" in log), MIB)
            if "-v4" in log and b"stage freeze: " not in text:
                raise Failed(f"no log: {text}")
    s.run("dump", *t, "-D", s.folder("plain"), "-o", "log")
    s.gone()
    for images, log in (("plain", ["-o", "rlog"]), ("plain", []), ("dump-0-2", ["-v4"])):
        s.stopped = False
        text = s.run("restore", "-d", "-D", s.folder(images), *log, meanwhile=s.held)
        shown = lines(text, "restore", "-v4" in log)
        if "-v4" not in log:   # lines of the log end the wait as well
            must_rise("restore", shown, MIB)
        s.world.kill([s.root])
        s.gone()


def in_a_pipe(s):
    """Nobody looks: nothing is said but what was asked for."""
    t = ["-t", str(s.root)]

    def nothing(*cmd):
        text = s.run(*cmd, term=False)
        if text:
            raise Failed(f"{cmd}: {text}")
    nothing("pre-dump", *t, "-D", s.folder("1"), "-o", "log")
    nothing("dump", *t, "-D", s.folder("2"), "-o", "log", "-R")
    text = s.run("dump", *t, "-D", s.folder("3"), "-o", "log", "-R", "--json")
    if not re.match(rb'^\{"command":"dump","success":true,[^\r\n]*\}\r?\n$', text):
        raise Failed(f"JSON on a terminal: {text}")
    text = s.run("dump", *t, "-D", s.folder("4"), "-o", "log", "-R", "--display-stats", term=False)
    if not text.startswith(b"Displaying dump stats:\n") or b"\x1b" in text:
        raise Failed(f"statistics: {text}")
    nothing("dump", *t, "-D", s.folder("5"), "-o", "log")
    s.gone()
    nothing("restore", "-d", "-D", s.folder("5"), "-o", "rlog")


def to_a_server(s):
    """Both ends of a slow connection show how far it is; its slowness is that of writing."""
    there, here = s.folder("there"), s.folder("here")
    pid, master = s.begin("page-server", "-D", there, "-o", "log", "--address", "127.0.0.1")
    said = b""

    def port():
        nonlocal said
        said += s.more(master)
        return re.search(rb"Listening on port (\d+)\r\n", said)
    number = s.world.until(port, 10, "the server listens").group(1).decode()
    with socket.socket() as between:
        between.bind(("127.0.0.1", 0))
        between.listen()
        proxy = s.world.start([sys.executable, "-c", SLOW, number, str(32 << 10)], stdin=between)
        s.world.others.add(proxy)
        began = time.monotonic()
        text = s.run("dump", "-t", str(s.root), "-D", here, "-o", "log", "--page-server", "--address", "127.0.0.1", "--port",
                     str(between.getsockname()[1]))
        took = time.monotonic() - began
    s.world.until(lambda: pid in s.world.ended, 20, "the server ends")
    s.world.until(lambda: proxy in s.world.ended, 20, "who was in between ends")
    said += s.more(master)
    os.close(master)
    shown = lines(text, "dump")
    must_rise("dump", shown, MIB)
    if len(shown) < 5:
        raise Failed(f"within {took} s: {shown}")
    received = lines(said.partition(b"\r\n")[2], "page-server")
    amounts = [m for _, m in received]
    if len(received) < 5 or any(p is not None for p, _ in received) or amounts != sorted(amounts) or not MIB / 2 < amounts[-1] < MIB + 32:
        raise Failed(f"the server: {received}")
    st = counted.said(here, 1, counted.DUMP)
    if not 0.6 * st["memdump"] < st["memwrite"] <= st["memdump"] < took * 1e6:
        raise Failed(f"a slow receiver, {took} s: {st}")


def written_or_read(s):
    """Without anybody who is slow, what is not writing is a part of the time as well; several workers are no more than one clock."""
    t = ["-t", str(s.root)]
    for more in ([], ["--snapshot"], ["--compress"]):
        images = s.folder("x".join(more) or "plain")
        began = time.monotonic()
        s.run("dump", *t, "-D", images, "-o", "log", "-R", *more)
        took = (time.monotonic() - began) * 1e6
        st = counted.said(images, 1, counted.DUMP)
        if not 0 < st["memwrite"] < st["memdump"] < took:
            raise Failed(f"{more}: {st}")


def shared_memory(s):
    """An object that the restorer itself fills."""
    s.world.kill([s.root])
    path = os.path.join(s.base, "ready")
    code = ("import mmap, os, signal, sys\nm = mmap.mmap(-1, 64 << 20)\nm[:] = b'x' * len(m)\n"
            f"open({path!r}, 'w').close()\nsignal.pause()")
    s.root = s.world.start([sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, start_new_session=True)
    s.world.until(lambda: os.path.exists(path), 30, "it is ready")
    images = s.folder("images")
    s.run("dump", "-t", str(s.root), "-D", images, "-o", "log")
    s.gone()
    text = s.run("restore", "-d", "-D", images, "-o", "rlog")
    first = re.search(rb"restore shared memory: (\d+)% of 64.0 MiB", text)
    if not first or not text.endswith(WIPE):
        raise Failed(f"{text}")
    if state.read(f"/proc/{s.root}/comm") == b"":
        raise Failed("it is not there")


def children(pid):
    return [int(k) for k in state.read(f"/proc/{pid}/task/{pid}/children").split()]


def called_off(s):
    """Who waits for a dump is ended while memory is written: the rest is not written any more, and the tree goes on."""
    for n in range(10):
        images = s.folder(str(n))
        log = os.path.join(images, "log")
        front, master = s.begin("dump", "-t", str(s.root), "-D", images, "-o", "log", "-v4", term=False)
        s.world.until(lambda: os.path.exists(os.path.join(images, "pages-1.img")) or front in s.world.ended, 20, "pages are written")
        for child in children(front):
            os.kill(child, signal.SIGSTOP)
            s.world.until(lambda: state.read(f"/proc/{child}/stat").rpartition(b")")[2][1:2] == b"T", 10, "the dumper stands still")
            late = b"stage write memory" in state.read(log)
            with contextlib.suppress(ProcessLookupError):
                os.kill(front, signal.SIGTERM)
            s.world.until(lambda: front in s.world.ended, 10, "who waits has ended")
            with contextlib.suppress(ProcessLookupError):   # it goes on by itself where that leaves it without anybody
                os.kill(child, signal.SIGCONT)
            s.world.until(lambda: not os.path.exists(f"/proc/{child}"), 20, "the dumper ends")
            status = state.read(f"/proc/{s.root}/status")
            if os.path.exists(os.path.join(images, "inventory.img")) or b"TracerPid:\t0" not in status:
                raise Failed(f"called off: {os.listdir(images)}, {status}")
            if not late:
                if not re.search(rb"stage write memory: failed after .*\n.*called off", state.read(log)):
                    raise Failed(f"memory was written to its end: {state.read(log)[-500:]}")
                os.close(master)
                return
        os.close(master)
        if not os.path.exists(f"/proc/{s.root}"):
            raise Skipped("this is too fast to be called off in the middle")
    raise Skipped("the middle of it was never met")


CASES = {"called-off": called_off, "on-a-terminal": on_a_terminal, "in-a-pipe": in_a_pipe, "to-a-server": to_a_server, "written-or-read": written_or_read,
         "shared-memory": shared_memory}


def run_one(case, args, base):
    s = Shown(args, base)
    try:
        case(s)
    finally:
        s.end()


def main():
    args = alone.enter(alone.parser("tools"), net=True)
    cases = dict(CASES)
    return alone.run_cases(args, "shown", {name: functools.partial(run_one, case) for name, case in cases.items()})


if __name__ == "__main__":
    sys.exit(main())
