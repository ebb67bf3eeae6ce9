"""The row compress: memory that shrinks to a third, dumped and restored with --compress and without."""
import os
import shutil
import statistics
import tempfile

from world import Failed

NAME = "compress"
PEAK_KIB = 64 << 10


def once(bench, mib):
    """Seconds of dump and restore, plain and compressed, and what the pages take of their size."""
    took, part = [], 1.0
    for more in ([], ["--compress"]):
        directory = tempfile.mkdtemp(dir=bench.place("tmpfs"))
        try:
            images = os.path.join(directory, "images")
            os.mkdir(images)
            pid = bench.start("threefold", mib, directory)
            took.append(bench.launch("dump", "-t", str(pid), "-D", images, "-o", "dump.log", "-v1", *more))
            bench.world.until(lambda: not bench.world.tree(), 30, "the tree is gone")
            if more:
                part = sum(os.stat(os.path.join(images, f)).st_size for f in os.listdir(images) if f.endswith(".frames")) / (mib << 20)
                if not 0 < part < 0.5:
                    raise Failed(f"compressed pages take {part:.2f} of their size")
            took.append(bench.launch("restore", "-d", "-D", images, "-o", "restore.log", "-v1"))
            bench.world.kill(bench.world.tree())
        finally:
            bench.world.clear()
            shutil.rmtree(directory, ignore_errors=True)
    return (*took, part)


def measure(bench, args):
    mib = max(1, int(1024 * args.scale))
    if args.runs > 1:
        once(bench, mib)   # for memory that the machine itself touches for the first time
    runs = [once(bench, mib) for _ in range(args.runs)]
    plain, plain_back, packed, packed_back, part = (statistics.median(r[i] for r in runs) for i in range(5))
    ratios = [statistics.median(r[2] / r[0] for r in runs), statistics.median(r[3] / r[1] for r in runs)]
    peak = max(bench.peak["dump"], bench.peak["restore"])
    good = [peak <= PEAK_KIB]
    print(f"{mib:>6} MiB {NAME:<22} dump {packed:.2f} s ({ratios[0]:.2f} of a plain one, {plain:.2f} s), restore {packed_back:.2f} s "
          f"({ratios[1]:.2f} of a plain one, {plain_back:.2f} s), {part:.2f} of the size; peak memory {peak / 1024:.1f} MiB "
          f"(bar {PEAK_KIB >> 10} MiB) {'PASS' if good[0] else 'MISS'}", flush=True)
    return {"work": NAME, "size": mib, "runs": args.runs, "dump_s": packed, "plain_dump_s": plain, "restore_s": packed_back,
            "plain_restore_s": plain_back, "value": ratios, "part": part, "peak_kib": peak, "pass": good, "all": runs}
