#!/usr/bin/python3
"""Does the service lose anything over time? Requests of many clients at a time, and what the listener holds before and after.

Memory, descriptors and children are compared after a warm-up, now and then, and at the end. Nothing may be left of any
request: no process, no mount, no file outside of the images.
"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

MEMORY_KIB = 512   # what the allocator may keep more than after the warm-up


def holdings(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
        children = f.read().split()
    return {"rss_kib": int(status["VmRSS"].split()[0]), "fds": len(os.listdir(f"/proc/{pid}/fd")),
            "children": len(children), "threads": int(status["Threads"])}


def settled(pid):
    """Once all workers have gone."""
    end = time.monotonic() + 20
    while (h := holdings(pid))["children"] and time.monotonic() < end:
        time.sleep(0.05)
    return h


def processes_of(program):
    """All processes that run it, or ran it and are zombies."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.path.samefile(f"/proc/{pid}/exe", program):
                found.append(int(pid))
        except OSError:
            continue
    return found


def why_refused(log):
    """The last of the lines that say so; those of clients that have left in the middle are among them."""
    with open(log, encoding="utf-8", errors="replace") as f:
        lines = [line.rstrip() for line in f if " result=failed " in line and "has closed the connection" not in line]
    return "\n".join(lines[-40:])


def left_of(program, before):
    """Processes that are left, once those that end with what they look after have noticed."""
    end = time.monotonic() + 20
    while (left := len(processes_of(program)) - before) > 0 and time.monotonic() < end:
        time.sleep(0.05)
    return left


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--criu", required=True)
    ap.add_argument("--tools", required=True, help="where soak was built")
    ap.add_argument("--clients", type=int, default=64)
    ap.add_argument("--requests", type=int, default=100000)
    ap.add_argument("--rounds", type=int, default=10)
    args = ap.parse_args()
    if os.geteuid() != 0:
        print("SKIP soak: needs root")
        return 0
    tracks = subprocess.run([args.criu, "check", "--feature", "mem_dirty_track"], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL).returncode == 0
    more = [] if tracks else ["no-pre-dumps"]
    with tempfile.TemporaryDirectory(prefix="criu-soak-") as where:
        os.mkdir(f"{where}/images")
        program = shutil.copy(args.criu, where)   # so that processes of it are of nobody else
        ready, status = os.pipe()
        os.set_inheritable(status, True)
        daemon = subprocess.Popen([program, "service", "-W", where, "--address", "s", "-o", "service.log", "--status-fd",
                                   str(status)], pass_fds=[status], stdout=subprocess.DEVNULL)
        os.close(status)
        try:
            if os.read(ready, 1) != b"\0":
                print("FAIL soak: the service does not start")
                return 1
            mounts = open("/proc/self/mountinfo", encoding="utf-8").read()
            before = len(processes_of(program))

            def run(requests):
                r = subprocess.run([f"{args.tools}/soak", f"{where}/s", f"{where}/images", str(args.clients), str(requests),
                                    *more], stdout=subprocess.PIPE, text=True)
                print(" ", r.stdout.strip(), flush=True)
                return r.returncode == 0
            good = run(max(args.requests // 20, args.clients * 20))
            first = settled(daemon.pid)
            print("  after the warm-up:", first, flush=True)
            for _ in range(args.rounds):
                good = run(args.requests // args.rounds) and good
                last = settled(daemon.pid)
                print(" ", last, flush=True)
            left = left_of(program, before)
            what = [why for why, bad in (
                ("a request failed", not good),
                (f"memory has grown from {first['rss_kib']} to {last['rss_kib']} KiB",
                 last["rss_kib"] > first["rss_kib"] + MEMORY_KIB),
                (f"descriptors: {first['fds']}, now {last['fds']}", last["fds"] != first["fds"]),
                (f"{last['children']} children are left", last["children"]),
                (f"{left} processes are left", left),
                ("mounts have changed", mounts != open("/proc/self/mountinfo", encoding="utf-8").read()),
            ) if bad]
            daemon.send_signal(signal.SIGTERM)
            if daemon.wait(30) != 0:
                what.append(f"the service ended with {daemon.returncode}")
            if not good:
                print(why_refused(f"{where}/service.log"))
            print("FAIL soak: " + "; ".join(what) if what else "PASS soak")
            return 1 if what else 0
        finally:
            if daemon.poll() is None:
                daemon.kill()
            daemon.wait()
            os.close(ready)


sys.exit(main())
