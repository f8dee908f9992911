"""Does the operations that it reads, one JSON line each, and prints what can be seen of each."""

import errno
import hashlib
import json
import os
import stat
import sys

ROOT = os.path.realpath(sys.argv[1])
FLAGS = {"r": os.O_RDONLY, "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
         "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND, "r+": os.O_RDWR,
         "x": os.O_RDWR | os.O_CREAT | os.O_EXCL, "creat": os.O_RDWR | os.O_CREAT,
         "path": os.O_PATH, "directory": os.O_RDONLY | os.O_DIRECTORY,
         "nofollow": os.O_RDONLY | os.O_NOFOLLOW}


def full(name):
    """By turns absolute and relative to wherever we are."""
    path = os.path.join(ROOT, name) if name else ROOT
    return os.path.relpath(path) if len(name) % 2 else path


def fields(st):
    kind = stat.S_IFMT(st.st_mode)
    size = st.st_size if kind == stat.S_IFREG else None
    # Times that a test sets end in 7 ns; others are of the clock.
    mtime = st.st_mtime_ns if st.st_mtime_ns % 1_000_000_000 == 7 else "clock"
    return [oct(st.st_mode), size, st.st_uid, st.st_gid,
            st.st_nlink if kind == stat.S_IFREG else None, mtime if size is not None else None]


def content(path):
    with open(path, "rb") as f:
        data = f.read()
        return [len(data), hashlib.sha256(data).hexdigest()[:12], os.fstat(f.fileno()).st_size]


def do_open(name, how, length):
    fd = os.open(full(name), FLAGS[how], 0o644)
    try:
        result = [fields(os.fstat(fd))]
        if how in ("w", "a", "r+", "x", "creat"):
            result.append(os.write(fd, bytes([length % 251]) * length))
        return result
    finally:
        os.close(fd)


def do_statat(name):
    directory, base = os.path.split(os.path.join(ROOT, name))
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return fields(os.stat(base, dir_fd=fd, follow_symlinks=False))
    finally:
        os.close(fd)


def do_replace(name):
    """As RCS code does: read the old, write a temporary file, rename it over."""
    path = full(name)
    old = b""
    try:
        with open(path, "rb") as f:
            old = f.read()
    except FileNotFoundError:
        pass
    temporary = os.path.join(os.path.dirname(path) or ".", "tmp.1.1")
    with open(temporary, "wb") as f:
        f.write(b"new " + old[:5000])
    try:
        os.rename(temporary, path)
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)


def do_scandir(name):
    with os.scandir(full(name)) as entries:
        return sorted([e.name, e.is_file(follow_symlinks=False), e.is_dir(follow_symlinks=False),
                       e.is_symlink()] for e in entries if e.name != ".p4cache")


def do_tree(_name):
    os.chdir(ROOT)
    result = []
    for directory, names, files in os.walk("."):
        names[:] = sorted(n for n in names if n != ".p4cache")
        for file in sorted(files):
            path = os.path.join(directory, file)
            seen = [path, fields(os.lstat(path))]
            if os.path.isfile(path):
                seen.append(content(path))
            result.append(seen)
    return result


OPS = {
    "open": do_open, "statat": do_statat, "replace": do_replace, "scandir": do_scandir,
    "tree": do_tree,
    "stat": lambda n: fields(os.stat(full(n))),
    "lstat": lambda n: fields(os.lstat(full(n))),
    "read": lambda n: content(full(n)),
    "truncate": lambda n, size: os.truncate(full(n), size),
    "rename": lambda a, b: os.rename(full(a), full(b)),
    "link": lambda a, b: os.link(full(a), full(b)),
    "unlink": lambda n: os.unlink(full(n)),
    "rmdir": lambda n: os.rmdir(full(n)),
    "mkdir": lambda n: os.mkdir(full(n)),
    "chmod": lambda n, mode: os.chmod(full(n), mode),
    "utime": lambda n, ns: os.utime(full(n), ns=(ns, ns)),
    "access": lambda n: [os.access(full(n), m) for m in (os.F_OK, os.R_OK, os.W_OK, os.X_OK)],
    "symlink": lambda target, n: os.symlink(target, full(n)),
    "readlink": lambda n: os.readlink(full(n)),
    "chdir": lambda n: os.chdir(os.path.join(ROOT, n)),
}

for line in sys.stdin:
    op, *args = json.loads(line)
    try:
        answer = OPS[op](*args)
    except OSError as error:
        answer = errno.errorcode[error.errno]
    print(json.dumps(answer), flush=True)
