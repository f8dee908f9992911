"""Names that are taken away: by processes without a descriptor left, by several users, and with
their directory.
"""

import os
import stat
import subprocess
import sys

from depot import native_only
from harness import FILE, GRACE_MS, equal, test

UID = 12345

# Each step is a call and its arguments, on one argument of the program.
STEPS = """
import errno, os, resource, sys
if sys.argv[1] != "free":
    resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
    try:
        while True:
            last = os.dup(0)
    except OSError:
        pass
    if sys.argv[1] == "one left":
        os.close(last)
said = []
for step in sys.argv[2:]:
    call, *args = step.split(":")
    try:
        getattr(os, call)(*args)
        said.append("ok")
    except OSError as error:
        said.append(errno.errorcode[error.errno])
os.write(1, " ".join(said).encode())
"""


def run(depot, *steps, how="free", **extra):
    code, out, err = depot.run(sys.executable, "-B", "-c", STEPS, how, *steps, **extra)
    equal((code, err), (0, ""))
    return out.split()


def evicted(depot, *rels):
    for rel in rels:
        depot.write(rel)
        depot.evict(rel)


@test("without a descriptor left, markers stay in the depot, and no delete goes untold")
def _(make):
    depot = make()
    depot.daemon.start()
    evicted(depot, "main/g,d/1.1", "main/x,v", "main/h,d/1.1")
    for rel in ("main/y,v", "main/z,v"):
        depot.write(rel)
        depot.keep(rel)
    link = os.path.join(depot.top, "alias")
    os.symlink(depot.path("main"), link)
    out = depot.scratch
    equal(run(depot, f"rename:{depot.path('main/g,d')}:{out}/g,d", f"rename:{link}/h,d:{out}/h,d",
              f"unlink:{depot.path('main/x,v')}", f"unlink:{link}/x,v",
              f"rename:{depot.path('main/y,v')}:{depot.path('main/y,v.bak')}",
              f"rename:{link}/z,v:{out}/z,v", f"unlink:{depot.path('main/none,v')}",
              f"unlink:{depot.path('main/g,d/1.1')}", how="full"),
          ["EXDEV", "EXDEV", "EMFILE", "EMFILE", "EMFILE", "EMFILE", "ENOENT", "EMFILE"])
    equal((depot.daemon.requests, depot.failed_deletes()), ([], []))
    for rel in ("main/g,d/1.1", "main/h,d/1.1", "main/x,v", "main/y,v", "main/z,v"):
        assert os.path.lexists(depot.path(rel)), rel


@test("without a descriptor left, what is no business of the shim's goes on")
def _(make):
    depot = make()
    depot.daemon.start()
    out = depot.scratch
    os.mkdir(f"{out}/d,d")
    for name in ("a,v", "b,v", "d,d/1"):
        with open(f"{out}/{name}", "w") as file:
            file.write(name)
    depot.write("main/plain")
    depot.write(FILE)
    depot.write("main/k,d/1.1")
    equal(run(depot, f"unlink:{out}/a,v", f"rename:{out}/b,v:{out}/c", f"rename:{out}/d,d:{out}/e",
              f"unlink:{depot.path('main/plain')}",
              f"rename:{depot.path(FILE)}:{depot.path('main/to,v')}",
              f"rename:{depot.path('main/k,d')}:{depot.path('main/l,d')}", how="full"), ["ok"] * 6)
    equal(depot.daemon.requests, [])


@test("with one descriptor left, and no daemon, a delete could not be written down: EMFILE")
def _(make):
    depot = make()
    evicted(depot, FILE)
    equal(run(depot, f"unlink:{depot.path(FILE)}", how="one left"), ["EMFILE"])
    assert depot.is_marker(FILE)
    equal(run(depot, f"unlink:{depot.path(FILE)}"), ["ok"])
    equal([record["path"] for record in depot.failed_deletes()], [FILE])


@test("a delete that root wrote down first keeps no other user's from being written down")
def _(make):
    native_only()
    depot = make()
    evicted(depot, "main/1,v", "main/2,v")
    os.chmod(depot.top, 0o755)
    for directory, _, _ in os.walk(depot.root):
        os.chown(directory, UID, UID)
    os.chmod(depot.own, 0o700)
    log = os.path.join(depot.own, "shim-failed-deletes.log")
    for uid, rel in ((0, "main/1,v"), (UID, "main/2,v")):
        done = subprocess.run([depot.probe_program, "unlinkat", depot.path(rel)],
                              env=depot.environment(P4CACHE_RESTART_GRACE_MS=GRACE_MS),
                              capture_output=True, text=True, timeout=60, user=uid, group=uid,
                              extra_groups=[], umask=0o077, check=True)
        equal(done.stdout, "unlinkat=0 errno=-\n")
        st = os.stat(log)
        equal((st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)), (UID, UID, 0o640))
    equal([record["path"] for record in depot.failed_deletes()], ["main/1,v", "main/2,v"])


LOG = "shim-failed-deletes.log"


def state(path):
    st = os.lstat(path)
    with open(path, "rb") as file:
        return st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode), file.read()


def linked(depot, victim):
    os.link(victim, os.path.join(depot.own, LOG))


def symlinked(depot, victim):
    os.symlink(victim, os.path.join(depot.own, LOG))


def below_a_symlink(depot, victim):
    """With what else is in it, so that this alone is what keeps the record from being written."""
    os.rename(depot.own, depot.own + ".aside")
    os.symlink(os.path.dirname(victim), depot.own)


def moved(depot, victim):
    os.truncate(victim, 0)  # as new as a log can be
    os.rename(victim, os.path.join(depot.own, LOG))


@test("root gives no file of its own away for a log, and writes to no link, whatever p4d's user makes")
def _(make):
    native_only()
    for prepare in (linked, symlinked, below_a_symlink, moved):
        depot = make()
        evicted(depot, FILE)
        for directory, _, _ in os.walk(depot.root):
            os.chown(directory, UID, UID)
        victim = os.path.join(depot.scratch, LOG)
        with open(victim, "wb") as file:
            file.write(b"root's alone\n")
        os.chmod(victim, 0o600)
        prepare(depot, victim)
        equal(depot.probe("unlinkat", depot.path(FILE)), "unlinkat=0 errno=-\n")
        if prepare is moved:
            equal(state(os.path.join(depot.own, LOG))[:3], (0, 0, 0o600))
        else:
            equal(state(victim), (0, 0, 0o600, b"root's alone\n"), prepare.__name__)


@test("a directory does not take files to names that are not managed: EXDEV, and mv copies")
def _(make):
    depot = make()
    depot.daemon.start()
    evicted(depot, "main/f,d/1.1", "main/sub/g,d/1.1")
    os.mkdir(depot.path("server.locks"))
    f, sub = depot.path("main/f,d"), depot.path("main/sub")
    steps = (f"rename:{f}:{f}.bak", f"rename:{f}/:{f}.bak/", f"rename:{f}:{depot.path('f')}",
             f"rename:{sub}:{depot.path('server.locks/sub')}",
             f"rename:{sub}:{depot.own}/tmp/sub")
    equal(run(depot, *steps), ["EXDEV"] * 5)
    # Where every name is managed, these lose none.
    equal(run(depot, f"rename:{f}:{f}.bak", f"rename:{f}.bak:{f}", steps[3],
              P4CACHE_MANAGE="all"), ["ok", "ok", "EXDEV"])
    equal(run(depot, f"rename:{f}:{depot.path('main/h,d')}", f"rename:{sub}:{depot.path('sub')}",
              f"rename:{depot.path('sub')}:{depot.path('sub,d')}"), ["ok"] * 3)
    equal(depot.daemon.requests, [])
    assert depot.is_marker("main/h,d/1.1") and depot.is_marker("sub,d/g,d/1.1")
    os.rename(os.path.join(depot.store, "main/f,d"), os.path.join(depot.store, "main/h,d"))
    equal(depot.run("mv", depot.path("main/h,d"), depot.path("main/h,d.bak"),
                    P4CACHE_STAT="restore"), (0, "", ""))
    equal(os.path.getsize(depot.path("main/h,d.bak/1.1")), 1000)
    assert not os.path.lexists(depot.path("main/h,d"))


def leaving_late(make, call, evictions, **extra):
    """A file that is evicted so often, just before the kernel takes its name out of the depot."""
    depot = make()
    depot.daemon.start()
    depot.library += ":" + os.path.join(depot.out, "late_eviction.so")
    depot.write(FILE)
    depot.keep(FILE)
    out = os.path.join(depot.scratch, "moved")
    with open(out + ".before", "w") as file:
        file.write("was there")
    steps = {"rename": (f"rename:{depot.path(FILE)}:{out}",),
             "replace": (f"rename:{depot.path(FILE)}:{out}.before",),
             "rename within": (f"rename:{depot.path(FILE)}:{depot.path('main/moved')}",),
             "link": (f"link:{depot.path(FILE)}:{out}",)}[call]
    out = steps[0].split(":")[2]
    said = run(depot, *steps, LATE_EVICTIONS=str(evictions), **extra)
    return depot, out, said


@test("an eviction in the moment of a rename or link lets no marker out of the depot")
def _(make):
    native_only()
    for call in ("rename", "replace", "rename within", "link"):
        for evictions in (1, 3):
            depot, out, said = leaving_late(make, call, evictions)
            equal(said, ["ok"], call)
            equal(os.path.getsize(out), 1000, call)
            left = [] if call == "link" else ["DELETE"]
            equal(depot.daemon.verbs(), ["FETCH"] * evictions + left, call)
            equal(os.path.lexists(depot.path(FILE)), call == "link")


@test("one that cannot be kept from leaving is an error, and no delete is told")
def _(make):
    native_only()
    for call in ("rename", "rename within", "link"):
        depot, out, said = leaving_late(make, call, 9)
        equal(said, ["EIO"], call)
        equal((depot.daemon.verbs(), depot.failed_deletes()), (["FETCH"] * 3, []), call)
        assert depot.is_marker(FILE) and not os.path.lexists(out), call
    depot, out, said = leaving_late(make, "rename", 1, LATE_TAKEN="1")
    equal(said, ["EIO"])
    equal((depot.daemon.verbs(), depot.failed_deletes()), ([], []))
    equal(os.path.getsize(os.path.join(depot.store, FILE)), 1000)


@test("what somebody else puts in the place of a marker that left is not taken into the depot")
def _(make):
    native_only()
    depot = make()
    depot.daemon.start()
    depot.library = ":".join(os.path.join(depot.out, name)
                             for name in ("libp4shim-faults.so", "late_eviction.so"))
    other, count = os.path.join(depot.scratch, "other"), os.path.join(depot.top, "count")
    out = os.path.join(depot.scratch, "moved")

    def leave(**extra):
        for path in (depot.path(FILE), out, other):
            if os.path.lexists(path):
                os.unlink(path)
        depot.write(FILE)
        depot.keep(FILE)
        with open(other, "w", encoding="ascii") as file:
            file.write("another's")
        before = len(depot.daemon.requests)
        code, said, err = depot.run(sys.executable, "-B", "-c", STEPS, "free",
                                    f"rename:{depot.path(FILE)}:{out}", LATE_EVICTIONS="1", **extra)
        equal((code, err), (0, ""))
        return said, depot.daemon.verbs()[before:]
    equal(leave(FAULT_COUNT=count), ("ok", ["FETCH", "DELETE"]))
    met = 0
    for call in range(1, os.path.getsize(count) + 1):
        said, verbs = leave(FAULT_EXCHANGE=str(call), FAULT_FILE=other, FAULT_TARGET=out)
        sizes = [os.path.getsize(path) for path in (out, other) if os.path.isfile(path)]
        equal(sizes.count(len("another's")), 1, f"call {call}: {said} {verbs}")
        if said == "EIO":
            met += 1
            equal("DELETE" in verbs, False, f"call {call}")
            assert not os.path.isfile(depot.path(FILE)), call
        elif "DELETE" in verbs:
            equal(sizes.count(1000), 1, f"call {call}: {said} {verbs}")
    assert met > 0


@test("a damaged marker does not leave the depot either")
def _(make):
    native_only()
    depot = make()
    depot.daemon.start()
    evicted(depot, FILE)
    os.utime(depot.path(FILE), ns=(1, os.lstat(depot.path(FILE)).st_mtime_ns))
    out = os.path.join(depot.scratch, "moved")
    equal(run(depot, f"rename:{depot.path(FILE)}:{out}"), ["ok"])
    equal(os.path.getsize(out), 1000)
    equal(depot.daemon.verbs(), ["FETCH", "DELETE"])
