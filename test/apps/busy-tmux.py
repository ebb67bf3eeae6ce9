"""tmux: a server with shells in two windows and a client that is attached to a terminal of ours. Commands reach the shells by keys that
are typed at that terminal, and by clients that come and go; a stopped job waits in one of the shells until the end."""
import ctypes
import os
import pty
import subprocess
import sys
import threading

import load
from load import need

PR_SET_CHILD_SUBREAPER = 36
TMUX = ["tmux", "-u", "-S", "tmux.sock", "-f", "/dev/null"]


def tmux(*args):
    done = subprocess.run([*TMUX, *args], check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
    need(done.returncode == 0, f"tmux {args[0]}")
    return done.stdout


def in_front(name):
    return tmux("display-message", "-p", "-t", "main:1", "#{pane_current_command}") == name + "\n"


def text(name):
    try:
        with open(name, encoding="ascii") as f:
            return f.read()
    except FileNotFoundError:
        return ""


def drain(fd):
    """A terminal that nobody reads stops who writes to it. Ends with the last who has it open."""
    try:
        while os.read(fd, 65536):
            pass
    except OSError:
        pass


# the server leaves its parent; it is to stay in this tree
need(ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0, "prctl")
os.environ.update(TERM="screen", PS1="$ ", ENV="", SHELL="/bin/sh")
tmux("new-session", "-d", "-s", "main", "-x", "80", "-y", "24", "exec bash --norc --noprofile")
tmux("new-window", "-d", "-t", "main:1", "exec bash --norc --noprofile")
server = int(tmux("display-message", "-p", "#{pid}"))
client, master = pty.fork()
if client == 0:
    os.execvp(TMUX[0], [*TMUX, "attach", "-t", "main"])
reader = threading.Thread(target=drain, args=(master,))
reader.start()
load.until(lambda: tmux("list-clients", "-F", "#{client_tty}"), "the client is attached")
tmux("send-keys", "-t", "main:1", "cat > job.out", "Enter")
load.until(lambda: in_front("cat"), "the job runs")
tmux("send-keys", "-t", "main:1", "C-z")
load.until(lambda: in_front("bash"), "the job is stopped")
tmux("send-keys", "-t", "main:1", "jobs > jobs", "Enter")
load.until(lambda: "Stopped" in text("jobs"), "the shell knows")
work, n = load.Load(), 0
want = ""
while True:
    n += 1
    want += f"{n}\n"
    os.write(master, b"i=$((i + 1)); echo $i >> typed\r")
    tmux("send-keys", "-t", "main:1", "i=$((i + 1)); echo $i >> sent", "Enter")
    load.until(lambda: text("typed") == want, f"command {n}, as typed")
    load.until(lambda: text("sent") == want, f"command {n}, as sent")
    if not work.worked():
        break
tmux("send-keys", "-t", "main:1", "fg", "Enter")
load.until(lambda: in_front("cat"), "the job is in front again")
tmux("send-keys", "-t", "main:1", "to the job", "Enter", "C-d")
load.until(lambda: text("job.out") == "to the job\n", "the job goes on")
need("to the job" in tmux("capture-pane", "-p", "-t", "main:1", "-S", "-"), "what is to be seen")
need(tmux("display-message", "-p", "#{pid}") == f"{server}\n", "the same server")
need(tmux("list-windows", "-F", "#{window_width}x#{window_height}").split()[0].startswith("80x"), "the size of the window")
tmux("kill-server")
need(os.waitpid(server, 0)[1] == 0, "the server's end")
need(os.waitpid(client, 0)[1] in (0, 256), "the client's end")
reader.join(load.DEADLINE)
work.ok()
