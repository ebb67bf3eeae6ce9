"""asyncio: subprocesses with pipes, children that come and go and are waited for by pidfd, streams over a UNIX socket, timers,
and work handed to threads; a signal handler that hears a child's signals."""
import asyncio
import hashlib
import os
import signal
import subprocess
import sys

import load
from load import need

# vfork() stops the parent in a way that a checkpoint has to refuse
subprocess._USE_VFORK = False   # pylint: disable=protected-access
ECHO = "import sys\nfor line in sys.stdin: print(len(line), line, end='', flush=True)"


def text_of(n):
    return hashlib.sha256(str(n).encode()).hexdigest() * (n % 40 + 1)


class Busy:
    def __init__(self):
        self.work, self.going, self.signals, self.ticks = load.Load(), True, 0, 0

    def worked(self):
        self.going = self.work.worked() and self.going
        return self.going

    async def pipes(self):
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", ECHO, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        n = 0
        while True:
            child.stdin.write(f"{text_of(n)}\n".encode())
            await child.stdin.drain()
            line = await child.stdout.readline()
            need(line.decode() == f"{len(text_of(n)) + 1} {text_of(n)}\n", f"line {n}")
            n += 1
            if not self.worked():
                break
        child.stdin.close()
        need(await child.wait() == 0, "the end of the child")

    async def children(self):
        n = 0
        while True:
            child = await asyncio.create_subprocess_exec("sh", "-c", f"kill -USR1 {os.getpid()}; exit {n % 256}")
            need(await child.wait() == n % 256, f"status of child {n}")
            n += 1
            if not self.worked():
                break
        # equal signals that are pending at once are one
        need(0 < self.signals <= n, f"{self.signals} signals of {n}")

    @staticmethod
    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(hashlib.sha256(line).hexdigest().encode() + b"\n")
            await writer.drain()
        writer.close()

    async def stream(self, path, who):
        reader, writer = await asyncio.open_unix_connection(path)
        n = 0
        while True:
            line = f"{who} {text_of(n)}\n".encode()
            writer.write(line)
            need(await reader.readline() == hashlib.sha256(line).hexdigest().encode() + b"\n", f"answer {n} to {who}")
            n += 1
            if not self.worked():
                break
        writer.close()
        await writer.wait_closed()

    async def threads(self):
        loop, value = asyncio.get_running_loop(), b""
        count = 0
        while self.going:
            value = await loop.run_in_executor(None, lambda v: hashlib.sha256(v).digest(), value)
            count += 1
        want = b""
        for _ in range(count):
            want = hashlib.sha256(want).digest()
        need(want == value, f"{count} results of threads")

    async def timers(self):
        while self.going:
            await asyncio.sleep(0.003)
            self.ticks += 1

    async def main(self):
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(asyncio.get_running_loop())
        asyncio.set_child_watcher(watcher)

        def heard():
            self.signals += 1
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard)
        server = await asyncio.start_unix_server(self.serve, "echo.sock")
        await asyncio.gather(self.pipes(), self.pipes(), self.children(), self.stream("echo.sock", "a"),
                             self.stream("echo.sock", "b"), self.threads(), self.timers())
        server.close()
        need(self.ticks > 0, "timers")
        self.work.ok()


asyncio.run(Busy().main())
