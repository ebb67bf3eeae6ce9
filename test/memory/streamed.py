"""A process that never stops to write, dumped through a streamer and restored from it, again and again; each page is compared. A
case for run.py."""
import os
import shutil

import streamer
from world import Failed


def joined(thread, what):
    thread.join(20)
    if thread.is_alive() or thread.error:
        raise Failed(f"{what}: {thread.error or 'the streamer still waits'}")


def streamed(s):
    for i in range(s.args.rounds):
        s.images = os.path.join(s.base, f"streamed-{i}")
        os.mkdir(s.images)
        s.wait()
        capture = streamer.Capture(s.images)
        status, said = s.world.run([s.args.criu, "dump", "-t", str(s.root), "-D", s.images, "-o", "log", "-v4", "--stream"], 30)
        joined(capture, "dump")
        if status != 0:
            raise Failed(f"dump: exit status {status}: {said.strip()[-300:]}")
        s.world.until(lambda: not s.writers(), 10, "the tree is gone after the dump")
        serve = streamer.Serve(s.images, capture.images)
        s.restore("--stream")
        joined(serve, "restore")
        shutil.rmtree(s.images)
