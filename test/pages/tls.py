"""TLS between dumps and page servers: who is trusted, and what becomes of those who are not."""
import os
import shutil
import socket
import subprocess

import wire
from remote import Server
from world import Failed, Skipped


class Papers:
    """Certificates of an authority made for this case alone."""

    def __init__(self, directory):
        if not shutil.which("openssl"):
            raise Skipped("no openssl")
        self.dir = directory
        os.mkdir(directory)

    def path(self, name):
        return os.path.join(self.dir, name)

    def openssl(self, *args):
        p = subprocess.run(["openssl", *args], cwd=self.dir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, check=False)
        if p.returncode:
            raise Failed(f"openssl {args[0]}: {p.stdout.decode()[-300:]}")

    def authority(self, name):
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                     f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}")
        with open(self.path(f"{name}.cnf"), "w", encoding="utf-8") as f:
            f.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={name}.index\ncrlnumber={name}.number\ndefault_md=sha256\n"
                    "default_crl_days=2\n")
        open(self.path(f"{name}.index"), "w", encoding="utf-8").close()
        with open(self.path(f"{name}.number"), "w", encoding="utf-8") as f:
            f.write("01\n")

    def issue(self, authority, name, address):
        """A certificate for a host of that address."""
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key",
                     "-out", f"{name}.csr", "-subj", f"/CN={name}")
        with open(self.path(f"{name}.ext"), "w", encoding="utf-8") as f:
            f.write(f"subjectAltName=IP:{address}\n")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
                     "-CAcreateserial", "-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext")

    def revoke(self, authority, name):
        conf = ["-config", f"{authority}.cnf", "-cert", f"{authority}.pem", "-keyfile", f"{authority}.key"]
        self.openssl("ca", *conf, "-revoke", f"{name}.pem")
        self.openssl("ca", *conf, "-gencrl", "-out", f"{authority}.crl")

    def options(self, authority, name):
        return ["--tls", "--tls-cacert", self.path(f"{authority}.pem"), "--tls-cert", self.path(f"{name}.pem"), "--tls-key",
                self.path(f"{name}.key")]


def papers(s):
    p = Papers(os.path.join(s.base, "papers"))
    p.authority("ours")
    p.issue("ours", "here", "127.0.0.1")
    p.issue("ours", "elsewhere", "192.0.2.1")
    return p


def whole(s):
    """A chain of rounds, restored; nothing of it can be read on the way."""
    p = papers(s)
    tls = p.options("ours", "here")
    s.round("pre-dump", *tls, server=s.server(*tls))
    s.wait()
    s.round("dump", *tls, server=s.server(*tls))
    s.must_skip("the second round")
    s.gone()
    s.merge()
    s.restore()


def strangers(s):
    """Nobody without a certificate of the authority gets through, either way; the server goes on to wait for the right one."""
    p = papers(s)
    p.authority("theirs")
    p.issue("theirs", "stranger", "127.0.0.1")
    tls, x = p.options("ours", "here"), os.path.join(s.base, "x")
    server = s.server(*tls)

    def refused(what, *options, word="TLS", port=server.port):
        status, said = s.criu_to(port, x, *options)
        if status != 1 or word not in said:
            raise Failed(f"{what}: exit status {status}: {said[-300:]}")
        s.must_go_on()
    refused("another authority at the client", *p.options("theirs", "stranger"))
    refused("no TLS", word="page server")
    half = [*p.options("theirs", "stranger")]
    half[2] = p.path("ours.pem")
    refused("a client's certificate of another authority", *half, word="page server")
    wire.Wire(server.port).close()
    s.last(*tls, server=server)
    if "continuing without it" not in server.log():
        raise Failed(f"no word about strangers: {server.log()[-300:]}")
    s.merge()
    s.restore()


def names(s):
    """The server's certificate has to be of the address that was called, unless that is waived."""
    p = papers(s)
    here, there, x = p.options("ours", "here"), p.options("ours", "elsewhere"), os.path.join(s.base, "x")
    server = s.server(*there)
    status, said = s.criu_to(server.port, x, *here)
    if status != 1 or "does not match" not in said:
        raise Failed(f"another name: exit status {status}: {said[-300:]}")
    s.must_go_on()
    s.last(*here, "--tls-no-cn-verify", server=server)
    s.merge()
    s.restore()


def revoked(s):
    p = papers(s)
    p.revoke("ours", "here")
    crl = ["--tls-cacrl", p.path("ours.crl")]
    here, there = p.options("ours", "here"), p.options("ours", "elsewhere")
    server = s.server(*here)
    status, said = s.criu_to(server.port, os.path.join(s.base, "x"), *there, "--tls-no-cn-verify", *crl)
    if status != 1 or "revoked" not in said:
        raise Failed(f"a revoked certificate: exit status {status}: {said[-300:]}")
    s.must_go_on()
    s.world.kill([server.pid])


def files(s):
    """What is wrong with the files shows before anything else."""
    p = papers(s)
    good, x = p.options("ours", "here"), os.path.join(s.base, "x")
    os.mkdir(x)
    for i, name in ((2, "certificate authority"), (4, "certificate"), (6, "key")):
        bad = list(good)
        bad[i] = p.path("nothing")
        for command in (["page-server", "-D", x], ["dump", "-t", str(s.root), "-D", x, "--page-server", "--address", "127.0.0.1",
                                                   "--port", "9"]):
            if command[0] == "dump":
                with socket.socket() as listener:
                    listener.bind(("127.0.0.1", 0))
                    listener.listen()
                    command[-1] = str(listener.getsockname()[1])
                    status, said = s.world.run([s.args.criu, *command, *bad], 20)
            else:
                status, said = s.world.run([s.args.criu, *command, *bad], 20)
            if status != 1 or name not in said or "nothing" not in said:
                raise Failed(f"{command[0]} with no {name}: exit status {status}: {said[-300:]}")
    s.must_go_on()


def cut(s):
    """The end of the connection is not taken for the end of what was to be said."""
    p = papers(s)
    tls = p.options("ours", "here")
    server = Server(s, os.path.join(s.base, "c"), *tls)
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(os.urandom(500))
        sock.shutdown(1)
        sock.settimeout(20)
        while True:
            try:
                if not sock.recv(4096):
                    break
            except ConnectionResetError:
                break
    if server.pid in s.world.ended:
        raise Failed("a stranger has ended the server")
    s.round("dump", *tls, server=s.server(*tls))
    s.world.kill([server.pid])


CASES = {"tls": whole, "tls-strangers": strangers, "tls-names": names, "tls-revoked": revoked, "tls-files": files, "tls-cut": cut}
