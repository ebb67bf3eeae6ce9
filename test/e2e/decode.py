"""Decodes images with crit, all in one process, which the interpreter of crit's own first line runs: decode.py CRIT OUT IMAGE...

Prints a sentence for each image that crit cannot decode; then the exit status is 1."""
import contextlib
import os
import runpy
import sys

sys.dont_write_bytecode = True


def interpreter_of(script):
    """What runs a script by its first line; another python may lack what the script imports."""
    with open(script, "rb") as f:
        line = f.readline(256).decode(errors="replace")
    return line[2:].split() if line.startswith("#!") else [sys.executable]


def is_ours(crit):
    """Would its interpreter be the one that runs this?"""
    words = interpreter_of(crit)
    return len(words) == 1 and os.path.realpath(words[0]) == os.path.realpath(sys.executable)


def decode(crit, path, out):
    saved = sys.argv, sys.path[0]
    sys.argv, sys.path[0] = ["crit", "decode", "-i", path, "-o", out], os.path.dirname(crit)
    try:
        with open(os.devnull, "w", encoding="utf-8") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
            runpy.run_path(crit, run_name="__main__")
    except SystemExit as e:
        if e.code:
            return f"{os.path.basename(path)}: {e.code}"
    except BaseException as e:
        return f"{os.path.basename(path)}: {type(e).__name__} {e}"
    finally:
        sys.argv, sys.path[0] = saved
    return ""


def decode_all(crit, out, images):
    """What crit says against them; nothing if it takes them."""
    return "; ".join(w for w in (decode(crit, path, out) for path in images) if w)


if __name__ == "__main__":
    # crit's first import is slow, and its modules stay: that is why there is one process for all
    words = decode_all(sys.argv[1], sys.argv[2], sys.argv[3:])
    print(words)
    sys.exit(1 if words else 0)
