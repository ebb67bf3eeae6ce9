"""The frame of runners whose cases are functions: each case has a folder of its own, all have namespaces of their own, and a
line says how each went."""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback

from world import Failed, Skipped


def parser(*programs):
    """@programs: options besides --criu that name a program or a folder of them."""
    ap = argparse.ArgumentParser()
    for name in ("criu", *programs):
        ap.add_argument(f"--{name}", required=True, type=os.path.abspath)
    ap.add_argument("-k", default="")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--tmp", default="/dev/shm" if os.path.isdir("/dev/shm") else None)
    ap.add_argument("--keep", action="store_true")
    ap.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return ap


def enter(ap, net=False):
    """The arguments, inside of the namespaces; who calls from outside waits for that one, and ends as it did."""
    args = ap.parse_args()
    if not args.inside:
        cmd = ["unshare", "--pid", "--mount", *(["--net"] if net else []), "--fork", "--kill-child", "--mount-proc",
               sys.executable, *sys.argv, "--inside"]
        sys.exit(subprocess.run(cmd, check=False).returncode)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if net:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    args.seed = args.seed or int.from_bytes(os.urandom(4), "little")
    return args


def has(args, feature):
    """Does this kernel offer it?"""
    return subprocess.run([args.criu, "check", "--feature", feature], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


def run_case(args, prefix, name, case):
    """Returns whether it failed."""
    base, why = tempfile.mkdtemp(prefix=f"criu-{prefix}-", dir=args.tmp), None
    try:
        case(args, base)
    except (Failed, Skipped) as e:
        why = e
    except Exception:   # the other cases have their turn nevertheless
        why = Failed("runner: " + traceback.format_exc()[-600:].replace("\n", " / "))
    if isinstance(why, Skipped):
        print(f"SKIP {name}: {why}")
    elif why:
        print(f"FAIL {name}: {' '.join(str(why).split())} (seed {args.seed})")
    else:
        print(f"PASS {name}")
    sys.stdout.flush()
    if args.keep and isinstance(why, Failed):
        print(f"kept: {base}")
    else:
        shutil.rmtree(base, ignore_errors=True)
    return isinstance(why, Failed)


def run_cases(args, prefix, cases):
    """@cases: functions of the arguments and a folder, by name. Returns an exit code."""
    return 1 if sum(run_case(args, prefix, name, case) for name, case in cases.items() if args.k in name) else 0
