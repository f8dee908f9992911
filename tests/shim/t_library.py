"""The library as a file: what it exports, what it asks of the system, and that one build serves
every glibc from 2.28 on.
"""

import errno
import os
import re
import shutil
import subprocess

from depot import native_only
from harness import FILE, contains, equal, test

NEWEST_GLIBC = (2, 28)
HERE = os.path.dirname(os.path.abspath(__file__))
SHIM = os.path.join(HERE, "..", "..", "shim")
LINES_MAX = 400
# What glibc 2.28 does not have, and what a newer one no longer shows to a linker.
ABSENT_IN_OLD = ("stat stat64 lstat lstat64 fstat fstat64 fstatat fstatat64 "  # 2.33
                 "getdents64 execveat")  # 2.30, 2.34
ABSENT_IN_NEW = ("__xstat __xstat64 __lxstat __lxstat64 __fxstat __fxstat64 __fxstatat "
                 "__fxstatat64 readdir64_r")
# Calls of the probe that the kernel alone can answer.
KERNEL_CALLS = ("open", "openat", "open_2", "openat_2", "creat", "stat", "old_stat", "statx",
                "open_path", "times", "truncate", "link", "unlinkat", "remove", "rename_out")
LIBC_CALLS = {"fopen": "fopen=NULL errno=ENOSYS", "readdir": "scandir_missing=-1 errno=ENOSYS",
              "walk": "nftw=-1 errno=ENOSYS", "dlopen": "dlopen=NULL",
              "spawn": f"posix_spawn={errno.ENOSYS}"}


def output_of(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def table():
    with open(os.path.join(SHIM, "hooks.h")) as f:
        return re.findall(r"X\([A-Z_0-9]+, (\w+)\)", f.read())


@test("the library exports the table of hooks and nothing else, and needs only libc")
def _(make):
    depot = make()
    exported = output_of("nm", "-D", "--defined-only", depot.library)
    equal({line.split()[2] for line in exported.splitlines()}, set(table()))
    equal(len(table()), len(set(table())))
    needed = output_of("readelf", "-dW", depot.library)
    # The first two are empty files of libc today; on an old system dlsym and threads are there.
    equal(re.findall(r"NEEDED.*\[(lib.*)\]", needed),
          ["libdl.so.2", "libpthread.so.0", "libc.so.6"])
    contains(needed, "BIND_NOW")


@test("every exported name is in the version script, which is made from the table")
def _(make):
    with open(os.path.join(make().build, "shim", "libp4shim.map")) as f:
        names = re.findall(r"(\w+);", f.read())
    equal(names, table())


@test("no part of ours asks for a glibc newer than 2.28")
def _(make):
    depot = make()
    for part in ("libp4shim.so", "libp4posix.so", "p4-cache-gate", "p4-cache-fanotify"):
        path = os.path.join(depot.build, part)
        wanted = {tuple(map(int, v.split("."))): v
                  for v in re.findall(r"\(GLIBC_([0-9.]+)\)", output_of("objdump", "-T", path))}
        assert wanted, part
        assert max(wanted) <= NEWEST_GLIBC, f"{part} asks for GLIBC_{wanted[max(wanted)]}"
        assert "GLIBC_ABI_DT_RELR" not in output_of("readelf", "-VW", path), part
        assert "GLIBC_PRIVATE" not in output_of("objdump", "-T", path), part


@test("where libc lacks a name the kernel is asked: an old libc, a new one, one with nothing")
def _(make):
    depot = make()
    depot.library = os.path.join(depot.out, "libp4shim-faults.so")
    depot.daemon.start()
    sound = {}
    for missing in ("", ABSENT_IN_OLD, ABSENT_IN_NEW, " ".join(table())):
        for call in KERNEL_CALLS:
            shutil.rmtree(depot.path("main"), ignore_errors=True)
            path = depot.write(FILE, mode=0o644)
            depot.evict(FILE)
            output = depot.probe(call, path, FAULT_MISSING=missing)
            assert "status=" not in output, output
            equal(output, sound.setdefault(call, output), f"{call} without {missing!r}")


@test("what lives in libc alone is refused, not followed into nowhere, where libc lacks it")
def _(make):
    depot = make()
    depot.library = os.path.join(depot.out, "libp4shim-faults.so")
    depot.daemon.start()
    path = depot.write(FILE)
    for call, wanted in LIBC_CALLS.items():
        target = os.path.dirname(path) if call in ("readdir", "walk") else path
        output = depot.probe(call, target, FAULT_MISSING=" ".join(table()))
        contains(output, wanted)
        assert "status=" not in output.replace("exited=1 status=", "").replace(
            "exited=0 status=", ""), output


@test("dlopen is left by a jump: libc sees the caller's own RUNPATH and namespace")
def _(make):
    native_only()
    depot = make()
    code = output_of("objdump", "-d", "--no-show-raw-insn", "--disassemble=dlopen", depot.library)
    body = code[code.index("<dlopen>:"):]
    assert os.uname().machine != "x86_64" or re.search(r"jmp +\*", body), body
    assert not re.search(r"call +\*", body), body


@test("the shim can be read in an evening: no file over 400 lines, each hook made from the table")
def _(make):
    del make
    for name in sorted(os.listdir(SHIM)):
        with open(os.path.join(SHIM, name)) as f:
            text = f.read()
        assert text.count("\n") <= LINES_MAX, name
        for family, hooked in re.findall(r"P4SHIM_HOOK\((\w+), (\w+)\) \{", text):
            equal(hooked, "name", f"{name}: {family} is made by hand")
