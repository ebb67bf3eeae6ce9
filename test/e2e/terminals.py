"""Scenarios of terminals whose other end is not in the tree, as container runtimes have them."""
import array
import os
import shutil
import socket
import subprocess

import rpc
import state
from case import TIMEOUT, first_error
from world import Failed, Skipped

SCM = socket.CMSG_SPACE(4 * array.array("i").itemsize)


class Terminals:
    def on_own_terminal(self, mode):
        """A victim that leads the session of a terminal whose master is ours, dumped as runtimes do it."""
        self.victim, self.name = os.path.join(self.victims, "tree"), "single"
        self.dir = os.path.join(self.base, mode, "d")
        os.makedirs(self.dir)
        self.root, master, path = self.on_terminal([self.victim, "single"], self.dir)
        self.world.until(lambda: os.path.exists(os.path.join(self.dir, "ready")), TIMEOUT, "the victim's setup")
        self.before = self.snapshot()
        self.new_images()
        answer, code = self.by_worker(rpc.DUMP, [], pid=self.root, orphan_pts_master=True)
        if not answer.success or code != 0:
            raise Failed(f"dump: {answer}, exit status {code}; {first_error(self.log('dump.log'))}")
        self.must_be_gone()
        os.close(master)
        return path

    def restore_and_answer(self, agree):
        """Restores with notifications. Returns the answer, and the descriptor that came with orphan-pts-master or None."""
        ours, theirs = rpc.pair()
        given, asked = None, []
        pid = self.world.start([self.criu, "swrk", str(theirs.fileno())], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, pass_fds=(theirs.fileno(),))
        self.world.others.add(pid)
        theirs.close()
        images = os.open(self.images, os.O_RDONLY | os.O_DIRECTORY)
        try:
            ours.settimeout(TIMEOUT)
            ours.send(rpc.request(rpc.RESTORE, images_dir_fd=images, log_level=4, log_file="restore.log", notify_scripts=True,
                                  rst_sibling=True, orphan_pts_master=True))
            while True:
                data, control, _, _ = ours.recvmsg(65536, SCM)
                if not data:
                    raise Failed(f"restore: the worker hung up; {first_error(self.log('restore.log'))}")
                fields = rpc.decode(data)
                if fields.get(1) != rpc.NOTIFY:
                    return rpc.Response(data), given
                script = rpc.decode(fields[5]).get(1, b"").decode()
                asked.append(script)
                if script == "orphan-pts-master":
                    given = array.array("i", control[0][2])[0]
                ours.send(rpc.field_int(1, rpc.NOTIFY) + rpc.field_int(3, agree or script != "orphan-pts-master"))
        finally:
            os.close(images)
            ours.close()
            try:
                self.world.until(lambda: pid in self.world.ended, TIMEOUT, "the worker ends")
            finally:
                self.world.kill([pid])
                self.world.others.discard(pid)

    def do_orphan_terminal(self):
        """The master of a terminal that was outside of the tree goes to the client, the slave to the tree."""
        path = self.on_own_terminal("orphan")
        answer, master = self.restore_and_answer(True)
        if not answer.success:
            raise Failed(f"restore: {answer}; {first_error(self.log('restore.log'))}")
        if master is None:
            raise Failed("nobody was given the master")
        if state.link(f"/proc/{self.root}/fd/1") != path:
            raise Failed(f"descriptor 1 is {state.link(f'/proc/{self.root}/fd/1')}, was {path}")
        if os.tcgetpgrp(master) != self.root:
            raise Failed(f"in the foreground is {os.tcgetpgrp(master)}")
        self.expect_same("after the restore")
        fd = os.open(path, os.O_WRONLY | os.O_NOCTTY)
        os.write(fd, b"hello\n")
        os.close(fd)
        if os.read(master, 100) != b"hello\r\n":
            raise Failed("the client's descriptor is of another terminal")
        self.finish("after the restore")
        os.close(master)

    def do_orphan_terminal_declined(self):
        """Without a client that takes it, and without a terminal of its own, the restore ends with a word about it."""
        self.on_own_terminal("declined")
        answer, _ = self.restore_and_answer(False)
        if answer.success or "standard input" not in self.log("restore.log"):
            raise Failed(f"restore: {answer}; {first_error(self.log('restore.log'))}")
        left = self.world.clear()
        if left:
            raise Failed(left)

    def do_tmux(self):
        """A terminal multiplexer with a shell that has a job in one window and an editor with unsaved text in another."""
        for name in ("tmux", "vim"):
            if not shutil.which(name):
                raise Skipped(f"there is no {name}")
        self.dir = os.path.join(self.base, "tmux", "d")
        os.makedirs(self.dir)
        path = lambda n: os.path.join(self.dir, n)
        env = ["env", "TERM=screen", "LC_ALL=C.UTF-8"]

        def tmux(*args):
            code, said = self.world.run([*env, "tmux", "-S", path("socket"), "-f", "/dev/null", *args], TIMEOUT, cwd=self.dir)
            if code != 0:
                raise Failed(f"tmux {args[0]}: {said}")
            return said

        screen = lambda pane: tmux("capture-pane", "-p", "-t", f"a.{pane}")
        tmux("new-session", "-d", "-s", "a", "-x", "80", "-y", "24", "bash --norc --noprofile")
        tmux("split-window", "-t", "a", "vim -u NONE -n text")
        self.world.until(lambda: "$" in screen(0) or "#" in screen(0), TIMEOUT, "the shell's prompt")
        self.world.until(lambda: "~" in screen(1), TIMEOUT, "the editor's screen")
        tmux("send-keys", "-t", "a.0", "X=kept; sleep 1000", "Enter")
        tmux("send-keys", "-t", "a.1", "ihello")
        self.world.until(lambda: any(b"sleep" in state.read(f"/proc/{p}/comm") for p in self.world.tree()), TIMEOUT, "the job")
        self.world.until(lambda: "hello" in screen(1), TIMEOUT, "what was typed")
        self.root = int(tmux("display-message", "-p", "#{pid}"))
        self.before = self.snapshot()
        self.must_dump("--file-locks")
        self.must_be_gone()
        self.restore_args = ["--file-locks"]
        self.restore()
        tmux("send-keys", "-t", "a.0", "C-c")
        tmux("send-keys", "-t", "a.0", "echo val=$X", "Enter")
        self.world.until(lambda: "val=kept" in screen(0), TIMEOUT, "the shell goes on")
        tmux("send-keys", "-t", "a.1", " and more", "Escape", ":wq", "Enter")
        self.world.until(lambda: os.path.exists(path("text")) and state.read(path("text")) == b"hello and more\n", TIMEOUT,
                         "the editor writes what was typed before and after")
        tmux("kill-server")
        self.world.until(lambda: not self.world.tree(), 10, "all processes end")
