"""multiprocessing: a pool, processes that share memory, semaphores and conditions by name, a manager with a UNIX socket, queues, and
descriptors that are handed from one process to another."""
import hashlib
import multiprocessing as mp
import os
import sys
from multiprocessing import connection, reduction, shared_memory

import load
from load import need


def digest(n):
    return hashlib.sha256(str(n).encode()).hexdigest()


def doubler(pipe):
    """Is given files, and answers with how much each holds."""
    while (n := pipe.recv()) is not None:
        with os.fdopen(reduction.recv_handle(pipe)) as f:
            pipe.send((n, len(f.read())))


def adder(name, lock, tasks, results):
    block = shared_memory.SharedMemory(name)
    for n in iter(tasks.get, None):
        with lock:
            block.buf[n % block.size] = (block.buf[n % block.size] + 1) % 256
        results.put(n)
    block.close()


def main(method):
    context = mp.get_context(method)
    block, lock = shared_memory.SharedMemory(create=True, size=5000), context.Lock()
    tasks, results = context.JoinableQueue(), context.Queue()
    adders = [context.Process(target=adder, args=(block.name, lock, tasks, results)) for _ in range(2)]
    ours, theirs = context.Pipe()
    hand = context.Process(target=doubler, args=(theirs,))
    for p in (*adders, hand):
        p.start()
    work, n = load.Load(), 0
    with context.Manager() as manager, context.Pool(2) as pool:
        common = manager.dict()
        while True:
            need(pool.map(digest, range(n, n + 8)) == [digest(i) for i in range(n, n + 8)], f"results {n} of the pool")
            tasks.put(n)
            need(results.get(timeout=load.DEADLINE) == n, f"task {n}")
            common[n % 100] = common.get(n % 100, 0) + n
            with open("file", "w+", encoding="ascii") as f:
                f.write("x" * (n % 5000))
                f.flush()
                f.seek(0)
                ours.send(n)
                reduction.send_handle(ours, f.fileno(), hand.pid)
                need(connection.wait([ours], load.DEADLINE), "an answer")
                need(ours.recv() == (n, n % 5000), f"file {n}")
            n += 1
            if not work.worked():
                break
        need(sum(dict(common).values()) == n * (n - 1) // 2, "the manager's numbers")
    for _ in adders:
        tasks.put(None)
    ours.send(None)
    for p in (*adders, hand):
        p.join(load.DEADLINE)
        need(p.exitcode == 0, "the end of a process")
    need(sum(block.buf) == sum((n + 4999 - i) // 5000 % 256 for i in range(5000)), "the shared block")
    block.close()
    block.unlink()
    work.ok()


if __name__ == "__main__":
    main(sys.argv[1])
