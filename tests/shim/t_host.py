"""Unkind hosts, and the library as a guest.
"""

import os
import re
import shutil
import time

from harness import FILE, TESTS, Skip, contains, equal, test


@test("the shim keeps out of our own programs, and out of a process that disables it")
def _(make):
    depot = make()
    depot.daemon.start()
    path = depot.write(FILE)
    depot.evict(FILE)
    for name in ("p4-cache", "p4-cache-gate", "p4-cache-fanotify"):
        program = os.path.join(depot.scratch, name)
        shutil.copy2(depot.probe_program, program)
        equal(depot.run(program, "open", path)[1], "open=-1 errno=ENXIO\n")
    equal(depot.probe("open", path, P4CACHE_DISABLE="1"), "open=-1 errno=ENXIO\n")
    equal(depot.probe("open", path, P4CACHE_DEPOT=None), "open=-1 errno=ENXIO\n")
    equal(depot.probe("open", path, P4CACHE_DEPOT="/"), "open=-1 errno=ENXIO\n")
    equal(depot.probe("open", path, P4CACHE_DEPOT="relative"), "open=-1 errno=ENXIO\n")
    equal(depot.daemon.requests, [])


def hostile(name, call, wanted, slow_ms=0, is_held=False, **extra):
    """`is_held`: the daemon answers when the program has made a file in its scratch directory."""
    def run(make):
        depot = make()
        if is_held:
            def held(conn, path):
                while not os.path.exists(os.path.join(depot.scratch, "done")):
                    time.sleep(0.002)
                return depot.daemon.fetch(conn, path)
            depot.daemon.answer["FETCH"] = held
        if slow_ms:
            def slow(conn, path):
                time.sleep(slow_ms / 1000)
                return depot.daemon.fetch(conn, path)
            depot.daemon.answer["FETCH"] = slow
        depot.daemon.start()
        path = depot.write(FILE)
        depot.write("other,v")
        depot.evict(FILE)
        depot.evict("other,v")
        output = depot.probe(call, path, **extra)
        if output.startswith("skip: "):
            raise Skip(output[6:].strip())
        assert re.fullmatch(wanted, output), f"\n    got    {output!r}\n    wanted {wanted!r}"
    TESTS.append((name, run))


OPENED = r"open=ok bytes=1000 .*\n"
hostile("a child forked during a request has none of its sockets", "fork_while_waiting",
        "child sockets=0\n" + OPENED + "sockets left=0\n", is_held=True)


@test("a host that closes all descriptors and opens its own gets not one byte from us")
def _(make):
    depot = make()

    def settles(conn, path):
        if os.path.exists(os.path.join(depot.scratch, "settled")):
            return depot.daemon.fetch(conn, path)
        time.sleep(0.002)  # so that the host can close within the request
        return "OK 1000"
    depot.daemon.answer["FETCH"] = settles
    depot.daemon.start()
    path = depot.write(FILE)
    depot.evict(FILE)
    output = depot.probe("closes_all", path, P4CACHE_RESTART_GRACE_MS="300")
    assert re.fullmatch("db.rev rc=0 bytes=0\n" + OPENED, output), output


hostile("signals, and an open of another evicted file in their handler, disturb nothing",
        "signals", OPENED + "handler ran=1 failed=0\n", 100)
hostile("300 threads that open one evicted file all get it", "threads", "opened=300 of 300\n", 50)
hostile("a thread with the smallest stack can open and stat an evicted file", "small_stack",
        "create=0\n" + OPENED)
for relative in (None, "1"):
    hostile("a handler of signals on a stack of 8 KiB can stat and open an evicted file"
            + (", by a relative name" if relative else ""), "alternate_stack",
            "regular=1 size=1000\n" + OPENED, PROBE_RELATIVE=relative)
hostile("a cancelled thread leaves no socket behind", "cancel", "sockets left=0\n" + OPENED,
        is_held=True)
hostile("a process for each connection, forked without exec, has the file; the server goes on",
        "fork_for_each", "served=200 of 200\n" + OPENED, 20)
hostile("3,000 threads at once open and stat one evicted file", "thousands",
        "good=3000 of 3000\n", 50)
hostile("in another root stat works, an open is EIO, and the host's own files are its own",
        "other_root", "stat=0 regular=1 size=1000\nopen=-1 errno=EIO\nown file=1 errno=-\n")


@test("a filter of the kernel's that refuses one call leaves hot files and stat alone")
def _(make):
    # Without the call there is no daemon, but never "absent", and never wrong bytes.
    numbers = {"socket": 41, "connect": 42, "sendto": 44, "recvfrom": 45, "fcntl": 72,
               "readlinkat": 267, "ppoll": 271, "setsockopt": 54, "getrandom": 318, "shmget": 29}
    if os.uname().machine != "x86_64":
        raise Skip(f"the numbers are those of x86-64, this is {os.uname().machine}")
    for name, number in numbers.items():
        depot = make()
        depot.daemon.start()
        path = depot.write(FILE)
        depot.write("other,v")
        depot.evict(FILE)
        output = depot.probe("filtered", path, PROBE_NUMBER=str(number),
                             P4CACHE_RESTART_GRACE_MS="100")
        if output.startswith("skip: "):
            raise Skip(output[6:].strip())
        first, opened, other = output.splitlines()
        equal(first, "stat=0 regular", name)
        assert re.fullmatch(r"open=ok bytes=1000 .*|open=-1 errno=E(IO|ACCES)", opened), \
            f"{name}: {opened}"
        assert other.startswith("open=ok bytes=1000"), f"{name}: {other}"


hostile("without /proc stat still works and open is EIO", "chroot",
        "stat=0 regular=1\nopen=-1 errno=EIO\n")
hostile("without a descriptor left stat works and open is EMFILE", "no_descriptors",
        "stat=0 regular=1\nopen=-1 errno=EMFILE\n")
