"""The row lazy-first-instruction: from the start of `criu restore --lazy` to the first instruction of the restored program."""
import os
import shutil
import statistics
import struct
import subprocess
import tempfile
import time

from world import Failed

NAME = "lazy-first-instruction"
BAR_S = 0.015


def see(board, word):
    with open(board, "rb") as f:
        return struct.unpack_from("Q", f.read(24), 8 * word)[0]


def once(bench, mib):
    """Seconds until the program runs, until the tool has ended, and until the program has seen all of its memory."""
    directory = tempfile.mkdtemp(dir=bench.place("tmpfs"))
    images, board, ready = (os.path.join(directory, n) for n in ("images", "board", "ready"))
    os.mkdir(images)
    try:
        with open(board, "wb") as f:
            f.write(bytes(4096))
        pid = bench.world.start([bench.tool("first"), str(mib)], cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, start_new_session=True)
        bench.world.until(lambda: os.path.exists(ready), 120, "the subject's setup")
        bench.launch("dump", "-t", str(pid), "-D", images, "-o", "dump.log", "-v1")
        bench.world.until(lambda: not bench.world.tree(), 30, "the tree is gone")
        with open(board, "r+b") as f:
            f.write(struct.pack("Q", 1))
        begin = time.monotonic_ns()
        took = bench.launch("restore", "-d", "--lazy", "-D", images, "-o", "restore.log", "-v1")
        bench.world.until(lambda: see(board, 2), 60, "all of the memory")
        end = time.monotonic_ns()
        first = see(board, 1)
        if first <= begin:
            raise Failed("the program says that it ran before it was restored")
        return (first - begin) / 1e9, took, (end - begin) / 1e9
    finally:
        bench.world.clear()
        shutil.rmtree(directory, ignore_errors=True)


def measure(bench, args):
    mib = max(1, int(1024 * args.scale))
    if args.runs > 1:
        once(bench, mib)   # for memory that the machine itself touches for the first time
    runs = [once(bench, mib) for _ in range(args.runs)]
    first, tool, whole = (statistics.median(r[i] for r in runs) for i in range(3))
    good = first <= BAR_S
    print(f"{mib:>6} MiB {NAME:<22} {first * 1000:.1f} ms (bar {BAR_S * 1000:.0f} ms) {'PASS' if good else 'MISS'}, the tool "
          f"{tool * 1000:.1f} ms, all of the memory seen {whole * 1000:.0f} ms", flush=True)
    return {"work": NAME, "size": mib, "runs": args.runs, "first_s": first, "tool_s": tool, "whole_s": whole, "bar": BAR_S,
            "pass": [good], "all": runs}
