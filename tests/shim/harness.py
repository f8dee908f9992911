"""What a test of the shim is made of. A test is a function of `make`, which makes a Depot that is
removed afterwards; it fails by an exception, and is skipped by Skip with its reason.
"""

import traceback

from depot import Depot, Skip

TESTS = []
FILE = "main/jam/a,v"
GRACE_MS = "300"  # where a test waits for it to pass


def test(name):
    def add(function):
        TESTS.append((name, function))
        return function
    return add


def equal(got, wanted, what=""):
    assert got == wanted, f"{what}\n    got    {got!r}\n    wanted {wanted!r}"


def contains(text, part):
    assert part in text, f"{part!r} is not in\n{text}"


def silent(conn, _path):
    """A daemon that hangs: it says nothing until the other side has gone."""
    conn.recv(1)


def run_one(name, function, build, out):
    made = []

    def make(parent=None):
        made.append(Depot(build, out, parent))
        return made[-1]
    make.made = made
    try:
        function(make)
        print(f"ok    {name}", flush=True)
        return "passed"
    except Skip as reason:
        print(f"skip  {name}: {reason}", flush=True)
        return "skipped"
    except Exception:  # pylint: disable=broad-except
        print(f"FAIL  {name}\n{traceback.format_exc()}", flush=True)
        return "failed"
    finally:
        for depot in reversed(made):
            depot.remove()
