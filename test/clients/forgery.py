"""Images that say something else than what was dumped."""
import os
import subprocess
import sys
import tempfile

import client

made = tempfile.TemporaryDirectory(prefix="criu-forgery-")


def image_modules():
    """Where the modules of images are. They are not those of requests, so that only a process of its own can have them."""
    proto = os.path.join(client.ROOT, "libcriu-proto", "proto")
    out = f"{made.name}/images-proto"
    if not os.path.exists(out):
        os.makedirs(out)
        subprocess.run(["protoc", f"--python_out={out}", f"-I{proto}",
                        *[f"images/{f}" for f in os.listdir(f"{proto}/images") if f.endswith(".proto")]], check=True,
                       stderr=subprocess.DEVNULL)
    return out


def forge(path, change):
    """Applies a statement to every entry `e` of files.img."""
    code = """if True:
        import sys
        sys.path.insert(0, sys.argv[1])
        from images import fdinfo_pb2
        data = open(sys.argv[2], "rb").read()
        new, at = data[:8], 8
        while at < len(data):
            size = int.from_bytes(data[at:at + 4], "little")
            e = fdinfo_pb2.file_entry.FromString(data[at + 4:at + 4 + size])
            at += 4 + size
            exec(sys.argv[3])
            body = e.SerializeToString()
            new += len(body).to_bytes(4, "little") + body
        assert new != data, "nothing was changed"
        open(sys.argv[2], "wb").write(new)
    """
    subprocess.run([sys.executable, "-c", code, image_modules(), path, change], check=True)


def forge_creds(path, change):
    """Applies a statement to `creds` of the first entry of core-*.img."""
    code = """if True:
        import sys
        sys.path.insert(0, sys.argv[1])
        from images import core_pb2
        data = open(sys.argv[2], "rb").read()
        size = int.from_bytes(data[8:12], "little")
        core = core_pb2.core_entry.FromString(data[12:12 + size])
        exec(sys.argv[3], {"creds": core.thread_core.creds})
        body = core.SerializeToString()
        open(sys.argv[2], "wb").write(data[:8] + len(body).to_bytes(4, "little") + body + data[12 + size:])
    """
    subprocess.run([sys.executable, "-c", code, image_modules(), path, change], check=True)
