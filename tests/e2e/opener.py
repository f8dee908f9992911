"""Opens each file of a list, one after another, and prints how long each open took, in us.

    opener.py LIST GO [PAUSE_MS]

Prints "ready" first, and begins when the file GO is there: a program's start is not measured.
"""

import os
import sys
import time

pause = float(sys.argv[3]) / 1000 if len(sys.argv) > 3 else 0
with open(sys.argv[1]) as names:
    names = names.read().split()
print("ready", flush=True)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
times = []
for name in names:
    start = time.perf_counter()
    with open(name, "rb") as file:
        times.append(time.perf_counter() - start)
        file.read(1)
    if pause:
        time.sleep(pause)
for took in times:
    print(int(took * 1e6))
