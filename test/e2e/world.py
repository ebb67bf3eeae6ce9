"""A small world for one case: run as process 1 of a fresh pid and mount namespace, it starts, waits for and reaps
whatever lives in it, and can tell at the end whether anything was left behind."""
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time

import cradle
import state


class Failed(Exception):
    """The verdict on a case; anything else that is raised is a bug of the runner."""


class Skipped(Exception):
    pass


class World:
    def __init__(self):
        self.ended = {}         # pid -> wait status of children that were reaped
        self.others = {1}       # processes that belong to the runner
        # numbers of terminals are given out by each instance on its own, so that they are free to be had again
        with contextlib.suppress(OSError):
            cradle.mount("devpts", "/dev/pts", "devpts", 0, "newinstance,mode=620,ptmxmode=666,gid=5")
        self.mounts = self.read_mounts()

    @staticmethod
    def read_mounts():
        # Mount ids change and tmpfs counters do not show here: device, root and mount point say which mounts there are.
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as f:
            return sorted(tuple(line.split()[2:5]) for line in f)

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.ended[pid] = status

    def until(self, condition, timeout, what):
        """Waits for @condition() to be true, reaping meanwhile."""
        deadline, pause = time.monotonic() + timeout, 0.001
        while True:
            self.reap()
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                there = [f"{p} {state.read(f'/proc/{p}/comm').decode(errors='replace').strip()}" for p in self.tree()[:6]]
                raise Failed(f"{what}: not within {timeout} s; there are {', '.join(there) or 'no processes'}")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)

    def start(self, cmd, **kw):
        """Starts a process and leaves reaping it to reap()."""
        child = subprocess.Popen(cmd, **kw)
        child.returncode = 0
        return child.pid

    def run(self, cmd, timeout, cwd=None, pass_fds=()):
        """Runs a program to its end. Returns (exit status, or a negative signal; its output)."""
        with tempfile.TemporaryFile() as out:
            pid = self.start(cmd, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=cwd, pass_fds=pass_fds)
            self.others.add(pid)
            try:
                self.until(lambda: pid in self.ended, timeout, os.path.basename(cmd[0]) + " " + cmd[1])
            except Failed:
                out.seek(0)
                text = out.read().decode(errors="replace")
                self.kill([pid])
                raise Failed(f"{' '.join(cmd[:2])} did not end within {timeout} s: {text[-300:]}") from None
            finally:
                self.others.discard(pid)
            out.seek(0)
            return os.waitstatus_to_exitcode(self.ended[pid]), out.read().decode(errors="replace")

    def tree(self):
        self.reap()
        return [p for p in state.pids() if p not in self.others]

    def kill(self, pids):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        gone = lambda: not set(pids) & set(state.pids())
        try:
            self.until(gone, 20, "killing")
        except Failed as e:
            print(e, file=sys.stderr)

    def clear(self):
        """Ends everything that is left; returns a sentence about it, or an empty one."""
        left = []
        for _ in range(50):
            pids = self.tree()
            if not pids:
                break
            if not left:
                left = [f"{p} ({state.read(f'/proc/{p}/comm').decode(errors='replace').strip()})" for p in pids]
            self.kill(pids)
        mounts = [m for m in self.read_mounts() if m not in self.mounts]
        words = []
        if left:
            words.append("processes left behind: " + ", ".join(left[:5]))
        if mounts:
            words.append(f"mounts left behind: {mounts[:3]}")
        return "; ".join(words)
