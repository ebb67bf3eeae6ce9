#!/usr/bin/python3
"""Checks of the source tree: which way includes point, headers that stand alone, functions that may not be called,
no mutable file-scope data, names of files. Prints a verdict per check, and the longest files and functions."""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

# A folder may include its own files and those of the folders named here. What a folder's row does not name points
# the wrong way: upwards, or sideways between resource folders.
LOW = ["libcriu-core/base"]
PROTO = ["libcriu-proto/include"]
GROUND = LOW + PROTO + ["libcriu-core/kernel", "libcriu-core/procfs", "libcriu-core/arch"]
MIDDLE = GROUND + ["libcriu-core/infect", "libcriu-core/image", "libcriu-core/pie/abi", "libcriu-core/include"]
RESOURCES = ["tasks", "mm", "files", "net", "ns", "cgroup"]
TOP = MIDDLE + ["libcriu-core/" + r for r in RESOURCES] + ["libcriu-core/options"]

ARROWS = {
    "libcriu-proto": PROTO,
    "libcriu-core/base": [],
    "libcriu-core/include": LOW + PROTO,
    "libcriu-core/arch": LOW + PROTO + ["libcriu-core/kernel", "libcriu-core/pie/abi"],
    "libcriu-core/pie/abi": [],
    "libcriu-core/pie": ["libcriu-core/pie/abi", "libcriu-core/arch"],
    "libcriu-core/kernel": LOW + PROTO + ["libcriu-core/include", "libcriu-core/arch"],
    "libcriu-core/procfs": LOW + PROTO + ["libcriu-core/kernel"],
    "libcriu-core/image": GROUND + ["libcriu-core/include"],
    "libcriu-core/infect": GROUND + ["libcriu-core/pie/abi", "libcriu-core/include", "libcriu-core/image"],
    "libcriu-core/options": LOW + PROTO + ["libcriu-core/include"],
    "libcriu-core/dump": TOP,
    "libcriu-core/restore": TOP,
    "criu-srv/tls": LOW,
    "criu-cli": LOW + PROTO + ["libcriu-core/include", "libcriu-core/options", "criu-srv"],
    "criu-srv": LOW + PROTO + ["libcriu-core/include", "libcriu-core/options", "criu-cli"],
}
ARROWS.update({"libcriu-core/" + r: MIDDLE for r in RESOURCES})
# A socket is a kind of open file: net/ has the kinds of files/ that are sockets. files/ knows them by name, in its tables.
ARROWS["libcriu-core/net"] = MIDDLE + ["libcriu-core/files"]

# The library side of a blob carries the blob's bytes, which is a symbol, and the layout of its area.
ALLOWED = {("libcriu-core/infect", "libcriu-core/pie"): ("pie/blob.h",)}

SEARCH = ["libcriu-proto/include", "libcriu-core", "libcriu-core/include", "libcriu-core/arch/x86_64", "."]
FORBIDDEN = ("strcpy strcat sprintf vsprintf gets atoi atol atoll strtok mktemp tmpnam tempnam alloca system popen "
             "signal gethostbyname asctime ctime localtime gmtime setjmp longjmp rand srand").split()


def sources(*exts):
    listing = subprocess.run(["git", "ls-files", "-z"], stdout=subprocess.PIPE, check=True).stdout.decode()
    return [f for f in listing.split("\0") if f.endswith(exts) and os.path.exists(f)]


def product(path):
    return path.startswith(("libcriu-", "criu-"))


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def code_only(text):
    """Comments and literals blanked out, line numbers kept."""
    def blank(m):
        s = m.group(0)
        return re.sub(r"[^\n]", " ", s) if s.startswith("/") else s[0] + " " * (len(s) - 2) + s[-1]
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def layer_of(path):
    best = ""
    for folder in list(ARROWS) + PROTO:
        if (path == folder or path.startswith(folder + "/")) and len(folder) > len(best):
            best = folder
    return best


def includes(path):
    """The project's files that @path includes; generated and system headers are nobody's layer."""
    for n, line in enumerate(read(path).splitlines(), 1):
        m = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
        if not m:
            continue
        for base in [os.path.dirname(path)] + SEARCH:
            target = os.path.normpath(os.path.join(base, m.group(1)))
            if os.path.exists(target):
                yield n, m.group(1), target
                break


def check_arrows(args):
    bad = []
    for path in filter(product, sources(".c", ".h", ".S")):
        own = layer_of(path)
        for n, text, target in includes(path):
            layer = layer_of(target)
            if not own or not layer or layer == own or layer.startswith(own + "/") or layer in ARROWS[own]:
                continue
            if own == "libcriu-proto" and layer in PROTO or text in ALLOWED.get((own, layer), ()):
                continue
            bad.append(f"{path}:{n} includes {text}: {own} may not know {layer}")
    return bad


def check_headers(args):
    """Each header compiles with nothing before it; a .c file includes its own header first, to prove the same."""
    headers = [h for h in sources(".h") if product(h) and "/pie/" not in h]

    def one(header):
        with tempfile.NamedTemporaryFile("w", suffix=".c") as f:
            f.write(f'#include "{os.path.abspath(header)}"\n#include "{os.path.abspath(header)}"\n')
            f.flush()
            cmd = [*args.cc.split(), "-std=gnu11", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
                   "-Wno-missing-field-initializers", *args.cppflags.split(), f.name]
            p = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            if p.returncode:
                lines = [l for l in p.stdout.decode().splitlines() if "error" in l]
                return f"{header} does not stand alone: {(lines or ['?'])[0]}"
            return None

    # Tables that are made of macro calls of their includer are not headers in that sense.
    headers = [h for h in headers if not re.search(r"^/\*.*X-macro|included more than once", read(h)[:2000], re.M | re.S)]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        return [b for b in pool.map(one, headers) if b]


def check_own_header_first(args):
    bad = []
    for path in filter(product, sources(".c")):
        own = path[:-2] + ".h"
        if not os.path.exists(own) or "/pie/" in path:
            continue
        first = re.search(r'^\s*#\s*include\s*["<]([^">]+)[">]', read(path), re.M)
        if not first or os.path.basename(first.group(1)) != os.path.basename(own):
            bad.append(f"{path} includes {first.group(1) if first else 'nothing'} before its own header")
    return bad


def check_forbidden(args):
    bad = []
    call = re.compile(r"(?<![\w.>])(" + "|".join(FORBIDDEN) + r")\s*\(")
    for path in filter(product, sources(".c", ".h")):
        for n, line in enumerate(code_only(read(path)).splitlines(), 1):
            for m in call.finditer(line):
                bad.append(f"{path}:{n} calls {m.group(1)}()")
    return bad


def check_globals(args):
    """File-scope data is const. What the linker puts into .data or .bss of the libraries is mutable."""
    bad = []
    # Addresses in const tables are relocated at start, which is .data.rel.ro and not mutable afterwards.
    for lib in ("libcriu-core.a", "libcriu-proto.a"):
        path = os.path.join(args.build, lib)
        if not os.path.exists(path):
            return f"SKIP: {path} is not built"
        if args.san:
            return "SKIP: sanitizers add data of their own"
        out = subprocess.run(["nm", "-A", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        for line in out.stdout.decode().splitlines():
            m = re.match(r"(\S+):\s*[0-9a-f]*\s+([dDbBC])\s+(\S+)$", line)
            if m and "blob-image" not in m.group(1) and not m.group(3).startswith((".", "__")):
                where = m.group(1).split(":")[-1]
                bad.append((where, m.group(3), m.group(2)))
    if not bad:
        return []
    ro = relocated_read_only(args)
    return [f"{obj}: {name} is mutable file-scope data" for obj, name, kind in bad if name not in ro]


def relocated_read_only(args):
    names = set()
    for lib in ("libcriu-core.a", "libcriu-proto.a"):
        out = subprocess.run(["objdump", "-t", os.path.join(args.build, lib)], stdout=subprocess.PIPE, check=False)
        for line in out.stdout.decode(errors="replace").splitlines():
            m = re.search(r"\s(\.data\.rel\.ro\S*)\s+[0-9a-f]+\s+(?:\.hidden )?(\S+)$", line)
            if m:
                names.add(m.group(2))
    return names


FOLDERS = {".ci", "criu-cli", "criu-srv", "docs", "fuzz", "libcriu-core", "libcriu-proto", "test"}


def check_folders(args):
    """The folders at the top are what somebody new sees first, and stay these."""
    return [f"{name}/ is none of the folders at the top" for name in
            sorted({f.split("/")[0] for f in sources("") if "/" in f} - FOLDERS)]


def check_names(args):
    bad = []
    for path in sources(".c", ".h", ".py", ".sh", ".proto"):
        name = os.path.basename(path)
        if product(path) and not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*(\.pb)?\.[chpyS]+(roto)?", name):
            bad.append(f"{path} is not kebab-case")
    return bad


def check_sizes(args):
    """Style, not a rule: long files and functions are listed; only the far end of the scale fails."""
    bad, files, functions = [], [], []
    for path in filter(product, sources(".c", ".h")):
        lines = read(path).splitlines()
        files.append((len(lines), path))
        start = None
        for n, line in enumerate(lines, 1):
            if line == "{":
                start = n
            elif line == "}" and start:
                name = re.search(r"(\w+)\(", "".join(lines[max(0, start - 4):start - 1][::-1]) or "")
                functions.append((n - start - 1, f"{path}:{start} {name.group(1) if name else '?'}"))
                start = None
    for title, rows in (("longest files", files), ("longest functions", functions)):
        print(f"{title}: " + ", ".join(f"{n} {p}" for n, p in sorted(rows, reverse=True)[:5]))
    bad += [f"{p} has {n} lines" for n, p in files if n > 900]
    bad += [f"{p}() has {n} lines" for n, p in functions if n > 120]
    return bad


def check_scripts(args):
    bad = []
    for path in sources(".py"):
        try:
            compile(read(path), path, "exec")
        except SyntaxError as e:
            bad.append(f"{path}: {e}")
    for path in sources(".sh") + [".ci/run"]:
        if os.path.exists(path):
            shell = "bash" if "bash" in read(path).splitlines()[0] else "sh"
            p = subprocess.run([shell, "-n", path], stderr=subprocess.PIPE, check=False)
            if p.returncode:
                bad.append(f"{path}: {p.stderr.decode().strip()}")
    return bad


def check_kinds(args):
    """Every kind of open file has a row in the table for users."""
    rows = re.findall(r"^\| ([^|]+?) \|", read("docs/kinds.md"), re.M)
    table = re.search(r"kinds\[\] = \{(.*?)\};", read("libcriu-core/files/kinds.c"), re.S).group(1)
    text = "".join(read(f) for f in sources(".c") if f.startswith(("libcriu-core/files/", "libcriu-core/net/")))
    bad = []
    for kind in re.findall(r"&(\w+)_ops", table):
        name = re.search(r'file_ops %s_ops = \{\s*\.name = "([^"]+)"|^REFUSED\(%s, "([^"]+)"' % (kind, kind), text, re.M)
        if not name or (name.group(1) or name.group(2)) not in rows:
            bad.append(f"docs/kinds.md: no row for {name and (name.group(1) or name.group(2)) or kind}")
    return bad


CHECKS = [("folders-at-the-top", check_folders), ("include-direction", check_arrows), ("headers-stand-alone", check_headers),
          ("own-header-first", check_own_header_first), ("forbidden-functions", check_forbidden),
          ("no-mutable-globals", check_globals), ("file-names", check_names), ("sizes", check_sizes),
          ("scripts-parse", check_scripts), ("kinds-in-docs", check_kinds)]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", default="build")
    ap.add_argument("--cc", default="cc")
    ap.add_argument("--cppflags", default="")
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--san", default=os.environ.get("SAN", ""))
    args = ap.parse_args()
    failed = False
    for name, check in CHECKS:
        found = check(args)
        if isinstance(found, str):
            print(f"SKIP {name}: {found[6:]}")
        elif found:
            failed = True
            print("\n".join(found[:40]))
            print(f"FAIL {name}: {len(found)} found; {found[0]}")
        else:
            print(f"PASS {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
