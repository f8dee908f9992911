"""One of Python's own test modules: suite.py MODULE. It works in the current directory; each test
is a line `outcome id`, in the order of their ids. What a test's setUp made is evicted before the
test begins: most of them are over before anything else could be.
"""

import sys
import unittest

from evict import evict_all
from test import support

support.use_resources = ()  # no files of several GB, no network


set_up = unittest.TestCase._callSetUp


def set_up_and_evict(test):
    set_up(test)
    evict_all()


unittest.TestCase._callSetUp = set_up_and_evict


class Outcomes(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.outcomes = {}
        self.reports = []

    def note(self, test, outcome, report=None):
        worst = self.outcomes.get(test.id())
        if worst not in ("FAIL", "ERROR"):
            self.outcomes[test.id()] = outcome
        if report is not None:
            self.reports.append(f"{test.id()}: {self._exc_info_to_string(report, test)}")

    def addSuccess(self, test):
        self.note(test, "ok")

    def addFailure(self, test, err):
        self.note(test, "FAIL", err)

    def addError(self, test, err):
        self.note(test, "ERROR", err)

    def addSkip(self, test, reason):
        self.note(test, "skip")

    def addExpectedFailure(self, test, err):
        self.note(test, "expected failure")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.note(test, "FAIL", err)


def main():
    outcomes = Outcomes()
    unittest.defaultTestLoader.loadTestsFromName(f"test.{sys.argv[1]}").run(outcomes)
    for name, outcome in sorted(outcomes.outcomes.items()):
        print(outcome, name)
    with open(f"{sys.argv[1]}.failures", "w", encoding="utf-8", errors="surrogateescape") as f:
        f.write("\n".join(outcomes.reports))


main()
