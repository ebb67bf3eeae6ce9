"""What can be seen of processes from outside, in a form that two moments can be compared in.

Left out is what has to differ: times, counters, resident sizes. Numbers that name kernel objects (inodes of pipes, of
unlinked files, of anonymous shared memory) become indices in order of appearance, so that sharing still shows.
"""
import ctypes
import os
import re
import subprocess

LIBC = ctypes.CDLL(None, use_errno=True)
SYS_IOPRIO_GET = 252

STATUS_SKIPPED = ("State", "PPid", "FDSize", "SigQ", "VmPeak", "VmHWM", "VmRSS", "RssAnon", "RssFile", "RssShmem", "VmSwap",
                  "VmPTE", "Ngid", "CoreDumping", "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches", "Mems_allowed_list",
                  "Cpus_allowed_list", "TracerPid")
# numbers as in proc(5), counted from 1
STAT_FIELDS = {7: "tty", 18: "priority", 19: "nice", 20: "threads", 26: "start_code", 27: "end_code", 28: "start_stack",
               38: "exit_signal", 40: "rt_priority", 41: "policy", 45: "start_data", 46: "end_data", 47: "start_brk",
               48: "arg_start", 49: "arg_end", 50: "env_start", 51: "env_end", 52: "exit_code"}
PLAIN_FILES = ("limits", "environ", "cmdline", "auxv", "oom_score_adj", "coredump_filter", "personality", "loginuid", "cgroup",
               "timers", "timerslack_ns", "uid_map", "gid_map", "attr/current", "comm")
LINKS = ("exe", "cwd", "root", "ns/mnt", "ns/net", "ns/ipc", "ns/uts", "ns/pid", "ns/user", "ns/cgroup", "ns/time")


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        return f"<{e.strerror}>".encode()


def link(path):
    try:
        return os.readlink(path)
    except OSError as e:
        return f"<{e.strerror}>"


def pids():
    return sorted(int(n) for n in os.listdir("/proc") if n.isdigit())


def mounts(pid):
    """Mount id: mount point, device"""
    text = read(f"/proc/{pid}/mountinfo")
    if link(f"/proc/{pid}/root") != "/":
        # who has another root directory is shown only what lies below that
        text = subprocess.run(["nsenter", f"--mount=/proc/{pid}/ns/mnt", "cat", "/proc/self/mountinfo"], stdout=subprocess.PIPE,
                              check=False).stdout
    rows = [line.split() for line in text.decode(errors="replace").splitlines()]
    return {r[0]: (r[4], r[2]) for r in rows if len(r) > 4}


class Names:
    """Numbers of kernel objects as indices."""

    def __init__(self):
        self.seen = {}

    def index(self, kind, key):
        return self.seen.setdefault((kind, key), sum(1 for k, _ in self.seen if k == kind))


class Snapshot:
    def __init__(self, tree, root):
        self.names, self.root = Names(), root
        self.outside = {}
        root_stat = self.stat_of(f"/proc/{root}")
        # A root that leads neither session nor group is in those of whoever started it.
        self.outer_pgid = root_stat[4] if root_stat and root_stat[4] != str(root) and int(root_stat[4]) not in tree else None
        self.outer_sid = root_stat[5] if root_stat and root_stat[5] != str(root) and int(root_stat[5]) not in tree else None
        self.tree = set(tree)
        self.own_mounts = link(f"/proc/{root}/ns/mnt") not in (link("/proc/self/ns/mnt"), "")
        self.mounts = dict(mounts("self"), **(mounts(root) if self.own_mounts else {}))
        self.shared = {dev for _, dev in mounts("self").values()}
        self.tasks = {pid: self.task(pid) for pid in tree}

    @staticmethod
    def stat_of(directory):
        text = read(directory + "/stat").decode(errors="replace")
        m = re.match(r"(\d+) \((.*)\) (.*)$", text, re.S)
        return [m.group(1), m.group(2)] + m.group(3).split() if m else None

    def stat(self, directory, is_task):
        stat = self.stat_of(directory)
        if not stat:
            return {"stat": "<gone>"}
        out = {"comm": stat[1], "state": {"T": "stopped", "t": "traced", "Z": "dead", "X": "dead"}.get(stat[2], "alive")}
        if is_task:
            out["ppid"] = stat[3] if int(stat[3]) in self.tree else "outside"
            out["pgid"] = "outside" if stat[4] == self.outer_pgid else stat[4]
            out["sid"] = "outside" if stat[5] == self.outer_sid else stat[5]
        for number, name in STAT_FIELDS.items():
            out[name] = stat[number - 1]
        return out

    @staticmethod
    def status(directory):
        out = {}
        for line in read(directory + "/status").decode(errors="replace").split("\n"):
            key, _, value = line.partition(":")
            if value and key not in STATUS_SKIPPED:
                out["status " + key] = value.strip()
        return out

    def private(self, dev):
        """Is this a file system that only the tree sees? It is made anew, with other numbers. @dev: "major:minor" in decimal"""
        return self.own_mounts and dev not in self.shared and not dev.startswith("0:0")

    def mount_line(self, line):
        """A line of fdinfo, with names for the numbers of mounts and of files on them."""
        if not self.own_mounts:
            return line
        m = re.match(r"mnt_id: (\d+)$", line)
        if m:
            return "mount " + self.mounts.get(m.group(1), ("?", ""))[0]
        m = re.match(r"lock: (.*) ([0-9a-f]+):([0-9a-f]+):(\d+) (.*)$", line)
        if m and self.private(f"{int(m.group(2), 16)}:{int(m.group(3), 16)}"):
            return f"lock: {m.group(1)} private {m.group(5)}"
        m = re.search(r"sdev:([0-9a-f]+)", line)
        if m and self.private(f"{int(m.group(1), 16) >> 20}:{int(m.group(1), 16) & 0xfffff}"):
            line = re.sub(r"(ino|sdev|f_handle):[0-9a-f]+", r"\1:private", line)
        m = re.search(r"mnt_id:([0-9a-f]+)", line)
        return line.replace(m.group(0), "mount " + self.mounts.get(str(int(m.group(1), 16)), ("?", ""))[0]) if m else line

    def object_name(self, text, inode, dev=""):
        """A path, and an index where the inode number cannot be the same after a restore."""
        m = re.match(r"(pipe|socket):\[(\d+)\]$", text)
        if m:
            return f"{m.group(1)}:#{self.names.index(m.group(1), m.group(2))}"
        if text.endswith(" (deleted)") or text.startswith(("/memfd:", "/SYSV", "anon_inode:")):
            if text.startswith("anon_inode:"):
                return text
            return f"{text} #{self.names.index('ghost', inode)}"
        if inode and self.private(dev) and not re.match(r"/proc/\d", text):
            return f"{text} private #{self.names.index('private', (dev, inode))}"
        # procfs makes inodes of processes as they are asked for
        return f"{text} inode={inode}" if inode and not re.match(r"/proc/\d", text) else text

    def maps(self, pid):
        """Mappings with their flags; neighbours that differ in nothing are one, since the kernel may join them."""
        rows, current = [], None
        for line in read(f"/proc/{pid}/smaps").decode(errors="replace").split("\n"):
            m = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) (\S+) (\d+) *(.*)$", line)
            if m:
                start, end, perms, offset, dev, inode, name = m.groups()
                where = ":".join(str(int(n, 16)) for n in dev.split(":"))
                what = self.object_name(name, inode, where) if inode != "0" else name
                dev = "private" if inode != "0" and self.private(where) else dev
                if name.endswith(" (deleted)"):
                    dev = "?"
                # Anonymous shared memory is made anew as a memfd, so that all who share it can map it.
                what = what.replace("/memfd:/dev/zero (deleted)", "/dev/zero (deleted)")
                current = {"start": int(start, 16), "end": int(end, 16), "perms": perms, "offset": int(offset, 16),
                           "dev": dev, "what": what, "flags": ""}
                rows.append(current)
            elif line.startswith("VmFlags:") and current:
                current["flags"] = " ".join(f for f in line[8:].split() if f not in ("sd", "dw"))   # dw: set by exec alone, before 5.16
            elif line.startswith("KernelPageSize:") and current and line.split()[1] != "4":
                current["flags"] += " pages=" + line.split()[1]
        out = []
        for row in rows:
            last = out[-1] if out else None
            if (last and last["end"] == row["start"] and all(last[k] == row[k] for k in ("perms", "dev", "what", "flags"))
                    and (row["dev"] == "00:00" or last["offset"] + last["end"] - last["start"] == row["offset"])
                    and not row["what"].startswith("[")):
                last["end"] = row["end"]
            else:
                out.append(dict(row))
        return {f"map {r['start']:x}-{r['end']:x}": f"{r['perms']} {r['offset']:x} {r['dev']} {r['what']} [{r['flags']}]"
                for r in out}

    def descriptors(self, pid):
        out = {}
        try:
            numbers = sorted(int(n) for n in os.listdir(f"/proc/{pid}/fd"))
        except OSError as e:
            return {"fd": f"<{e.strerror}>"}
        for n in numbers:
            target = link(f"/proc/{pid}/fd/{n}")
            info = read(f"/proc/{pid}/fdinfo/{n}").decode(errors="replace")
            m = re.search(r"^ino:\s*(\d+)$", info, re.M)
            inode = m.group(1) if m else ""
            m = re.search(r"^mnt_id:\s*(\d+)$", info, re.M)
            dev = self.mounts.get(m.group(1), ("", ""))[1] if m else ""
            lines = []
            for line in info.split("\n"):
                key = line.partition(":")[0]
                if key in ("ino", "eventfd-id", "scm_fds") or not line:
                    continue
                if key == "mnt_id" and re.match(r"(pipe|socket|anon_inode|/memfd):", target):
                    continue
                # time goes on in a timerfd; an epoll shows inodes that need not stay
                if key in ("it_value", "ticks"):
                    continue
                line = re.sub(r" *ino:[0-9a-f]+ sdev:[0-9a-f]+", "", line) if key == "tfd" else line
                # /proc/locks numbers its lines; the inode of a lock is that of the file
                line = re.sub(r"^lock:\s*\d+: ", "lock: ", re.sub(r"\s+", " ", line))
                lines.append(self.mount_line(line))
            out[f"fd {n}"] = self.object_name(target, inode, dev) + " " + "; ".join(sorted(lines))
        return out

    def task(self, pid):
        base = f"/proc/{pid}"
        out = self.stat(base, True)
        out.update(self.status(base))
        if out.get("state") == "dead" and out.get("threads") in ("0", "1"):
            # What is left of a zombie is its place in the tree, its name and how it ended; signals cannot reach it.
            return {k: v for k, v in out.items() if not k.startswith(("status Sig", "status Shd"))}
        # Of a process that lives, this is the stop that its parent has not been told of yet.
        out.pop("exit_code", None)
        for name in PLAIN_FILES:
            out[name] = read(f"{base}/{name}")
        # the newest timer stands first, which says nothing about any of them
        records = re.split(rb"(?m)^(?=ID: )", out["timers"])
        out["timers"] = b"".join(sorted(r for r in records if r))
        # "my own processor time" and the clock of a thread by its number are the same clock; linux/posix-timers.h
        out["timers"] = re.sub(rb"ClockID: -\d+$", b"ClockID: processor time", out["timers"], flags=re.M)
        for name in LINKS:
            out[name] = link(f"{base}/{name}")
        # A tree's own namespace is another one afterwards.
        for ns in ("ns/ipc", "ns/mnt"):
            if out[ns] != link(f"/proc/self/{ns}"):
                out[ns] = "its own" if out[ns] == link(f"/proc/{self.root}/{ns}") else "another"
        # The inode of a file that is gone shows nowhere but in stat; the name is compared.
        out.update(self.maps(pid))
        out.update(self.descriptors(pid))
        out["ioprio"] = LIBC.syscall(SYS_IOPRIO_GET, 1, pid)
        try:
            tids = sorted(int(t) for t in os.listdir(base + "/task"))
        except OSError:
            tids = []
        out["tids"] = tids
        for tid in tids:
            if tid == pid:
                continue
            thread = self.stat(f"{base}/task/{tid}", False)
            thread.update(self.status(f"{base}/task/{tid}"))
            thread["timerslack_ns"] = read(f"/proc/{tid}/timerslack_ns")
            thread["ioprio"] = LIBC.syscall(SYS_IOPRIO_GET, 1, tid)
            out.update({f"thread {tid} {k}": v for k, v in thread.items()})
        return out


def same(old, new):
    """A file without a name has to be made under some name before that is removed again; its own may be in use."""
    if old == new:
        return True
    if not (isinstance(old, str) and isinstance(new, str)):
        return False
    made = re.compile(r"/(link_remap\.\d+|\.cr-ghost-[-\w]+|#\d+) \(deleted\)")
    return bool(made.search(new)) and re.sub(r"/[^/]* \(deleted\)", "/", old) == made.sub("/", new)


def compare(before, after, limit=12):
    """Differences as sentences."""
    out = []
    if set(before.tasks) != set(after.tasks):
        out.append(f"processes were {sorted(before.tasks)}, are {sorted(after.tasks)}")
    for pid in sorted(set(before.tasks) & set(after.tasks)):
        old, new = before.tasks[pid], after.tasks[pid]
        for key in list(old) + [k for k in new if k not in old]:
            if not same(old.get(key), new.get(key)):
                was, now = differing_lines(old.get(key), new.get(key))
                out.append(f"pid {pid}: {key}: was {short(was)}, is {short(now)}")
    if len(out) > limit:
        out = out[:limit] + [f"and {len(out) - limit} more"]
    return out


def differing_lines(old, new):
    """Of two texts of several lines, what is not in the other."""
    if not (isinstance(old, bytes) and isinstance(new, bytes)) or b"\n" not in old.strip():
        return old, new
    a, b = old.splitlines(), new.splitlines()
    return b" / ".join(x for x in a if x not in b) or old, b" / ".join(x for x in b if x not in a) or new


def short(value):
    if isinstance(value, bytes):
        value = value.decode(errors="backslashreplace")
    text = str(value) if value is not None else "nothing"
    return text if len(text) < 260 else text[:250] + "..."
