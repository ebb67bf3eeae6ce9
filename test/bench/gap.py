"""The row snapshot-gap: the longest time that a thread of the tree does not run, during a snapshot and during a dump that leaves the
tree running in the other way."""
import os
import shutil
import statistics
import struct
import subprocess
import tempfile

NAME = "snapshot-gap"
BAR_S, BAR_SHARE = 0.030, 1 / 20
PLAIN = ("--leave-running",)
SNAPSHOT = ("--leave-running", "--snapshot")


class Beat:
    def __init__(self, bench, mib):
        self.bench, self.directory, self.turn = bench, tempfile.mkdtemp(dir=bench.place("tmpfs")), 0
        self.board = os.path.join(self.directory, "board")
        with open(self.board, "wb") as f:
            f.write(bytes(4096))
        self.pid = bench.world.start([bench.tool("beat"), str(mib)], cwd=self.directory, stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        bench.world.until(lambda: os.path.exists(os.path.join(self.directory, "ready")), 120, "the subject's setup")

    def word(self, n):
        with open(self.board, "rb") as f:
            return struct.unpack_from("Q", f.read(24), 8 * n)[0]

    def gap(self, *args):
        """Seconds."""
        self.turn += 1
        with open(self.board, "r+b", buffering=0) as f:
            f.seek(8)
            f.write(struct.pack("Q", self.turn))
        self.bench.world.until(lambda: self.word(2) == self.turn, 30, "the beat begins anew")
        images = os.path.join(self.directory, "images")
        os.mkdir(images)
        self.bench.launch("dump", "-t", str(self.pid), "-D", images, "-o", "dump.log", "-v1", *args)
        shutil.rmtree(images)
        return self.word(0) / 1e9


def once(bench, mib, pairs=1):
    """(plain, snapshot), as many times, of one process."""
    beat = Beat(bench, mib)
    try:
        beat.gap(*PLAIN)   # for memory that the machine itself touches for the first time
        return [(beat.gap(*PLAIN), beat.gap(*SNAPSHOT)) for _ in range(pairs)]
    finally:
        bench.world.clear()
        shutil.rmtree(beat.directory, ignore_errors=True)


def measure(bench, args):
    mib = max(1, int(1024 * args.scale))
    runs = once(bench, mib, args.runs)
    plain, snapshot = (statistics.median(r[i] for r in runs) for i in (0, 1))
    share = statistics.median(r[1] / r[0] for r in runs)
    good = [snapshot <= BAR_S, share <= BAR_SHARE]
    print(f"{mib:>6} MiB {NAME:<22} {snapshot * 1000:.1f} ms, best {min(r[1] for r in runs) * 1000:.1f} ms (bar {BAR_S * 1000:.0f} ms) "
          f"{'PASS' if good[0] else 'MISS'}, {share:.3f} of {plain * 1000:.0f} ms (bar {BAR_SHARE:.3f}) {'PASS' if good[1] else 'MISS'}",
          flush=True)
    return {"work": NAME, "size": mib, "runs": args.runs, "plain_s": plain, "snapshot_s": snapshot, "share": share,
            "bar": [BAR_S, BAR_SHARE], "pass": good, "all": runs}
