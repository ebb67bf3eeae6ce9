"""What breaks while a process moves away from its memory: it is left whole in one of the two places. Cases for away.py."""
import functools
import os
import shutil
import signal
import socket
import struct

import failing
import lazy
import state
import wire
from afar import NOTHING, Away
from world import Failed

# passes so much of what the server says, and then cuts, or holds the rest back
RELAY = """import signal, socket, sys, threading
left, port, holds = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
conn, _ = socket.socket(fileno=0).accept()
out = socket.create_connection(("127.0.0.1", port))
def there():
    try:
        while data := conn.recv(65536):
            out.sendall(data)
    except OSError:
        pass
    out.shutdown(1)
threading.Thread(target=there, daemon=True).start()
while left and (data := out.recv(min(left, 65536))):
    conn.sendall(data)
    left -= len(data)
while holds:
    signal.pause()
"""


def never_starts(args, base, seed):
    """As long as nothing has run elsewhere, whatever fails gives the process back to where it was."""
    def given_back(what):
        s.dumper_ends(1)
        s.daemon_ends()
        s.goes_on_here(what)
        if os.path.exists(os.path.join(s.images, "inventory.img")):
            raise Failed(f"{what}: images whose memory is gone look whole")
    with Away(args, base, seed, 16) as s:
        s.leave()
        s.serve_there()
        s.world.kill([s.daemon])
        given_back("the daemon was killed")
        s.leave()
        s.serve_there()
        for stage in failing.stages(functools.partial(s.far, "restore", "-d", "--lazy-pages", code=1), "resume"):
            if stage in lazy.WITH_TASKS:
                given_back(f"a restore failed at stage {stage}")
                s.leave()
                s.serve_there()
            elif s.dumper in s.world.ended or s.daemon not in s.named("criu"):
                # one that fails before it has made anything can be tried again
                raise Failed(f"a restore failed at stage {stage}, and is not waited for any more: {s.read_log('dump.log')[-300:]}")
        s.world.kill([s.daemon])
        given_back("another daemon was killed")
        s.leave()
        os.kill(s.dumper, signal.SIGKILL)
        s.world.until(lambda: s.dumper in s.world.ended, 10, "the dump is killed")
        s.world.until(lambda: not s.named("criu"), 10, "nobody is left of it")
        s.goes_on_here("the dump was killed")


def fails_late(args, base, seed):
    """
    A restore that fails, or is killed, when it has said that its tasks start, ends them: that is not taken for a tree which
    needs no more of its memory. Nor is one that says nonsense; but one that ends by itself is.
    """
    starts, runs = struct.pack("<I", 1), struct.pack("<I", 2)
    for words, ends, here in (((), 1, b"S"), ((starts,), 1, b"T"), ((runs,), 1, b"S"), ((b"?",), 1, b"S"), ((starts, starts), 1, b"T"),
                              ((starts, runs), 0, None)):
        with Away(args, base, seed, 4) as s:
            s.leave()
            s.serve_there()
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as restore:
                restore.settimeout(20)
                restore.connect(os.path.join(s.images, "lazy-pages.socket"))
                restore.send(struct.pack("<8sIi40s", b"crlazy3", 0, 1, b""))
                for i, word in enumerate((b"", *words)):
                    if word:
                        restore.send(word)
                    # what it is told of what it lacks, and the first time that it says that it starts
                    if (i == 0 or i == 1 and word == starts) and restore.recv(4096)[:4] != bytes(4):
                        raise Failed(f"{words}: refused")
            s.dumper_ends(ends)
            s.daemon_ends()
            if here:
                s.world.until(lambda: s.state_of(s.root) == [here], 10, f"{words}: its state here is {here.decode()}")
            elif os.path.exists(f"/proc/{s.root}"):
                raise Failed(f"{words}: it is still here")
        shutil.rmtree(s.images)
        os.unlink(s.board)


def relay(s, size, holds=False):
    """Somebody between the two who hangs up after so many bytes, or passes no more. Returns its port."""
    return s.behind(RELAY, str(size), str(s.port), str(holds))


def cut(args, base, seed):
    """
    The connection breaks when the process runs elsewhere already: it ends there without having read a zero, and is stopped
    here, where it goes on when it is told to.
    """
    with Away(args, base, seed) as s:
        s.leave(address="127.0.0.1")
        port = relay(s, 24 << 20)
        s.serve_there(port=port)
        s.tell(lazy.CHECK)
        s.arrive()
        s.dumper_ends(1)
        s.daemon_ends()
        s.world.until(lambda: s.proxy in s.world.ended, 10, "the end of what was in between")
        s.judge("after the cut")
        if s.see("done") == lazy.CHECK:
            raise Failed("it has seen everything, although half of it was cut off")
        s.world.until(lambda: s.named("sleeper") == [s.root], 10, "it is gone there")
        s.world.until(lambda: s.state_of(s.root) == [b"T"], 10, "it is stopped here")
        if "left stopped here" not in s.read_log("dump.log"):
            raise Failed(f"no word about it: {s.read_log('dump.log')[-300:]}")
        s.tell(NOTHING)
        os.kill(s.root, signal.SIGCONT)
        s.goes_on_here("after SIGCONT")


def killed(who):
    """
    In the midst of the move somebody is killed: never two that run, nobody reads zeroes, and what is here is whole. "dump" is
    the process that people see, "holder" the one that has the tasks.
    """
    def case(args, base, seed):
        with Away(args, base, seed) as s:
            s.leave(address="127.0.0.1")
            port = relay(s, 24 << 20, holds=True)
            s.serve_there(port=port)
            s.tell(lazy.CHECK)
            s.arrive()
            kids = state.read(f"/proc/{s.dumper}/task/{s.dumper}/children").split()
            victims = {"daemon": [s.daemon], "dump": [s.dumper], "holder": [int(kids[0])], "both": [s.dumper, int(kids[0])]}[who]
            for pid in victims:
                os.kill(pid, signal.SIGSTOP)   # at the same instant
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            if who != "daemon":
                s.world.kill([s.proxy])          # as the network would tell
            s.world.until(lambda: s.dumper in s.world.ended, 20, "the end of the dump")
            s.daemon_ends()
            s.world.until(lambda: not s.named("criu"), 10, "nobody is left of it")
            s.world.until(lambda: s.named("sleeper") == [s.root], 10, "it is gone there")
            s.judge(f"after the kill of the {who}")
            s.world.until(lambda: s.state_of(s.root) == [b"T"], 10, "it is stopped here")
            s.tell(NOTHING)
            os.kill(s.root, signal.SIGCONT)
            s.goes_on_here(f"after the kill of the {who}")
    return case


def strangers(args, base, seed):
    """Who does not ask for memory, or for what is not there, gets nothing, and the one who is waited for still finds it."""
    with Away(args, base, seed, 16) as s:
        s.leave(address="127.0.0.1")
        nothing = wire.record(wire.GET, 1, 0x1000, s.root)
        silent = [wire.Wire(s.port) for _ in range(40)]
        for name, data in {"words": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(64), "no page": nothing,
                           "no process": wire.record(wire.GET, 1, 0x1000, 1), "nowhere": wire.record(wire.GET, 1, 1 << 60, s.root),
                           "too many": wire.record(wire.GET, 1 << 52, 0x1000, s.root), "none": wire.record(wire.GET, 0, 0x1000, s.root),
                           "brings pages": wire.record(wire.ADD_F, 1, 0x1000, wire.task(s.root), wire.PRESENT) + bytes(4096),
                           "old": struct.pack("<IIQQ", wire.GET, 1, 0x1000, s.root) * 4, "gone": b""}.items():
            w = wire.Wire(s.port)
            w.say(data)
            if not data:
                w.close()
                continue
            if len(w.hear(4096)) != 0:
                raise Failed(f"{name}: it was answered")
            w.close()
        if s.dumper in s.world.ended or s.state_of(s.root) != [b"t"]:
            raise Failed(f"the dump does not wait any more: {s.read_log('dump.log')[-300:]}")
        _, entries = wire.pagemap(os.path.join(s.images, f"pagemap-{s.root}.img"))
        at, nr, _ = max((e for e in entries if e[2] == wire.LAZY), key=lambda e: e[1])
        # while it is there: it ends behind the last answer, whoever has read that
        with open(f"/proc/{s.root}/mem", "rb") as f:
            f.seek(at)
            mem = f.read(nr * wire.PAGE)
        # by hand, as others do: no greeting, and in order
        w = wire.Wire(s.port)
        w.say(wire.record(wire.GET, nr, at, s.root), wire.record(wire.GET, 1, at, s.root), wire.record(wire.CLOSE))
        if w.hear(32) != wire.record(wire.ADD_F, nr, at, s.root, wire.PRESENT):
            raise Failed("GET was not answered with what was asked for")
        if len(mem) != nr * wire.PAGE or w.hear(nr * wire.PAGE) != mem:
            raise Failed("the pages are not those of the process")
        if w.hear(32) != wire.record(wire.ADD_F, 1, at, s.root, wire.PRESENT) or w.hear(wire.PAGE) != mem[:wire.PAGE]:
            raise Failed("the second GET was not answered")
        if w.number() != 0:
            raise Failed("CLOSE was not answered with 0")
        w.close()
        s.dumper_ends(0)
        for w in silent:
            w.close()


LIAR = """import socket, struct, sys
how = sys.argv[1]
while True:
    conn, _ = socket.socket(fileno=0).accept()
    while len(rec := conn.recv(32, socket.MSG_WAITALL)) == 32:
        cmd, pad, nr, at, dst = struct.unpack("<IIQQQ", rec)
        if cmd == 5:
            conn.sendall(struct.pack("<i", 0))
        elif cmd == 7:
            if how == "elsewhere": at += 4096
            if how == "others": dst += 1
            if how == "more": nr += 1
            if how == "none": nr = 0
            flags = 2 if how == "empty" else 4
            head = struct.pack("<IIQQQ", 6 | flags << 16, 0, nr, at, dst)
            if how == "words": head = b"HTTP/1.1 200 OK" + bytes(32)
            if how == "nothing": head = b""
            if how == "half": nr = 0
            conn.sendall(head + b"x" * 4096 * min(nr, 512))
            if how in ("nothing", "half"):
                conn.close()
                break
"""


def liars(args, base, seed):
    """A source that answers with anything but what was asked for: nothing is restored, and nothing is left of it."""
    with Away(args, base, seed, 16) as s:
        s.leave(address="127.0.0.1")
        kept = os.path.join(base, "kept")
        shutil.copytree(s.images, kept)
        s.world.kill([s.dumper])
        s.world.until(lambda: not s.named("criu"), 10, "nobody is left of the dump")
        s.world.kill(s.named("sleeper"))
        s.images = kept
        for how in ("elsewhere", "others", "more", "none", "empty", "words", "nothing", "half"):
            s.serve_there(port=s.behind(LIAR, how))
            said = s.far("restore", "-d", "--lazy-pages", code=1)
            if "lazy-pages daemon" not in said:
                raise Failed(f"{how}: {said[-300:]}")
            s.daemon_ends()
            s.world.kill([s.proxy])
            s.world.until(lambda: not s.named("sleeper"), 10, f"{how}: nothing was restored")


CASES = {"never-starts": never_starts, "fails-late": fails_late, "cut": cut,
         **{f"kill-{who}": killed(who) for who in ("daemon", "dump", "holder", "both")}, "strangers": strangers, "liars": liars}
