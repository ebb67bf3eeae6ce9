#!/usr/bin/python3
"""Writes the first inputs of fuzz-connection, fuzz-rpc-req and fuzz-config: fuzz/seeds.py DIRECTORY-OF-SEEDS PROTO-DIRECTORY

What fuzzing has found since is in fuzz/seeds as well, under names that are digests.
"""
import os
import subprocess
import sys
import tempfile

out, proto = sys.argv[1:3]
made = tempfile.TemporaryDirectory()
subprocess.run(["protoc", f"--python_out={made.name}", f"-I{proto}", "rpc.proto"], check=True)
sys.path.insert(0, made.name)
import rpc_pb2 as rpc  # noqa: E402

FIRST, SWRK, ROOT, SMALL = 1, 2, 4, 8   # first byte: who the client is
DIR_FD = 20   # the directory of fuzz-connection


def packets(*requests):
    blobs = [r if isinstance(r, bytes) else r.SerializeToString() for r in requests]
    return b"".join(len(b).to_bytes(2, "little") + b for b in blobs)


def write(target, name, data):
    os.makedirs(f"{out}/{target}", exist_ok=True)
    with open(f"{out}/{target}/{name}", "wb") as f:
        f.write(data)


def req(kind, **fields):
    r = rpc.criu_req(type=kind)
    for name, value in fields.items():
        if name in ("keep_open", "notify_success", "pid"):
            setattr(r, name, value)
        elif isinstance(value, list):
            getattr(r.opts, name).extend(value)
        else:
            setattr(r.opts, name, value)
    if kind in (rpc.DUMP, rpc.RESTORE, rpc.PRE_DUMP, rpc.SINGLE_PRE_DUMP, rpc.PAGE_SERVER, rpc.PAGE_SERVER_CHLD,
                rpc.CPUINFO_DUMP, rpc.CPUINFO_CHECK) and not r.HasField("opts"):
        r.opts.images_dir_fd = DIR_FD
    if r.HasField("opts") and not r.opts.HasField("images_dir_fd"):
        r.opts.images_dir_fd = DIR_FD
    return r


ACK = req(rpc.NOTIFY, notify_success=True)
NO = req(rpc.NOTIFY, notify_success=False)
features = req(rpc.FEATURE_CHECK, keep_open=True)
features.features.mem_track = features.features.lazy_pages = features.features.pidfd_store = True
server = req(rpc.PAGE_SERVER, keep_open=True, images_dir_fd=DIR_FD)
server.opts.ps.port = 0
answer = req(rpc.NOTIFY, notify_success=True)
answer.opts.images_dir_fd = -1
answer.opts.external.append("unix[1234]")
everything = req(rpc.DUMP, pid=1, log_file="x.log", log_level=4, config_file="conf", images_dir="d", parent_img="../x",
                 work_dir_fd=DIR_FD, exec_cmd=["true"], external=["mnt[a]:b", "tty[1:2]"], skip_mnt=["/x"],
                 enable_fs=["all"], root="/", freeze_cgroup="/x", lsm_profile="x", ghost_limit=1, cpu_cap=1,
                 empty_ns=0x40000000, timeout=1, status_fd=1, tls=True, notify_scripts=True, unprivileged=True,
                 leave_running=True, tcp_close=True, network_lock=2, pre_dump_mode=2, mntns_compat_mode=True,
                 irmap_scan_paths=["/x"], force_irmap=True, display_stats=True, link_remap=True)
everything.opts.ps.fd = 3
everything.opts.inherit_fd.add(key="x", fd=1)
everything.opts.join_ns.add(ns="net", ns_file="/x")
everything.opts.cg_root.add(ctrl="a", path="b")
everything.opts.veths.add(if_in="a", if_out="b")
everything.opts.ext_mnt.add(key="a", val="b")
everything.opts.unix_sk_ino.add(inode=1)
inner = b"\x08\x01\x10\x01\x40\x14"
first = b"\x08\x01\x12" + bytes([len(inner)]) + inner

talks = {
    "version": (0, 0, [req(rpc.VERSION, keep_open=True)] * 3 + [req(rpc.VERSION)]),
    "ask": (ROOT, 0, [features, req(rpc.VERSION, keep_open=True), req(rpc.CPUINFO_DUMP, keep_open=True),
                      req(rpc.CPUINFO_CHECK)]),
    "dump": (ROOT | SWRK, 0, [req(rpc.DUMP, images_dir_fd=DIR_FD)]),
    "dump-user": (0, 0, [req(rpc.DUMP, images_dir="d", log_file="x")]),
    "dump-notify": (ROOT, 0x03, [req(rpc.DUMP, images_dir="d", notify_scripts=True), ACK, answer, ACK, ACK]),
    "dump-refused": (ROOT, 0x03, [req(rpc.DUMP, images_dir="d", notify_scripts=True), ACK, NO]),
    "dump-fails": (ROOT, 0x80, [req(rpc.DUMP, images_dir="d", log_level=4)]),
    "pts": (ROOT, 0x41, [req(rpc.RESTORE, images_dir="d", notify_scripts=True, orphan_pts_master=True), ACK, ACK, ACK]),
    "series": (ROOT, 0, [req(rpc.PRE_DUMP, images_dir="d"), req(rpc.PRE_DUMP, images_dir="d", parent_img="../1"),
                         req(rpc.DUMP, images_dir="d")]),
    "series-broken": (ROOT, 0, [req(rpc.PRE_DUMP, images_dir="d"), req(rpc.VERSION)]),
    "single": (ROOT, 0, [req(rpc.SINGLE_PRE_DUMP, images_dir="d")]),
    "server": (ROOT | SWRK, 0, [server, req(rpc.WAIT_PID, pid=42)]),
    "restore-command": (ROOT | SWRK, 0, [req(rpc.RESTORE, images_dir="d", exec_cmd=["true", "x"])]),
    "check": (ROOT, 0, [req(rpc.CHECK, images_dir="d", log_file="x.log")]),
    "everything": (ROOT | SWRK, 0, [everything]),
    "everything-user": (0, 0, [everything]),
    "first": (FIRST, 0, [first]),
    "first-notify": (FIRST | ROOT, 3, [first, ACK, ACK]),
    "garbage": (SMALL, 0, [b"\xff" * 40, b""]),
    "large": (SMALL, 0, [req(rpc.VERSION, external=["x" * 200] * 2)]),
    "log-to-output": (0, 0, [req(rpc.DUMP, images_dir="d", log_file="-")]),
}
for name, (who, how, requests) in talks.items():
    write("fuzz-connection", name, bytes([who, how]) + packets(*requests))
    for i, r in enumerate(requests):
        if name in ("everything", "first", "ask", "dump-notify", "server"):
            write("fuzz-rpc-req", f"{name}-{i}", r if isinstance(r, bytes) else r.SerializeToString())

files = {
    "plain": b"tree 1\nimages-dir x\n# a comment\nlog-file=y\n",
    "quotes": b"log-file \"a b \\\" c\" # x\nverbosity=4\n",
    "many": b"shell-job\nno-tcp-established\next-unix-sk\nexternal file[1:2]\nexternal mnt[]:m\nirmap-scan-path /x\n"
            b"ghost-limit 1M\ncpu-cap cpu,ins\nmanage-cgroups=soft\ntimeout 10\nempty-ns net\n",
    "root-only": b"action-script /bin/true\nexec-cmd\nlibdir /x\nroot /\njoin-ns net:1\ntls\nps-socket 3\n",
    "limits": b"max-message 4096\nmax-workers 3\nmax-user-workers 2\nmax-clients 8\nmax-user-clients 8\nrequest-timeout 1\n"
              b"idle-timeout 1\nnotify-timeout 1\nstop-timeout 1\nlegacy-address=x\naddress y\npidfile z\njournal\n",
    "numbers": b"inherit-fd fd[1]:x\nclose 3\nstatus-fd 3\nunix-sk-ino 1\nveth-pair a=b\ncgroup-root a:/b\ncgroup-root /c\n",
    "broken": b"tree\n=\n\"\nx y z\n",
}
for name, text in files.items():
    for who in (0, 1, 3):
        write("fuzz-config", f"{name}-{who}", bytes([who]) + text)
