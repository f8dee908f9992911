"""Runs the shim's tests, one behaviour each, against the daemon of depot.py. Started by run.sh."""

import sys

import t_events
import t_faults
import t_host
import t_leave
import t_library
import t_links
import t_open
import t_outage
import t_parity
import t_programs
from depot import EMULATOR
from harness import TESTS, run_one

SUITES = (t_parity, t_open, t_outage, t_events, t_host, t_leave, t_library, t_links, t_faults,
          t_programs)  # importing adds to TESTS

# They run programs of this machine: no use where the shim is another's.
NATIVE = ("t_programs",)


def main():
    build, out, part = sys.argv[1:]
    if EMULATOR:
        print(f"skipped: {' and '.join(NATIVE)}, the shim is of another machine")
        TESTS[:] = [t for t in TESTS if t[1].__module__ not in NATIVE]
    results = [run_one(name, function, build, out) for name, function in TESTS if part in name]
    print(f"shim: {results.count('passed')} passed, {results.count('failed')} failed"
          + (f", {results.count('skipped')} skipped" if "skipped" in results else ""))
    sys.exit(1 if "failed" in results or not results else 0)


main()
