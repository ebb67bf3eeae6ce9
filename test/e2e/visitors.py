#!/usr/bin/python3
"""Clients of a server in the tree that is checkpointed, themselves outside of it: each connects, says a line, has it back, and
connects anew, until told to stop. While the server is gone they are refused; whoever is let in must be served. Writes how many
were served into a file, and what went wrong.

    visitors.py DIRECTORY ADDRESS:PORT...
"""
import os
import socket
import sys
import threading
import time

LIMIT = 60  # seconds for one visit


class Visitors:
    def __init__(self, directory):
        self.directory, self.lock, self.count, self.failed = directory, threading.Lock(), 0, ""

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name + ".new"), "w", encoding="utf-8") as f:
            f.write(text)
        os.rename(self.path(name + ".new"), self.path(name))

    def going(self):
        return not self.failed and not os.path.exists(self.path("stop"))

    @staticmethod
    def visit(address, line):
        """Returns whether there was anybody."""
        try:
            sock = socket.create_connection(address, LIMIT)
        except ConnectionRefusedError:
            return False
        with sock:
            sock.sendall(line)
            back = b""
            while more := sock.recv(100):
                back += more
        if back != line:
            raise OSError(f"{back!r} came back for {line!r}")
        return True

    def visit_all_the_time(self, address):
        try:
            n = 0
            while self.going():
                if not self.visit(address, b"visit %d of %d\n" % (n, threading.get_native_id())):
                    time.sleep(0.005)
                    continue
                n += 1
                with self.lock:
                    self.count += 1
                    self.write("count", str(self.count))
        except OSError as e:
            with self.lock:
                self.failed = self.failed or f"{address[0]} port {address[1]}, visit {n}: {e!r}"


def main():
    visitors = Visitors(sys.argv[1])
    threads = []
    for text in sys.argv[2:]:
        host, port = text.rsplit(":", 1)
        for _ in range(2):
            threads.append(threading.Thread(target=visitors.visit_all_the_time, args=((host, int(port)),)))
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if visitors.failed:
        visitors.write("error", visitors.failed)
    return bool(visitors.failed)


if __name__ == "__main__":
    sys.exit(main())
