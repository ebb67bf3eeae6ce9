"""Debian's kernel packages: which one has Linux 6.1 (or 5.10, or 6.12), getting it through apt, and taking from it the
kernel and the few modules that a guest needs."""
import lzma
import os
import re
import shutil
import subprocess
import tarfile

# Where Debian has a series when the releases that this machine is set up for do not.
SUITES = {"5.10": ["bullseye-security", "bullseye"], "6.1": ["bookworm-security", "bookworm"],
          "6.12": ["bookworm-backports", "trixie"]}
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# What a distribution would load on demand: socket listings, the disk that carries images between guests, file systems.
MODULES = ["virtio_pci", "virtio_blk", "unix_diag", "inet_diag", "tcp_diag", "udp_diag", "raw_diag", "netlink_diag",
           "af_packet_diag", "af_packet", "crc32c_generic", "nf_tables", "overlay", "fuse", "veth", "tun", "tls"]


class Missing(Exception):
    """This kernel cannot be tried here; the text says why."""


def output(cmd, **kw):
    p = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600, **kw)
    return p.stdout.decode(errors="replace") if p.returncode == 0 else ""


class Apt:
    """apt with its own list of suites and its own state, so that the machine's set-up stays as it is."""

    def __init__(self, directory, suites):
        self.options = []
        if not suites:
            return
        for name in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(directory, name), exist_ok=True)
        sources = os.path.join(directory, "sources.list")
        signed = f"[signed-by={KEYRING}] " if os.path.exists(KEYRING) else ""
        lines = [f"deb {signed}{site} {suite} main" for suite in suites for site in self.sites("security" in suite)]
        with open(sources, "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")
        self.options = ["-o", f"Dir::Etc::SourceList={sources}", "-o", "Dir::Etc::SourceParts=/nonexistent",
                        "-o", f"Dir::State::Lists={directory}/lists", "-o", f"Dir::Cache={directory}/cache"]
        output(["apt-get", *self.options, "update"])

    @staticmethod
    def sites(security):
        """Where this machine gets its packages, for security updates or for all others."""
        rows = output(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"]).split("\n")
        found = {row.split()[0] for row in rows if len(row.split()) == 2 and "debian" in row.split()[0]
                 and ("security" in row) == security}
        return sorted(found)

    def find(self, series):
        """The package with the newest kernel of @series, or None."""
        for row in output(["apt-cache", *self.options, "madison", "linux-image-amd64"]).split("\n"):
            version = row.split("|")[1].strip() if row.count("|") == 2 else ""
            if not version.startswith(series + "."):
                continue
            about = output(["apt-cache", *self.options, "show", f"linux-image-amd64={version}"])
            needs = re.search(r"^Depends: ([^ ,]+)", about, re.M)
            if needs:
                return needs.group(1)
        return None

    def download(self, package, directory):
        before = set(os.listdir(directory))
        output(["apt-get", *self.options, "download", package], cwd=directory)
        new = [n for n in set(os.listdir(directory)) - before if n.endswith(".deb")]
        return os.path.join(directory, new[0]) if new else None


def fetch(series, directory):
    """Name of a package of @series in @directory, which is got first if need be."""
    os.makedirs(directory, exist_ok=True)
    there = [n for n in os.listdir(directory) if re.match(rf"linux-image-{re.escape(series)}\.\d.*\.deb$", n)]
    if there:
        return os.path.join(directory, sorted(there)[-1])
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Missing("no apt and dpkg here")
    for suites in ([], SUITES.get(series)):
        if suites is None:
            continue
        apt = Apt(os.path.join(directory, "apt-" + series), suites)
        package = apt.find(series)
        path = apt.download(package, directory) if package else None
        if path:
            return path
    raise Missing("no suite of Debian that can be reached has a package of it")


def members(deb):
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as p:
        with tarfile.open(fileobj=p.stdout, mode="r|") as tar:
            for member in tar:
                if member.isfile():
                    yield member.name, tar.extractfile(member)


def module_name(path):
    m = re.search(r"/([^/]+)\.ko(\.xz)?$", path)
    return m.group(1).replace("-", "_") if m else None


def module_bytes(path, file):
    data = file.read()
    return lzma.decompress(data) if path.endswith(".xz") else data


def has(path, text):
    try:
        with open(path, encoding="utf-8") as f:
            return f.read() == text
    except OSError:
        return False


def version_of(image):
    """"6.1" of a bzImage; Documentation/arch/x86/boot.rst, "kernel_version"."""
    with open(image, "rb") as f:
        data = f.read(0x10000)
    at = 0x200 + int.from_bytes(data[0x20e:0x210], "little")
    found = re.match(rb"\d+\.\d+", data[at:at + 16])
    if data[0x202:0x206] != b"HdrS" or not found:
        raise SystemExit(f"{image} is no Linux kernel for x86")
    return found.group().decode()


def unpack(deb, directory):
    """vmlinuz and modules (numbered in the order of loading) of a package, kept in @directory. Returns their names."""
    done, wanted = os.path.join(directory, "complete"), " ".join(MODULES)
    if not has(done, wanted):
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        needs = {}
        for path, file in members(deb):
            name = module_name(path)
            if name:
                found = re.search(rb"\0depends=([^\0]*)\0", b"\0" + module_bytes(path, file))
                needs[name] = found.group(1).decode().replace("-", "_").split(",") if found and found.group(1) else []
            elif "/boot/vmlinuz-" in path:
                with open(os.path.join(directory, "vmlinuz"), "wb") as out:
                    shutil.copyfileobj(file, out)
        order = []

        def want(name):
            if name in needs and name not in order:
                for other in needs[name]:
                    want(other)
                order.append(name)
        for name in MODULES:
            want(name)
        for path, file in members(deb):
            name = module_name(path)
            if name in order:
                with open(os.path.join(directory, f"{order.index(name):02}-{name}.ko"), "wb") as out:
                    out.write(module_bytes(path, file))
        with open(done, "w", encoding="utf-8") as out:
            out.write(wanted)
    names = sorted(os.listdir(directory))
    if "vmlinuz" not in names:
        raise Missing(f"no kernel in {os.path.basename(deb)}")
    return os.path.join(directory, "vmlinuz"), [os.path.join(directory, n) for n in names if n.endswith(".ko")]
