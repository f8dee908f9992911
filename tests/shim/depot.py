"""A depot, its store, and a small daemon to stand in for the real one.

The daemon speaks docs/protocol.md on shim.sock and listens on access.sock. What it does with a
request can be replaced for a test: `daemon.answer[verb] = function(conn, path)`.
"""

import ctypes
import errno
import json
import os
import shutil
import socket
import stat
import struct
import subprocess
import tempfile
import threading

SIZE_MASK = (1 << 64) - 1
# What runs the probe where it is of another machine: make aarch64.
EMULATOR = os.environ.get("P4SHIM_EMULATOR", "").split()
MTIME_NS = 1_400_000_000_123_456_789


class Skip(Exception):
    """Raised with the reason."""


def native_only():
    if EMULATOR:
        raise Skip("it starts programs of this machine, and the shim is another's")


def marker_atime_ns(size):
    z = ((size * 0x9E3779B97F4A7C15) & SIZE_MASK) ^ 0x7034
    check = (z ^ z >> 12 ^ z >> 24 ^ z >> 36 ^ z >> 48) & 0xFFF
    bits = size << 12 | check
    return (bits >> 29) * 1_000_000_000 + (bits & (1 << 29) - 1)


class Buffer:
    """The gate's side of helpers/event_buffer.h, for a program that is known to be idle."""

    HEAD = struct.Struct("=IIIIq")
    SIZE = 32 * 1024

    def __init__(self, shmid):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.shmat.restype = ctypes.c_void_p
        libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
        at = libc.shmat(shmid, None, 0)
        if at == ctypes.c_void_p(-1).value:
            raise ProcessLookupError(ctypes.get_errno(), "the segment ended with its process")
        self.at = at
        self.map = memoryview((ctypes.c_char * self.SIZE).from_address(at)).cast("B")

    def detach(self):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.shmdt.argtypes = (ctypes.c_void_p,)
        self.map = None
        assert libc.shmdt(self.at) == 0, os.strerror(ctypes.get_errno())

    def head(self):
        magic, lock, size, _, oldest_ms = self.HEAD.unpack_from(self.map)
        assert magic == 0x34655650
        return lock, size, oldest_ms

    def lines(self):
        size = self.head()[1]
        text = bytes(self.map[self.HEAD.size:self.HEAD.size + size]).decode()
        return [json.loads(line) for line in text.splitlines()]

    def set_lock(self, lock):
        struct.pack_into("=I", self.map, 4, lock)

    def empty(self):
        struct.pack_into("=I", self.map, 8, 0)


class Daemon:
    def __init__(self, depot):
        self.depot = depot
        self.requests = []
        self.events = []
        self.announced = []
        self.buffers = []  # of those, the ones whose process still was there
        self.answer = {"FETCH": self.fetch, "STAT": self.stat, "DELETE": self.delete}
        self.lock = threading.Lock()
        self.arrived = threading.Condition(self.lock)
        self.serving = []
        self.is_over = False
        self.listener = None
        self.datagrams = None

    def start(self):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._bind(self.listener, "shim.sock")
        self.listener.listen(512)
        self.datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._bind(self.datagrams, "access.sock")
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()
        threading.Thread(target=self._receive, args=(self.datagrams,), daemon=True).start()

    def _bind(self, sock, name):
        # The directory may be too deep for an address: go through its descriptor.
        fd = os.open(self.depot.own, os.O_PATH)
        try:
            os.unlink(os.path.join(self.depot.own, name))
        except FileNotFoundError:
            pass
        sock.bind(f"/proc/self/fd/{fd}/{name}")
        os.close(fd)

    def stop(self):
        for sock, name in ((self.listener, "shim.sock"), (self.datagrams, "access.sock")):
            if sock is not None:
                os.unlink(os.path.join(self.depot.own, name))
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                sock.close()
        self.listener = self.datagrams = None

    def detach(self):
        """The system has 4,096 segments; each that is attached here is one."""
        with self.lock:
            self.is_over = True
            while self.buffers:
                self.buffers.pop().detach()

    def _accept(self, listener):
        while True:
            try:
                conn, _ = listener.accept()
            except OSError:
                return
            self.serving.append(threading.Thread(target=self._serve, args=(conn,), daemon=True))
            self.serving[-1].start()

    def settle(self):
        """Waits for what programs asked without waiting for the answer; all of them have ended."""
        fd = os.open(self.depot.own, os.O_PATH)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as last:
            last.connect(f"/proc/self/fd/{fd}/shim.sock")  # accepted after all the others
            last.sendall(b"P4CACHE/1 STAT none\n")
            last.recv(1)
        os.close(fd)
        while self.serving:
            self.serving.pop().join()

    def _serve(self, conn):
        line = b""
        while not line.endswith(b"\n"):
            part = conn.recv(8192)
            if not part:
                return
            line += part
        version, verb, path = line[:-1].split(b" ", 2)
        assert version == b"P4CACHE/1", line
        with self.arrived:
            self.requests.append((verb.decode(), os.fsdecode(path)))
            self.arrived.notify_all()
        try:
            reply = self.answer[verb.decode()](conn, os.fsdecode(path))
            if reply is not None:
                conn.sendall(reply.encode() + b"\n")
        except OSError:
            pass
        conn.close()

    def _receive(self, datagrams):
        while True:
            try:
                data = datagrams.recv(65536)
            except OSError:
                return
            if not data:
                return
            with self.arrived:
                if data.startswith(b"P4CACHE/1 BUFFER "):
                    self.announced.append(int(data.split()[2]))
                    try:
                        if not self.is_over:
                            self.buffers.append(Buffer(int(data.split()[2])))
                    except ProcessLookupError:
                        pass
                    self.arrived.notify_all()
                    continue
                self.events += [json.loads(line) for line in data.decode().splitlines()]
                self.arrived.notify_all()

    def await_events(self, count):
        """Waits until that many opens came; the timeout only ends a test that failed."""
        with self.arrived:
            self.arrived.wait_for(lambda: len(self.opens()) >= count, timeout=20)
            return self.opens()

    def await_buffers(self, count):
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.buffers) >= count, timeout=20)
            return self.buffers

    def await_request(self, count=1):
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, timeout=20)

    def opens(self):
        return [e for e in self.events if e["op"] == "open"]

    def verbs(self):
        return [verb for verb, _ in self.requests]

    # ---- what a healthy daemon answers ----

    def fetch(self, conn, path):
        kept = os.path.join(self.depot.store, path)
        with self.lock:
            if not os.path.exists(kept):
                return "ERR NOTFOUND no such file"
            target = os.path.join(self.depot.root, path)
            size = os.path.getsize(kept)
            if os.path.exists(target) and not stat.S_ISSOCK(os.lstat(target).st_mode):
                return f"OK {size}"
            os.makedirs(os.path.dirname(target), exist_ok=True)
            temporary = os.path.join(self.depot.own, "tmp", "restore")
            shutil.copyfile(kept, temporary)
            source = os.lstat(target) if os.path.lexists(target) else os.lstat(kept)
            os.chmod(temporary, stat.S_IMODE(source.st_mode))
            os.chown(temporary, source.st_uid, source.st_gid)
            os.utime(temporary, ns=(source.st_mtime_ns, source.st_mtime_ns))
            os.rename(temporary, target)
            return f"OK {size}"

    def stat(self, conn, path):
        kept = os.path.join(self.depot.store, path)
        target = os.path.join(self.depot.root, path)
        if not os.path.exists(kept):
            return "ERR NOTFOUND no such file"
        st = os.stat(kept)
        if os.path.lexists(target):  # stamp it again
            now = os.lstat(target)
            os.utime(target, ns=(marker_atime_ns(st.st_size), now.st_mtime_ns))
        return (f"OK {st.st_size} {st.st_mtime_ns} {stat.S_IMODE(st.st_mode):o} "
                f"{st.st_uid} {st.st_gid} evicted")

    def delete(self, conn, path):
        kept = os.path.join(self.depot.store, path)
        if not os.path.exists(kept):
            return "ERR NOTFOUND no such file"
        os.unlink(kept)
        return "OK 0"


class Depot:
    def __init__(self, build, out, parent=None):
        self.top = tempfile.mkdtemp(prefix="p4shim-", dir=parent)
        self.root = os.path.join(self.top, "depot")
        self.store = os.path.join(self.top, "store")
        self.scratch = os.path.join(self.top, "scratch")
        self.own = os.path.join(self.root, ".p4cache")
        for path in (self.store, self.scratch, os.path.join(self.own, "tmp")):
            os.makedirs(path)
        self.library = os.path.join(out, "libp4shim.so")
        self.probe_program = os.path.join(out, "probe")
        self.build = build
        self.out = out
        self.daemon = Daemon(self)

    def remove(self):
        self.daemon.stop()
        self.daemon.detach()
        shutil.rmtree(self.top)

    def path(self, rel):
        return os.path.join(self.root, rel)

    def write(self, rel, content=b"history 1.1 1.2 1.3\n" * 50, mode=0o444):
        path = self.path(rel)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(content)
        os.chmod(path, mode)
        os.utime(path, ns=(MTIME_NS, MTIME_NS))
        return path

    def keep(self, rel):
        """Puts a copy of a resident file into the store."""
        kept = os.path.join(self.store, rel)
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        shutil.copy2(self.path(rel), kept)

    def evict(self, rel, keep=True):
        path = self.path(rel)
        if keep:
            self.keep(rel)
        st = os.lstat(path)
        aside = os.path.join(self.own, "marker")
        os.mknod(aside, stat.S_IFSOCK | stat.S_IMODE(st.st_mode))
        os.chmod(aside, stat.S_IMODE(st.st_mode))
        os.chown(aside, st.st_uid, st.st_gid)
        os.utime(aside, ns=(marker_atime_ns(st.st_size), st.st_mtime_ns))
        os.rename(aside, path)
        return path

    def environment(self, **extra):
        env = {
            "PATH": os.environ["PATH"],
            "LD_PRELOAD": self.library,
            "P4CACHE_DEPOT": self.root,
            "PROBE_SCRATCH": self.scratch,
            "PROBE_OTHER": self.path("other,v"),
            "PROBE_TO": os.path.join(self.scratch, "moved"),
        }
        env.update(extra)
        return {k: v for k, v in env.items() if v is not None}

    def start(self, call, path, **extra):
        return subprocess.Popen([*EMULATOR, self.probe_program, call, path],
                                env=self.environment(**extra),
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, errors="surrogateescape")

    def probe(self, call, path, **extra):
        process = self.start(call, path, **extra)
        try:
            output, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        if process.returncode != 0:
            output += f"status={process.returncode}\n"
        return output

    def run(self, *argv, **extra):
        native_only()
        done = subprocess.run(argv, env=self.environment(**extra), capture_output=True,
                              text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    def host(self, path, errors=None, **extra):
        """A program that opens `path` as often as each line of its input says, then answers."""
        native_only()  # the segment is in the emulator's memory at another place
        return subprocess.Popen([self.probe_program, "on_command", path],
                                env=self.environment(**extra),
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                                text=True)

    def is_marker(self, rel):
        return stat.S_ISSOCK(os.lstat(self.path(rel)).st_mode)

    def failed_deletes(self):
        try:
            with open(os.path.join(self.own, "shim-failed-deletes.log")) as f:
                return [json.loads(line) for line in f]
        except FileNotFoundError as error:
            assert error.errno == errno.ENOENT
            return []
