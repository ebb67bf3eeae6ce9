"""nginx: a master and two workers that serve files and each other, by UNIX socket and by TCP, to clients that connect anew for each
request and to one that stays; clients outside of the tree use TCP alone. The master loses none of its workers, and reloads at the end."""
import hashlib
import os
import re
import signal
import sys
import threading

import load
from load import need

CONFIG = """daemon off; master_process on; worker_processes 2; pid nginx.pid; error_log stderr notice; user root;
events {{ worker_connections 256; }}
http {{
    access_log access.log; keepalive_requests 1000000; keepalive_timeout 1h;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    upstream again {{ server unix:nginx.sock; keepalive 4; }}
    server {{
        listen unix:nginx.sock; listen 127.0.0.1:{port} reuseport; root files; sendfile on;
        proxy_max_temp_file_size 0;
        location /again/ {{ proxy_pass http://again/; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""


class Browser:
    def __init__(self, address):
        self.address, self.file = address, None

    def get(self, path, stay):
        if not self.file:
            with load.connected(self.address) as s:
                self.file = s.makefile("rwb")
        self.file.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: {'keep-alive' if stay else 'close'}\r\n\r\n".encode())
        self.file.flush()
        status = self.file.readline()
        need(status.startswith(b"HTTP/1.1 200 "), f"{path}: {status!r}")
        size = 0
        while (line := self.file.readline()) != b"\r\n":
            need(line, f"{path}: the rest of the header")
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        body = self.file.read(size)
        if not stay:
            need(self.file.read() == b"", f"{path}: end of the connection")
            self.file.close()
            self.file = None
        return body


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return f.read().split()


class Load(load.Load):
    def __init__(self):
        super().__init__()
        self.going, self.asked = True, 0
        self.lock = threading.Lock()

    def surf(self, address, stay, prefix):
        browser, n = Browser(address), 0
        try:
            while self.going:
                want = FILES[n % len(FILES)]
                path = f"/{prefix}{n % len(FILES)}"
                got = browser.get(path, stay)
                need(got == want, f"{len(got)} of {len(want)} bytes of file {n % len(FILES)}")
                n += 1
                with self.lock:
                    self.asked += 2 if prefix else 1
                    self.going = self.worked() and self.going
        except BaseException as e:   # of a thread: nobody else would hear of it
            print(f"lost: {address} {stay} {prefix}{n}: {e!r}", file=sys.stderr, flush=True)
            os._exit(1)


FILES = [hashlib.sha256(str(i).encode()).hexdigest().encode() * size for i, size in enumerate((1, 50, 700, 9000))]
os.mkdir("files")
for i, data in enumerate(FILES):
    with open(f"files/{i}", "wb") as f:
        f.write(data)
port = load.free_port()
with open("nginx.conf", "w", encoding="ascii") as f:
    f.write(CONFIG.format(port=port))
nginx = load.server("nginx", "-p", os.getcwd(), "-c", "nginx.conf", "-e", "stderr")
load.connected("nginx.sock").close()
load.until(lambda: len(children(nginx.pid)) == 2, "both workers")
workers = children(nginx.pid)
work = Load()
plans = [("nginx.sock", False, ""), ("nginx.sock", True, ""), ("nginx.sock", False, "again/")]
if "outside" in sys.argv:
    plans = [(port, False, ""), (port, True, ""), (port, True, "again/")]
elif "tcp" in sys.argv:
    plans += [(port, True, ""), (port, True, "again/")]
threads = [threading.Thread(target=work.surf, args=p) for p in plans]
for t in threads:
    t.start()
for t in threads:
    t.join()
need(children(nginx.pid) == workers, f"workers {workers}: there are {children(nginx.pid)}")
Browser(port).get("/0", False)
nginx.send_signal(signal.SIGHUP)
load.until(lambda: not set(children(nginx.pid)) & set(workers), "the master's part in the reload")
need(Browser(port).get("/3", False) == FILES[3], "a file after the reload")
nginx.send_signal(signal.SIGQUIT)
need(nginx.wait(load.DEADLINE) == 0, "the server's end")
with open("access.log", encoding="ascii") as f:
    lines = len(re.findall(r'" 200 ', f.read()))
need(lines == work.asked + 2, f"{lines} of {work.asked + 2} requests in the log")
work.ok()
