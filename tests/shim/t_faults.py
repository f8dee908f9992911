"""Every system call of the shim fails in turn: the program gets an answer of libc's or an honest
errno, never a crash, never wrong bytes, and never ENOENT for a file that exists.
"""

import errno
import os
import re
import shutil

from harness import FILE, Skip, equal, test

ERRNOS = (errno.EIO, errno.EINTR, errno.ENOMEM, errno.EMFILE, errno.EPERM, errno.ENOSYS,
          errno.EAGAIN, errno.EBADF, errno.ENOENT)

# What each line of the probe may be, beside what it is without faults.
ALLOWED = {
    "stat": r"stat=0 (regular|socket) .*",  # a socket: the kernel's own answer, never absent
    "open": r"open=-1 errno=(?!ENOENT)\w+",
    "list": r"list=(8|12)",
    "missing": r"missing=-1 errno=\w+",
    "times": r"times=-1 errno=\w+",  # the failing call may be the host's own utimensat
    "truncate": r"truncate=-1 errno=(?!ENOENT)\w+",
    "link": r"link=-1 errno=(?!ENOENT)\w+",
    "rename": r"rename=-1 errno=(?!ENOENT)\w+",
    "unlink": r"unlink=-1 errno=EMFILE",  # there was no descriptor to tell of it
}


class Course:
    """One depot, set up anew for each run."""

    def __init__(self, make):
        self.depot = make()
        self.depot.library = os.path.join(self.depot.out, "libp4shim-faults.so")
        if not os.path.exists(self.depot.library):
            raise Skip("the library with faults was not built")
        self.depot.daemon.start()

    def run(self, **extra):
        depot = self.depot
        depot.daemon.settle()  # a call that failed may have left one of the run before under way
        for name in ("main", "moved"):
            shutil.rmtree(os.path.join(depot.root, name), ignore_errors=True)
        for rel in (FILE, "main/cut,v", "main/linked,v", "main/gone,v", "main/away,v"):
            depot.write(rel, mode=0o644)
            depot.evict(rel)
        for name in os.listdir(depot.scratch):
            os.unlink(os.path.join(depot.scratch, name))
        return depot.probe("everything", depot.path("main"), P4CACHE_RESTART_GRACE_MS="100",
                           P4CACHE_FETCH_TIMEOUT_MS="1000", **extra).splitlines()


def check(lines, sound, what):
    equal(len(lines), len(sound), f"{what}: {lines}")
    for line, wanted in zip(lines, sound):
        allowed = ALLOWED[wanted.split("=")[0]]
        assert line == wanted or re.fullmatch(allowed, line), \
            f"{what}\n    got    {line!r}\n    wanted {wanted!r} or {allowed!r}"


def count_calls(course, sound):
    count = os.path.join(course.depot.top, "count")
    equal(course.run(FAULT_COUNT=count), sound)
    return os.path.getsize(count)


@test("each single system call of the shim may fail, with each errno that fits")
def _(make):
    course = Course(make)
    sound = course.run()
    calls = count_calls(course, sound)
    assert calls > 100, calls
    for error in ERRNOS:
        # Each call with two errnos that matter most, every third one with the others.
        step = 1 if error in (errno.EIO, errno.ENOENT) else 3
        for call in range(1 + ERRNOS.index(error) % step, calls + 1, step):
            check(course.run(FAULT_AT=str(call), FAULT_ERRNO=str(error)), sound,
                  f"call {call} of {calls}, {errno.errorcode[error]}")


class Exchange:
    """A file and its marker, one of them in the daemon's own directory."""

    def __init__(self, make, is_evicted):
        self.depot = make()
        self.depot.library = os.path.join(self.depot.out, "libp4shim-faults.so")
        self.depot.daemon.start()
        self.is_evicted = is_evicted
        self.aside = os.path.join(self.depot.own, "tmp", "aside")

    def probe(self, call, **extra):
        depot = self.depot
        shutil.rmtree(depot.path("main"), ignore_errors=True)
        for left in (self.aside, os.path.join(depot.scratch, "moved")):
            if os.path.lexists(left):
                os.unlink(left)
        path = depot.write(FILE, mode=0o644)
        shutil.copy2(path, self.aside)
        depot.evict(FILE)
        if not self.is_evicted:
            os.rename(self.aside, self.aside + "2")
            os.rename(path, self.aside)
            os.rename(self.aside + "2", path)
        target = os.path.dirname(path) if call == "readdir" else path
        return depot.probe(call, target, FAULT_FILE=self.aside, FAULT_TARGET=path, **extra)


# For the calls that restore, and for those that look.
EXCHANGED = ("open", "open_rdwr", "openat", "open_by_dirfd", "open_relative", "fopen", "stat",
             "statx", "open_path", "truncate", "link", "rename_out", "readdir", "walk")


def exchanged(what, is_evicted):
    @test(f"{what} at any moment of a call, the program sees the file")
    def _(make):
        exchange = Exchange(make, is_evicted)
        for call in EXCHANGED:
            sound = exchange.probe(call)
            count = os.path.join(exchange.depot.top, "count")
            equal(exchange.probe(call, FAULT_COUNT=count), sound, call)
            calls = os.path.getsize(count)
            os.unlink(count)
            assert calls > 0 and "status=" not in sound, f"{call}: {calls} calls, {sound}"
            for n in range(1, calls + 1):
                equal(exchange.probe(call, FAULT_EXCHANGE=str(n)), sound,
                      f"{call}, exchanged before call {n} of {calls}")


exchanged("restored by somebody else", True)
exchanged("evicted", False)


@test("descriptors stolen before any system call of the shim: the host's file is not touched")
def _(make):
    course = Course(make)
    sound = course.run()
    content = b"database " * 5000  # longer than anything of ours
    for call in range(1, count_calls(course, sound) + 1):
        database = os.path.join(course.depot.top, "db.rev")
        with open(database, "wb") as f:
            f.write(content)
        check(course.run(FAULT_STEAL=str(call), FAULT_DATABASE=database), sound,
              f"stolen before call {call}")
        with open(database, "rb") as f:
            equal(f.read() == content, True, f"the database, stolen before call {call}")


@test("descriptors stolen while a delete is written down: the host's file is not touched")
def _(make):
    depot = make()
    depot.library = os.path.join(depot.out, "libp4shim-faults.so")
    database = os.path.join(depot.top, "db.rev")
    log = os.path.join(depot.own, "shim-failed-deletes.log")
    content = b"database\n"

    def unlink(**extra):
        depot.write(FILE)
        depot.evict(FILE, keep=False)
        with open(database, "wb") as f:
            f.write(content)
        said = depot.probe("unlinkat", depot.path(FILE), **extra)
        with open(database, "rb") as f:
            equal(f.read() == content, True, f"the database, {extra}")
        return said
    for extra in ({}, {"FAULT_APPEND": "1"}):
        for is_new in (True, False):
            count = os.path.join(depot.top, "count")
            for path in (count, *([log] if is_new else [])):
                if os.path.exists(path):
                    os.unlink(path)
            equal(unlink(FAULT_COUNT=count), "unlinkat=0 errno=-\n")
            assert os.path.getsize(log) > 0
            for call in range(1, os.path.getsize(count) + 1):
                if is_new:
                    os.unlink(log)
                    unlink(FAULT_STEAL=str(call), FAULT_DATABASE=database, **extra)
                    with open(log, "a"):  # where it could not be made
                        pass
                else:
                    unlink(FAULT_STEAL=str(call), FAULT_DATABASE=database, **extra)


@test("a log that the daemon takes away while a delete is written down gets it anew")
def _(make):
    depot = make()
    depot.library = os.path.join(depot.out, "libp4shim-faults.so")
    count = os.path.join(depot.top, "count")
    log, aside = (os.path.join(depot.own, name) for name in ("shim-failed-deletes.log", "aside"))

    def lines(path):
        with open(path, encoding="ascii") as f:
            return sum(line.startswith('{"ts":') for line in f)

    def unlink(**extra):
        depot.write(FILE)
        depot.evict(FILE, keep=False)
        equal(depot.probe("unlinkat", depot.path(FILE), **extra), "unlinkat=0 errno=-\n")
    unlink()
    unlink(FAULT_COUNT=count)
    for call in range(1, os.path.getsize(count) + 1):
        before = lines(log)
        with open(aside, "w", encoding="ascii"):
            pass
        unlink(FAULT_EXCHANGE=str(call), FAULT_FILE=log, FAULT_TARGET=aside)
        equal(lines(log) + lines(aside), before + 1, f"taken away before call {call}")


@test("a child that is forked while the shim sends anything holds no socket of it")
def _(make):
    depot = make()
    depot.library = os.path.join(depot.out, "libp4shim-faults.so")
    depot.daemon.start()
    path = depot.write(FILE)
    depot.evict(FILE)
    # A request, its event, and the buffer's announcement.
    said = depot.probe("open", path, FAULT_FORK="1").splitlines()
    equal(said[:-1], ["no socket"] * 3)
    assert said[-1].startswith("open=ok bytes=1000 "), said


@test("a child that a signal handler forks within the shim goes on, and tells nothing of its parent's")
def _(make):
    depot = make()
    depot.library = os.path.join(depot.out, "libp4shim-faults.so")
    depot.daemon.start()
    path = depot.write(FILE)
    count = os.path.join(depot.top, "count")
    sound = depot.probe("open_twice", path, FAULT_COUNT=count)
    calls = os.path.getsize(count)
    assert calls > 20 and sound == "open_twice=ok\n", f"{calls} calls, {sound}"
    equal(len(depot.daemon.await_events(2)), 2)
    for call in range(1, calls + 1):
        before = len(depot.daemon.opens())
        equal(depot.probe("open_twice", path, FAULT_HANDLER=str(call)), sound,
              f"forked before call {call} of {calls}")
        told = depot.daemon.await_events(before + 2)[before:]
        equal(len({event["id"] for event in told}), len(told), f"call {call}: {told}")


# What the shim calls, x86-64; the numbers differ elsewhere.
NUMBERS = {"openat": 257, "newfstatat": 262, "fstat": 5, "readlinkat": 267, "mmap": 9,
           "munmap": 11, "close": 3, "socket": 41, "connect": 42, "sendto": 44, "recvfrom": 45,
           "fcntl": 72, "setsockopt": 54, "ppoll": 271, "getcwd": 79, "getrandom": 318,
           "getpid": 39, "geteuid": 107, "getuid": 102, "write": 1, "utimensat": 280, "shmget": 29,
           "shmat": 30, "shmctl": 31}


@test("a filter that refuses one kind of system call altogether does not harm the host")
def _(make):
    course = Course(make)
    if os.uname().machine != "x86_64":
        raise Skip(f"the numbers are those of x86-64, this is {os.uname().machine}")
    sound = course.run()
    for name, number in NUMBERS.items():
        for error in (errno.EPERM, errno.ENOSYS):
            check(course.run(FAULT_NUMBER=str(number), FAULT_ERRNO=str(error)), sound,
                  f"every {name}, {errno.errorcode[error]}")
