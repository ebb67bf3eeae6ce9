#!/usr/bin/python3
"""Dumps a process through the service and restores it, and acknowledges the notifications of both.

    protoc --python_out=. -I libcriu-proto/proto rpc.proto
    criu service &
    PYTHONPATH=. docs/examples/client.py /var/run/criu-service.socket DIRECTORY PID
"""
import os
import socket
import sys

import rpc_pb2 as rpc


def carry_out(address, req):
    """One packet is one message. Answers of type NOTIFY are questions, the last answer has the type of the request."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.connect(address)
        s.send(req.SerializeToString())
        while True:
            packet = s.recv(4096)
            if not packet:
                sys.exit("the service has closed the connection")
            resp = rpc.criu_resp.FromString(packet)
            if resp.type != rpc.NOTIFY:
                break
            print(f"  {resp.notify.script} {resp.notify.pid or ''}")
            s.send(rpc.criu_req(type=rpc.NOTIFY, notify_success=True).SerializeToString())
    if not resp.success:
        sys.exit(f"{resp.cr_errmsg.strip()} ({os.strerror(resp.cr_errno)})")
    return resp


def request(kind, directory, log):
    req = rpc.criu_req(type=kind)
    req.opts.images_dir_fd = directory       # number of a descriptor of ours, nothing is sent along
    req.opts.log_file = log                  # in that directory
    req.opts.log_level = 4
    req.opts.notify_scripts = True
    return req


address, path, pid = sys.argv[1], sys.argv[2], int(sys.argv[3])
directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

dump = request(rpc.DUMP, directory, "dump.log")
dump.opts.pid = pid
dump.opts.shell_job = os.isatty(0)           # it may be a child of this shell
carry_out(address, dump)
print(f"{pid} is in {path} now")

restored = carry_out(address, request(rpc.RESTORE, directory, "restore.log")).restore.pid
print(f"{restored} runs again")
