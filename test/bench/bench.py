#!/usr/bin/python3
"""Times of whole processes, start of the tool included: medians, ratios to a yardstick of the same run, and bars.

    bench.py --criu build/criu --tools build/test/bench
    bench.py --only memory --runs 3 --scale 0.25 --linear --json out.json
    bench.py --big --only GiB --runs 3

Runs in pid and mount namespaces of its own (it starts itself again under unshare), so that pids are free and the tmpfs
it mounts is nobody else's. --scale makes everything smaller, bars of counted things too. --linear measures at a
quarter, a half and the whole, and fails where the time per unit grows by more than a third. Needs root.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
import compress   # noqa: E402
import gap    # noqa: E402
import lazy   # noqa: E402
import rpc    # noqa: E402
from rows import BIG, MORE_OPTIONS, OF_MEMORY, ROWS, UNITS   # noqa: E402
import server   # noqa: E402
from world import Failed, World   # noqa: E402

PEAK_BAR_KIB = 32 << 10
INCREMENTAL = "pre-dumps"   # not a row like the others: its second time against its first
INCREMENTAL_BAR = 0.1
FROZEN_BAR = 0.010   # of a final dump after pre-dumps of an idle task, whatever its size


class Bench:
    def __init__(self, args):
        self.args = args
        self.world = World()
        self.base = tempfile.mkdtemp(prefix="criu-bench-", dir=args.tmp)
        self.tmpfs = os.path.join(self.base, "tmpfs")
        os.mkdir(self.tmpfs)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80%", "bench", self.tmpfs], check=True)
        self.peak = {"dump": 0, "restore": 0, "pre-dump": 0}

    def keep_warm(self, mib):
        """Memory for tasks of @mib, their images and the yardstick that the host of a virtual machine does not have to give first."""
        with open("/proc/meminfo", encoding="utf-8") as f:
            free = int(f.read().split("MemAvailable:")[1].split()[0]) >> 10
        child = subprocess.Popen([self.tool("warm"), str(min(5 * mib, free * 6 // 10))], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        child.returncode = 0   # reaped like the others
        self.world.others.add(child.pid)
        if not child.stdout.readline():
            raise Failed("warm: no memory was touched")

    def touch_huge(self, kind, mib):
        """The same for huge pages, which lasts a moment only."""
        if kind == "huge" and self.world.run([self.tool("warm"), str(mib), "huge"], 60)[0] != 0:
            raise Failed("warm: no huge pages were touched")

    def tool(self, name):
        return os.path.join(self.args.tools, name)

    def place(self, where):
        return self.tmpfs if where == "tmpfs" else self.base

    def launch(self, what, *cmd):
        code, said = self.world.run([self.tool("launch"), self.args.criu, what, *cmd], 300)
        words = said.split()
        if code != 0 or len(words) < 3:
            raise Failed(f"{what}: {said[-400:]}")
        seconds, peak, status = float(words[-3]), int(words[-2]), int(words[-1])
        if status != 0:
            raise Failed(f"{what}: status {status}: {said[-400:]}")
        self.peak[what] = max(self.peak[what], peak)
        return seconds

    def start(self, kind, size, directory):
        with open(os.path.join(directory, "out"), "ab") as out:
            pid = self.world.start([self.tool("subject"), kind, str(size)], cwd=directory, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=out, start_new_session=True)
        ready = os.path.join(directory, "ready")
        self.world.until(lambda: os.path.exists(ready) or pid in self.world.ended, 120, "the subject's setup")
        if pid in self.world.ended:
            with open(os.path.join(directory, "out"), encoding="utf-8") as f:
                raise Failed("subject: " + f.read())
        # let children and threads come to rest in pause()
        time.sleep(0.05 if kind in ("small", "threefold", *OF_MEMORY) else 0.3)
        return pid

    @staticmethod
    def need_huge(pid, mib):
        """A task of so many MiB that were in huge pages has them again."""
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
            kib = int(f.read().split("AnonHugePages:")[1].split()[0])
        if kib < (mib << 10) * 9 // 10 - 4096:
            raise Failed(f"of {mib} MiB in huge pages only {kib} KiB are so again")

    def yardstick(self, where, mib, kind):
        """Seconds of a write and of a read in small pages; if @kind is huge pages, of both in these as well, else nothing."""
        path = os.path.join(self.place(where), "yardstick")
        out = []
        for pages in ("small", "huge") if kind == "huge" else ("small",):
            for way in ("write", "read"):
                if way == "read":
                    self.touch_huge(pages, mib)
                code, said = self.world.run([self.tool("yardstick"), way, path, str(mib), *(["huge"] if pages == "huge" else [])],
                                            300)
                if code != 0:
                    raise Failed("yardstick: " + said)
                out.append(float(said))
        os.unlink(path)
        return (*out, 0, 0)[:4]

    def once(self, row, size):
        name, kind, _, where, _, compare = row
        more = MORE_OPTIONS.get(name, [])
        directory = tempfile.mkdtemp(dir=self.place(where))
        images = os.path.join(directory, "images")
        os.mkdir(images)
        try:
            sticks = self.yardstick(where, size, kind) if compare else (0, 0, 0, 0)
            pid = self.start(kind, size, directory)
            if where == "disk":
                os.sync()
            dump = self.launch("dump", "-t", str(pid), "-D", images, "-o", "dump.log", "-v1", *more)
            self.world.until(lambda: not self.world.tree(), 30, "the tree is gone")
            self.touch_huge(kind, size)
            restore = self.launch("restore", "-d", "-D", images, "-o", "restore.log", "-v1", *more)
            if kind == "huge":
                self.need_huge(pid, size)
            self.world.kill(self.world.tree())
            return (dump, restore, *sticks)
        finally:
            self.world.clear()
            shutil.rmtree(directory, ignore_errors=True)

    def measure(self, row, scale, runs):
        name, kind, size, where, bars, compare = row
        size = max(1, int(size * scale)) if kind != "small" else size
        if compare and runs > 1:
            self.once(row, size)   # memory that the machine itself touches for the first time is slow
        results = [self.once(row, size) for _ in range(runs)]
        dump, restore, write, read = (statistics.median(r[i] for r in results) for i in range(4))
        if compare:
            values = [statistics.median(r[0] / r[2] for r in results), statistics.median(r[1] / r[3] for r in results)]
            limits = list(bars)
        else:
            values = [dump, restore]
            small = (0.008, 0.008)
            limits = [b if scale >= 1 or kind == "small" else b * scale + s for b, s in zip(bars, small)]
        return {"work": name, "kind": kind, "size": size, "where": where, "runs": runs, "dump_s": dump, "restore_s": restore,
                "yardstick_write_s": write, "yardstick_read_s": read, "value": values, "bar": limits,
                "of_huge": [statistics.median(r[i] / r[i + 4] for r in results) for i in (0, 1)] if kind == "huge" and compare else None,
                "pass": [v <= b for v, b in zip(values, limits)], "all": results}

    def touch(self, pid, every):
        """Writes to one page out of @every of the largest mapping."""
        areas = []
        with open(f"/proc/{pid}/maps", encoding="utf-8") as f:
            for text in f:
                start, end = (int(x, 16) for x in text.split()[0].split("-"))
                areas.append((end - start, start))
        size, start = max(areas)
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as f:
            for at in range(start, start + size, 4096 * every):
                f.seek(at)
                f.write(b"bench")

    @staticmethod
    def frozen(images):
        """Seconds for which the last dump into a directory kept its tree from running."""
        with open(os.path.join(images, "stats-dump"), "rb") as f:
            return rpc.decode(rpc.decode(f.read()[12:])[1]).get(2, 0) / 1e6

    def incremental(self, mib):
        """Seconds of a first pre-dump, and of a second one after a sixteenth of the pages was written to; then of being frozen
        in dumps that follow, one that leaves the tree running and one that ends it."""
        directory = tempfile.mkdtemp(dir=self.place("tmpfs"))
        try:
            pid = self.start("memory", mib, directory)
            took = []
            for i, (what, *more) in enumerate((["pre-dump"], ["pre-dump"], ["pre-dump"],
                                               ["dump", "--leave-running", "--track-mem"], ["dump"])):
                images = os.path.join(directory, str(i))
                os.mkdir(images)
                if i:
                    more += ["--prev-images-dir", f"../{i - 1}"]
                seconds = self.launch(what, "-t", str(pid), "-D", images, "-o", "log", "-v1", *more)
                took.append(seconds if i < 3 else self.frozen(images))
                if i == 0:
                    self.touch(pid, 16)
                stored = sum(os.stat(os.path.join(images, f)).st_size for f in os.listdir(images) if f.startswith("pages-"))
                if i and stored > (mib << 20) // (4 if i == 1 else 16):
                    raise Failed(f"{what} number {i} has stored {stored} bytes")
            return took
        finally:
            self.world.clear()
            shutil.rmtree(directory, ignore_errors=True)

    def close(self):
        self.world.clear()
        subprocess.run(["umount", "-l", self.tmpfs], check=False)
        shutil.rmtree(self.base, ignore_errors=True)


def shown(seconds):
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def line(r):
    out = f"{r['size']:>6} {UNITS.get(r['kind'], ''):<4}{r['work']:<22}"
    for i, what in enumerate(("dump", "restore")):
        if r["yardstick_write_s"]:
            stick = r["yardstick_write_s" if i == 0 else "yardstick_read_s"]
            detail = f"{r['value'][i]:.2f} x {shown(stick)}, bar {r['bar'][i]:.1f} x"
            if r["of_huge"]:
                detail += f"; {r['of_huge'][i]:.2f} x the same in huge pages"
        else:
            detail = f"best {shown(min(x[i] for x in r['all']))}, bar {shown(r['bar'][i])}"
        out += f" {what} {shown(r[what + '_s']):>9} ({detail}) {'PASS' if r['pass'][i] else 'MISS'} "
    return out.rstrip()


def linear(bench, row, whole, runs):
    """Time per unit at a quarter and a half of the size against that of the whole."""
    parts = [bench.measure(row, bench.args.scale * f, runs) for f in (0.25, 0.5)] + [whole]
    out = []
    for what in ("dump_s", "restore_s"):
        per_unit = [p[what] / p["size"] for p in parts]
        grows = per_unit[2] / min(per_unit[:2])
        out.append(grows <= 4 / 3)
        sizes = ", ".join(f"{p['size']}: {shown(p[what])}" for p in parts)
        print(f"            linear {what[:-2]:<8} {sizes}; per unit {grows:.2f} of the smaller sizes: {'PASS' if out[-1] else 'MISS'}",
              flush=True)
    return all(out)


def incremental(bench, args):
    mib = max(1, int(1024 * args.scale))
    bench.incremental(mib)   # for memory that the machine itself touches for the first time
    all_runs = [bench.incremental(mib) for _ in range(args.runs)]
    first, second = (statistics.median(r[i] for r in all_runs) for i in (0, 1))
    value = statistics.median(r[1] / r[0] for r in all_runs)
    stays, ends = (statistics.median(r[i] for r in all_runs) for i in (3, 4))
    good = [value <= INCREMENTAL_BAR, stays <= FROZEN_BAR, ends <= FROZEN_BAR]
    print(f"{mib:>6} MiB {INCREMENTAL:<22} first {shown(first):>9}, second after 1/16 was written to {shown(second):>9} "
          f"({value:.2f} of the first, bar {INCREMENTAL_BAR}) {'PASS' if good[0] else 'MISS'}", flush=True)
    for text, took, i in (("left running", stays, 1), ("ended", ends, 2)):
        best = min(r[i + 2] for r in all_runs)
        print(f"{'':<12}frozen in the dump after them, idle, {text}: {shown(took)} (best {shown(best)}, bar {shown(FROZEN_BAR)}) "
              f"{'PASS' if good[i] else 'MISS'}", flush=True)
    return {"work": INCREMENTAL, "size": mib, "runs": args.runs, "first_s": first, "second_s": second, "value": value,
            "bar": INCREMENTAL_BAR, "frozen_running_s": stays, "frozen_ended_s": ends, "frozen_bar": FROZEN_BAR, "pass": good,
            "all": all_runs}


def inside(args):
    bench = Bench(args)
    rows = [r for r in ROWS + (BIG if args.big else []) if args.only in r[0]]
    report, good = [], True
    try:
        bench.keep_warm(int(max([1024] + [r[2] for r in rows if r[1] in OF_MEMORY]) * args.scale))
        for row in rows:
            r = bench.measure(row, args.scale, args.runs)
            report.append(r)
            good &= all(r["pass"])
            print(line(r), flush=True)
            if args.linear and row[1] != "small":
                good &= linear(bench, row, r, args.runs)
        if args.only in INCREMENTAL:
            report.append(incremental(bench, args))
            good &= all(report[-1]["pass"])
        if args.only in lazy.NAME:
            report.append(lazy.measure(bench, args))
            good &= all(report[-1]["pass"])
        if args.only in gap.NAME:
            report.append(gap.measure(bench, args))
            good &= all(report[-1]["pass"])
        if args.only in server.NAME:
            report.append(server.measure(bench, args))
            good &= all(report[-1]["pass"])
        if args.only in compress.NAME:
            report.append(compress.measure(bench, args))
            good &= all(report[-1]["pass"])
        peak = max(bench.peak.values())
        ok = peak <= PEAK_BAR_KIB
        print(f"peak memory of the tool: dump {bench.peak['dump'] / 1024:.1f} MiB, restore {bench.peak['restore'] / 1024:.1f} MiB "
              f"(bar {PEAK_BAR_KIB >> 10} MiB) {'PASS' if ok else 'MISS'}")
    finally:
        bench.close()
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({"rows": report, "peak_kib": bench.peak, "scale": args.scale}, f, indent=1)
    return 0 if good and ok else 1


def smoke(args):
    """Does it all still run? Figures of such sizes mean nothing."""
    args.scale, args.runs = 0.01, 1
    bench = Bench(args)
    failed = False
    try:
        for row in ROWS + BIG:
            name = row[0].replace(" ", "-")
            try:
                bench.measure(row, args.scale, 1)
                print(f"PASS smoke/{name}")
            except Failed as e:
                failed = True
                print(f"FAIL smoke/{name}: {' | '.join(str(e).split(chr(10)))}")
        for name, what in ((INCREMENTAL, lambda: bench.incremental(8)), (lazy.NAME, lambda: lazy.once(bench, 8)),
                           (gap.NAME, lambda: gap.once(bench, 8)), (server.NAME, lambda: server.once(bench, 8)),
                           (compress.NAME, lambda: compress.once(bench, 8))):
            try:
                what()
                print(f"PASS smoke/{name}")
            except Failed as e:
                failed = True
                print(f"FAIL smoke/{name}: {' | '.join(str(e).split(chr(10)))}")
    finally:
        bench.close()
    return failed


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--criu", default="build/criu")
    ap.add_argument("--tools", default="build/test/bench")
    ap.add_argument("--runs", type=int, default=5)
    ap.add_argument("--scale", type=float, default=1.0)
    ap.add_argument("--only", default="", help="only rows whose name contains this")
    ap.add_argument("--big", action="store_true", help="rows of 4 GiB, too")
    ap.add_argument("--linear", action="store_true")
    ap.add_argument("--json")
    ap.add_argument("--tmp", help="a directory on disk for the disk rows (default: as for all temporary files)")
    ap.add_argument("--smoke", action="store_true", help="tiny sizes, once: only to see that everything still runs")
    ap.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = ap.parse_args()
    if os.geteuid() != 0:
        sys.exit("needs root")
    args.criu, args.tools = os.path.abspath(args.criu), os.path.abspath(args.tools)
    if not args.inside:
        cmd = ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount", "--mount-proc", "--propagation", "private",
               sys.executable, os.path.abspath(__file__), "--inside", *sys.argv[1:]]
        return subprocess.run(cmd, check=False).returncode
    os.setsid()
    try:
        return smoke(args) if args.smoke else inside(args)
    except Failed as e:
        print(f"FAIL bench: {e}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
