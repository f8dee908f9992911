"""bench.sh's comparison: plain and preloaded take turns; prints medians of medians and checks
nothing. The events are taken from the socket and thrown away: a receiver that works on them
would, on two cores, be measured with the shim.
"""

import os
import statistics
import subprocess
import sys

from depot import Daemon, Depot

TURNS = 5
# What the shim may add, in ns (DESIGN's budget); the last is compared with a plain stat of a file.
BUDGET = {"hot_open": 500, "outside_open": 100, "outside_stat": 100, "hot_stat": 100,
          "marker_stat": 500, "relative_hot_open": 500, "relative_marker_stat": 500,
          "absent_stat": 100}


def measure(depot, outside, env):
    done = subprocess.run([os.path.join(depot.out, "bench"), depot.root, outside], env=env,
                          check=True, capture_output=True, text=True)
    return {name: float(ns) for name, ns in map(str.split, done.stdout.splitlines())}


class Sink(Daemon):
    def _receive(self, datagrams):
        room = bytearray(65536)
        try:
            while datagrams.recv_into(room) > 0:
                pass
        except OSError:
            pass


def main():
    depot = Depot(*sys.argv[1:])
    depot.daemon = Sink(depot)
    depot.daemon.start()
    outside = os.path.join(depot.top, "outside")
    os.makedirs(os.path.join(outside, "main"))
    depot.write("main/hot,v")
    depot.write("main/cold,v")
    with open(os.path.join(outside, "main/hot,v"), "w") as f:
        f.write("x")
    depot.evict("main/cold,v")
    plain, shimmed = [], []
    for _ in range(TURNS):
        plain.append(measure(depot, outside, depot.environment(LD_PRELOAD=None)))
        shimmed.append(measure(depot, outside, depot.environment()))
    print(f"{'call':24}{'plain':>10}{'shim':>10}{'added':>10}{'budget':>10}   ns, medians")
    for name in plain[0]:
        a = statistics.median(run[name] for run in plain)
        b = statistics.median(run[name] for run in shimmed)
        print(f"{name:24}{a:10.0f}{b:10.0f}{b - a:10.0f}{BUDGET[name]:10}")
    depot.remove()


main()
