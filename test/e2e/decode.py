"""Decodes images with crit, all in one process, which the interpreter of crit's own first line runs: decode.py CRIT OUT IMAGE...

Prints a sentence for each image that crit cannot decode; then the exit status is 1."""
import os
import runpy
import sys

sys.dont_write_bytecode = True


def decode(crit, path, out):
    saved = sys.argv, sys.stdout, sys.stderr
    sys.argv = ["crit", "decode", "-i", path, "-o", out]
    try:
        with open(os.devnull, "w", encoding="utf-8") as null:
            sys.stdout = sys.stderr = null
            runpy.run_path(crit, run_name="__main__")
    except SystemExit as e:
        if e.code:
            return f"{os.path.basename(path)}: {e.code}"
    except BaseException as e:
        return f"{os.path.basename(path)}: {type(e).__name__} {e}"
    finally:
        sys.argv, sys.stdout, sys.stderr = saved
    return ""


def main():
    crit, out, *images = sys.argv[1:]
    # crit's first import is slow, and its modules stay: that is why there is one process for all
    sys.path[0] = os.path.dirname(crit)
    words = [w for w in (decode(crit, path, out) for path in images) if w]
    print("; ".join(words))
    return 1 if words else 0


if __name__ == "__main__":
    sys.exit(main())
