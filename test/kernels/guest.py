"""What runs in a guest: a job that the kernel's command line names (job=, only=, modes=, jobs=), its results printed."""
import os
import subprocess
import sys

sys.path.insert(0, "/test/e2e")
CRIU, VICTIMS, DISK = "/criu", "/victims", "/dev/vda"


def command_line():
    with open("/proc/cmdline", encoding="utf-8") as f:
        return dict(word.partition("=")[::2] for word in f.read().split())


def unhex(word):
    return bytes.fromhex(word).decode()


def main():
    asked = command_line()
    job = asked.get("job", "e2e")
    only = unhex(asked.get("only", ""))
    if job == "shell":
        subprocess.run(["sh", "-c", only], check=False)
    elif job == "e2e":
        cmd = [sys.executable, "/test/e2e/run.py", "--criu", CRIU, "--victims", VICTIMS, "--no-crit", "-k", only,
               "--jobs", asked.get("jobs", "2")]
        if asked.get("modes"):
            cmd += ["--modes", asked["modes"]]
        code = subprocess.run(cmd, check=False, env=dict(os.environ, CRIU_E2E_SLOW="3")).returncode
        print(f"end: {code}", flush=True)
    elif job == "memory":
        cmd = [sys.executable, "/test/memory/run.py", "--criu", CRIU, "--writer", "/subjects/writer", "-k", only, "--rounds", "2",
               "--chain", "6"]
        code = subprocess.run(cmd, check=False, env=dict(os.environ, CRIU_E2E_SLOW="4")).returncode
        print(f"end: {code}", flush=True)
    else:
        code = subprocess.run([sys.executable, "/test/kernels/cross.py", job, DISK, only], check=False,
                              env=dict(os.environ, CRIU_E2E_SLOW="3")).returncode
        print(f"end: {code}", flush=True)


if __name__ == "__main__":
    main()
