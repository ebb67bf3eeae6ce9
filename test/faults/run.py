#!/usr/bin/python3
"""Tries to break criu: stages that fail, signals at any instant, disks that fill up, images that lie, trees that do not
hold still. After each, the tree has to go on unharmed, or nothing at all may be left.

    run.py --criu build/criu --victims build/test/victims     a sample of everything, about a minute, as in `make check`
    run.py --long -k kills -v                                 everything the named cases can try, which takes long
    run.py --seed 7                                           another sample

Prints "PASS name", or FAIL or SKIP with the reason; lines that start with "#" count what was tried. Needs root.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
GROUPS = ("stages", "kills", "child", "snapshots", "limits", "images", "hostile", "changing")


def load(group):
    """The class of a group's module, which is the one that is defined there."""
    module = __import__(group)
    return next(c for c in vars(module).values() if isinstance(c, type) and c.__module__ == group and hasattr(c, "go"))


def find_cases():
    return [(group, name[3:]) for group in GROUPS for name in vars(load(group)) if name.startswith("do_")]


def inside(job):
    args = json.loads(job)
    os.setsid()   # the session of whoever started us has no number in this namespace
    load(args["group"])(args).go(args["name"])


def run(group, name, args, base):
    directory = os.path.join(base, f"{group}-{name}")
    os.mkdir(directory)
    os.chmod(directory, 0o755)
    job = {"group": group, "name": name, "base": directory, "criu": args.criu, "victims": args.victims, "own": args.own,
           "long": args.long, "seed": args.seed, "limit": args.limit, "verbose": args.verbose}
    cmd = ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount", "--mount-proc", "--ipc", "--propagation", "private",
           sys.executable, os.path.join(HERE, "run.py"), "--inside", json.dumps(job)]
    start = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        p = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
        try:
            p.wait(args.limit)
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGKILL)
            p.wait()
        out.seek(0)
        err.seek(0)
        lines = out.read().decode(errors="replace").splitlines()
        rows = [json.loads(l) for l in lines if l.startswith("{")]
        noise = err.read().decode(errors="replace")
    took = time.monotonic() - start
    if not any("verdict" in r for r in rows):
        rows.append({"verdict": "FAIL", "why": f"no verdict after {took:.0f} s (status {p.returncode}) {noise[-400:]}"})
    if args.verbose:
        print("".join(f"# {l}\n" for l in lines + noise.splitlines() if not l.startswith("{")), end="")
    if not args.keep:
        shutil.rmtree(directory, ignore_errors=True)
    return [dict(r, id=f"{group}/{name.replace('_', '-')}", took=took) for r in rows]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--criu", default="build/criu")
    ap.add_argument("--victims", default="build/test/victims")
    ap.add_argument("-k", metavar="PATTERN", default="", help="only cases whose name matches this regular expression")
    ap.add_argument("--long", action="store_true", help="try all there is to try, not a sample")
    ap.add_argument("--seed", type=int, default=1, help="choose another sample")
    ap.add_argument("--limit", type=int, help="seconds a case may take (100, with --long 3600)")
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--tmp", help="where cases have their directories (default: as for all temporary files)")
    ap.add_argument("--keep", action="store_true", help="keep the directories with images and logs")
    ap.add_argument("-v", "--verbose", action="count", default=0, help="twice: with all logs")
    ap.add_argument("--inside", help=argparse.SUPPRESS)
    args = ap.parse_args()
    if args.inside:
        inside(args.inside)
        return 0
    args.criu, args.victims = os.path.abspath(args.criu), os.path.abspath(args.victims)
    args.own = os.path.join(os.path.dirname(args.victims), "faults")
    args.limit = args.limit or (3600 if args.long else 100)
    if os.geteuid() != 0:
        sys.exit("needs root")
    if not os.path.exists(args.criu):
        print(f"FAIL all: {args.criu} is not there")
        return 1

    cases = [c for c in find_cases() if re.search(args.k, f"{c[0]}/{c[1].replace('_', '-')}")]
    base = tempfile.mkdtemp(prefix="criu-faults-", dir=args.tmp)
    os.chmod(base, 0o755)   # victims of other uids have to reach their directories
    failed = 0
    try:
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            for job in [pool.submit(run, *c, args, base) for c in cases]:
                for r in job.result():
                    if "notes" in r:
                        print(f"# {r['id']} ({r['took']:.1f} s): " + ", ".join(f"{v} {k}" for k, v in r["notes"].items()), flush=True)
                        continue
                    failed += r["verdict"] == "FAIL"
                    print(f"{r['verdict']} {r['id']}" + (f": {r['why']}" if r["why"] else ""), flush=True)
    finally:
        if args.keep:
            print(f"# kept: {base}")
        else:
            shutil.rmtree(base, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
