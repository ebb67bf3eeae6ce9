"""memcached: counters, compare-and-swap and values of many sizes from several clients at once, who share its four threads. By a UNIX
socket, or with the argument "tcp" by TCP; by UDP as well then."""
import socket
import struct
import sys
import threading
import time

import load
from load import need


class Client:
    def __init__(self, address):
        with load.connected(address) as s:
            self.file = s.makefile("rwb")

    def ask(self, text, data=None):
        self.file.write(text.encode() + b"\r\n" + (b"" if data is None else data + b"\r\n"))
        self.file.flush()
        line = self.file.readline()
        need(line.endswith(b"\r\n"), f"the connection, after {line!r}")
        return line[:-2].decode()

    def get(self, key):
        line = self.ask(f"gets {key}")
        if line == "END":
            return None, 0
        _, _, _, size, unique = line.split()
        data = self.file.read(int(size) + 2)[:-2]
        need(self.file.readline() == b"END\r\n", "the end of an answer")
        return data, int(unique)


def value(who, n):
    return f"{who} {n} ".encode() * (n * 37 % 5000)


def client(who, work, address, done):
    c, n = Client(address), 0
    while True:
        key = f"{who}-{n % 20}"
        need(c.ask(f"set {key} 0 0 {len(value(who, n))}", value(who, n)) == "STORED", f"value {n}")
        need(c.ask("incr common 1").isdigit(), "the common counter")
        need(c.ask(f"incr own-{who} 1") == str(n + 1), f"the counter of {who}")
        data, unique = c.get(key)
        need(data == value(who, n), f"value {n} of {who}")
        need(c.ask(f"cas {key} 0 0 {len(data)} {unique}", data) == "STORED", "an exchange")
        need(c.ask(f"cas {key} 0 0 {len(data)} {unique}", data) == "EXISTS", "an exchange that is too late")
        n += 1
        if not work.worked():
            break
    for i in range(max(0, n - 20), n):
        need(c.get(f"{who}-{i % 20}")[0] == value(who, i), f"value {i} of {who} at the end")
    done[who] = n


def by_udp(sock, n):
    """A datagram may be lost, or find the server gone, so it is sent again; answers bear the number of their question."""
    deadline = time.monotonic() + load.DEADLINE
    while time.monotonic() < deadline:
        try:
            sock.send(struct.pack(">HHHH", n, 0, 1, 0) + b"get udp\r\n")
            while True:
                data = sock.recv(2000)
                if struct.unpack(">H", data[:2])[0] == n:
                    return data[8:]
        except ConnectionRefusedError:
            time.sleep(0.01)
        except TimeoutError:
            pass
    return None


def datagrams(port, work, done):
    with socket.socket(type=socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        s.connect(("127.0.0.1", port))
        n = 0
        while True:
            need(by_udp(s, n % 65536) == b"VALUE udp 0 3\r\nyes\r\nEND\r\n", f"datagram {n}")
            n += 1
            if not work.worked():
                break
    done["udp"] = n


port = load.free_port()
tcp = "tcp" in sys.argv
listen = ["-l", "127.0.0.1", "-p", str(port), "-U", str(port)] if tcp else ["-s", "memcached.sock"]
memcached = load.server("memcached", "-u", "root", "-m", "64", "-t", "4", *listen)
address, work, done = port if tcp else "memcached.sock", load.Load(), {}
first = Client(address)
for key in ("common", "own-a", "own-b", "own-c"):
    need(first.ask(f"set {key} 0 0 1", b"0") == "STORED", key)
need(first.ask("set udp 0 0 3", b"yes") == "STORED", "a value for datagrams")
threads = [threading.Thread(target=client, args=(who, work, address, done)) for who in "abc"]
if tcp:
    threads.append(threading.Thread(target=datagrams, args=(port, work, done)))
for t in threads:
    t.start()
for t in threads:
    t.join()
need(len(done) == len(threads), "a client")
need(first.get("common")[0] == str(sum(done[w] for w in "abc")).encode(), "the sum of all")
memcached.terminate()
need(memcached.wait(load.DEADLINE) == 0, "the server's end")
work.ok()
