"""postgresql, as a user of its own, by a UNIX socket or with the argument "tcp" by TCP: a session in a transaction that it has left open, one that waits for a lock which that one has, one
that commits row after row, and one that hears of them (LISTEN). After all of it the transactions are committed and the tables counted."""
import glob
import os
import subprocess
import sys

import load
from load import need

BIN = os.path.dirname(max(glob.glob("/usr/lib/postgresql/*/bin/postgres")))
HOST = "127.0.0.1" if "tcp" in sys.argv else os.getcwd()
SETTINGS = {"listen_addresses": "127.0.0.1", "port": load.free_port(), "unix_socket_directories": os.getcwd(), "fsync": "off",
            "shared_buffers": "16MB", "max_connections": 20, "max_parallel_workers": 2, "autovacuum_naptime": 1,
            "log_min_messages": "warning"}


class Session:
    def __init__(self):
        self.psql = subprocess.Popen([BIN + "/psql", "-X", "-q", "-A", "-t", "-h", HOST, "-p", str(SETTINGS["port"]), "postgres",
                                      "-v", "ON_ERROR_STOP=1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr,
                                     text=True, bufsize=1)
        self.asked = 0

    def say(self, sql):
        self.asked += 1
        self.psql.stdin.write(f"{sql};\n\\echo end {self.asked}\n")

    def answer(self):
        lines = []
        while (line := self.psql.stdout.readline()) != f"end {self.asked}\n":
            need(line, "a session")
            lines.append(line.rstrip("\n"))
        return lines

    def ask(self, sql):
        self.say(sql)
        return self.answer()

    def close(self):
        self.psql.stdin.close()
        need(self.psql.stdout.read() == "" and self.psql.wait(load.DEADLINE) == 0, "the end of a session")


class Listener(Session):
    """psql prints what it was notified of behind the answer to the next question."""
    def __init__(self):
        super().__init__()
        self.notes = 0

    def ask(self, sql):
        lines = super().ask(sql)
        notes = [l for l in lines if l.startswith("Asynchronous notification")]
        for line in notes:
            need(f'"news" with payload "{self.notes}"' in line, f"a message before {line}")
            self.notes += 1
        return [l for l in lines if l not in notes]


def parallel(session):
    """Two workers and a dynamic segment of shared memory come and go."""
    session.ask("set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0")
    return lambda: session.ask("select count(*), sum(n) from big") == ["50000|1250025000"]


options = [w for name, value in SETTINGS.items() for w in ("-c", f"{name}={value}")]
postgres = load.server(BIN + "/postgres", "-D", "data", *options)
load.connected(f".s.PGSQL.{SETTINGS['port']}").close()
load.until(lambda: subprocess.run([BIN + "/pg_isready", "-q", "-h", HOST, "-p", str(SETTINGS["port"])], check=False).returncode == 0,
           "the server answers")
patient, waiting, busy, heard = Session(), Session(), Session(), Listener()
busy.ask("create table log (n int primary key, t text); create table account (id int primary key, sum int);"
         "insert into account values (1, 100); create table big as select generate_series(1, 50000) as n")
patient.ask("begin; update account set sum = sum + 1 where id = 1; create temporary table mine (n int); savepoint one")
waiting.say("update account set sum = sum * 2 where id = 1 returning sum")
heard.ask("listen news")
scan = parallel(heard)
work, n = load.Load(), 0
while True:
    need(busy.ask(f"insert into log values ({n}, repeat('{n} ', {n % 300})) returning n") == [str(n)], f"row {n}")
    busy.ask(f"notify news, '{n}'")
    need(patient.ask(f"insert into mine values ({n}); select count(*) from mine") == [str(n + 1)], "a row of the transaction")
    if n % 10 == 0:
        need(patient.ask("savepoint two; delete from mine; rollback to two; select count(*) from mine") == [str(n + 1)], "savepoint")
        heard.ask("select 1")
        need(scan(), "a parallel scan")
    n += 1
    if not work.worked():
        break
need(patient.ask("rollback to one; select count(*) from account where sum = 101; commit") == ["1"], "the transaction")
need(waiting.answer() == ["202"], "the update that had to wait")
need(busy.ask("select count(*), sum(length(t)) from log") == [f"{n}|{sum(len(f'{i} ') * (i % 300) for i in range(n))}"], "the table")
heard.ask("select 1")
need(heard.notes == n, f"{heard.notes} of {n} messages")
for session in (patient, waiting, busy, heard):
    session.close()
postgres.terminate()
need(postgres.wait(load.DEADLINE) == 0, "the server's end")
work.ok()
