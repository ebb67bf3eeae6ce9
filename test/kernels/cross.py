"""Images that change kernels, in the guest: "save" dumps victims and writes all to a disk as an archive, "load" on another
kernel reads it and restores them. What is compared is what cannot depend on the kernel or on the file systems' numbers."""
import concurrent.futures
import json
import math
import os
import pickle
import re
import subprocess
import sys
import tarfile
import time

sys.path.insert(0, "/test/e2e")
sys.dont_write_bytecode = True
import case as ways   # noqa: E402
import run   # noqa: E402
import state   # noqa: E402

BASE = "/tmp/cross"
LIMIT = 120


class Crossing(ways.Case):
    """Both halves of the way "cli", with another kernel between them."""

    def way_save(self):
        self.start("d")
        self.must_dump()
        self.must_be_gone()
        with open(os.path.join(self.base, "clock"), "w", encoding="utf-8") as f:
            f.write(str(time.monotonic()))
        with open(os.path.join(self.base, "saved"), "wb") as f:
            pickle.dump((self.root, self.dir, self.images, self.before), f)

    def way_load(self):
        with open(os.path.join(self.base, "saved"), "rb") as f:
            self.root, self.dir, self.images, self.before = pickle.load(f)
        # the numbers of the images are the first ones of a namespace, which criu must not get
        with open("/proc/sys/kernel/ns_last_pid", "w", encoding="utf-8") as f:
            f.write("20000")
        self.restore()
        # by the time of the second boot, what sleeps until a moment may have woken up and ended
        if not self.flags & ways.ALTERS and not self.name.endswith("-absolute"):
            after = self.snapshot()
            own = kernels_own(self.before, after)
            different = state.compare(timeless(self.before, own), timeless(after, own))
            if different:
                raise ways.Failed("visible state: " + "; ".join(different))
        self.finish("on another kernel")


# What does not belong to the kernel, the boot or the file system; of threads the same, behind their number.
KEPT = re.compile(r"(thread \d+ )?(comm|state|ppid|pgid|sid|nice|threads|policy|rt_priority|start_|end_|arg_|env_|tids|cmdline|"
                  r"environ|limits|cwd|exe|root$|fd \d+|map |status (Uid|Gid|Groups|Sig|Shd|Cap|NoNewPrivs|Seccomp$|Name|Umask))")
KERNELS_OWN = re.compile(r"\[(vdso|vvar|vvar_vclock|vsyscall)\]")


def timeless(snapshot, own):
    """@own: keys of mappings that the kernel made, in either snapshot. What stands in their place is code that leads to it."""
    snapshot.tasks = {pid: {k: plain(v) for k, v in task.items() if KEPT.match(k) and k not in own}
                      for pid, task in snapshot.tasks.items()}
    return snapshot


def kernels_own(*snapshots):
    return {k for s in snapshots for task in s.tasks.values() for k, v in task.items()
            if k.startswith("map ") and KERNELS_OWN.search(v)}


def plain(value):
    """Without numbers of inodes, devices and mounts; flags of mappings have no meaning of their own across versions."""
    if not isinstance(value, str):
        return value
    value = re.sub(r"^(....) (\w+) \S+ (.*) \[.*\]$", r"\1 \2 \3", value)
    return re.sub(r" inode=\d+|mnt_id: \d+;?|ino:\S+|lock: .*", "", value)


def one(job):
    os.setsid()
    Crossing(job).go(job["way"])


def crossable(case):
    return not case.get("scenario") and not case["refuse"]


def clocks_go_on(base):
    """The second boot is younger than the first one was: a time namespace in which the clocks stand where they stood."""
    with open(os.path.join(base, "clock"), encoding="utf-8") as f:
        seconds = str(max(0, math.ceil(float(f.read()) - time.monotonic())))
    return ["--time", "--monotonic", seconds, "--boottime", seconds]


def attempt(case, way):
    base = os.path.join(BASE, case["id"].replace("/", "-"))
    os.makedirs(base, exist_ok=True)
    os.chmod(base, 0o755)
    job = dict(case, way=way, base=base, criu="/criu", verbose=0, crit=False)
    later = clocks_go_on(base) if way == "load" else []
    cmd = ["unshare", *later, "--pid", "--fork", "--kill-child=KILL", "--mount", "--mount-proc", "--ipc", "--propagation", "private",
           sys.executable, "-B", os.path.abspath(__file__), "one", json.dumps(job)]
    try:
        p = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT, check=False)
        rows = [json.loads(l) for l in p.stdout.decode().splitlines() if l.startswith("{")]
        row = rows[-1] if rows else {"verdict": "FAIL", "why": p.stderr.decode(errors="replace")[-300:]}
    except subprocess.TimeoutExpired:
        row = {"verdict": "FAIL", "why": f"no verdict within {LIMIT} s"}
    print(f"{row['verdict']} {case['id']}:{way}" + (f": {row['why']}" if row["why"] else ""), flush=True)
    return row["verdict"] == "PASS", case


def main():
    way, disk, only = sys.argv[1:4]
    if way == "save":
        cases = [c for c in run.find_cases("/victims") if crossable(c) and re.search(only, c["id"])]
    else:
        with tarfile.open(disk, "r|") as tar:
            tar.extractall("/")
        with open(os.path.join(BASE, "cases"), encoding="utf-8") as f:
            cases = json.load(f)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda c: attempt(c, way), cases))
    if way == "save":
        with open(os.path.join(BASE, "cases"), "w", encoding="utf-8") as f:
            json.dump([c for good, c in results if good], f)
        with open(disk, "r+b") as out, tarfile.open(fileobj=out, mode="w|") as tar:
            tar.add(BASE, BASE.lstrip("/"), filter=lambda m: m if m.isfile() or m.isdir() or m.issym() or m.islnk() or m.isfifo()
                    else None)
        with open(disk, "r+b") as out:
            os.fsync(out.fileno())
    return 0 if all(good for good, _ in results) else 1


if __name__ == "__main__":
    if sys.argv[1] == "one":
        one(json.loads(sys.argv[2]))
    else:
        sys.exit(main())
