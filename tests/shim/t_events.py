"""What the daemon is told: deletes and access events.
"""

import os
import subprocess
import sys
import time

from depot import native_only
from harness import FILE, contains, equal, test


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
    equal(depot.daemon.requests, [("STAT", "a,v"), ("DELETE", "a,v")])
    depot.daemon.answer["DELETE"] = lambda conn, path: "OK 0"  # whether or not it knew the path
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


@test("a delete that the daemon refuses is written down; of a missing name it is EACCES")
def _(make):
    depot = make()
    depot.daemon.answer["DELETE"] = lambda conn, path: "ERR DENIED not you"
    depot.daemon.start()
    depot.write("a,v")
    equal(depot.probe("unlinkat", depot.path("a,v")), "unlinkat=0 errno=-\n")
    depot.write("b,v")
    depot.keep("b,v")
    os.unlink(depot.path("b,v"))
    equal(depot.probe("unlinkat", depot.path("b,v")), "unlinkat=-1 errno=EACCES\n")
    equal([(r["path"], r["why"]) for r in depot.failed_deletes()], [("a,v", "denied")])


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


@test("a vfork child that changes its directory does not change its parent's")
def _(make):
    depot = make()
    depot.daemon.start()
    contains(depot.probe("vfork_chdir", depot.write(FILE)), "child=0")
    equal([e["path"] for e in depot.daemon.await_events(2)], [FILE, FILE])


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


@test("a child that a signal handler forks at any moment of an open goes on with it")
def _(make):
    native_only()  # an emulator's moments are others
    depot = make()
    depot.daemon.start()
    equal(depot.probe("fork_in_handler", depot.write(FILE)), "killed=0 of 400\n")


@test("a process that opened once and then waits has told it")
def _(make):
    depot = make()
    depot.daemon.start()
    process = depot.start("idle", depot.write(FILE))
    equal(len(depot.daemon.await_events(1)), 1)
    equal(process.poll(), None)
    process.communicate()


def command(host, opens):
    host.stdin.write(f"{opens}\n")
    host.stdin.flush()
    equal(host.stdout.readline(), "done\n")


def ids(events):
    return {e["id"] for e in events if e["op"] == "open"}


@test("what a burst leaves in an idle process lies in memory that the gate can drain")
def _(make):
    depot = make()
    depot.daemon.start()
    host = depot.host(depot.write(FILE))
    command(host, 50)
    buffer = depot.daemon.await_buffers(1)[0]
    sent = depot.daemon.await_events(1)
    left = buffer.lines()
    lock, _, oldest_ms = buffer.head()
    equal((lock, len(left), len(ids(left) | ids(sent))), (0, 49, 50))
    assert abs(oldest_ms / 1000 - time.monotonic()) < 60
    buffer.empty()  # as the gate does once it has them
    host.communicate()
    equal(len(depot.daemon.opens()), 1)


@test("a process that is killed leaves its events to the gate")
def _(make):
    depot = make()
    depot.daemon.start()
    host = depot.host(depot.write(FILE))
    command(host, 50)
    buffer = depot.daemon.await_buffers(1)[0]
    host.kill()
    host.communicate()
    equal(len(ids(buffer.lines())), 49)


@test("a forked child writes into a buffer of its own")
def _(make):
    depot = make()
    depot.daemon.start()
    depot.probe("fork_events", depot.write(FILE))
    depot.daemon.await_events(9)
    equal(len(set(depot.daemon.announced)), 2)


@test("a gate that starts anew is given the buffer; what the old one had is not lost")
def _(make):
    depot = make()
    depot.daemon.start()
    host = depot.host(depot.write(FILE))
    command(host, 3)
    depot.daemon.await_buffers(1)
    depot.daemon.stop()
    depot.daemon.start()
    time.sleep(1.1)  # the age at which a buffer is sent is what is tested
    command(host, 1)
    depot.daemon.await_buffers(2)
    command(host, 2)
    host.communicate()
    equal(len(ids(depot.daemon.await_events(6))), 6)


@test("a gate that dies with the buffer locked costs events, which are counted, not the rest")
def _(make):
    depot = make()
    depot.daemon.start()
    host = depot.host(depot.write(FILE))
    command(host, 3)
    buffer = depot.daemon.await_buffers(1)[0]
    equal(len(buffer.lines()), 2)
    buffer.set_lock(2)
    command(host, 5)
    time.sleep(1.1)
    command(host, 5)
    host.communicate()
    depot.daemon.await_events(5)
    dropped = sum(e["n"] for e in depot.daemon.events if e["op"] == "dropped")
    equal((len(ids(depot.daemon.opens())), dropped), (5, 8))


@test("memory that the host maps where a buffer was is its own, in a child that is forked then too")
def _(make):
    depot = make()
    depot.daemon.start()
    depot.library = os.path.join(depot.out, "libp4shim-faults.so")
    path = depot.write(FILE)
    with open(os.path.join(depot.top, "said"), "w+") as said:
        host = depot.host(path, said, FAULT_REUSE="1")
        command(host, 1)  # the first buffer is shared
        depot.daemon.await_buffers(1)[0].set_lock(2)
        command(host, 1)
        time.sleep(1.1)
        command(host, 1)  # and given up
        command(host, 1)  # the next one is shared
        host.communicate()
        said.seek(0)
        equal(said.read(), "reused\n" * 3)


@test("a host with another effective than real user keeps its buffer: the gate would refuse it")
def _(make):
    native_only()
    depot = make()
    depot.daemon.start()
    path = depot.write(FILE)
    os.chmod(depot.top, 0o755)
    os.chmod(os.path.join(depot.own, "access.sock"), 0o666)
    code = ("import os, sys\n"
            "os.seteuid(int(sys.argv[1]))\n"
            "for i in range(50): os.close(os.open(sys.argv[2], os.O_RDONLY))\n")
    for uid, given in (("12345", 0), ("0", 1)):
        equal(depot.run(sys.executable, "-B", "-c", code, uid, path), (0, "", ""))
        # The last ones come after the buffer that they lay in.
        equal(len(ids(depot.daemon.await_events(50 + 50 * given))), 50 + 50 * given)
        equal(len(depot.daemon.announced), given, f"effective UID {uid}")


@test("a buffer that somebody scribbles on does not lead the program astray")
def _(make):
    depot = make()
    depot.daemon.start()
    host = depot.host(depot.write(FILE))
    command(host, 10)
    buffer = depot.daemon.await_buffers(1)[0]
    buffer.map[8:12] = b"\xff\xff\xff\xff"
    command(host, 10)
    buffer.map[0:32] = b"\0" * 32
    command(host, 10)
    equal(host.communicate()[0], "")
    equal(host.returncode, 0)


@test("events that nobody takes are counted and told later; p4d is not held up")
def _(make):
    native_only()
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
