#!/usr/bin/python3
"""Takes victims through dump and restore on other kernels: Debian's, in an emulated machine, one at a time.

    run.py --criu build/criu --victims build/test/victims              all kernels, then images from each to the next
    run.py --kernels 6.1 -k 'memory/' --modes cli                      one of them, some cases
    run.py --kernels 6.1 --memory only                                 incremental dumps by soft-dirty bits
    run.py --cross 6.1,6.12 -k .                                       dumped on one kernel, restored on another
    run.py --image arch/x86/boot/bzImage -k anon-names                 a kernel of your own, with all that a guest needs built in
    run.py --cpu max,family=0x17,model=1 --boot spec_store_bypass_disable=prctl -k speculation
    run.py --kernels 6.12 --shell 'cat /proc/self/maps'                a look around

Prints "PASS kernel victim/case:way", or FAIL or SKIP with the reason. Slow (a few minutes a kernel), so no part of
`make check`; `make kernels` runs it. Needs qemu-system-x86, busybox-static and, for the first time, Debian's archive.
"""
import argparse
import os
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True
import initramfs   # noqa: E402
import machine   # noqa: E402
import package   # noqa: E402

KERNELS = ["5.10", "6.1", "6.12"]
DISK_MB = 1024
# What depends most on the kernel: code and data that it maps, clocks, state of the processor, calls that are to be gone on with.
CROSSING = r"^(memory|regs|regs-static|timers|threads|tree|stops|signals|syscalls|audit-after)/"
# What cannot be kept because the kernel does not tell: a victim, up to which version, why.
KNOWN = [("attrs/user-dispatch", (6, 3), "syscall user dispatch cannot be seen before Linux 6.4"),
         ("settings/dispatch-thread", (6, 3), "syscall user dispatch cannot be seen before Linux 6.4"),
         ("threads/exited-leader", (6, 8), "threads without a main thread do not give their descriptors before Linux 6.9"),
         ("threads/exited-leader-child", (6, 8), "threads without a main thread do not give their descriptors before Linux 6.9"),
         ("stops/seen", (5, 16), "which stops the parent has seen cannot be told before Linux 5.17; it is told again"),
         ("stops-static/seen", (5, 16), "which stops the parent has seen cannot be told before Linux 5.17; it is told again"),
         ("stops/unseen", (5, 16), "which stops the parent has seen cannot be told before Linux 5.17; it is told again"),
         ("stops-static/unseen", (5, 16), "which stops the parent has seen cannot be told before Linux 5.17; it is told again"),
         ("syscalls/stopped-before", (5, 15), "where a thread sleeps is not shown before Linux 5.16 if built with the ORC unwinder"),
         ("timers/posix-overrun", (6, 12), "before Linux 6.13 a saved signal of a timer and a new one can be pending together")]
RESULTS = ("PASS ", "FAIL ", "SKIP ", "note: ", "end: ")


def excused(line, series):
    """A failure that is a limit of the kernel, as a skipped case."""
    for name, last, why in KNOWN:
        if line.startswith(f"FAIL {name}:") and tuple(int(n) for n in series.split(".")) <= last:
            return "SKIP" + line[4:].split(": ")[0] + ": " + why
    return line


class Runner:
    def __init__(self, args):
        self.args = args
        self.work = tempfile.mkdtemp(prefix="criu-kernels-")
        self.failed = 0
        self.kernels = {}

    def kernel(self, series):
        """Kernel and initramfs of a series. Raises package.Missing."""
        if self.args.image and series not in self.kernels:
            archive = os.path.join(self.work, "initramfs")
            initramfs.build(archive, self.args.criu, self.args.victims, [])
            self.kernels[series] = self.args.image, archive
        if series not in self.kernels:
            deb = package.fetch(series, self.args.cache)
            image, modules = package.unpack(deb, os.path.join(self.args.cache, os.path.basename(deb)[:-4]))
            archive = os.path.join(self.work, f"initramfs-{series}")
            initramfs.build(archive, self.args.criu, self.args.victims, modules)
            self.kernels[series] = image, archive
        return self.kernels[series]

    def guest(self, series, label, words, disk=None):
        kernel, archive = self.kernel(series)
        console = os.path.join(self.work, f"console-{series}")
        only = self.args.k or (CROSSING if disk else "")
        words = " ".join([self.args.boot, f"only={only.encode().hex()}", f"jobs={self.args.jobs}", *words])
        ended, differs = None, False
        with machine.Machine(kernel, archive, self.args.cpu, words, console, disk=disk) as m:
            for line in m.lines(self.args.limit):
                if line.startswith(RESULTS):
                    differs = differs or line.startswith("FAIL ")
                    line = excused(line, series)
                    self.failed += line.startswith("FAIL ")
                    ended = line[5:] if line.startswith("end: ") else ended
                    word, _, rest = line.partition(" ")
                    if not line.startswith("end: "):
                        print(f"{word} {label} {rest}", flush=True)
                elif self.args.verbose or self.args.shell:
                    print(f"     {line}", flush=True)
        if ended not in ("0", None) and not differs:
            self.failed += 1
            print(f"FAIL {label} guest: its tests ended with status {ended}; -v shows what they said", flush=True)
        if ended is None and not self.args.shell:
            self.failed += 1
            with open(console, encoding="utf-8", errors="replace") as f:
                said = " | ".join(f.read().strip().splitlines()[-4:])
            print(f"FAIL {label} guest: it ended early: {said[-600:]}", flush=True)

    def memory(self, series):
        """Incremental dumps: before 6.7 soft-dirty bits are all that there is to track memory."""
        self.guest(series, series + "-memory", ["job=memory"])

    def alone(self, series):
        words = [f"job={'shell' if self.args.shell else 'e2e'}"]
        if self.args.shell:
            self.args.k = self.args.shell
        if self.args.modes:
            words.append(f"modes={self.args.modes}")
        self.guest(series, series, words)

    def cross(self, first, second):
        disk = os.path.join(self.work, "disk")
        with open(disk, "wb") as f:
            f.truncate(DISK_MB << 20)
        self.kernel(second)
        self.guest(first, f"{first}-to-{second}", ["job=save"], disk)
        self.guest(second, f"{first}-to-{second}", ["job=load"], disk)
        os.unlink(disk)

    def attempt(self, what, function, *args):
        try:
            function(*args)
        except package.Missing as e:
            print(f"SKIP {what}: {e}", flush=True)

    def close(self):
        shutil.rmtree(self.work, ignore_errors=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--criu", default="build/criu")
    ap.add_argument("--victims", default="build/test/victims")
    ap.add_argument("--cache", default="build/kernels", help="where packages of kernels are kept; one put there is used")
    ap.add_argument("--kernels", default="", help="comma list of versions, " + ",".join(KERNELS) + " if not given")
    ap.add_argument("--image", help="instead of them: this kernel (Linux's own make bzImage)")
    ap.add_argument("--cpu", default="max,vendor=GenuineIntel", help="as QEMU calls it; of AMD it emulates none with two threads")
    ap.add_argument("--boot", default="mitigations=off", help="for the command line of the kernel")
    ap.add_argument("--cross", default="", metavar="A,B", help="only: dump on A, restore on B")
    ap.add_argument("-k", metavar="PATTERN", default="", help="only cases whose name matches this regular expression")
    ap.add_argument("--modes", default="cli,refused", help="ways of checkpointing, as in e2e; empty for all")
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--limit", type=int, default=1500, help="seconds that a guest may take")
    ap.add_argument("--memory", choices=["yes", "no", "only"], default="yes", help="tests of incremental dumps as well")
    ap.add_argument("--shell", help="run a line of shell in the guest instead")
    ap.add_argument("-v", "--verbose", action="store_true")
    args = ap.parse_args()
    for name in ("criu", "victims", "cache"):
        setattr(args, name, os.path.abspath(getattr(args, name)))
    why = machine.missing()
    if why:
        print(f"SKIP kernels: {why}")
        return 0
    names = [package.version_of(args.image)] if args.image else [n for n in args.kernels.split(",") if n] or KERNELS
    runner = Runner(args)
    try:
        if args.cross:
            runner.attempt(args.cross, runner.cross, *args.cross.split(","))
            return 1 if runner.failed else 0
        for name in names:
            if args.memory != "only":
                runner.attempt(name, runner.alone, name)
            if args.memory != "no" and not args.shell:
                runner.attempt(name + "-memory", runner.memory, name)
        if not args.kernels and not args.image and not args.shell:
            for first, second in zip(names, names[1:]):
                runner.attempt(f"{first}-to-{second}", runner.cross, first, second)
    finally:
        runner.close()
    return 1 if runner.failed else 0


if __name__ == "__main__":
    sys.exit(main())
