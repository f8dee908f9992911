"""Runs the shim's tests, one behaviour each, against the daemon of depot.py. Started by run.sh."""

import sys

import t_differential
import t_events
import t_faults
import t_host
import t_open
import t_outage
import t_parity
import t_programs
from harness import TESTS, run_one

SUITES = (t_parity, t_open, t_outage, t_events, t_host, t_faults,
          t_programs, t_differential)  # importing adds to TESTS


def main():
    build, out, part = sys.argv[1:]
    results = [run_one(name, function, build, out) for name, function in TESTS if part in name]
    print(f"shim: {results.count('passed')} passed, {results.count('failed')} failed"
          + (f", {results.count('skipped')} skipped" if "skipped" in results else ""))
    sys.exit(1 if "failed" in results or not results else 0)


main()
