"""What is measured: name, kind of subject, size, place of the images, bar of dump and restore, whether these are seconds
(False) or times the yardstick of the same run (True)."""

ONE_TASK = (1.1, 0.8)
MORE_TASKS = (0.8, 0.8)

ROWS = [
    ("small process", "small", 1, "tmpfs", (0.008, 0.008), False),
    ("memory to tmpfs", "memory", 1024, "tmpfs", ONE_TASK, True),
    ("memory, no checksums", "memory", 1024, "tmpfs", ONE_TASK, True),
    ("memory to disk cache", "memory", 1024, "disk", ONE_TASK, True),
    ("huge pages to tmpfs", "huge", 1024, "tmpfs", ONE_TASK, True),
    ("huge pages to disk cache", "huge", 1024, "disk", ONE_TASK, True),
    ("four tasks to tmpfs", "tasks", 1024, "tmpfs", MORE_TASKS, True),
    ("four tasks to disk cache", "tasks", 1024, "disk", MORE_TASKS, True),
    ("processes", "processes", 1000, "tmpfs", (0.9, 0.7), False),
    ("threads", "threads", 1000, "tmpfs", (0.080, 0.080), False),
    ("descriptors", "descriptors", 10000, "tmpfs", (0.090, 0.060), False),
    ("UDP sockets", "sockets", 10000, "tmpfs", (0.450, 0.200), False),
    ("targets of epoll", "targets", 10000, "tmpfs", (0.300, 0.150), False),
    ("mappings", "mappings", 50000, "tmpfs", (0.200, 0.150), False),
]

# with --big: they take minutes, and three times their size of memory
BIG = [
    ("4 GiB to tmpfs", "memory", 4096, "tmpfs", ONE_TASK, True),
    ("4 GiB to disk cache", "memory", 4096, "disk", ONE_TASK, True),
    ("4 GiB of huge pages to tmpfs", "huge", 4096, "tmpfs", ONE_TASK, True),
    ("4 GiB of huge pages to disk cache", "huge", 4096, "disk", ONE_TASK, True),
]

MORE_OPTIONS = {"memory, no checksums": ["--no-checksums"]}
OF_MEMORY = ("memory", "huge", "tasks")   # sizes in MiB
UNITS = {kind: "MiB" for kind in OF_MEMORY}
