#!/usr/bin/python3
"""Real programs, checkpointed midway and restored: what they put out in the end has to be what an undisturbed run puts
out. Each runs in namespaces of its own (see test/e2e), and prints one of PASS, FAIL and SKIP.

An application is a row: the command that prepares its directory, the command to run, and the file whose contents are
compared. Rows that need a program which is not installed skip and say so. Needs root.

Servers and whatever else waits for somebody are rows of BUSY: a program that works with them, counts what it has done in a
file "progress", checks every answer, winds up when there is a file "stop", and writes "ok" to "out" if nothing was lost.
They are checkpointed each time when more was done, and know no times. Everything they need is in their tree, but for those
of OUTSIDE: there it is the server alone that is checkpointed, "pid" says which, and its clients go on meanwhile.
"""
import argparse
import concurrent.futures
import fcntl
import glob
import hashlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
import state   # noqa: E402
from case import first_error   # noqa: E402
from world import Failed, World   # noqa: E402

GO_BUILD = "cp {{here}}/{0}.go . && HOME=$PWD GOFLAGS=-mod=mod GO111MODULE=off GOCACHE=$PWD/../../cache go build -o {0} {0}.go"
# name: (programs it needs, preparation, command, compared file, checkpoints per run)
APPS = {
    "python-threads": (["python3"], None, "exec python3 {here}/threads.py > out", "out", 2),
    "perl": (["perl"], None, "exec perl {here}/sieve.pl > out", "out", 2),
    "shell-pipeline": (["sh", "awk", "sort"], None, "exec sh {here}/pipeline.sh > out", "out", 2),
    "bash-job": (["bash"], None, "exec bash {here}/jobs.bash > out", "out", 2),
    "xz": (["xz"], "seq 1 900000 > big", "exec xz -6 -T1 -c big > out", "out", 2),
    "xz-threads": (["xz"], "seq 1 3000000 > big", "exec xz -3 -T2 --block-size=2MiB -c big > out", "out", 1),
    "sha256sum": (["sha256sum"], "truncate -s 1500M big && printf end >> big", "exec sha256sum big > out", "out", 2),
    "sqlite": (["sqlite3"], None, "exec sqlite3 db < {here}/transaction.sql > out", "out", 2),
    "make": (["make", "cc"], "cp -r {here}/project p", "cd p && make -s -j2 CC=cc > ../log 2>&1 && ./program > ../out", "out", 2),
    "tar-gzip": (["tar", "gzip"], "mkdir t && for i in 1 2 3 4 5 6 7 8; do seq $i 700000 > t/$i; done",
                 "exec sh -c 'tar --sort=name --mtime=@0 --owner=0 --group=0 -cf - t | gzip -9n > out'", "out", 2),
    "go": (["go"], GO_BUILD.format("primes"), "exec ./primes > out", "out", 2),
    "java": (["java", "javac"], "cp {here}/Primes.java . && javac Primes.java",
             "exec java -XX:-UsePerfData -XX:+UseSerialGC -Xshare:auto Primes > out", "out", 2),
}
NOBODY = "setpriv --reuid nobody --regid nogroup --clear-groups"
POSTGRES = "/usr/lib/postgresql/*/bin/initdb"
INITDB = f"chown nobody . && exec {NOBODY} $(ls {POSTGRES} | tail -n 1) -D data -A trust --no-sync -E UTF8 --locale=C"
# name: (programs it needs, preparation, command, more options of dump and restore, work between checkpoints)
BUSY = {
    "node": (["node"], None, "exec node {here}/busy.js", [], 400),
    "node-tcp": (["node"], None, "exec node {here}/busy.js tcp", ["--tcp-established"], 400),
    "node-cluster": (["node"], None, "exec node {here}/cluster.js", [], 400),
    "node-cluster-shared": (["node"], None, "exec node {here}/cluster.js shared", [], 400),
    "multiprocessing": (["python3"], None, "exec python3 {here}/busy-multiprocessing.py fork", [], 60),
    "multiprocessing-forkserver": (["python3"], None, "exec python3 {here}/busy-multiprocessing.py forkserver", ["--link-remap"], 60),
    "asyncio": (["python3"], None, "exec python3 {here}/busy-asyncio.py", [], 300),
    "redis": (["redis-server"], None, "exec python3 {here}/busy-redis.py", [], 200),
    "redis-tcp": (["redis-server"], None, "exec python3 {here}/busy-redis.py tcp", ["--tcp-established"], 200),
    "nginx": (["nginx"], None, "exec python3 {here}/busy-nginx.py", [], 200),
    "nginx-tcp": (["nginx"], None, "exec python3 {here}/busy-nginx.py tcp", ["--tcp-established"], 200),
    "memcached": (["memcached"], None, "exec python3 {here}/busy-memcached.py", [], 200),
    "memcached-tcp": (["memcached"], None, "exec python3 {here}/busy-memcached.py tcp", ["--tcp-established"], 200),
    "redis-outside": (["redis-server", "setsid"], None, "exec python3 {here}/busy-redis.py tcp outside", ["--tcp-established"], 200),
    "nginx-outside": (["nginx", "setsid"], None, "exec python3 {here}/busy-nginx.py tcp outside", ["--tcp-established"], 200),
    "memcached-outside": (["memcached", "setsid"], None, "exec python3 {here}/busy-memcached.py tcp outside", ["--tcp-established"], 200),
    "tmux": (["tmux", "bash"], None, "exec python3 {here}/busy-tmux.py", [], 30),
    "vim": (["bash", "/usr/bin/vim.*"], None, "exec python3 {here}/busy-vim.py", [], 30),
    "go-http": (["go"], GO_BUILD.format("serve"), "exec ./serve", [], 300),
    "go-http-tcp": (["go"], GO_BUILD.format("serve"), "exec ./serve tcp", ["--tcp-established"], 300),
    "java-http": (["java", "javac"], "javac -d . {here}/Serve.java", "exec java -XX:-UsePerfData -Xmx256m Serve", [], 300),
    "java-http-tcp": (["java", "javac"], "javac -d . {here}/Serve.java", "exec java -XX:+UseG1GC -Xmx256m Serve tcp", ["--tcp-established"], 300),
    "postgres": (["setpriv", POSTGRES], INITDB, f"exec {NOBODY} python3 {{here}}/busy-postgres.py", [], 40),
    "postgres-tcp": (["setpriv", POSTGRES], INITDB, f"exec {NOBODY} python3 {{here}}/busy-postgres.py tcp", ["--tcp-established"], 40),
    "postgres-outside": (["setpriv", "setsid", POSTGRES], INITDB, f"exec {NOBODY} python3 {{here}}/busy-postgres.py tcp outside",
                         ["--tcp-established"], 40),
}
OUTSIDE = ("redis-outside", "nginx-outside", "memcached-outside", "postgres-outside")
OPTIONS = {"sqlite": ["--file-locks"]}
ROUNDS = 3
# Refusals of what is so for a moment only; the tree has to be well afterwards, and another dump is made then.
MOMENTS = ("that nobody has accepted", "being made")
AGAIN = 50
TIMEOUT = 60


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else hashlib.sha256(f.read()).hexdigest()


class App:
    def __init__(self, args):
        self.name, self.criu, self.base = args["name"], args["criu"], args["base"]
        self.checkpoints = args["rounds"]
        self.busy = self.name in BUSY
        if self.busy:
            _, self.prepare, self.command, self.options, self.work = BUSY[self.name]
        else:
            _, self.prepare, self.command, self.compared, self.rounds = APPS[self.name]
            self.options = OPTIONS.get(self.name, [])
        self.world, self.driver = World(), None

    def directory(self, name):
        path = os.path.join(self.base, name)
        os.mkdir(path)
        if self.prepare:
            code, said = self.world.run(["sh", "-c", self.prepare.format(here=HERE)], 120, cwd=path)
            if code != 0:
                raise Failed(f"preparation: {said[-300:]}")
        return path

    def start(self, path):
        env = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": path, "PYTHONDONTWRITEBYTECODE": "1"}
        with open(os.path.join(path, "err"), "ab") as err:
            return self.world.start(["sh", "-c", self.command.format(here=HERE)], cwd=path, env=env, stdin=subprocess.DEVNULL,
                                    stdout=err, stderr=err, start_new_session=True)

    def finish(self, pid, path, when):
        self.world.until(lambda: pid in self.world.ended or not self.alive(pid), TIMEOUT, f"the end of the program {when}")
        status = self.world.ended.get(pid, 0)
        if status != 0:
            raise Failed(f"status {status} {when}: {self.said(path)}")
        self.world.until(lambda: not self.world.tree(), 10, "all its processes end")

    @staticmethod
    def said(path):
        with open(os.path.join(path, "err"), encoding="utf-8", errors="replace") as f:
            return f.read()[-400:]

    @staticmethod
    def alive(pid):
        return os.path.exists(f"/proc/{pid}")

    def checkpoint(self, pid, path, number):
        images = os.path.join(self.base, f"images-{number}")
        self.dump(pid, path, images)
        self.world.until(lambda: not self.world.tree(), 10, "the tree is gone after the dump")
        self.world.ended.pop(pid, None)     # the next one to end with this number is the restored one
        why = self.criu_run("restore", images, "-d")
        if why:
            raise Failed(f"restore {number}: {why}")
        shutil.rmtree(images)

    def dump(self, pid, path, images, *args):
        os.mkdir(images)
        why = self.criu_run("dump", images, "-t", str(pid), *args)
        for _ in range(AGAIN):
            if not any(words in why for words in MOMENTS):
                break
            self.more(self.driver, path, "after a refused dump", 1)
            why = self.criu_run("dump", images, "-t", str(pid), *args)
        if why:
            raise Failed(f"dump to {os.path.basename(images)}: {why}")

    def criu_run(self, what, images, *args):
        """Returns what went wrong, or an empty string."""
        code, said = self.world.run([self.criu, what, *args, *self.options, "-D", images, "-o", f"{what}.log", "-v4"], 30)
        if code == 0:
            return ""
        log = os.path.join(images, f"{what}.log")
        text = open(log, encoding="utf-8", errors="replace").read() if os.path.exists(log) else ""
        return first_error(said + text) or f"status {code}"

    def run(self):
        reference = self.directory("reference")
        start = time.monotonic()
        self.finish(self.start(reference), reference, "undisturbed")
        want = digest(os.path.join(reference, self.compared))
        took = time.monotonic() - start
        shutil.rmtree(reference)
        if took < 0.2:
            raise Failed(f"over in {took:.2f} s, too soon to be checkpointed midway")
        path = self.directory("work")
        pid = self.start(path)
        taken = 0
        for n in range(self.rounds):
            time.sleep(min(took / (self.rounds + 1.5), 2))
            self.world.reap()
            if pid in self.world.ended or not self.alive(pid):
                break
            self.checkpoint(pid, path, n)
            taken += 1
        if not taken:
            raise Failed("it ended before it could be checkpointed")
        self.finish(pid, path, "after the restore")
        if digest(os.path.join(path, self.compared)) != want:
            raise Failed("the output differs from that of an undisturbed run")

    def more(self, pid, path, when, pieces=None):
        """Waits until the program has done some more work."""
        def done():
            try:
                return os.stat(os.path.join(path, "progress")).st_size
            except FileNotFoundError:
                return 0

        want = done() + (pieces or self.work)
        gone = lambda: pid in self.world.ended or not self.alive(pid)
        try:
            self.world.until(lambda: gone() or done() >= want, TIMEOUT, f"work goes on {when}")
        except Failed as e:
            raise Failed(f"{e}: {done()} of {want} done; {self.said(path)}") from None
        if gone():
            raise Failed(f"it ended {when}, status {self.world.ended.get(pid)}: {self.said(path)}")

    def run_busy(self):
        path = self.directory("work")
        pid = self.start(path)
        self.driver = pid
        if self.name in OUTSIDE:
            self.world.others.add(pid)
        self.more(pid, path, "at first")
        root = pid
        if self.name in OUTSIDE:
            with open(os.path.join(path, "pid"), encoding="ascii") as f:
                root = int(f.read())
            self.world.others.update(p for p in self.world.tree() if (state.Snapshot.stat_of(f"/proc/{p}") or [""] * 4)[3] == str(pid))
        self.dump(root, path, os.path.join(self.base, "images-running"), "--leave-running")
        self.more(pid, path, "after a dump that left it running")
        for n in range(self.checkpoints):
            self.checkpoint(root, path, n)
            self.more(pid, path, f"after restore {n}")
        with open(os.path.join(path, "stop"), "wb"):
            pass
        self.finish(pid, path, "after it was told to stop")
        with open(os.path.join(path, "out"), encoding="utf-8", errors="replace") as f:
            if f.read() != "ok\n":
                raise Failed(f"no verdict: {self.said(path)}")

    def go(self):
        verdict, why = "PASS", ""
        try:
            self.run_busy() if self.busy else self.run()
        except Failed as e:
            verdict, why = "FAIL", str(e)
        left = self.world.clear()
        if left and verdict == "PASS":
            verdict, why = "FAIL", left
        print(json.dumps({"verdict": verdict, "why": " | ".join(why.split("\n"))}), flush=True)


def loopback_up():
    """A network of one's own is without even that."""
    flags = struct.pack("16sH14x", b"lo", 1)    # IFF_UP
    with socket.socket() as s:
        fcntl.ioctl(s, 0x8914, flags)           # SIOCSIFFLAGS, linux/sockios.h


def outside(args, base, name):
    needs = (APPS.get(name) or BUSY[name])[0]
    missing = [n for n in needs if not (glob.glob(n) or shutil.which(n))]
    if missing:
        return f"SKIP {name}: not installed: {', '.join(missing)}"
    directory = os.path.join(base, name)
    os.mkdir(directory)
    job = json.dumps({"name": name, "criu": args.criu, "base": directory, "rounds": args.rounds})
    cmd = ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount", "--mount-proc", "--propagation", "private", "--net", "--ipc",
           sys.executable, os.path.abspath(__file__), "--inside", job]
    with tempfile.TemporaryFile() as out:
        p = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        try:
            p.wait(TIMEOUT * 3 + 10 * args.rounds)
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGKILL)
            p.wait()
        out.seek(0)
        text = out.read().decode(errors="replace")
    if not args.keep:
        shutil.rmtree(directory, ignore_errors=True)
    for row in text.splitlines():
        if row.startswith("{"):
            r = json.loads(row)
            return f"{r['verdict']} {name}" + (f": {r['why']}" if r["why"] else "")
    return f"FAIL {name}: no verdict, status {p.returncode}: {' | '.join(text.splitlines()[-4:])}"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--criu", default="build/criu")
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("-k", default="", help="only applications whose name contains this")
    ap.add_argument("--rounds", type=int, default=ROUNDS, help="checkpoints of each busy one")
    ap.add_argument("--keep", action="store_true")
    ap.add_argument("--inside", help=argparse.SUPPRESS)
    args = ap.parse_args()
    if args.inside:
        os.setsid()
        # what killed programs leave there goes with it
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], check=True)
        loopback_up()
        App(json.loads(args.inside)).go()
        return 0
    if os.geteuid() != 0:
        sys.exit("needs root")
    args.criu = os.path.abspath(args.criu)
    base = tempfile.mkdtemp(prefix="criu-apps-")
    os.chmod(base, 0o711)   # for those that are not root
    failed = False
    try:
        names = [n for n in (*APPS, *BUSY) if args.k in n]
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            for row in pool.map(lambda n: outside(args, base, n), names):
                failed |= row.startswith("FAIL")
                print(row, flush=True)
    finally:
        if args.keep:
            print(f"kept: {base}")
        else:
            shutil.rmtree(base, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
