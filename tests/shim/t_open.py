"""Opens: which file is meant, and what the answers of the daemon become.
"""

import errno
import os
import shutil
import stat
import subprocess
import sys
import time

from depot import EMULATOR, MTIME_NS, Skip
from harness import FILE, contains, equal, silent, test


@test("pure parts: names, paths, replies, markers, JSON")
def _(make):
    done = subprocess.run([*EMULATOR, os.path.join(make().out, "units")], capture_output=True, text=True)
    equal((done.returncode, done.stdout), (0, ""))


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


@test("a missing managed name that the store has is ENOTDIR as a directory, and is not restored")
def _(make):
    depot = make()
    depot.daemon.start()
    path = depot.write(FILE)
    depot.keep(FILE)
    os.unlink(path)
    equal(depot.probe("open_directory", path), "open=-1 errno=ENOTDIR\n")
    equal(depot.probe("open_directory", depot.path("none,v")), "open=-1 errno=ENOENT\n")
    equal((depot.daemon.verbs(), os.path.lexists(path)), (["STAT", "STAT"], False))
    equal(depot.probe("open_path", path).splitlines()[0], "open=0 errno=-")
    equal(os.path.getsize(path), 1000)


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


for evictions in (1, 3):
    for call in ("exec", "vfork_exec", "spawn"):
        @test(f"{call} of a program that is evicted again {evictions} times after its restore")
        def _(make, call=call, evictions=evictions):
            depot = make()
            rel = "main/tool,d/1.1"
            depot.write(rel, b"#!/bin/sh\necho ran\n", mode=0o755)
            wanted = depot.probe(call, depot.path(rel))
            contains(wanted, "ran")
            depot.evict(rel)

            def fetch(conn, path):
                if len(depot.daemon.requests) <= evictions:
                    return "OK 19"
                return depot.daemon.fetch(conn, path)

            depot.daemon.answer["FETCH"] = fetch
            depot.daemon.start()
            got = depot.probe(call, depot.path(rel))
            if evictions == 1:
                equal(got, wanted)
            else:
                contains(got, "posix_spawn=5" if call == "spawn" else "status=101")
            equal(depot.daemon.verbs(), ["FETCH"] * min(evictions + 1, 3))


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


@test("a rename within the depot moves the marker: the daemon is not asked, nothing is restored")
def _(make):
    depot = make()
    depot.daemon.start()
    depot.write(FILE)
    depot.evict(FILE)
    target = depot.path("main/moved,v")
    equal(depot.run("mv", depot.path(FILE), target), (0, "", ""))
    assert depot.is_marker("main/moved,v") and not os.path.lexists(depot.path(FILE))
    contains(depot.probe("stat", target), "stat mode=100444 size=1000 mtime=1400000000.123456789")
    equal(depot.daemon.verbs(), [])


@test("a directory does not leave the depot as it is: EXDEV, and mv copies what it holds")
def _(make):
    depot = make()
    depot.daemon.start()
    depot.write("main/jam/b,v")
    depot.write(FILE)
    depot.evict(FILE)
    code = "import os, sys; os.rename(sys.argv[1], sys.argv[2])"
    outside = os.path.join(depot.scratch, "out")
    contains(depot.run(sys.executable, "-c", code, depot.path("main"), outside)[2], "[Errno 18]")
    equal(depot.daemon.verbs(), [])
    equal(depot.run("mv", depot.path("main"), outside, P4CACHE_STAT="restore"), (0, "", ""))
    equal(sorted(os.listdir(os.path.join(outside, "jam"))), ["a,v", "b,v"])
    equal(os.path.getsize(os.path.join(outside, "jam", "a,v")), 1000)
    assert not os.path.lexists(depot.path("main"))
    depot.write(FILE)
    depot.evict(FILE)
    equal(depot.run("mv", depot.path("main"), depot.path("moved")), (0, "", ""))  # within it
    assert depot.is_marker("moved/jam/a,v")
    equal(depot.run(sys.executable, "-c", code, depot.path("moved/"), depot.path("back/"))[0], 0)
    depot.write("file")
    contains(depot.run(sys.executable, "-c", code, depot.path("back"), depot.path("file/x"))[2],
             "NotADirectoryError")
    contains(depot.run(sys.executable, "-c", code, depot.path("back/"), outside + "2/")[2],
             "[Errno 18]")
    within = os.path.join(depot.scratch, "d")  # no business of the shim's
    os.mkdir(within)
    equal(depot.run(sys.executable, "-c", code, within, within + "2"), (0, "", ""))


HUGE = """
import errno, os
try:
    os.truncate(f"/proc/self/fd/{os.memfd_create('huge', os.MFD_HUGETLB)}", 12345)
except OSError as error:
    print(errno.errorcode[error.errno])
"""


@test("a file elsewhere that the kernel refuses to truncate is refused for the kernel's reason")
def _(make):
    depot = make()
    depot.daemon.start()
    code, out, err = depot.run(sys.executable, "-B", "-c", HUGE, LD_PRELOAD=None)
    if code != 0:
        raise Skip(f"no file system refuses here: {err}")
    equal(out, "EINVAL\n")
    equal(depot.run(sys.executable, "-B", "-c", HUGE), (0, "EINVAL\n", ""))


TIMES = """
import ctypes, errno, os, stat, sys
libc = ctypes.CDLL(None, use_errno=True)
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
now, omit = (1 << 30) - 1, (1 << 30) - 2
for atime, mtime in ((5, omit), (now, omit), (omit, omit), (omit, now), (omit, 5), (now, now)):
    spec = (ctypes.c_long * 4)(1, atime, 1, mtime)
    rc = libc.utimensat(-100, sys.argv[1].encode(), spec, 0)
    print(atime, mtime, rc, errno.errorcode[ctypes.get_errno()] if rc else "")
    set_ns = os.stat(sys.argv[1]).st_mtime_ns
    print("now" if set_ns > 1_500_000_000_000_000_000 else set_ns)
"""


@test("who may set which time of an evicted file is as of a resident one")
def _(make):
    # What restores the file comes last.
    for uid, mode in ((0, 0o600), (12345, 0o666), (12345, 0o644), (54321, 0o600)):
        said = []
        for is_evicted in (False, True):
            depot = make()
            os.chmod(depot.top, 0o755)
            depot.daemon.start()
            for name in ("shim.sock", "access.sock"):
                os.chmod(os.path.join(depot.own, name), 0o666)
            path = depot.write(FILE, mode=mode)
            os.chown(path, 54321, 54321)
            if is_evicted:
                depot.evict(FILE)
            done = depot.run(sys.executable, "-B", "-c", TIMES, path, str(uid))
            equal((done[0], done[2]), (0, ""))
            said.append(done[1].splitlines())
        equal(said[1], said[0], f"uid {uid}, mode {mode:o}")


EXCHANGE = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
print(libc.renameat2(-100, sys.argv[1].encode(), -100, sys.argv[2].encode(), 2),
      ctypes.get_errno())
"""


@test("an exchange with a name in the depot is refused, and one elsewhere is not")
def _(make):
    depot = make()
    depot.daemon.start()
    path = depot.write(FILE)
    depot.evict(FILE)
    outside = [os.path.join(depot.scratch, name) for name in ("one", "two")]
    for name in outside:
        with open(name, "w") as f:
            f.write(name)
    refused = (0, f"-1 {errno.EINVAL}\n", "")
    equal(depot.run(sys.executable, "-c", EXCHANGE, path, outside[0]), refused)
    equal(depot.run(sys.executable, "-c", EXCHANGE, outside[0], path), refused)
    equal(depot.run(sys.executable, "-c", EXCHANGE, *outside), (0, "0 0\n", ""))
    assert depot.is_marker(FILE)


@test("a file that is renamed away from the managed names is restored, and then deleted")
def _(make):
    for to in ("outside", "unmanaged"):
        depot = make()
        depot.daemon.start()
        path = depot.write(FILE)
        depot.evict(FILE)
        target = os.path.join(depot.scratch, "x") if to == "outside" else f"{path}.old"
        equal(depot.run("/bin/mv", path, target), (0, "", ""))
        equal(os.path.getsize(target), 1000)
        equal(depot.daemon.verbs(), ["FETCH", "DELETE"])


NULL_PATH = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open(sys.argv[1], os.O_PATH)
out = ctypes.create_string_buffer(512)
rc = libc.statx(fd, None, 0x1000, 0x7ff, out)
print(rc, oct(struct.unpack_from("H", out, 28)[0]) if rc == 0 else ctypes.get_errno())
"""


@test("statx of a descriptor without a path is the file's, where the kernel knows that call")
def _(make):
    depot = make()
    path = depot.write(FILE)
    wanted = depot.run(sys.executable, "-c", NULL_PATH, path)
    depot.evict(FILE)
    equal(depot.run(sys.executable, "-c", NULL_PATH, path), wanted)


@test("a marker whose name holds a line feed is EIO, and no request is cut in two by it")
def _(make):
    depot = make()
    depot.daemon.start()
    for rel in ("a\nP4CACHE,v", "main/b\n"):
        path = depot.write(rel)
        depot.evict(rel)
        equal(depot.probe("open", path), "open=-1 errno=EIO\n")
        contains(depot.probe("stat", path), "stat mode=100444 size=1000")
    equal(depot.daemon.requests, [])


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


@test("ERR codes become EIO, EACCES, ENOSPC or EDQUOT for a marker, and never ENOENT")
def _(make):
    for code, name in (("CORRUPT", "EIO"), ("UNAVAILABLE", "EIO"), ("DENIED", "EACCES"),
                       ("FULL", "ENOSPC"), ("QUOTA", "EDQUOT"),
                       ("BADREQ", "EIO"), ("RESERVED", "EIO"),
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
            time.sleep(0.6)
            conn.sendall(b" %d 6\n" % i)
        return depot.daemon.fetch(conn, path)
    depot.daemon.answer["FETCH"] = slow
    depot.daemon.start()
    contains(depot.probe("open", depot.path(FILE), P4CACHE_FETCH_TIMEOUT_MS="3000"),
             "open=ok bytes=1000")


@test("a daemon that says nothing, or nonsense, is EIO, also for a missing name")
def _(make):
    def endless(conn, path):
        conn.sendall(b"x" * 5000)
        return None
    for answer in (silent, endless, lambda conn, path: "HELLO", lambda conn, path: "OK -5"):
        depot = make()
        depot.write(FILE)
        depot.evict(FILE)
        depot.daemon.answer["FETCH"] = answer
        depot.daemon.start()
        for rel in (FILE, "none,v"):
            equal(depot.probe("open", depot.path(rel), P4CACHE_FETCH_TIMEOUT_MS="200"),
                  "open=-1 errno=EIO\n", rel)
