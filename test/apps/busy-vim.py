"""A terminal with a shell, in it vim: lines are typed and written; now and then vim is stopped by a key, the shell does something, and
vim is brought back. At the end some of it is undone."""
import fcntl
import os
import pty
import shutil
import struct
import termios
import threading

import load
from load import need


def text(name):
    try:
        with open(name, encoding="ascii") as f:
            return f.read()
    except FileNotFoundError:
        return ""


class Terminal:
    def __init__(self, *cmd):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp(cmd[0], cmd)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.seen = b""
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        try:
            while data := os.read(self.fd, 65536):
                self.seen += data
        except OSError:     # the last who had it open has gone
            pass

    def type(self, keys):
        """Types; the answers from now on are in seen."""
        self.seen = b""
        os.write(self.fd, keys.encode())

    def shows(self, words):
        load.until(lambda: words in self.seen, f"the screen shows {words!r}, not {self.seen[-300:]!r}")


os.environ.update(TERM="xterm", PS1="shell> ", HISTFILE="")
vim = shutil.which("vim.tiny") or "vim"
terminal = Terminal("bash", "--norc", "--noprofile")
terminal.shows(b"shell> ")
terminal.type(f"{vim} -u NONE -N -i NONE lines\r")
terminal.shows(b"lines")
work, n, want, shell = load.Load(), 0, "", ""
while True:
    # a new line below, left before it is written, so that Escape is not the beginning of a longer key
    line = f"line {n} " + "abc" * (n % 30)
    terminal.type(f"{'i' if n == 0 else 'o'}{line}\x1b")
    terminal.type(":w!\r")
    want += line + "\n"
    load.until(lambda: text("lines") == want, f"line {n}")
    if n % 5 == 4:
        terminal.type("\x1a")
        terminal.shows(b"shell> ")
        shell += f"{n} 30 100\n"
        terminal.type(f"echo {n} $(stty size) >> shell\r")
        load.until(lambda: text("shell") == shell, f"the shell's command {n}")
        terminal.type("fg\r")
        terminal.shows(line.encode())
    n += 1
    if not work.worked():
        break
terminal.type("3u")
terminal.type(":w!\r")
want = "".join(want.splitlines(True)[:-3])
load.until(lambda: text("lines") == want, "what was undone")
terminal.type(":q\r")
terminal.shows(b"shell> ")
terminal.type("exit 7\r")
need(os.waitstatus_to_exitcode(os.waitpid(terminal.pid, 0)[1]) == 7, "the end of the shell")
terminal.reader.join(load.DEADLINE)
work.ok()
