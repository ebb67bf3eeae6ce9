#!/usr/bin/python3
"""Runs the suites of the project and adds up their cases.

A suite is a program that prints one line per case on standard output: "PASS name", "FAIL name: why" or
"SKIP name: why". Other lines are shown when the suite failed. The last line is the total, alone on its line.
"""
import argparse
import concurrent.futures
import glob
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
UNIT_LIMIT = 300   # seconds: the longest takes 12 of a processor of its own


class Tally:
    """The verdicts of one suite."""

    def __init__(self):
        self.passed, self.failed, self.skipped = [], [], []

    def line(self, suite, line):
        """One line of a suite's output; True if it was a verdict."""
        m = re.match(r"(PASS|FAIL|SKIP) (\S+?)(?:: (.*))?$", line)
        if not m:
            return False
        verdict, name, why = m.group(1), f"{suite}: {m.group(2)}", m.group(3) or ""
        {"PASS": self.passed, "FAIL": self.failed, "SKIP": self.skipped}[verdict].append((name, why))
        if verdict == "FAIL":
            print(f"FAIL {name}: {why}", flush=True)
        return True


def run(cmd, timeout, env=None):
    """Runs one program in a process group of its own, so that a timeout ends what it started too; not in a session of its
    own, where SIGTSTP would stop nothing (an orphaned group). Returns (code, text)."""
    with tempfile.TemporaryFile() as out:
        p = subprocess.Popen(cmd, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT, env=env,
                             process_group=0)
        try:
            code = p.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, 9)
            p.wait()
            code = None
        out.seek(0)
        return code, out.read().decode(errors="replace")


# --- unit tests: cmocka speaks TAP

def unit_env(san):
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP", TEST_DATA="test/data")
    if san:
        env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":detect_leaks=1:allocator_may_return_null=1"
        env["UBSAN_OPTIONS"] = env.get("UBSAN_OPTIONS", "") + ":print_stacktrace=1"
    return env


def unit_one(binary, name, env):
    start = time.monotonic()
    code, text = run([binary], UNIT_LIMIT, env)
    verdicts = []
    for line in text.splitlines():
        m = re.match(r"(not ok|ok) \d+ - (\S+)(.*)$", line)
        if m:
            skip = "# SKIP" in m.group(3).upper()
            word = "SKIP" if skip else "PASS" if m.group(1) == "ok" else "FAIL"
            verdicts.append(f"{word} {name}/{m.group(2)}:" + (" skipped itself" if skip else ""))
        elif verdicts and verdicts[-1].startswith("FAIL") and line.startswith("#") and len(verdicts[-1]) < 400:
            verdicts[-1] += line[1:]  # what was wrong comes behind the verdict
    verdicts = [v.rstrip(":") for v in verdicts]
    if code != 0 and not any(v.startswith("FAIL") for v in verdicts):
        how = f"timeout after {UNIT_LIMIT} s" if code is None else f"exit status {code}"
        verdicts.append(f"FAIL {name}: {how}; {' | '.join(text.splitlines()[-8:])}")
    elif code == 0 and not verdicts:
        verdicts.append(f"PASS {name}")
    return verdicts, time.monotonic() - start, text if code != 0 else ""


def suite_unit(args, tally):
    sources = sorted(glob.glob("test/unit/*/test-*.c") + glob.glob("test/unit/*/*/test-*.c"))
    names = [os.path.relpath(s[:-2], "test/unit") for s in sources]
    env = unit_env(args.san)
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        jobs = [pool.submit(unit_one, os.path.join(args.build, "test/unit", n), n, env) for n in names]
        for job in jobs:
            verdicts, _, text = job.result()
            for v in verdicts:
                tally.line("unit", v)
            if text and args.verbose:
                print(text)


# --- the other suites are programs

def suite_program(suite, cmd, tally, timeout, env=None):
    code, text = run(cmd, timeout, env)
    before = len(tally.failed)
    seen = sum(tally.line(suite, line) for line in text.splitlines())
    if code is None:
        tally.line(suite, f"FAIL {suite}: not finished within {timeout} s")
    elif code != 0 and len(tally.failed) == before:
        tally.line(suite, f"FAIL {suite}: exit status {code} without a failed case")
    elif code == 0 and not seen:
        tally.line(suite, f"SKIP {suite}: nothing to run")
    if code != 0:
        rest = [l for l in text.splitlines() if not re.match(r"(PASS|SKIP|FAIL) ", l)]
        print("\n".join(rest[-60:]), flush=True)


def suite_repo(args, tally):
    cmd = [sys.executable, os.path.join(HERE, "repo.py"), "--build", args.build, "--cc", args.cc,
           "--cppflags", args.cppflags, "--jobs", str(args.jobs)]
    suite_program("repo", cmd, tally, 300)


def need_root(suite, tally):
    if os.geteuid() == 0:
        return True
    tally.line(suite, f"SKIP {suite}: needs root")
    return False


def criu_env(san):
    env = dict(os.environ)
    if san:
        # LeakSanitizer traces its own process, which cannot be while that process traces others.
        env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":detect_leaks=0:allocator_may_return_null=1"
        env["UBSAN_OPTIONS"] = env.get("UBSAN_OPTIONS", "") + ":print_stacktrace=1"
    return env


def suite_e2e(args, tally):
    """Of those that compute it comes last, as it can do with less: a machine that is slow leaves other ways than the command
    line out when CHECK_UNTIL (seconds since 1970) has come, and says so."""
    if need_root("e2e", tally):
        cmd = [sys.executable, "test/e2e/run.py", "--criu", os.path.join(args.build, "criu"), "--victims",
               os.path.join(args.build, "test/victims"), "--jobs", str(args.jobs)]
        if os.environ.get("CHECK_UNTIL"):
            cmd += ["--until", os.environ["CHECK_UNTIL"]]
        suite_program("e2e", cmd, tally, 1200 if args.san else 900, criu_env(args.san))


def suite_faults(args, tally):
    """A sample of what can go wrong; test/faults/run.py --long tries all of it."""
    if need_root("faults", tally):
        cmd = [sys.executable, "test/faults/run.py", "--criu", os.path.join(args.build, "criu"), "--victims",
               os.path.join(args.build, "test/victims"), "--jobs", str(args.jobs)]
        suite_program("faults", cmd, tally, 400, criu_env(args.san))


def time_left():
    """Seconds; a machine that is slow, and has CHECK_UNTIL, is to come to what each kind of object has."""
    return float(os.environ.get("CHECK_UNTIL") or "inf") - time.time()


def suite_memory(args, tally):
    if need_root("memory", tally):
        cmd = [sys.executable, "test/memory/run.py", "--criu", os.path.join(args.build, "criu"), "--writer",
               os.path.join(args.build, "test/memory/writer"), *(["--long"] if os.environ.get("LONG") else [])]
        suite_program("memory", cmd, tally, 14400 if os.environ.get("LONG") else 400, criu_env(args.san))
        cmd = [sys.executable, "test/memory/snapshot.py", "--criu", os.path.join(args.build, "criu"), "--tools",
               os.path.join(args.build, "test/memory"), *(["--long"] if os.environ.get("LONG") else [])]
        suite_program("memory", cmd, tally, 14400 if os.environ.get("LONG") else 400, criu_env(args.san))
        for name in ("lazy.py", "away.py", "identity.py", "mixed.py", "shown.py", "sweeps.py"):
            if name == "sweeps.py" and time_left() < 480:
                tally.line("memory", f"SKIP {name}: time is short (CHECK_UNTIL)")
                continue
            cmd = [sys.executable, f"test/memory/{name}", "--criu", os.path.join(args.build, "criu"), "--tools",
                   os.path.join(args.build, "test/memory")]
            suite_program("memory", cmd, tally, 400, criu_env(args.san))


def suite_pages(args, tally):
    if need_root("pages", tally):
        cmd = [sys.executable, "test/pages/run.py", "--criu", os.path.join(args.build, "criu"), "--writer",
               os.path.join(args.build, "test/memory/writer")]
        suite_program("pages", cmd, tally, 400, criu_env(args.san))


def suite_apps(args, tally):
    if need_root("apps", tally):
        cmd = [sys.executable, "test/apps/run.py", "--criu", os.path.join(args.build, "criu"), "--jobs", str(args.jobs)]
        suite_program("apps", cmd, tally, 400, criu_env(args.san))


def suite_clients(args, tally):
    """Programs that others wrote for CRIU: exit status 0 passed, 77 skipped (the last line says why)."""
    env = dict(criu_env(args.san), CRIU=os.path.abspath(os.path.join(args.build, "criu")),
               BUILD=os.path.abspath(args.build))
    for path in sorted(glob.glob("test/clients/test-*")):
        if not os.access(path, os.X_OK) or os.path.isdir(path):
            continue
        name = os.path.basename(path)
        code, text = run([os.path.abspath(path)], 120, env)
        last = (text.strip().splitlines() or [""])[-1]
        if code == 0:
            tally.line("clients", f"PASS {name}")
        elif code == 77:
            tally.line("clients", f"SKIP {name}: {last}")
        else:
            tally.line("clients", f"FAIL {name}: {'timeout' if code is None else f'exit status {code}'}; {last}")
            print(text[-3000:])


def suite_bench(args, tally):
    """Not a measurement, only a proof that the benchmark still runs: tiny sizes, one repetition."""
    if need_root("bench", tally):
        cmd = [sys.executable, "test/bench/bench.py", "--criu", os.path.join(args.build, "criu"), "--tools",
               os.path.join(args.build, "test/bench"), "--smoke"]
        suite_program("bench", cmd, tally, 60, criu_env(args.san))


def suite_soak(args, tally):
    """Long enough to see a leak of one descriptor or process; `make soak` is the long one."""
    if need_root("soak", tally):
        cmd = [sys.executable, "test/soak/soak.py", "--criu", os.path.abspath(os.path.join(args.build, "criu")), "--tools",
               os.path.join(args.build, "test/soak"), "--clients", "16", "--requests", "800", "--rounds", "2"]
        suite_program("soak", cmd, tally, 120, criu_env(args.san))


SUITES = {"unit": suite_unit, "repo": suite_repo, "faults": suite_faults, "apps": suite_apps, "e2e": suite_e2e,
          "clients": suite_clients, "pages": suite_pages, "bench": suite_bench, "soak": suite_soak, "memory": suite_memory}
# Suites that wait more than they compute, one after the other beside those that keep all processors busy.
BESIDE = ("clients", "pages", "bench", "soak", "memory")


def run_suites(names, args):
    """Runs them in order; returns their tallies."""
    tallies = {}
    for name in names:
        start, tally = time.monotonic(), Tally()
        SUITES[name](args, tally)
        tallies[name] = tally
        print(f"{name}: {len(tally.passed)} passed, {len(tally.failed)} failed, {len(tally.skipped)} skipped "
              f"in {time.monotonic() - start:.1f} s", flush=True)
    return tallies


def main():
    # what was started behind a shell (sh -c "... &", nohup) ignores these, and would have all tests do so
    for signo in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(signo, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", default="build")
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--cc", default="cc")
    ap.add_argument("--cppflags", default="")
    ap.add_argument("--san", default="")
    ap.add_argument("-v", "--verbose", action="store_true")
    ap.add_argument("suites", nargs="*")
    args = ap.parse_args()
    for name in args.suites:
        if name not in SUITES:
            ap.error(f"no suite named {name}")
    os.chdir(ROOT)

    names = args.suites or list(SUITES)
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        others = beside.submit(run_suites, [n for n in names if n in BESIDE], args)
        tallies = run_suites([n for n in names if n not in BESIDE], args)
        tallies.update(others.result())
    tally = Tally()
    for part in tallies.values():
        tally.passed += part.passed
        tally.failed += part.failed
        tally.skipped += part.skipped

    for title, rows in (("skipped", tally.skipped), ("failed", tally.failed)):
        if rows:
            print(f"\n{title}:")
            for name, why in rows:
                print(f"  {name}: {why}"[:400])
    print()
    print(f"{len(tally.passed)} passed, {len(tally.failed)} failed, {len(tally.skipped)} skipped")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
