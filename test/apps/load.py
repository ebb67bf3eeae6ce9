"""What drives a busy application from inside of its tree: counts work, hears that it is to stop, waits, and ends with a verdict."""
import os
import signal
import socket
import subprocess
import sys
import time

DEADLINE = 40


def need(true, why):
    if not true:
        # said at once: a thread that exits says nothing
        print(f"lost: {why}", file=sys.stderr, flush=True)
        raise SystemExit(1)


def until(condition, what):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        need(time.monotonic() < deadline, what)
        time.sleep(0.01)


class Load:
    def __init__(self):
        self.progress = os.open("progress", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)

    def worked(self):
        """One more piece of work is done and was found right. True while there is to be more."""
        os.write(self.progress, b".")
        return not os.path.exists("stop")

    @staticmethod
    def ok():
        with open("out", "w", encoding="utf-8") as f:
            f.write("ok\n")


class Apart:
    """A server in a session of its own that is nobody's child: the first process of all reaps it."""
    def __init__(self, cmd):
        says = 'echo $$ > pid.new && mv pid.new pid && exec "$@"'
        subprocess.run(["setsid", "--fork", "sh", "-c", says, "sh", *cmd], stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True)
        until(lambda: os.path.exists("pid"), "the server's pid")
        with open("pid", encoding="ascii") as f:
            self.pid = int(f.read())

    def send_signal(self, number):
        os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def wait(self, _):
        until(lambda: not os.path.exists(f"/proc/{self.pid}"), "the server's end")
        return 0


def server(*cmd):
    """Starts a server that says what it has to say to our standard error: in our tree, or with the argument "outside" apart."""
    if "outside" in sys.argv:
        return Apart(cmd)
    return subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=sys.stderr)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def connected(address):
    """Connects as soon as somebody listens: at a path, or at a port of this machine."""
    deadline = time.monotonic() + DEADLINE
    while True:
        s = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        try:
            s.connect(address if isinstance(address, str) else ("127.0.0.1", address))
            return s
        except (FileNotFoundError, ConnectionRefusedError):
            s.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
