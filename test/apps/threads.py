"""Four threads compute with big integers and hand results over a queue; the sum of all is printed."""
import hashlib
import queue
import threading

results = queue.Queue()
lock = threading.Lock()
finished = 0


def work(number):
    global finished
    digest, value = hashlib.sha256(), number + 2
    for i in range(60000):
        value = value * value % (2 ** 521 - 1) + i
        if i % 1000 == 0:
            digest.update(str(value).encode())
            results.put((number, i, digest.hexdigest()))
    with lock:
        finished += 1


threads = [threading.Thread(target=work, args=(n,), name=f"worker-{n}") for n in range(4)]
for t in threads:
    t.start()
for t in threads:
    t.join()
seen = []
while not results.empty():
    seen.append(results.get())
print(finished, len(seen), hashlib.sha256(repr(sorted(seen)).encode()).hexdigest())
