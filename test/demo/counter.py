"""The program that is checkpointed: counts, in memory only, and says so twice a second."""
import os
import sys
import time

count = 0
while True:
    count += 1
    print(f"   pid {os.getpid()} counts {count}", flush=True)
    if os.path.exists("enough"):
        sys.exit(0)
    time.sleep(0.5)
