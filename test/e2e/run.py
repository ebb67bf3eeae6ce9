#!/usr/bin/python3
"""Takes every case of every victim through the ways of checkpointing it: cli (dump, gone, restore), running
(--leave-running), snapshot (--snapshot), rounds (three in a row), swrk, service, stream (--stream); cases that must be
refused have a way of their own.

    run.py --criu build/criu --victims build/test/victims            everything, as `make check` does
    run.py -k memory/sparse --modes cli,swrk -v --keep               one case, some ways, its directory kept

Each case runs in pid, mount and IPC namespaces of its own, so that its pids are free and nothing can stay behind.
Prints "PASS victim/case:way", or FAIL or SKIP with the reason. Needs root; python's standard library is enough.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import case as ways   # noqa: E402
import decode   # noqa: E402
import scenarios   # noqa: E402
from cradle import Cradle   # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ALL_MODES = ["cli", "running", "snapshot", "rounds", "swrk", "service", "stream"]


def find_cases(directory):
    cases = []
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if not os.path.isfile(path) or not os.access(path, os.X_OK):
            continue
        listing = subprocess.run([path, "--cases"], stdout=subprocess.PIPE, timeout=10, check=True).stdout.decode()
        for line in listing.splitlines():
            row, dump, restore, refuse, flags = line.split("\t")
            cases.append({"victim": path, "id": f"{name}/{row}", "name": row, "dump": dump, "restore": restore, "refuse": refuse,
                          "flags": int(flags)})
    for name in scenarios.names():
        cases.append({"victim": directory, "id": "scenarios/" + name.replace("_", "-"), "name": name, "scenario": True})
    return cases


def modes_of(case, asked):
    """All cases by command line, a fixed choice of them in the other ways; a scenario is a way of its own."""
    if case.get("scenario"):
        return ["scenario"] if not asked or "scenario" in asked else []
    if case["refuse"] and not case["flags"] & ways.KEEP_OR_REFUSE:
        return ["refused"] if not asked or "refused" in asked or "cli" in asked else []
    if asked:
        return [m for m in asked if m in ALL_MODES]
    if case["victim"].endswith("-static") or not case["flags"] & ways.MORE:
        return ["cli"]
    return ALL_MODES


def run_job(job):
    scenarios.run(job) if job.get("scenario") else ways.run(job)


class Runner:
    def __init__(self, args):
        self.args = args
        # Trees with mounts of their own drop those of others, but not the one that their directory is on: so it is to be on none.
        mounted = os.path.ismount(tempfile.gettempdir())
        # Victims of other uids have to reach their directories.
        self.base = tempfile.mkdtemp(prefix="criu-e2e-", dir=args.tmp or ("/var/tmp" if mounted else None))
        os.chmod(self.base, 0o755)
        self.skipped = set()
        self.cradle = Cradle(run_job, self.warm)

    def warm(self):
        crit = shutil.which("crit")
        if self.args.crit and decode.is_ours(crit):
            decode.decode(crit, os.devnull, os.devnull)   # for what it imports

    def run(self, case, modes, first):
        # Short: names of sockets are at most 107 bytes long.
        directory = os.path.join(self.base, case["id"].replace("/", "-") + ("" if first else "+"))
        os.mkdir(directory)
        os.chmod(directory, 0o755)
        job = dict(case, modes=modes, base=directory, criu=self.args.criu, verbose=self.args.verbose, crit=self.args.crit)
        # for a runner that hangs: all that a case waits for has a limit of its own
        limit = 150 if case.get("scenario") else ways.TIMEOUT * 4 * len(modes)
        start = time.monotonic()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            status = self.cradle.run(job, out, err, limit)
            out.seek(0)
            err.seek(0)
            text, noise = out.read().decode(errors="replace"), err.read().decode(errors="replace")
        rows = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        skipped = any(r["verdict"] == "SKIP" for r in rows)
        for mode in modes[len(rows):] if not skipped else []:
            rows.append({"mode": mode, "verdict": "FAIL",
                         "why": f"no verdict after {time.monotonic() - start:.0f} s (status {status}) {noise[-300:]}"})
        if self.args.verbose and noise:
            print(noise, file=sys.stderr)
        if not self.args.keep and not any(r["verdict"] == "FAIL" for r in rows) or not self.args.keep and not self.args.verbose:
            shutil.rmtree(directory, ignore_errors=True)
        return [dict(r, id=case["id"] + (":" + r["mode"] if not case.get("scenario") else ""), dir=directory) for r in rows]

    def turns(self, cases):
        """The command line comes first, for all of them, then the other ways: it is these that are left out where time is short."""
        work = [(c, modes_of(c, self.args.modes)) for c in cases]
        yield [(c, m[:1]) for c, m in work if m]
        yield [(c, m[1:]) for c, m in work if m[1:] and c["id"] not in self.skipped]

    def run_all(self, cases):
        """Yields a row for each case and way, and one for what was left out."""
        left_out = total = 0
        with concurrent.futures.ThreadPoolExecutor(self.args.jobs) as pool:
            for turn, work in enumerate(self.turns(cases)):
                def one(at, turn=turn):
                    late = turn and self.args.until and time.time() > self.args.until
                    return None if late else self.run(*at, first=not turn)
                for (case, modes), rows in zip(work, pool.map(one, work)):
                    total += len(modes)
                    left_out += len(modes) if rows is None else 0
                    if any(r["verdict"] == "SKIP" for r in rows or []):
                        self.skipped.add(case["id"])
                    yield from rows or []
        if left_out:
            yield {"verdict": "SKIP", "id": "other-ways", "dir": "",
                   "why": f"{left_out} of {total} runs were left out, since time was short (CHECK_UNTIL)"}

    def close(self):
        self.cradle.close()
        if not self.args.keep:
            shutil.rmtree(self.base, ignore_errors=True)
        else:
            print(f"kept: {self.base}")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--criu", default="build/criu")
    ap.add_argument("--victims", default="build/test/victims")
    ap.add_argument("-k", metavar="PATTERN", default="", help="only cases whose name matches this regular expression")
    ap.add_argument("--modes", default="", help="comma list of " + ", ".join(ALL_MODES) + ", refused, scenario")
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--tmp", help="where cases have their directories (default: as for all temporary files, but not on a mount)")
    ap.add_argument("--until", type=float, help="seconds since 1970: from then on only what is still to be run by command line")
    ap.add_argument("--keep", action="store_true", help="keep the directories with images and logs")
    ap.add_argument("--list", action="store_true", help="only say what would be run")
    ap.add_argument("--no-crit", dest="no_crit", action="store_true", help="do not decode images with crit")
    ap.add_argument("-v", "--verbose", action="count", default=0, help="twice: with all logs")
    args = ap.parse_args()
    args.criu, args.victims = os.path.abspath(args.criu), os.path.abspath(args.victims)
    args.modes = [m for m in args.modes.split(",") if m]
    args.crit = bool(shutil.which("crit")) and not args.no_crit

    cases = [c for c in find_cases(args.victims) if re.search(args.k, c["id"])]
    if args.list:
        for c in cases:
            print(c["id"], ",".join(modes_of(c, args.modes)))
        return 0
    if os.geteuid() != 0:
        sys.exit("needs root")
    if not os.path.exists(args.criu):
        print(f"FAIL all: {args.criu} is not there")
        return 1

    if not args.crit and not args.no_crit:
        print("SKIP crit: not installed (package criu); images are not decoded")
    failed = 0
    runner = Runner(args)
    try:
        for r in runner.run_all(cases):
            failed += r["verdict"] == "FAIL"
            print(f"{r['verdict']} {r['id']}" + (f": {r['why']}" if r["why"] else ""), flush=True)
            if args.keep and args.verbose:
                print(f"  {r['dir']}")
    finally:
        runner.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
