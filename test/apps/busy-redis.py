"""redis: a pipeline of counters and lists, a client that waits for an element, one that has subscribed, an open transaction, and
a TCP port that is asked at the end. All by a UNIX socket, or with the argument "tcp" by TCP as well."""
import sys
import threading

import load
from load import need


class Client:
    def __init__(self, address):
        self.file = load.connected(address).makefile("rwb")

    def send(self, *words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.file.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))

    def answer(self):
        line = self.file.readline()
        need(line.endswith(b"\r\n"), f"the connection, after {line!r}")
        kind, rest = line[:1], line[1:-2]
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        need(kind == b"+", line)
        return rest

    def ask(self, *words):
        self.send(*words)
        self.file.flush()
        return self.answer()


def listen(client, heard):
    while True:
        kind, _, data = client.answer()
        need(kind == b"message", kind)
        if data == b"end":
            return
        heard.append(int(data))


def take(client, taken):
    while True:
        value = client.ask("blpop", "queue", 0)[1]
        if value == b"end":
            return
        taken.append(int(value))


work = load.Load()
port = load.free_port()
redis = load.server("redis-server", "--unixsocket", "redis.sock", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                    "--appendonly", "no", "--io-threads", "2", "--loglevel", "warning")
writer, taker, listener, patient = (Client(port if "tcp" in sys.argv else "redis.sock") for _ in range(4))
heard, taken = [], []
listener.ask("subscribe", "news")
threads = [threading.Thread(target=listen, args=(listener, heard), daemon=True),
           threading.Thread(target=take, args=(taker, taken), daemon=True)]
for t in threads:
    t.start()
patient.ask("set", "before", "old")
patient.ask("watch", "before")
patient.ask("multi")
need(patient.ask("set", "before", "new") == b"QUEUED", "the transaction")

n = 0
while True:
    blob = (b"%d " % n) * (n % 3000)
    for command in (("incr", "count"), ("rpush", "queue", n), ("publish", "news", n), ("set", f"blob:{n % 50}", blob),
                    ("get", f"blob:{n % 50}")):
        writer.send(*command)
    writer.file.flush()
    need([writer.answer() for _ in range(5)][::4] == [n + 1, blob], f"answers to {n}")
    n += 1
    if not work.worked():
        break
writer.ask("rpush", "queue", "end")
writer.ask("publish", "news", "end")
for t in threads:
    t.join(load.DEADLINE)
need(taken == list(range(n)), f"{len(taken)} of {n} elements of the list")
need(heard == list(range(n)), f"{len(heard)} of {n} messages")
need(patient.ask("exec") == [b"OK"], "the transaction is carried out")
last = Client(port)
need(last.ask("get", "count") == b"%d" % n and last.ask("get", "before") == b"new", "values, by TCP")
last.send("shutdown", "nosave")
last.file.flush()
need(redis.wait(load.DEADLINE) == 0, "the server's end")
work.ok()
