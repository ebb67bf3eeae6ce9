"""The row page-server: a dump through a page server over the loopback device, against the same dump into a directory."""
import os
import shutil
import statistics
import subprocess
import tempfile

from world import Failed

NAME = "page-server"
BAR = 0.7          # of the throughput of a local dump
PEAK_KIB = 64 << 10


def start(bench, images):
    """A server that is ready. Returns what measures it, its output, and its port."""
    said = os.path.join(images, "said")
    ready, theirs = os.pipe()
    with open(said, "wb") as out:
        pid = bench.world.start([bench.tool("launch"), bench.args.criu, "page-server", "-D", images, "-o", "server.log", "-v1",
                                 "--address", "127.0.0.1", "--status-fd", str(theirs)],
                                stdin=subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=(theirs,))
    os.close(theirs)
    with os.fdopen(ready, "rb") as f:
        if f.read(1) != b"\0":
            raise Failed("the page server has not come up")
    with open(said, encoding="utf-8") as f:
        return pid, said, f.read().split()[-1]


def once(bench, mib):
    """Seconds of a local dump and of one through a server, both from a tree that runs on; peak memory of the server in KiB."""
    directory = tempfile.mkdtemp(dir=bench.place("tmpfs"))
    try:
        took = []
        pid = bench.start("memory", mib, directory)
        for name in ("local", "remote"):
            images, there = os.path.join(directory, name), os.path.join(directory, "there")
            os.mkdir(images)
            more = []
            if name == "remote":
                os.mkdir(there)
                server, said, port = start(bench, there)
                more = ["--page-server", "--address", "127.0.0.1", "--port", port]
            took.append(bench.launch("dump", "-t", str(pid), "-D", images, "-o", "log", "-v1", "-R", *more))
            if name == "local":
                shutil.rmtree(images)
        bench.world.until(lambda: server in bench.world.ended, 60, "the end of the page server")
        with open(said, encoding="utf-8") as f:
            peak, status = (int(x) for x in f.read().split()[-2:])
        if status != 0:
            raise Failed(f"the page server has ended with {status:#x}")
        stored = sum(os.stat(os.path.join(there, f)).st_size for f in os.listdir(there) if f.startswith("pages-"))
        if stored < mib << 20:
            raise Failed(f"the page server has stored {stored} bytes")
        return took[0], took[1], peak
    finally:
        bench.world.clear()
        shutil.rmtree(directory, ignore_errors=True)


def measure(bench, args):
    mib = max(1, int(1024 * args.scale))
    if args.runs > 1:
        once(bench, mib)   # for memory that the machine itself touches for the first time
    runs = [once(bench, mib) for _ in range(args.runs)]
    local, remote, peak = (statistics.median(r[i] for r in runs) for i in range(3))
    value = statistics.median(r[0] / r[1] for r in runs)
    good = [value >= BAR, peak <= PEAK_KIB]
    print(f"{mib:>6} MiB {NAME:<22} {remote:.2f} s, a local dump {local:.2f} s ({value:.2f} of its throughput, bar {BAR}) "
          f"{'PASS' if good[0] else 'MISS'}, peak memory of the server {peak / 1024:.1f} MiB (bar {PEAK_KIB >> 10} MiB) "
          f"{'PASS' if good[1] else 'MISS'}", flush=True)
    return {"work": NAME, "size": mib, "runs": args.runs, "local_s": local, "remote_s": remote, "peak_kib": peak, "value": value,
            "bar": BAR, "pass": good, "all": runs}
