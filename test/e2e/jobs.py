"""Scenarios of shell jobs: with a terminal, in front of it and behind it, stopped and continued by a shell that types."""
import os
import signal
import subprocess

import state
from case import TIMEOUT, first_error
from world import Failed


class Shell:
    """An interactive shell with job control on a terminal of its own."""

    def __init__(self, scenario, cwd):
        self.world, self.said = scenario.world, b""
        self.pid, self.master, self.path = scenario.on_terminal(["bash", "--norc", "--noprofile", "-i"], cwd)
        self.world.others.add(self.pid)
        os.set_blocking(self.master, False)

    def type(self, text):
        os.write(self.master, text.encode())

    def read(self):
        try:
            while True:
                self.said += os.read(self.master, 4096)
        except OSError:
            return self.said.decode(errors="replace")

    def until(self, condition, what):
        try:
            self.world.until(lambda: self.read() is not None and condition(), 10, what)
        except Failed as e:
            rows = [(p, [field(p, n) for n in (4, 7)], signals_of(p)) for p in (self.pid, *self.world.tree())]
            raise Failed(f"{e}; group, foreground, signals: {rows}; on the terminal: {self.read()[-300:]!r}") from None

    def close(self):
        os.close(self.master)
        self.world.kill([self.pid])
        self.world.others.discard(self.pid)


def field(pid, n):
    """A number of /proc/PID/stat: 4 process group, 7 foreground group of the terminal."""
    stat = state.Snapshot.stat_of(f"/proc/{pid}")
    return int(stat[n]) if stat else None


def signals_of(pid):
    text = state.read(f"/proc/{pid}/status").decode()
    return " ".join(l.replace("\t", "") for l in text.splitlines() if l.startswith(("State", "TracerPid", "Sig", "Shd")))


class Jobs:
    def job(self, mode, form="{}", stopped=False):
        """A job of an interactive shell, dumped. Returns the shell."""
        self.victim, self.name = os.path.join(self.victims, "tree"), "single"
        self.dir = os.path.join(self.base, mode, "d")
        os.makedirs(self.dir)
        shell = Shell(self, self.dir)
        shell.type(form.format(f"{self.victim} single") + "\n")
        shell.until(lambda: os.path.exists(os.path.join(self.dir, "ready")), "the victim's setup")
        self.root = self.world.tree()[0]
        if stopped:
            shell.type("\x1a")
            shell.until(lambda: self.state() == "T" and field(shell.pid, 7) == shell.pid, "^Z stops the job")
        self.must_dump("--shell-job")
        self.must_be_gone()
        return shell

    def state(self):
        stat = state.Snapshot.stat_of(f"/proc/{self.root}")
        return stat[2] if stat else ""

    def restore_in(self, shell, *more, after=";"):
        cmd = " ".join([self.criu, "restore", "--shell-job", "-D", self.images, "-o", "restore.log", "-v4", *more])
        shell.type(f"{cmd}{after} echo code=$[$?+40]\n")

    def runs(self):
        return "Tasks resumed" in self.log("restore.log") and self.state() in tuple("SRD") and b"TracerPid:\t0\n" in state.read(f"/proc/{self.root}/status")

    def has_terminal(self):
        """The job runs, untraced, in the foreground."""
        return self.runs() and field(self.root, 7) == field(self.root, 4)

    def end_job(self, shell, code="code=40"):
        with open(os.path.join(self.dir, "go"), "w", encoding="utf-8"):
            pass
        shell.until(lambda: self.root_is_dead(), "the victim ends")
        if self.text("fails") or self.text("result") != "ok":
            raise Failed(f"after the restore: {self.text('fails')}")
        if code:
            shell.until(lambda: code in shell.read(), f"the shell says {code}")
        shell.until(lambda: field(shell.pid, 7) == shell.pid, "the shell has its terminal again")
        shell.until(lambda: not self.world.tree(), "all but the shell have ended")
        shell.close()

    def do_job_foreground(self):
        """A restored job has the terminal, obeys ^Z, fg and bg through the criu in front of it, and gives it back."""
        shell = self.job("foreground")
        self.restore_in(shell)
        shell.until(self.has_terminal, "the job has the terminal")
        for _ in range(2):
            shell.type("\x1a")
            shell.until(lambda: self.state() == "T" and field(shell.pid, 7) == shell.pid, "^Z stops it, the shell is back")
            shell.type("fg\n")
            shell.until(self.has_terminal, "fg brings it back to the foreground")
        shell.type("\x1a")
        shell.until(lambda: self.state() == "T" and field(shell.pid, 7) == shell.pid, "^Z stops it")
        shell.type("bg\n")
        shell.until(lambda: self.runs(), "bg continues it")
        if field(shell.pid, 7) != shell.pid:
            raise Failed("a job in the background has the terminal")
        shell.type("fg\n")
        self.end_job(shell, "")

    def do_job_ends(self):
        shell = self.job("ends", "{} &")
        self.restore_in(shell)
        shell.until(self.has_terminal, "the job has the terminal")
        self.end_job(shell)

    def do_job_of_jobs(self):
        """The root is a shell whose own job was in the foreground: that one is again."""
        shell = self.job("nested", "bash -c 'set -m; {}; exit 7'")
        self.restore_in(shell)
        shell.until(self.runs, "the job runs")
        leaf = next(p for p in self.world.tree() if state.read(f"/proc/{p}/comm") == b"tree\n")
        shell.until(lambda: field(leaf, 7) == field(leaf, 4) != field(self.root, 4), "the inner job has the terminal")
        self.end_job(shell, "code=47")

    def do_job_interrupted(self):
        """^C is for the job, and criu ends as it does."""
        shell = self.job("interrupted")
        self.restore_in(shell)
        shell.until(self.has_terminal, "the job has the terminal")
        shell.type("\x03")
        shell.until(self.root_is_dead, "^C ends the job")
        shell.until(lambda: field(shell.pid, 7) == shell.pid, "the shell has its terminal again")
        shell.close()

    def do_job_stopped(self):
        """What ^Z had stopped before the dump is a stopped job of the shell that restores it."""
        shell = self.job("stopped", stopped=True)
        self.restore_in(shell)
        shell.until(lambda: shell.read().count("Stopped") > 1, "the shell sees a stopped job")
        if self.state() != "T" or field(shell.pid, 7) != shell.pid:
            raise Failed(f"the job's state is {self.state()}, the shell's terminal is {field(shell.pid, 7)}'s")
        shell.type("fg\n")
        shell.until(self.has_terminal, "fg continues it")
        self.end_job(shell, "")

    def do_job_detached(self):
        """Nobody stays who could take the terminal back: it remains the shell's."""
        shell = self.job("detached")
        self.restore_in(shell, "-d")
        shell.until(lambda: "code=40" in shell.read(), "criu ends")
        shell.until(self.runs, "the job runs")
        if field(self.root, 7) != shell.pid:
            raise Failed(f"the terminal is {field(self.root, 7)}'s, not the shell's")
        self.end_job(shell, "")

    def do_job_behind(self):
        """Restored by a criu in the background, the job stays there."""
        shell = self.job("behind")
        self.restore_in(shell, after=" &")
        shell.until(self.runs, "the job runs")
        if field(shell.pid, 7) != shell.pid:
            raise Failed("the shell lost its terminal")
        self.end_job(shell, "")

    def do_job_without_shell(self):
        """No shell above criu: nobody could continue what ^Z stops, so it goes on; what was stopped stays so."""
        for stopped in (False, True):
            shell = self.job(f"without-{stopped}", stopped=stopped)
            shell.close()
            waiter, master, _ = self.on_terminal([self.criu, "restore", "--shell-job", "-D", self.images, "-o", "restore.log",
                                                  "-v4"], self.dir)
            self.world.others.add(waiter)
            if stopped:
                self.world.until(lambda: self.state() == "T" and "Tasks resumed" in self.log("restore.log"), 10, "it is stopped")
                self.world.until(lambda: field(self.root, 7) == waiter, 10, "criu has the terminal back")
                os.kill(self.root, signal.SIGCONT)
                self.world.until(lambda: self.runs(), 10, "it goes on")
            else:
                self.world.until(self.has_terminal, 10, "the job has the terminal")
                os.write(master, b"\x1a")
                self.world.until(self.has_terminal, 10, "^Z did no harm")
            with open(os.path.join(self.dir, "go"), "w", encoding="utf-8"):
                pass
            self.world.until(lambda: waiter in self.world.ended, TIMEOUT, "criu ends with the victim")
            self.world.others.discard(waiter)
            os.close(master)
            if self.text("fails") or self.text("result") != "ok":
                raise Failed(f"after the restore: {self.text('fails')}")

    def do_job_stopped_early(self):
        """^Z between the job's first step and criu's wait for it: that is no stop that the job was restored in."""
        shell = self.job("early")
        shell.close()
        script = os.path.join(self.dir, "script")
        with open(script, "w", encoding="utf-8") as f:
            f.write(f'#!/bin/sh\n[ "$CRTOOLS_SCRIPT_ACTION" != post-resume ] || kill -TSTP {self.root}\n')
        os.chmod(script, 0o755)
        waiter, master, _ = self.on_terminal([self.criu, "restore", "--shell-job", "-D", self.images, "-o", "restore.log",
                                              "-v4", "--action-script", script], self.dir)
        self.world.others.add(waiter)
        self.world.until(lambda: "Tasks resumed" in self.log("restore.log"), 10, "it is restored")
        self.world.until(self.has_terminal, 10, "the stop did no harm")
        with open(os.path.join(self.dir, "go"), "w", encoding="utf-8"):
            pass
        self.world.until(lambda: waiter in self.world.ended, TIMEOUT, "criu ends with the victim")
        self.world.others.discard(waiter)
        os.close(master)
        if self.text("fails") or self.text("result") != "ok":
            raise Failed(f"after the restore: {self.text('fails')}")

    def do_stopped_job_orphaned(self):
        """A job that ^Z had stopped, restored into an orphaned process group, where that signal stops nobody."""
        self.victim, self.name = os.path.join(self.victims, "tree"), "single"
        self.dir = os.path.join(self.base, "job", "d")
        os.makedirs(self.dir)
        pids = lambda: [p for p in self.world.tree() if state.read(f"/proc/{p}/comm") == b"tree\n"]
        self.world.start(["bash", "-c", f"set -m; (trap : TERM; {self.victim} single & wait) & wait"], cwd=self.dir,
                         start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.world.until(lambda: os.path.exists(os.path.join(self.dir, "ready")) and pids(), TIMEOUT, "the victim's setup")
        self.root = pids()[0]
        os.kill(self.root, signal.SIGTSTP)
        self.world.until(lambda: state.Snapshot.stat_of(f"/proc/{self.root}")[2] == "T", 10, "the victim stops")
        self.must_dump("--shell-job")
        self.world.clear()
        pid = self.world.start([self.criu, "restore", "-d", "--shell-job", "-D", self.images, "-o", "restore.log", "-v4"],
                               cwd=self.dir, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        self.world.others.add(pid)
        self.world.until(lambda: pid in self.world.ended, TIMEOUT, "criu ends")
        self.world.others.discard(pid)
        log = self.log("restore.log")
        if self.world.ended[pid] != 0:
            raise Failed(f"restore of a stopped job: {first_error(log)}")
        if "its process group is orphaned" not in log:
            raise Failed("no warning says that SIGTSTP stops nobody here")
        if state.Snapshot.stat_of(f"/proc/{self.root}")[2] != "T":
            raise Failed("the job is not stopped")
        os.kill(self.root, signal.SIGCONT)
        self.finish("after the restore")

    def on_terminal(self, cmd, cwd):
        """Starts a program in a session of its own, with a new terminal as controlling one and as descriptors 0 to 2."""
        master, slave = os.openpty()
        path = os.ttyname(slave)

        def take():
            os.setsid()
            fd = os.open(path, os.O_RDWR)
            for n in range(3):
                os.dup2(fd, n)
            os.closerange(3, 64)
            for signo in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):   # ignored by what runs behind a shell, and inherited
                signal.signal(signo, signal.SIG_DFL)
        pid = self.world.start(cmd, cwd=cwd, preexec_fn=take, env={"PATH": "/usr/bin:/bin"})
        os.close(slave)
        return pid, master, path

    def do_terminal(self):
        """--shell-job: the controlling terminal is whatever criu has at restore."""
        self.terminal("tree", "single")

    def do_terminal_of_other_mounts(self):
        """The same where the job's mount namespace does not have it."""
        self.terminal("mount-outside", "taken-along", "--external", "mnt[]")

    def terminal(self, victim, name, *options):
        self.victim, self.name = os.path.join(self.victims, victim), name
        self.dir = os.path.join(self.base, "terminal", "d")
        os.makedirs(self.dir)
        shell, master, _ = self.on_terminal(["sh", "-c", f"{self.victim} {name} & wait"], self.dir)
        self.world.others.add(shell)
        self.world.until(lambda: os.path.exists(os.path.join(self.dir, "ready")), TIMEOUT, "the victim's setup")
        self.root = self.world.tree()[0]
        self.before = self.snapshot()
        self.must_dump("--shell-job", *options)
        self.must_be_gone()
        os.close(master)
        self.world.until(lambda: shell in self.world.ended, 10, "the shell ends")
        self.world.others.discard(shell)
        waiter, master, path = self.on_terminal([self.criu, "restore", "--shell-job", "-D", self.images, "-o", "restore.log", "-v4",
                                                 *options], self.dir)
        self.world.others.add(waiter)
        try:
            self.world.until(lambda: state.link(f"/proc/{self.root}/fd/1") == path or waiter in self.world.ended, 5,
                             "descriptor 1 is criu's terminal")
            if waiter in self.world.ended:
                raise Failed(f"restore on a terminal: {first_error(self.log('restore.log'))}")
            with open(os.path.join(self.dir, "go"), "w", encoding="utf-8"):
                pass
            self.world.until(lambda: waiter in self.world.ended, TIMEOUT, "criu ends with the victim")
            if self.text("fails") or self.text("result") != "ok":
                raise Failed(f"after the restore: {self.text('fails')}")
        finally:
            os.close(master)
            self.world.kill([waiter])
            self.world.others.discard(waiter)
