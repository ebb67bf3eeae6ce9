#!/usr/bin/python3
"""A checkpoint and a restore that can be watched: a program counts, is checkpointed through the RPC service, is gone,
is restored, and counts on from where it was. Needs root; leaves nothing behind."""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
import rpc   # noqa: E402


def say(text):
    print(text, flush=True)


class Demo:
    def __init__(self, criu):
        self.criu = criu
        self.dir = tempfile.mkdtemp(prefix="criu-demo-")
        self.images = os.path.join(self.dir, "images")
        os.mkdir(self.images)
        self.output = os.path.join(self.dir, "output")
        self.shown = 0
        self.service = self.program = None
        self.pid = 0

    def show_output(self, seconds):
        """Passes on what the program prints, for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with open(self.output, encoding="utf-8") as f:
                f.seek(self.shown)
                text = f.read()
                self.shown = f.tell()
            if text:
                say(text.rstrip("\n"))
            time.sleep(0.05)

    def last_count(self):
        with open(self.output, encoding="utf-8") as f:
            return int(f.read().split()[-1])

    def start(self):
        with open(self.output, "ab") as out:
            self.program = subprocess.Popen(["/usr/bin/python3", os.path.join(HERE, "counter.py")], cwd=self.dir,
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        self.pid = self.program.pid

    def start_service(self):
        path = os.path.join(self.dir, "socket")
        self.service = subprocess.Popen([self.criu, "service", "--address", path, "-o", os.path.join(self.dir, "service.log")],
                                        stdin=subprocess.DEVNULL, start_new_session=True, cwd=self.dir)
        for _ in range(500):
            try:
                rpc.connect(path).close()
                return path
            except OSError:
                time.sleep(0.01)
        sys.exit("the service does not come up")

    def ask(self, path, kind, name, **opts):
        fd = os.open(self.images, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with rpc.connect(path) as sock:
                start = time.monotonic()
                answer = rpc.talk(sock, rpc.request(kind, images_dir_fd=fd, log_file=f"{name}.log", log_level=4, **opts))
                took = (time.monotonic() - start) * 1000
        finally:
            os.close(fd)
        if not answer or not answer.success:
            sys.exit(f"the {name} failed: {answer}")
        return took

    def alive(self):
        return os.path.exists(f"/proc/{self.pid}")

    def run(self):
        say("1. A program starts counting; only its memory knows how far it is.\n")
        self.start()
        self.show_output(1.8)

        say("\n2. It is checkpointed through the RPC service.\n")
        path = self.start_service()
        took = self.ask(path, rpc.DUMP, "dump", pid=self.pid)
        self.program.wait()
        before = self.last_count()
        size = sum(os.path.getsize(os.path.join(self.images, n)) for n in os.listdir(self.images))
        say(f"   {took:.0f} ms, {len(os.listdir(self.images))} images, {size / (1 << 20):.1f} MiB")
        if self.alive():
            sys.exit("the program is still there")
        say(f"   process {self.pid} is gone: there is no /proc/{self.pid}")
        time.sleep(1)

        say("\n3. It is restored from the images, and goes on where it was.\n")
        took = self.ask(path, rpc.RESTORE, "restore")
        say(f"   {took:.0f} ms, and process {self.pid} is back")
        self.show_output(1.8)
        after = self.last_count()
        if after <= before or not self.alive():
            sys.exit(f"the count was {before} and is {after}")
        say(f"\nDone: it had counted to {before}, was gone, and went on to {after}.")

    def close(self):
        if self.pid and self.alive():
            with open(os.path.join(self.dir, "enough"), "w", encoding="utf-8"):
                pass
            for _ in range(300):
                if not self.alive() or self.zombie():
                    break
                time.sleep(0.01)
            else:
                os.kill(self.pid, signal.SIGKILL)
        if self.service:
            self.service.terminate()
            try:
                self.service.wait(5)
            except subprocess.TimeoutExpired:
                self.service.kill()
                self.service.wait()
        if self.program and self.program.poll() is None:
            self.program.kill()
            self.program.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def zombie(self):
        try:
            with open(f"/proc/{self.pid}/stat", encoding="utf-8") as f:
                return f.read().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            return True


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--criu", default="build/criu")
    args = ap.parse_args()
    if os.geteuid() != 0:
        sys.exit("the demo needs root")
    demo = Demo(os.path.abspath(args.criu))
    try:
        demo.run()
    finally:
        demo.close()


if __name__ == "__main__":
    main()
