"""Images that are damaged, or made to do harm."""
import os
import shutil
import subprocess

from fault import ANSWER, Failed, Fault, first_error, listing, sysv_segments
import mutate

# Between them all kinds of images.
SETS = [("pipes", "ring"), ("files", "unlinked"), ("files", "link-remap"), ("threads", "masks"), ("shared", "anonymous"),
        ("memory", "deleted-file"), ("signals", "pending-threads"), ("timers", "posix"), ("files", "locks"), ("tree", "zombies"),
        ("pipes", "fifo-unlinked"), ("creds", "groups"), ("files", "directories"), ("shared", "sysv")]


class Images(Fault):
    def prepare(self, victim, name):
        self.use(victim, name)
        self.must_dump()
        self.must_be_gone()
        self.files_before = listing(self.dir)
        self.shm_before = sysv_segments()
        self.good = self.images
        self.save_links()
        self.outside = os.path.join(self.base, "outside")
        shutil.rmtree(self.outside, ignore_errors=True)
        os.mkdir(self.outside)
        self.precious = os.path.join(self.outside, "precious")
        with open(self.precious, "w", encoding="utf-8") as f:
            f.write("do not touch")
        self.evil = [b"", b"x", self.precious.encode(), b"../" * 20 + self.precious.lstrip("/").encode(), b"/", b"..", b"a" * 5000,
                     b"a\0b", b"%s%n%s%n", b"\xff" * 64, b"/proc/self/mem", self.outside.encode() + b"/made", b"/dev/null/x"]

    def save_links(self):
        """A restore takes links away that were made for it; the next one needs them again."""
        self.links = {}
        for name in (n for n in os.listdir(self.dir) if n.startswith("link_remap.")):
            self.links[os.path.join(self.dir, name)] = os.path.join(os.path.dirname(self.dir), "saved-" + name)
        for path, saved in self.links.items():
            os.link(path, saved)

    def put_links_back(self):
        for path, saved in self.links.items():
            if not os.path.exists(path):
                os.link(saved, path)

    def names(self):
        return sorted(n for n in os.listdir(self.good) if n.endswith((".img", ".sum")) and not os.path.isdir(os.path.join(self.good, n)))

    def attempt(self, name, what, harm):
        """One damaged copy of the set: refused without traces and with a word on what is wrong, or restored."""
        self.images = os.path.join(self.base, "harmed")
        shutil.rmtree(self.images, ignore_errors=True)
        shutil.copytree(self.good, self.images, symlinks=True)
        for log in ("dump.log", "restore.log"):
            if os.path.exists(os.path.join(self.images, log)):
                os.unlink(os.path.join(self.images, log))
        harm(os.path.join(self.images, name))
        there = os.listdir(self.images)
        when = f"{self.name}: {name}, {what}"
        try:
            code, said = self.criu_run("restore", "-d", "-D", self.images, "-v1", "-o", "restore.log", *self.restore_args,
                                       timeout=ANSWER)
        except Failed as e:
            raise Failed(f"{when}: {e} {self.keep(name)}") from None
        said += self.log("restore.log")
        if "Sanitizer" in said or "runtime error:" in said:
            raise Failed(f"{when}: {said[-800:]}")
        if code == 0:
            self.restored(when)
        elif code == 1:
            self.note("refused")
            self.expect_words_on(name, when, said)
            self.nothing_left(when, there)
        else:
            raise Failed(f"{when}: exit status {code}: {first_error(said)}")
        self.expect_untouched(when)

    def keep(self, name):
        """With --verbose, the set that did it stays (run.py --keep)."""
        if not self.verbose:
            return ""
        kept = os.path.join(self.base, f"kept-{self.notes.get('kept', 0)}-{self.name}-{name}")
        self.note("kept")
        shutil.copytree(self.images, kept, symlinks=True)
        return f"(kept in {kept})"

    def restored(self, when):
        tree = self.world.tree()
        same = tree and not self.differences()
        self.note("restored the same" if same else "restored something else" if tree else "restored and ended")
        self.world.clear()
        self.put_links_back()
        for name in ("fails", "result"):
            if os.path.exists(os.path.join(self.dir, name)):
                os.unlink(os.path.join(self.dir, name))
        self.remove_segments()

    def remove_segments(self):
        for shm in set(sysv_segments()) - set(self.shm_before):
            subprocess.run(["ipcrm", "-m", shm], check=False, stderr=subprocess.DEVNULL)

    def expect_words_on(self, name, when, said):
        error = first_error(said)
        if "Error" not in error:
            raise Failed(f"{when}: refused without a word: {said[-200:]!r}")
        stem = name.split(".")[0].split("-")[0].lower()
        if stem not in error.lower() and not any(w in error for w in ("pid ", "fd ", "file ", "image", "thread ", "pipe", ".img")):
            self.note("vague errors")
            if self.verbose:
                print(f"vague: {when}: {error}", flush=True)

    def expect_untouched(self, when):
        with open(self.precious, encoding="utf-8") as f:
            text = f.read()
        if text != "do not touch" or os.listdir(self.outside) != ["precious"]:
            raise Failed(f"{when}: files outside were touched: {os.listdir(self.outside)}, {text[:30]!r}")

    def all_sets(self, count, each):
        harms = []
        for victim, name in self.in_time(self.few(SETS, count)):
            self.prepare(victim, name)
            for args in self.in_time(each()):
                try:
                    self.attempt(*args)
                except Failed as e:
                    harms.append(str(e))
                    self.world.clear()
                    self.remove_segments()
                    self.put_links_back()
                    self.files_before = listing(self.dir)
                    if not self.long and len(harms) > 2 or len(harms) > 60:
                        raise Failed(" || ".join(harms)) from None
            self.images = self.good
            self.comes_back(f"{victim}/{name}: undamaged images")
            self.forget()
        if harms:
            raise Failed(f"{len(harms)} times: " + " || ".join(harms))

    def do_content(self):
        def each():
            for name in self.names() if self.long else self.rng.sample(self.names(), min(6, len(self.names()))):
                with open(os.path.join(self.good, name), "rb") as f:
                    data = f.read()
                if not data:
                    continue
                for what, new in mutate.contents(data, self.rng, self.evil, 2 if not self.long else 40):
                    yield name, what, lambda path, new=new: write(path, new)
        self.all_sets(4, each)

    def do_several_changes(self):
        """Some members of one image at a time: one check may hold only while another member is honest."""
        def each():
            for name in self.names():
                with open(os.path.join(self.good, name), "rb") as f:
                    data = f.read()
                if name.startswith(mutate.RAW) or not data:
                    continue
                for n in range(100 if self.long else 2):
                    new = mutate.changed_file(data, self.evil, self.rng, 1 + n % 4)
                    yield name, f"{1 + n % 4} changes, {n}", lambda path, new=new: write(path, new)
        self.all_sets(2, each)

    def do_outside(self):
        """Open files that are said to be somewhere else, to be made or to be emptied: nothing is made, nothing emptied."""
        def each():
            with open(os.path.join(self.good, "files.img"), "rb") as f:
                head, payloads, rest = mutate.records(f.read())
            for i, payload in enumerate(payloads):
                for path in (self.precious, os.path.join(self.outside, "made")):
                    for flags in (os.O_RDWR | os.O_CREAT | os.O_TRUNC, os.O_WRONLY | os.O_CREAT | os.O_EXCL, os.O_RDWR | os.O_TMPFILE):
                        new = mutate.point_to(payload, path.encode(), flags)
                        if new:
                            content = mutate.assemble(head, payloads[:i] + [new] + payloads[i + 1:], rest)
                            yield "files.img", f"record {i} is {path}, flags {flags:o}", lambda at, c=content: write(at, c)
        self.all_sets(2, each)

    def do_registers(self):
        """What the processor would not take of a thread is refused while the images are read, and the thread is named."""
        self.prepare("threads", "masks")
        threads = [n for n in self.names() if n.startswith("core-")]
        xsave, ymm = (2, 3, 13), (2, 3, 13, 2)   # core_entry.thread_info.fpregs.xsave, .ymmh_space
        harms = [("a word of AVX less", ymm, drop_one), ("a word of FXSAVE less", (2, 3, 10), drop_one),
                 ("a component that nobody knows", xsave + (1,), lambda rows: [(1, 0, rows[0][2] | 1 << 40)]),
                 ("AMX without its state", xsave + (1,), lambda rows: [(1, 0, rows[0][2] | 1 << 18)]),
                 ("a shadow stack", xsave + (9, 2), lambda rows: [(2, 0, 4096)]),
                 ("no general registers", (2, 2), lambda rows: []), ("a base in the kernel", (2, 2, 22), lambda rows: [(22, 0, 1 << 63)]),
                 ("a descriptor that is none", (2, 4, 1), lambda rows: [(1, 0, 99)])]
        for n, (what, path, change) in enumerate(harms):
            self.refused_registers(threads[n % len(threads)], what, path, change)
        self.images = self.good
        self.comes_back("after registers that were refused")

    def refused_registers(self, name, what, path, change):
        def harm(at):
            with open(at, "rb") as f:
                head, payloads, rest = mutate.records(f.read())
            new = [mutate.edited(p, path, change) for p in payloads]
            if new == payloads:
                raise Failed(f"{name}: {what}: nothing to change")
            write(at, mutate.assemble(head, new, rest))
        self.attempt(name, what, harm)
        error = first_error(self.log("restore.log"))
        if "read images" not in error or f"thread {name[5:-4]}:" not in error and name not in error:
            raise Failed(f"{name}: {what}: {error}")

    def do_replaced(self):
        """Something that is no such image stands in its place; a fifo without a writer must not be waited for."""
        def each():
            names = self.names()
            for name in self.few(names, 5):
                rows = mutate.replacements(os.path.join(self.base, "harmed", name), [])
                for k, (what, _) in self.few(enumerate(rows), 4):
                    yield name, what, lambda path, k=k: mutate.replacements(path, [])[k][1]()
                for other in self.few([n for n in names if n != name], 1):
                    yield name, f"content of {other}", lambda path, other=other: shutil.copyfile(os.path.join(self.good, other), path)
        self.all_sets(3, each)


def drop_one(rows):
    """A repeated number less, packed or not."""
    number, kind, value = rows[-1]
    if kind == 0:
        return rows[:-1]
    ends = [i for i, byte in enumerate(value) if not byte & 0x80]
    return rows[:-1] + [(number, kind, value[:ends[-2] + 1])]


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)
