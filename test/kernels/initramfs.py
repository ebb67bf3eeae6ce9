"""A root file system for a guest, as an initramfs: busybox, the python that runs the e2e cases with the modules that they
import, criu, the victims, and the libraries that all of these need."""
import os
import re
import stat
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
E2E = os.path.join(os.path.dirname(HERE), "e2e")
MEMORY = os.path.join(os.path.dirname(HERE), "memory")
PYTHON = "/usr/bin/python3"
PROGRAMS = ["/usr/bin/unshare", "/usr/bin/id", "/bin/dash", "/bin/tar", "/bin/gzip"]
LATE_LIBRARIES = ["/lib/x86_64-linux-gnu/libgcc_s.so.1"]
MEMORY_SUBJECTS = ["writer", "idler", "joiner", "dropper", "watcher"]
DIRECTORIES = ["dev", "proc", "sys", "tmp", "root", "run", "etc", "new", "var/tmp", "usr/sbin", "mnt"]
LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}

ASK_PYTHON = """
import sys
sys.path.insert(0, sys.argv[1])
import case, scenarios, run, rpc, state, world
import argparse, glob, random, re, shutil, struct
import concurrent.futures.thread, encodings.utf_8, encodings.ascii, encodings.latin_1, encodings.idna, pickle, tarfile
import multiprocessing.connection, site, sysconfig
names = {getattr(m, "__file__", None) for m in list(sys.modules.values())}
print("\\n".join(sorted(n for n in names if n and n.startswith("/"))))
"""


class Cpio:
    """The "newc" format of Documentation/driver-api/early-userspace/buffer-format.rst"""

    def __init__(self, file):
        self.file, self.inode, self.seen = file, 0, set()

    def entry(self, name, mode, data=b""):
        self.inode += 1
        raw = name.encode() + b"\0"
        head = [self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0]
        self.padded(b"070701" + b"".join(b"%08X" % v for v in head) + raw)
        self.padded(data)

    def padded(self, data):
        self.file.write(data + b"\0" * (-len(data) % 4))

    def directory(self, name):
        if name and name not in self.seen:
            self.directory(os.path.dirname(name))
            self.seen.add(name)
            self.entry(name, stat.S_IFDIR | 0o755)

    def add(self, name, data, mode=0o755):
        """A file, in directories that are made as needed; the first of one name counts."""
        name = self.resolved(name)
        if name in self.seen:
            return
        self.directory(os.path.dirname(name))
        self.seen.add(name)
        self.entry(name, stat.S_IFREG | mode, data)

    def copy(self, path, name=None):
        with open(path, "rb") as f:
            self.add(name or path, f.read(), os.stat(path).st_mode & 0o777)

    def link(self, name, target):
        name = self.resolved(name)
        self.directory(os.path.dirname(name))
        self.seen.add(name)
        self.entry(name, stat.S_IFLNK | 0o777, target.encode())

    @staticmethod
    def resolved(name):
        name = name.lstrip("/")
        top = name.split("/")[0]
        return LINKS[top] + name[len(top):] if top in LINKS and "/" in name else name

    def close(self):
        self.entry("TRAILER!!!", 0)


def libraries(path):
    """What the dynamic linker would load."""
    p = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20, check=False)
    return re.findall(r"(/\S+) \(0x", p.stdout.decode())


def python_files():
    p = subprocess.run([PYTHON, "-B", "-c", ASK_PYTHON, E2E], stdout=subprocess.PIPE, timeout=60, check=True)
    return [n for n in p.stdout.decode().split("\n") if n and not n.startswith(E2E)]


def build(path, criu, victims, modules):
    """Writes the archive @path. Raises OSError or subprocess errors."""
    with open(path, "wb") as file:
        cpio = Cpio(file)
        for name in DIRECTORIES + list(LINKS.values()):
            cpio.directory(name)
        for name, target in LINKS.items():
            cpio.link(name, target)
        with open(os.path.join(HERE, "init.sh"), "rb") as f:
            cpio.add("init", f.read(), 0o755)
        cpio.copy("/bin/busybox", "usr/bin/busybox")
        cpio.copy(criu, "criu")
        cpio.link("usr/bin/sh", "dash")
        dynamic = [PYTHON, *PROGRAMS]
        for victim in sorted(os.listdir(victims)):
            full = os.path.join(victims, victim)
            if os.path.isfile(full) and os.access(full, os.X_OK):
                cpio.copy(full, "victims/" + victim)
                dynamic.append(full)
        # beside the victims, in a directory of the tests of incremental dumps
        for name in MEMORY_SUBJECTS:
            full = os.path.join(os.path.dirname(victims), "memory", name)
            cpio.copy(full, "subjects/" + name)
            dynamic.append(full)
        for name in python_files():
            cpio.copy(name)
            if name.endswith(".so"):
                dynamic.append(name)
        for name in [PYTHON, *PROGRAMS]:
            cpio.copy(name)
        # the C library loads it by name once a thread is cancelled
        for name in LATE_LIBRARIES:
            if os.path.exists(name):
                cpio.copy(name)
        for name in sorted({lib for program in dynamic for lib in libraries(program)}):
            cpio.copy(name)
        for directory, goal in ((E2E, "test/e2e"), (HERE, "test/kernels"), (MEMORY, "test/memory")):
            for name in os.listdir(directory):
                if name.endswith(".py"):
                    cpio.copy(os.path.join(directory, name), f"{goal}/{name}")
        for module in modules:
            cpio.copy(module, "modules/" + os.path.basename(module))
        cpio.add("etc/passwd", b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", 0o644)
        cpio.add("etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644)
        cpio.close()
