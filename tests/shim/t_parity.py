"""One call of the probe on a resident file and on the same file evicted: every line that the
program prints must be the same, and the daemon must have been asked what is listed here.
"""

import os

from harness import FILE, TESTS, equal


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
            outputs.append(depot.probe(call, path))
            if is_evicted:
                equal(depot.daemon.verbs(), verbs, "requests")
        equal(outputs[1].replace(depot.top, ""), outputs[0].replace(make.made[0].top, ""),
              "evicted and resident")
        assert "status=" not in outputs[1].replace("exited=1 status=", ""), outputs[1]
    TESTS.append((f"{call}: the same for a resident and an evicted file", run))


def script(_depot):
    return b"#!/bin/sh\nexit $1\n"


def library(depot):
    with open(os.path.join(depot.out, "evictable.so"), "rb") as f:
        return f.read()


for call in ("open", "open64", "openat", "openat64", "open_2", "open64_2", "openat_2",
             "openat64_2", "open_nofollow", "open_by_dirfd", "open_relative", "fopen", "fopen64",
             "io_fopen", "freopen", "mmap"):
    parity(call, ["FETCH"])
for call in ("open_rdwr", "open_creat", "open_append", "open_trunc", "fopen_append", "truncate",
             "creat"):
    parity(call, ["FETCH"], mode=0o644)
for call in ("open_excl", "open_directory", "open_path", "stat", "xstat", "old_stat", "statx", "access",
             "chmod"):
    parity(call, [])
for call in ("unlink", "unlinkat", "remove"):
    parity(call, ["DELETE"] if call != "unlink" else ["DELETE", "STAT"])
parity("link", ["FETCH"])
parity("rename_out", ["FETCH", "DELETE"])
parity("rename_bad", [])
parity("times", ["FETCH"], mode=0o644)
parity("readdir", [], target="main/jam")
parity("walk", [], target="main/jam")
for call in ("exec", "exec_relative", "vfork_exec", "spawn"):
    parity(call, ["FETCH"], content=script, mode=0o755, rel="main/tool,d/1.1")
parity("dlopen", ["FETCH"], content=library, mode=0o755, rel="main/lib,d/1.1")
