"""Images through a streamer: streamers that are not there, die, hang up early or have something else to give. Cases for
scenarios.py; whole sets go through one in the way "stream"."""
import os
import re
import socket
import sys

from case import TIMEOUT, first_error
from world import Failed
import streamer

PEAK_KIB = 64 << 10
PEAK_OF = "import resource, subprocess, sys; r = subprocess.run(sys.argv[1:]).returncode; " \
          "print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(r)"


class Streams:
    def must_refuse(self, what, *cmd, word):
        code, said = self.world.run([self.criu, *cmd, "-D", self.images, "-o", "other.log", "-v4"], TIMEOUT)
        said += self.log("other.log")
        if code != 1 or word not in said:
            raise Failed(f"{what}: exit status {code}: {first_error(said)}")

    def do_stream_without_streamer(self):
        self.use("tree", "bush")
        self.new_images()
        dump = ("dump", "--stream", "-t", str(self.root))
        self.must_refuse("no streamer", *dump, word="streamer-capture.sock")
        self.must_refuse("no streamer", "restore", "-d", "--stream", word="streamer-serve.sock")
        path = os.path.join(self.images, "streamer-capture.sock")
        with open(path, "w", encoding="utf-8"):
            pass
        self.must_refuse("a file for a socket", *dump, word="is no socket")
        os.unlink(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.bind(path)
        self.must_refuse("nobody listens", *dump, word="connect to the image streamer")
        os.unlink(path)
        self.expect_same("after dumps without a streamer")
        self.finish("after dumps without a streamer")

    def do_stream_refused_combinations(self):
        self.use("tree", "single")
        self.new_images()
        for more in (["--prev-images-dir", ".."], ["--auto-dedup"]):
            self.must_refuse(" ".join(more), "dump", "--stream", "-t", str(self.root), *more, word="cannot be combined")
        self.must_refuse("check --stream", "check", "--stream", word="stream")
        self.expect_same("after refusals")
        self.finish("after refusals")

    def do_streamer_dies_in_dump(self):
        """After any number of bytes; the tree is unharmed, whatever was sent."""
        self.use("memory", "sparse")
        whole = self.stream_dump("--leave-running").total
        for limit in [0, 1, 100, 5000] + [whole * i // 8 for i in range(1, 8)]:
            capture = self.stream_dump(limit=limit, code=1)
            if "inventory.img" in capture.images:
                raise Failed(f"a dump that failed after {limit} bytes has sent an inventory")
            self.expect_same(f"after a streamer that died at {limit} of {whole}")
        self.finish("after streamers that died")

    def do_streamer_dies_in_restore(self):
        for victim, name in (("memory", "sparse"), ("shared", "memfd")):
            self.use(victim, name)
            capture = self.stream_dump()
            self.must_be_gone()
            for limit in [0, 100] + [capture.total * i // 8 for i in range(1, 8)]:
                self.stream_restore(capture.images, limit=limit, code=1)
                left = self.world.clear()
                if left:
                    raise Failed(f"{victim}/{name}: a streamer that died at {limit} of {capture.total}: {left}")
            self.stream_restore(capture.images)
            self.expect_same("after the restore")
            self.finish("after the restore")

    def do_stream_with_holes(self):
        """Each image in turn is not to be had, is empty, or ends early."""
        self.use("threads", "masks")
        good = self.stream_dump().images
        self.must_be_gone()
        for name in sorted(good):
            for how, data in (("missing", None), ("empty", b""), ("cut", good[name][:-1])):
                images = {k: v for k, v in good.items() if k != name}
                if data is not None:
                    images[name] = data
                must_fail = name.startswith("pages-") or name in ("inventory.img", "pstree.img", f"mm-{self.root}.img")
                serve = streamer.Serve(self.images, images)
                code, said = self.world.run([self.criu, "restore", "--stream", "-d", "-D", self.images, "-o", "restore.log"], TIMEOUT)
                said += self.log("restore.log")
                serve.join(30)
                left = self.world.clear()
                if code not in (0, 1) or code == 0 and must_fail or code == 1 and left:
                    raise Failed(f"{name} is {how}: exit status {code}: {first_error(said)}; {left}")
        self.stream_restore(good)
        self.expect_same("after the restore")
        self.finish("after the restore")

    def do_stream_damaged(self):
        """Checksums go through the streamer as well."""
        self.use("tree", "bush")
        good = self.stream_dump().images
        self.must_be_gone()
        for name in [n for n in good if n.startswith("pages-")]:
            bad = bytearray(good[name])
            bad[len(bad) // 2] ^= 4
            said = self.stream_restore({**good, name: bad}, code=1)
            left = self.world.clear()
            if "does not match its checksum" not in said or left:
                raise Failed(f"a flipped bit in {name}: {first_error(said)}; {left}")
        self.stream_restore({n: d for n, d in good.items() if n != "pages.sum"})
        self.expect_same("after a restore without checksums")
        self.finish("after a restore without checksums")

    def do_stream_and_directory(self):
        """What was streamed can be put into a directory; what was not does not say which vDSO it needs."""
        self.use("threads", "masks")
        images = self.stream_dump("--leave-running").images
        for name, data in images.items():
            with open(os.path.join(self.images, name), "wb") as f:
                f.write(data)
        streamed = self.images
        self.must_dump()
        self.must_be_gone()
        plain = {n: open(os.path.join(self.images, n), "rb").read() for n in os.listdir(self.images)}   # noqa: SIM115
        said = self.stream_restore(plain, code=1)
        left = self.world.clear()
        if "which vDSO" not in said or left:
            raise Failed(f"a set of a directory, streamed: {first_error(said)}; {left}")
        self.images = streamed
        self.restore()
        self.expect_same("after the restore")
        self.finish("after the restore")

    def do_stream_lingers(self):
        """A streamer that does not hang up has everything all the same, and is told of."""
        self.use("tree", "single")
        self.new_images()
        capture = streamer.Capture(self.images, lingers=13)
        code, said = self.criu_run("dump", "--stream", "-t", str(self.root), "-D", self.images, "-o", "dump.log")
        if code != 0 or "does not hang up" not in self.log("dump.log"):
            raise Failed(f"exit status {code}: {first_error(said + self.log('dump.log'))}; {self.log('dump.log')}")
        self.must_be_gone()
        self.stream_restore(capture.images)
        self.expect_same("after the restore")
        self.finish("after the restore")

    def do_stream_processor(self):
        """The comparison of processors finds its image there, too."""
        self.use("tree", "single")
        self.dump_args = self.restore_args = ["--cpu-cap=all"]
        images = self.stream_dump().images
        self.must_be_gone()
        said = self.stream_restore({n: d for n, d in images.items() if n != "cpuinfo.img"}, code=1)
        if "no cpuinfo.img" not in said:
            raise Failed(f"without cpuinfo.img: {first_error(said)}")
        self.stream_restore(images)
        self.expect_same("after the restore")
        self.finish("after the restore")

    def do_stream_pre_dump(self):
        """Memory alone, of a tree that goes on, which cannot be restored."""
        self.use("memory", "sparse")
        self.new_images()
        capture = streamer.Capture(self.images)
        code, said = self.criu_run("pre-dump", "--stream", "-t", str(self.root), "-D", self.images, "-o", "dump.log", "-v4")
        capture.join(30)
        names = {n.split("-")[0] for n in capture.images}
        if code != 0 or capture.error or names != {"pagemap", "pages", "pages.sum", "inventory.img"}:
            raise Failed(f"exit status {code}: {first_error(said + self.log('dump.log'))}; {capture.error}; {names}")
        said = self.stream_restore(capture.images, code=1)
        if "pre-dump" not in said:
            raise Failed(f"a restore of a pre-dump: {first_error(said)}")
        self.finish("after a pre-dump")

    def do_stream_script(self):
        """pre-stream is the first that scripts hear; one that refuses ends it there."""
        self.use("tree", "single")
        script, heard = os.path.join(self.base, "script"), os.path.join(self.base, "heard")
        with open(script, "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\necho $CRTOOLS_SCRIPT_ACTION >>{heard}\ntest ! -e {heard}.no\n")
        os.chmod(script, 0o755)
        with open(heard + ".no", "w", encoding="utf-8"):
            pass
        self.new_images()
        self.must_refuse("a script that refuses", "dump", "--stream", "-t", str(self.root), "--action-script", script, word="pre-stream")
        os.unlink(heard + ".no")
        capture = self.stream_dump("--action-script", script)
        self.must_be_gone()
        self.stream_restore(capture.images, "--action-script", script)
        with open(heard, encoding="utf-8") as f:
            words = f.read().split()
        if words[:3] != ["pre-stream", "pre-stream", "pre-dump"] or words.count("pre-stream") != 3:
            raise Failed(f"scripts heard {words}")
        self.finish("after the restore")

    def peak(self, what, cls, images, *cmd):
        s = cls(self.images, images)
        code, said = self.world.run([sys.executable, "-c", PEAK_OF, self.criu, *cmd, "--stream", "-D", self.images, "-o", what + ".log"], TIMEOUT)
        s.join(30)
        found = re.search(r"peak (\d+)", said)
        if code != 0 or not found or s.error:
            raise Failed(f"{what}: exit status {code}: {first_error(said + self.log(what + '.log'))}; {s.error}")
        if int(found.group(1)) > PEAK_KIB:
            raise Failed(f"{what} has used {found.group(1)} KiB")
        return s

    def do_stream_memory(self):
        """The memory of a tree goes by without being kept."""
        self.use("memory", "big")
        self.new_images()
        capture = self.peak("dump", streamer.Capture, None, "dump", "-t", str(self.root))
        size = sum(len(d) for n, d in capture.images.items() if n.startswith("pages-"))
        if size < PEAK_KIB << 10:
            raise Failed(f"the victim has {size} bytes only")
        self.must_be_gone()
        self.peak("restore", streamer.Serve, capture.images, "restore", "-d")
        self.expect_same("after the restore")
        self.finish("after the restore")
