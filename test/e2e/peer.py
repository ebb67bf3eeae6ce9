#!/usr/bin/python3
"""The other end of a TCP connection, outside of the tree that is checkpointed. Listens, accepts one, and sends numbered lines
that must come back, until told to stop. Writes how many did into a file, and what went wrong.

    peer.py DIRECTORY ADDRESS
"""
import os
import socket
import sys
import time


def main():
    directory, address = sys.argv[1:]
    path = lambda name: os.path.join(directory, name)

    def write(name, text):
        with open(path(name + ".new"), "w", encoding="utf-8") as f:
            f.write(text)
        os.rename(path(name + ".new"), path(name))

    server = socket.create_server((address, 0))
    write("port", f"{address} {server.getsockname()[1]}\n")
    sock, _ = server.accept()
    sock.settimeout(30)
    count, rest = 0, b""
    try:
        while not os.path.exists(path("stop")):
            # several at a time, so that there is always something under way
            sock.sendall(b"".join(b"line %d\n" % (count + i) for i in range(3)))
            for i in range(3):
                while b"\n" not in rest:
                    more = sock.recv(4096)
                    if not more:
                        raise OSError("the connection ended")
                    rest += more
                line, rest = rest.split(b"\n", 1)
                if line != b"line %d" % (count + i):
                    raise OSError(f"{line!r} came in place of line {count + i}")
            count += 3
            write("count", str(count))
            time.sleep(0.002)
    except OSError as e:
        write("error", f"after {count} lines: {e}")
        return 1
    sock.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
