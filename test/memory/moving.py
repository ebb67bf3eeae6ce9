"""A process that never stops to write, moved while its memory is still where it was: a case for away.py."""
import os
import struct
import subprocess

import state
from afar import Away
from world import Failed


def looks(directory, pid):
    """How often a writer has looked at all of its pages."""
    try:
        with open(os.path.join(directory, f"table-{pid}"), "rb") as f:
            return struct.unpack("Q", f.read(8).ljust(8, b"\0"))[0]
    except FileNotFoundError:
        return 0


def writer(args, base, seed):
    """Always changing until it is stopped, and again as soon as it runs there: each page is what it must be."""
    with Away(args, base, seed, 1) as s:
        for n in range(args.rounds):
            s.world.kill(s.named("sleeper", "writer"))
            s.world.until(lambda: not s.named("sleeper", "writer"), 10, "the process before is gone")
            there, s.images = os.path.join(base, f"writer-{n}"), os.path.join(base, f"images-{n}")
            os.mkdir(there)
            os.mkdir(s.images)
            s.root = s.world.start([os.path.join(args.tools, "writer"), there, str(seed + n)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            s.world.until(lambda: looks(there, s.root), 10, "the writer's first look at its memory")
            s.leave()
            s.serve_there()
            before = looks(there, s.root)
            s.arrive()
            fails = os.path.join(there, "fails")
            s.world.until(lambda: looks(there, s.root) > before + 2 or os.path.exists(fails), 30, "it looks at its memory there")
            s.moved()
            if os.path.exists(fails):
                raise Failed(f"round {n}: {state.read(fails).decode()}")
