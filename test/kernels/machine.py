"""One virtual machine without hardware help, its results line by line, and its certain end."""
import os
import select
import shutil
import subprocess
import time

QEMU = "qemu-system-x86_64"


class Machine:
    """A context manager: the machine is gone when it is left."""

    def __init__(self, kernel, initramfs, cpu, words, console, memory_mb=1536, disk=None):
        self.cmd = ["nice", "-n", "10", QEMU, "-accel", "tcg,thread=multi", "-cpu", cpu, "-smp", "2,threads=2", "-m", str(memory_mb),
                    "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", f"file:{console}",
                    "-serial", "stdio", "-kernel", kernel, "-initrd", initramfs,
                    "-append", f"console=ttyS0 loglevel=4 panic=-1 {words}"]
        if disk:
            self.cmd += ["-drive", f"file={disk},format=raw,if=virtio"]

    def __enter__(self):
        # A signal from the terminal reaches us, and we end the machine.
        self.process = subprocess.Popen(self.cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        start_new_session=True)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def lines(self, limit_s):
        """Lines of the second serial port, until the machine turns itself off or @limit_s have passed."""
        deadline, rest, fd = time.monotonic() + limit_s, b"", self.process.stdout.fileno()
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                yield "note: time is up"
                return
            if not select.select([fd], [], [], left)[0]:
                continue
            data = os.read(fd, 65536)
            if not data:
                break
            *full, rest = (rest + data.replace(b"\r", b"")).split(b"\n")
            for line in full:
                yield line.decode(errors="replace")
        if rest:
            yield rest.decode(errors="replace")


def missing():
    """Why there can be no machine here; an empty string if there can."""
    for program in (QEMU, "busybox", "ldd"):
        if not shutil.which(program):
            return f"no {program} here"
    with open("/bin/busybox", "rb") as f:
        if b"ld-linux" in f.read(4096):
            return "busybox is not the static one"
    return ""
