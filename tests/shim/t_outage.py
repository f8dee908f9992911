"""Outages: a file that exists is never absent, and its history is never replaced.
"""

import os
import shutil
import socket
import subprocess
import sys
import time

from depot import EMULATOR
from harness import FILE, GRACE_MS, TESTS, contains, equal, silent, test


@test("daemon absent: a marker is EIO after the grace, its stat needs nobody, a new name is new")
def _(make):
    depot = make()
    path = depot.write(FILE)
    depot.evict(FILE)
    start = time.monotonic()
    equal(depot.probe("open", path, P4CACHE_RESTART_GRACE_MS=GRACE_MS), "open=-1 errno=EIO\n")
    assert time.monotonic() - start >= 0.3
    contains(depot.probe("stat", path), "stat mode=100444 size=1000")
    equal(depot.probe("open", depot.path("new,v")), "open=-1 errno=ENOENT\n")
    contains(depot.probe("creat", depot.path("new,v")), "creat=0")
    assert depot.is_marker(FILE)


@test("daemon restarting: an open that began before is served by the new one")
def _(make):
    depot = make()
    path = depot.write(FILE)
    depot.evict(FILE)
    process = depot.start("open", path)
    depot.daemon.start()
    contains(process.communicate(timeout=40)[0], "open=ok bytes=1000")


@test("daemon killed in the middle of a restore: the new one is asked")
def _(make):
    depot = make()
    path = depot.write(FILE)
    depot.evict(FILE)

    def dies(conn, path):
        conn.sendall(b"WAIT 1 1000\n")
        depot.daemon.answer["FETCH"] = depot.daemon.fetch
    depot.daemon.answer["FETCH"] = dies
    depot.daemon.start()
    contains(depot.probe("open", path), "open=ok bytes=1000")
    equal(depot.daemon.verbs(), ["FETCH", "FETCH"])


@test("a marker that is restored by somebody else during an outage opens at once")
def _(make):
    depot = make()
    path = depot.write(FILE)
    depot.evict(FILE)
    process = depot.start("open", path)
    os.rename(shutil.copy2(os.path.join(depot.store, FILE), depot.scratch), path)
    contains(process.communicate(timeout=20)[0], "open=ok bytes=1000")


@test("a gate that takes connections and drops them is an outage: EIO, for a missing name too")
def _(make):
    depot = make()
    depot.write(FILE)
    depot.evict(FILE)
    depot.daemon.answer["FETCH"] = lambda conn, path: None
    depot.daemon.start()
    for rel in (FILE, "none,v"):
        equal(depot.probe("open", depot.path(rel), P4CACHE_RESTART_GRACE_MS=GRACE_MS),
              "open=-1 errno=EIO\n", rel)


def jam(depot):
    """A gate that is stopped: it listens, and its backlog is full. What must stay open."""
    listener = socket.socket(socket.AF_UNIX)
    path = os.path.join(depot.own, "shim.sock")
    listener.bind(path)
    listener.listen(0)
    held = [listener]
    while True:
        held.append(socket.socket(socket.AF_UNIX))
        held[-1].setblocking(False)
        try:
            held[-1].connect(path)
        except BlockingIOError:
            return held


@test("a gate that listens and accepts nobody is an outage: EIO, and no name is made anew")
def _(make):
    depot = make()
    path = depot.write(FILE)
    depot.evict(FILE)
    held = jam(depot)
    missing = depot.path("main/jam/none,v")
    for call, at in (("open", path), ("open", missing), 
                     ("open_creat", missing), ("open_append", missing)):
        said = depot.probe(call, at, P4CACHE_RESTART_GRACE_MS=GRACE_MS)
        contains(said, "open=-1 errno=EIO\n")
        assert "=ok" not in said and "=0" not in said, said
    assert depot.is_marker(FILE) and not os.path.lexists(missing)
    for one in held:
        one.close()


@test("a host whose timer signal comes more often than a connection's limit is not held for ever")
def _(make):
    depot = make()
    path = depot.write(FILE)
    depot.evict(FILE)
    held = jam(depot)
    code = ("import errno, os, signal, sys\n"
            "signal.signal(signal.SIGALRM, lambda *_: None)\n"
            "signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)\n"
            "for path in sys.argv[1:]:\n"
            "    try: os.open(path, os.O_RDONLY)\n"
            "    except OSError as error: print(errno.errorcode[error.errno])\n")
    equal(depot.run(sys.executable, "-B", "-c", code, path, depot.path("none,v"),
                    P4CACHE_RESTART_GRACE_MS=GRACE_MS), (0, "EIO\nEIO\n", ""))
    for one in held:
        one.close()


def outage(name, prepare, **extra):
    def run(make, uid=0):
        depot = make()
        depot.write(FILE, b"1.3 1.2 1.1\n")
        depot.evict(FILE)
        held = prepare(depot)
        if uid != 0:
            for directory, _, files in os.walk(depot.top):
                os.chown(directory, uid, uid)
                for file in files:
                    os.lchown(os.path.join(directory, file), uid, uid)
            os.lchown(depot.path(FILE), uid, uid)
        env = depot.environment(P4CACHE_RESTART_GRACE_MS=GRACE_MS,
                                P4CACHE_FETCH_TIMEOUT_MS="300", **extra)
        done = subprocess.run([*EMULATOR, depot.probe_program, "rcs_update", depot.path(FILE)], env=env,
                              capture_output=True, text=True, timeout=60, user=uid, group=uid,
                              extra_groups=[])
        contains(done.stdout, "refused: it exists")
        assert depot.is_marker(FILE)
        del held
    TESTS.append((f"an RCS update refuses to replace history: {name}, as root", run))
    TESTS.append((f"an RCS update refuses to replace history: {name}, as the depot's user",
                  lambda make: run(make, 12345)))


def hang(depot):
    depot.daemon.answer["FETCH"] = silent
    depot.daemon.start()


def store_down(depot):
    depot.daemon.answer["FETCH"] = lambda conn, path: "ERR UNAVAILABLE the store is down"
    depot.daemon.start()


def disk_full(depot):
    depot.daemon.answer["FETCH"] = lambda conn, path: "ERR FULL no room for it"
    depot.daemon.start()


def touched(depot):
    os.utime(depot.path(FILE))


outage("daemon down", lambda depot: None)
outage("daemon hung", hang)
outage("gate jammed", jam)
outage("store down", store_down)
outage("disk full", disk_full)
outage("marker touched, daemon down", touched)
outage("shim absent", lambda depot: depot.daemon.start(), LD_PRELOAD=None)


@test("an RCS update of an evicted archive keeps its history")
def _(make):
    depot = make()
    depot.daemon.start()
    path = depot.write(FILE, b"1.3 1.2 1.1\n")
    depot.evict(FILE)
    contains(depot.probe("rcs_update", path), "rename=0 old bytes=12")
    with open(path) as f:
        equal(f.read(), "1.4 new\n1.3 1.2 1.1\n")


@test("a socket path longer than an address is reached")
def _(make):
    depot = make()
    deep = os.path.join(depot.top, "d" * 200)
    os.mkdir(deep)
    deep_depot = make(parent=deep)
    deep_depot.daemon.start()
    path = deep_depot.write(FILE)
    deep_depot.evict(FILE)
    contains(deep_depot.probe("open", path), "open=ok bytes=1000")
    deep_depot.daemon.await_events(1)
