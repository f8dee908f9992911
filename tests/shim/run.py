"""The shim's tests, one behaviour each, against the daemon of depot.py.

`parity` runs one call of the probe on a resident file and on the same file evicted: every line
that the program prints must be the same. The rest are outages, events and unkind hosts.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
import time
import traceback

from depot import MTIME_NS, Depot

TESTS = []
FILE = "main/jam/a,v"
GRACE_MS = "300"  # where a test waits for it to pass


class Skip(Exception):
    """Raised with the reason."""


def test(name):
    def add(function):
        TESTS.append((name, function))
        return function
    return add


def equal(got, wanted, what=""):
    assert got == wanted, f"{what}\n    got    {got!r}\n    wanted {wanted!r}"


def contains(text, part):
    assert part in text, f"{part!r} is not in\n{text}"


# ---- a resident and an evicted file look the same ----

def parity(call, verbs, content=None, mode=0o444, rel=FILE, target=None):
    def run(make):
        outputs = []
        for is_evicted in (False, True):
            depot = make()
            depot.daemon.start()
            depot.write(rel, *([] if content is None else [content(depot)]), mode=mode)
            depot.write("other,v")
            if is_evicted:
                depot.evict(rel)
            path = depot.path(rel if target is None else target)
            outputs.append(depot.probe(call, path, **ENVIRONMENT.get(call, {})))
            if is_evicted:
                equal(depot.daemon.verbs(), verbs, "requests")
        equal(outputs[1].replace(depot.top, ""), outputs[0].replace(depots_of(make)[0].top, ""),
              "evicted and resident")
        assert "status=" not in outputs[1].replace("exited=1 status=", ""), outputs[1]
    TESTS.append((f"{call}: the same for a resident and an evicted file", run))


def depots_of(make):
    return make.made


ENVIRONMENT = {}


def script(_depot):
    return b"#!/bin/sh\nexit $1\n"


def library(depot):
    with open(os.path.join(depot.out, "evictable.so"), "rb") as f:
        return f.read()


for call in ("open", "open64", "openat", "openat64", "open_2", "open64_2", "openat_2",
             "openat64_2", "open_nofollow", "open_by_dirfd", "open_relative", "fopen", "fopen64",
             "freopen", "mmap"):
    parity(call, ["FETCH"])
for call in ("open_rdwr", "open_creat", "open_append", "open_trunc", "fopen_append", "truncate",
             "creat"):
    parity(call, ["FETCH"], mode=0o644)
for call in ("open_excl", "open_directory", "open_path", "stat", "xstat", "statx", "access",
             "chmod"):
    parity(call, [])
for call in ("unlink", "unlinkat", "remove"):
    parity(call, ["DELETE"] if call != "unlink" else ["DELETE", "STAT"])
parity("link", ["FETCH"])
parity("rename_out", ["FETCH"])
parity("times", ["FETCH"], mode=0o644)
parity("readdir", [], target="main/jam")
parity("walk", [], target="main/jam")
for call in ("exec", "vfork_exec", "spawn"):
    parity(call, ["FETCH"], content=script, mode=0o755, rel="main/tool,d/1.1")
parity("dlopen", ["FETCH"], content=library, mode=0o755, rel="main/lib,d/1.1")


@test("pure parts: names, paths, replies, markers, JSON")
def _(make):
    done = subprocess.run([os.path.join(make().out, "units")], capture_output=True, text=True)
    equal((done.returncode, done.stdout), (0, ""))


# ---- opens ----

@test("an evicted file comes back complete, with its mode, owner and mtime")
def _(make):
    depot = make()
    depot.daemon.start()
    path = depot.write(FILE, b"x" * 300_000)
    depot.evict(FILE)
    contains(depot.probe("open", path), "open=ok bytes=300000")
    st = os.stat(path)
    equal((stat.S_ISREG(st.st_mode), stat.S_IMODE(st.st_mode), st.st_mtime_ns),
          (True, 0o444, MTIME_NS))


@test("names that are not UTF-8, or hold spaces and quotes, reach the daemon as they are")
def _(make):
    depot = make()
    depot.daemon.start()
    for rel in (os.fsdecode(b"caf\xe9 \"x\\,v"), os.fsdecode(b"\x83e\x83X\x83g,d/1.1"), "%40 #,v"):
        path = depot.write(rel)
        depot.evict(rel)
        contains(depot.probe("open", path), "open=ok bytes=1000")
    equal([path for _, path in depot.daemon.requests][0], os.fsdecode(b"caf\xe9 \"x\\,v"))


@test("a path through a link, through .. and through // finds the same file")
def _(make):
    depot = make()
    depot.daemon.start()
    depot.write(FILE)
    os.symlink(depot.root, os.path.join(depot.top, "alias"))
    os.symlink("main/jam", depot.path("short"))
    os.symlink("jam/a,v", depot.path("main/link"))
    for path in (depot.top + "/alias/main/jam/a,v", depot.root + "/main/../main//jam/./a,v",
                 depot.path("short/a,v"), depot.path("main/link"),
                 depot.top + "/scratch/../depot/main/jam/a,v"):
        depot.evict(FILE)
        contains(depot.probe("open", path), "open=ok bytes=1000")
        contains(depot.probe("stat", path), "size=1000")
    equal(depot.daemon.requests, [("FETCH", FILE)] * 5)


@test("a depot configured through a link is the same depot")
def _(make):
    depot = make()
    depot.daemon.start()
    path = depot.write(FILE)
    alias = os.path.join(depot.top, "alias")
    os.symlink(depot.root, alias)
    for name in (path, alias + "/" + FILE):
        depot.evict(FILE)
        contains(depot.probe("stat", name, P4CACHE_DEPOT=alias), "mode=100444 size=1000")
        contains(depot.probe("open", name, P4CACHE_DEPOT=alias), "open=ok bytes=1000")


@test("a missing managed name that the store has is restored; directories may be missing too")
def _(make):
    depot = make()
    depot.daemon.start()
    path = depot.write(FILE)
    depot.keep(FILE)
    shutil.rmtree(depot.path("main"))
    contains(depot.probe("stat", path), "mode=100444 size=1000 mtime=1400000000.123456789")
    contains(depot.probe("open", path), "open=ok bytes=1000")


@test("O_CREAT and fopen(a) of a missing managed name that the store has do not shadow it")
def _(make):
    for call in ("open_creat", "open_append", "fopen_append"):
        depot = make()
        depot.daemon.start()
        path = depot.write(FILE, mode=0o644)
        depot.keep(FILE)
        os.unlink(path)
        depot.probe(call, path)
        assert os.path.getsize(path) >= 1000, call


@test("ENOENT stays ENOENT for names unknown to the store, and costs no daemon when unmanaged")
def _(make):
    depot = make()
    depot.daemon.start()
    equal(depot.probe("open", depot.path("none,v")), "open=-1 errno=ENOENT\n")
    equal(depot.daemon.verbs(), ["FETCH"])
    for rel in ("plain", "db.rev", "tmp.1.2", ".p4cache/x,v", "a.lck", "server.locks/a,v"):
        equal(depot.probe("open", depot.path(rel)), "open=-1 errno=ENOENT\n")
    equal(depot.probe("open", os.path.join(depot.scratch, "none,v")), "open=-1 errno=ENOENT\n")
    equal(depot.probe("open", ""), "open=-1 errno=ENOENT\n")
    equal(depot.daemon.verbs(), ["FETCH"])


@test("with P4CACHE_MANAGE=all every missing name is asked for")
def _(make):
    depot = make()
    depot.daemon.start()
    path = depot.write("plain/name.txt")
    depot.keep("plain/name.txt")
    os.unlink(path)
    equal(depot.probe("open", path), "open=-1 errno=ENOENT\n")
    contains(depot.probe("open", path, P4CACHE_MANAGE="all"), "open=ok bytes=1000")


@test("a file that is evicted again before each open ends as EIO after three restores")
def _(make):
    depot = make()
    depot.write(FILE)
    depot.evict(FILE)
    depot.daemon.answer["FETCH"] = lambda conn, path: "OK 1000"
    depot.daemon.start()
    equal(depot.probe("open", depot.path(FILE)), "open=-1 errno=EIO\n")
    equal(depot.daemon.verbs(), ["FETCH"] * 3)


@test("a socket outside of the depot, and one that somebody bound inside, are left alone")
def _(make):
    depot = make()
    depot.daemon.start()
    wanted = ("bind=0\nlstat=0 socket=1\nfstat=0 socket=1\ntype=1\nconnect=0\n"
              "open=-1 errno=ENXIO\n")
    equal(depot.probe("real_socket", os.path.join(depot.scratch, "s")), wanted)
    equal(depot.probe("real_socket", depot.path("s")), wanted)
    equal(depot.daemon.verbs(), [])
    path = depot.write("b,v")
    depot.evict("b,v")
    outside = os.path.join(depot.scratch, "marker")
    os.rename(path, outside)
    equal(depot.probe("open", outside), "open=-1 errno=ENXIO\n")
    contains(depot.probe("stat", outside), "mode=140444 size=0")


@test("a socket of a managed name that the daemon does not know is left alone")
def _(make):
    depot = make()
    depot.daemon.start()
    os.mknod(depot.path("s,v"), stat.S_IFSOCK | 0o600)
    equal(depot.probe("open", depot.path("s,v")), "open=-1 errno=ENXIO\n")
    contains(depot.probe("stat", depot.path("s,v")), "mode=140600")


@test("a marker that somebody touched costs a STAT, is stamped again, and still opens")
def _(make):
    depot = make()
    depot.daemon.start()
    path = depot.write(FILE)
    depot.evict(FILE)
    os.utime(path, ns=(time.time_ns(), MTIME_NS))
    contains(depot.probe("stat", path), "stat mode=100444 size=1000 mtime=1400000000.123456789")
    equal(depot.daemon.verbs(), ["STAT"])
    os.utime(path, ns=(time.time_ns(), MTIME_NS))
    contains(depot.probe("open", path), "open=ok bytes=1000")


@test("with P4CACHE_STAT=restore stat brings the file back")
def _(make):
    depot = make()
    depot.daemon.start()
    path = depot.write(FILE)
    depot.evict(FILE)
    contains(depot.probe("stat", path, P4CACHE_STAT="restore"), "stat mode=100444 size=1000")
    assert not depot.is_marker(FILE)


@test("a FIFO without a reader keeps its own ENXIO")
def _(make):
    depot = make()
    depot.daemon.start()
    os.mkfifo(depot.path("fifo,v"))
    code = "import os; os.open(%r, os.O_WRONLY | os.O_NONBLOCK)" % depot.path("fifo,v")
    contains(depot.run(sys.executable, "-c", code)[2], "[Errno 6]")
    equal(depot.daemon.verbs(), [])


# ---- what the daemon says ----

@test("ERR codes become EIO, EACCES or ENOSPC for a marker, and never ENOENT")
def _(make):
    for code, name in (("CORRUPT", "EIO"), ("UNAVAILABLE", "EIO"), ("DENIED", "EACCES"),
                       ("FULL", "ENOSPC"), ("BADREQ", "EIO"), ("RESERVED", "EIO"),
                       ("NEWCODE", "EIO"), ("NOTFOUND", "EIO")):
        depot = make()
        depot.write(FILE)
        depot.evict(FILE)
        depot.daemon.answer["FETCH"] = lambda conn, path, code=code: f"ERR {code} because"
        depot.daemon.start()
        equal(depot.probe("open", depot.path(FILE)), f"open=-1 errno={name}\n", code)
        assert depot.is_marker(FILE)


@test("a rename that the daemon has not heard of yet is asked for again")
def _(make):
    depot = make()
    depot.write(FILE)
    depot.evict(FILE)

    def late(conn, path):
        return "ERR NOTFOUND not yet" if len(depot.daemon.requests) < 3 else \
            depot.daemon.fetch(conn, path)
    depot.daemon.answer["FETCH"] = late
    depot.daemon.start()
    contains(depot.probe("open", depot.path(FILE)), "open=ok bytes=1000")


@test("BUSY is asked again and never reaches the program")
def _(make):
    depot = make()
    depot.write(FILE)
    depot.evict(FILE)

    def busy(conn, path):
        return "ERR BUSY later" if len(depot.daemon.requests) < 4 else \
            depot.daemon.fetch(conn, path)
    depot.daemon.answer["FETCH"] = busy
    depot.daemon.start()
    contains(depot.probe("open", depot.path(FILE)), "open=ok bytes=1000")
    equal(len(depot.daemon.requests), 4)


@test("WAIT lines extend the deadline")
def _(make):
    depot = make()
    depot.write(FILE)
    depot.evict(FILE)

    def slow(conn, path):
        for i in range(6):
            conn.sendall(b"WAIT %d 6\nWAIT" % i)
            time.sleep(0.15)
            conn.sendall(b" %d 6\n" % i)
        return depot.daemon.fetch(conn, path)
    depot.daemon.answer["FETCH"] = slow
    depot.daemon.start()
    contains(depot.probe("open", depot.path(FILE), P4CACHE_FETCH_TIMEOUT_MS="500"),
             "open=ok bytes=1000")


@test("a daemon that says nothing, or nonsense, is EIO, also for a missing name")
def _(make):
    def endless(conn, path):
        conn.sendall(b"x" * 5000)
        return None
    for answer in (lambda conn, path: conn.recv(1) and None, endless,
                   lambda conn, path: "HELLO", lambda conn, path: "OK -5"):
        depot = make()
        depot.write(FILE)
        depot.evict(FILE)
        depot.daemon.answer["FETCH"] = answer
        depot.daemon.start()
        for rel in (FILE, "none,v"):
            equal(depot.probe("open", depot.path(rel), P4CACHE_FETCH_TIMEOUT_MS="200"),
                  "open=-1 errno=EIO\n", rel)


# ---- outages ----

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


def outage(name, prepare, **extra):
    def run(make, uid=0):
        depot = make()
        depot.write(FILE, b"1.3 1.2 1.1\n")
        depot.evict(FILE)
        prepare(depot)
        if uid != 0:
            for directory, _, files in os.walk(depot.top):
                os.chown(directory, uid, uid)
                for file in files:
                    os.lchown(os.path.join(directory, file), uid, uid)
            os.lchown(depot.path(FILE), uid, uid)
        env = depot.environment(P4CACHE_RESTART_GRACE_MS=GRACE_MS,
                                P4CACHE_FETCH_TIMEOUT_MS="300", **extra)
        done = subprocess.run([depot.probe_program, "rcs_update", depot.path(FILE)], env=env,
                              capture_output=True, text=True, timeout=60, user=uid, group=uid,
                              extra_groups=[])
        contains(done.stdout, "refused: it exists")
        assert depot.is_marker(FILE)
    TESTS.append((f"an RCS update refuses to replace history: {name}, as root", run))
    TESTS.append((f"an RCS update refuses to replace history: {name}, as the depot's user",
                  lambda make: run(make, 12345)))


def hang(depot):
    depot.daemon.answer["FETCH"] = lambda conn, path: conn.recv(1) and None
    depot.daemon.start()


def store_down(depot):
    depot.daemon.answer["FETCH"] = lambda conn, path: "ERR UNAVAILABLE the store is down"
    depot.daemon.start()


def touched(depot):
    os.utime(depot.path(FILE))


outage("daemon down", lambda depot: None)
outage("daemon hung", hang)
outage("store down", store_down)
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


# ---- deletes ----

@test("unlink tells the daemon, of markers and files, and of managed names alone")
def _(make):
    depot = make()
    depot.daemon.start()
    depot.write("a,v")
    depot.write("b,v")
    depot.write("plain")
    depot.evict("a,v")
    for rel in ("a,v", "b,v", "plain"):
        equal(depot.probe("remove", depot.path(rel)), "remove=0 errno=-\n")
    equal(depot.daemon.requests, [("DELETE", "a,v"), ("DELETE", "b,v")])
    equal(depot.failed_deletes(), [])


@test("unlink of a missing name that the store has succeeds; of an unknown one it is ENOENT")
def _(make):
    depot = make()
    depot.daemon.start()
    path = depot.write("a,v")
    depot.keep("a,v")
    os.unlink(path)
    equal(depot.probe("unlinkat", path), "unlinkat=0 errno=-\n")
    equal(depot.probe("unlinkat", path), "unlinkat=-1 errno=ENOENT\n")


@test("a delete that cannot reach the daemon succeeds and is written down, one line each")
def _(make):
    depot = make()
    for rel in ("a,v", os.fsdecode(b"caf\xe9\",v"), "dir/" + "n" * 200 + ",v"):
        depot.write(rel)
        equal(depot.probe("unlinkat", depot.path(rel)), "unlinkat=0 errno=-\n")
    equal([(r["path"], r["why"], r["uid"]) for r in depot.failed_deletes()],
          [("a,v", "unreachable", 0), ("caf\xe9\",v", "unreachable", 0),
           ("dir/" + "n" * 200 + ",v", "unreachable", 0)])


@test("a delete that the daemon refuses is written down")
def _(make):
    depot = make()
    depot.daemon.answer["DELETE"] = lambda conn, path: "ERR DENIED not you"
    depot.daemon.start()
    depot.write("a,v")
    equal(depot.probe("unlinkat", depot.path("a,v")), "unlinkat=0 errno=-\n")
    equal([r["why"] for r in depot.failed_deletes()], ["refused"])


# ---- access events ----

@test("an open is told once, with who, what and how it went")
def _(make):
    depot = make()
    depot.daemon.start()
    path = depot.write(FILE)
    for setup, call, wanted in ((None, "open", "hot"), (depot.evict, "open", "cold"),
                                (None, "fopen", "hot"), (None, "open_relative", "hot"),
                                (None, "open_by_dirfd", "hot"), (None, "open_excl", "error")):
        if setup is not None:
            setup(FILE)
        before = len(depot.daemon.opens())
        depot.probe(call, path)
        event = depot.daemon.await_events(before + 1)[-1]
        equal((event["path"], event["result"], event["uid"], event["op"]),
              (FILE, wanted, 0, "open"), call)
        assert abs(event["ts"] / 1000 - time.time()) < 60 and event["pid"] > 0
    before = len(depot.daemon.opens())
    depot.probe("open", depot.path("none,v"))
    equal(depot.daemon.await_events(before + 1)[-1]["result"], "missing")
    equal(len({e["id"] for e in depot.daemon.opens()}), before + 1)


@test("files that are not managed, and those of the daemon, yield no event")
def _(make):
    depot = make()
    depot.daemon.start()
    for path in (depot.write("plain"), depot.write("db.rev"), depot.write(".p4cache/x,v"),
                 os.path.join(depot.scratch, "none,v")):
        depot.probe("open", path)
    depot.probe("open", depot.write(FILE))
    equal([e["path"] for e in depot.daemon.await_events(1)], [FILE])


@test("1005 opens in two threads, one of which ends, are told exactly once each")
def _(make):
    depot = make()
    depot.daemon.start()
    equal(depot.probe("opens", depot.write(FILE)), "opened\n")
    events = depot.daemon.await_events(1005)
    equal((len(events), len({e["id"] for e in events})), (1005, 1005))


@test("_exit and exec lose no event")
def _(make):
    for call in ("exit_at_once", "exec_after_open"):
        depot = make()
        depot.daemon.start()
        depot.probe(call, depot.write(FILE))
        equal(len(depot.daemon.await_events(7)), 7, call)


@test("a forked child starts empty: nothing is told twice, nothing is lost")
def _(make):
    depot = make()
    depot.daemon.start()
    depot.probe("fork_events", depot.write(FILE))
    events = depot.daemon.await_events(9)
    equal((len(events), len({e["id"] for e in events})), (9, 9))
    equal(sorted(sum(e["pid"] == pid for e in events) for pid in {e["pid"] for e in events}),
          [3, 6])


@test("a process that opened once and then waits has told it")
def _(make):
    depot = make()
    depot.daemon.start()
    process = depot.start("idle", depot.write(FILE))
    equal(len(depot.daemon.await_events(1)), 1)
    equal(process.poll(), None)
    process.communicate()


@test("events that nobody takes are counted and told later; p4d is not held up")
def _(make):
    depot = make()
    path = depot.write(FILE)
    equal(depot.probe("opens", path), "opened\n")
    code = ("import os, sys\n"
            "for i in range(3): os.close(os.open(%r, os.O_RDONLY))\n"
            "print(flush=True); sys.stdin.readline()\n"
            "import time; time.sleep(1.1)\n"
            "os.close(os.open(%r, os.O_RDONLY))\n") % (path, path)
    process = subprocess.Popen([sys.executable, "-c", code], env=depot.environment(),
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    depot.daemon.start()
    process.communicate("go\n")
    depot.daemon.await_events(1)
    dropped = sum(e["n"] for e in depot.daemon.events if e["op"] == "dropped")
    equal(dropped + len(depot.daemon.opens()), 4)


# ---- hosts ----

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


def hostile(name, call, wanted, slow_ms=0, **extra):
    def run(make):
        depot = make()
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
        "child sockets=0\n" + OPENED + "sockets left=0\n", 200)
hostile("a host that closes all descriptors and opens its own gets not one byte from us",
        "closes_all", "db.rev rc=0 bytes=0\n" + OPENED, P4CACHE_RESTART_GRACE_MS="500")
hostile("signals, and an open of another evicted file in their handler, disturb nothing",
        "signals", OPENED + "handler ran=1 failed=0\n", 100)
hostile("300 threads that open one evicted file all get it", "threads", "opened=300 of 300\n", 50)
hostile("a thread with the smallest stack can open and stat an evicted file", "small_stack",
        "create=0\n" + OPENED)
hostile("a cancelled thread leaves no socket behind", "cancel", "sockets left=0\n" + OPENED, 200)
hostile("without /proc stat still works and open is EIO", "chroot",
        "stat=0 regular=1\nopen=-1 errno=EIO\n")
hostile("without a descriptor left stat works and open is EMFILE", "no_descriptors",
        "stat=0 regular=1\nopen=-1 errno=EMFILE\n")


@test("the library exports the table of hooks and nothing else, and needs only libc")
def _(make):
    depot = make()
    with open(os.path.join(os.path.dirname(__file__), "..", "..", "shim", "hooks.h")) as f:
        table = set(re.findall(r"X\([A-Z_0-9]+, (\w+)\)", f.read()))
    exported = subprocess.run(["nm", "-D", "--defined-only", depot.library], check=True,
                              capture_output=True, text=True).stdout
    equal({line.split()[2] for line in exported.splitlines()}, table)
    needed = subprocess.run(["readelf", "-dW", depot.library], check=True, capture_output=True,
                            text=True).stdout
    equal(re.findall(r"NEEDED.*\[(.*)\]", needed), ["libc.so.6"])
    contains(needed, "BIND_NOW")


@test("dlopen is left by a jump: libc sees the caller's own RUNPATH and namespace")
def _(make):
    code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", "--disassemble=dlopen",
                           make().library], check=True, capture_output=True, text=True).stdout
    body = code[code.index("<dlopen>:"):]
    assert os.uname().machine != "x86_64" or re.search(r"jmp +\*", body), body
    assert not re.search(r"call +\*", body), body


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


def main():
    build, out, part = sys.argv[1:]
    results = [run_one(name, function, build, out) for name, function in TESTS if part in name]
    print(f"shim: {results.count('passed')} passed, {results.count('failed')} failed"
          + (f", {results.count('skipped')} skipped" if "skipped" in results else ""))
    sys.exit(1 if "failed" in results or not results else 0)


main()
