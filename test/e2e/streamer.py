"""An image streamer, as small as one can be: it keeps images in memory. Strict where a real one may be: each image is written
once and given once, and while one is given nothing else is listened to."""
import os
import select
import socket
import struct
import threading
import time


class Broken(Exception):
    pass


class Streamer(threading.Thread):
    """Listens in @directory until its client hangs up. After join(): images by name, and what was wrong in error."""
    NAME = None

    def __init__(self, directory, images=None, limit=None, lingers=0):
        super().__init__(daemon=True)
        self.images = {} if images is None else dict(images)
        self.asked, self.error, self.limit, self.total = [], None, limit, 0
        self.sock, self.lingers = None, lingers   # seconds after which it hangs up
        self.path = os.path.join(directory, self.NAME)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(1)
        self.start()

    def run(self):
        try:
            self.listener.settimeout(60)
            self.sock, _ = self.listener.accept()
            self.sock.settimeout(60)
            self.talk()
            time.sleep(self.lingers)
        except (OSError, Broken, struct.error) as e:
            self.error = f"{type(e).__name__}: {e}"
        finally:
            self.listener.close()
            if self.sock:
                self.sock.close()
            if os.path.exists(self.path):
                os.unlink(self.path)

    def exactly(self, n):
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            if not more:
                if data:
                    raise Broken("the client hung up in the midst of a message")
                return None
            data += more
        return data

    def request(self):
        size = self.exactly(4)
        if size is None:
            return None
        message = self.exactly(struct.unpack("<I", size)[0])
        if message[0] != 0x0a or message[1] != len(message) - 2:
            raise Broken(f"a request that is none: {message!r}")
        name = message[2:].decode()
        if name in self.asked:
            raise Broken(f"{name} for the second time")
        self.asked.append(name)
        return name

    def pipe(self):
        data, fds, _, _ = socket.recv_fds(self.sock, 1, 4)
        if len(data) != 1 or len(fds) != 1:
            raise Broken(f"{len(fds)} descriptors with {len(data)} bytes")
        return fds[0]


class Capture(Streamer):
    NAME = "streamer-capture.sock"

    def talk(self):
        pipes, more = {}, True
        try:
            while more or pipes:
                ready = select.select(list(pipes) + ([self.sock] if more else []), [], [], 60)[0]
                if not ready:
                    raise Broken("nothing happens")
                for r in ready:
                    if r is self.sock:
                        name = self.request()
                        more = name is not None
                        if not more:
                            continue
                        self.images[name] = bytearray()
                        pipes[self.pipe()] = name
                    else:
                        self.take(r, pipes)
        finally:
            for fd in pipes:
                os.close(fd)

    def take(self, fd, pipes):
        data = os.read(fd, 1 << 20)
        self.images[pipes[fd]] += data
        self.total += len(data)
        if self.limit is not None and self.total > self.limit:
            raise Broken("full")
        if not data:
            os.close(fd)
            del pipes[fd]


class Serve(Streamer):
    NAME = "streamer-serve.sock"

    def talk(self):
        while (name := self.request()) is not None:
            data = self.images.pop(name, None)
            self.sock.sendall(struct.pack("<I", 2) + bytes([8, data is not None]))
            if data is None:
                self.asked.remove(name)
                continue
            fd = self.pipe()
            try:
                at, data = 0, memoryview(data)
                while at < len(data):
                    n = os.write(fd, data[at:at + 65536])
                    at += n
                    self.total += n
                    if self.limit is not None and self.total > self.limit:
                        raise Broken("gave up")
            finally:
                os.close(fd)
