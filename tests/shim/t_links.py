"""Links that lead to names which are missing on the disk, and are in the store.
"""

import os

from harness import FILE, contains, equal, test


def lost(depot, rel, mode=0o644):
    """Missing on the disk, and in the store."""
    path = depot.write(rel, mode=mode)
    depot.keep(rel)
    os.unlink(path)
    return path


def links_to(depot, path):
    """One within the depot, one to that, one from outside, one through a missing directory."""
    made = [depot.path("main/l,v"), depot.path("main/m,v"), os.path.join(depot.scratch, "out,v")]
    os.symlink("jam/a,v", made[0])
    os.symlink("./../main/l,v", made[1])
    os.symlink(path, made[2])
    os.symlink(os.path.join(depot.top, "depot/main/jam"), os.path.join(depot.scratch, "jam"))
    return made + [os.path.join(depot.scratch, "jam/a,v")]


@test("a link to a missing file that the store has leads to it: stat, open, truncate, append")
def _(make):
    for call, wanted in (("open", "open=ok bytes=1000"), ("stat", "stat mode=100644 size=1000"),
                         ("open_creat", "open=ok bytes=1000"), ("fopen_append", "bytes=1004"),
                         ("truncate", "truncate=0"), ("open_append", "bytes=1004")):
        for i in range(4):
            for is_parent_missing in (False, True):
                depot = make()
                depot.daemon.start()
                os.mkdir(depot.path("main"))
                link = links_to(depot, lost(depot, FILE))[i]
                if is_parent_missing:
                    os.rmdir(depot.path("main/jam"))
                contains(depot.probe(call, link), wanted)
                equal({path for _, path in depot.daemon.requests}, {FILE}, f"{call} {link}")


@test("a link is itself where a call does not follow it, and one that leads nowhere is ENOENT")
def _(make):
    depot = make()
    depot.daemon.start()
    os.mkdir(depot.path("main"))
    link = links_to(depot, lost(depot, FILE))[0]
    contains(depot.probe("stat", link), "lstat mode=120777")
    del depot.daemon.requests[:]
    equal(depot.probe("open_nofollow", link), "open=-1 errno=ELOOP\n")
    equal(depot.probe("open_excl", link), "open=-1 errno=EEXIST\n")
    equal(depot.probe("unlinkat", link), "unlinkat=0 errno=-\n")
    equal(depot.daemon.requests, [("DELETE", "main/l,v")])
    os.symlink("turn,v", depot.path("main/back,v"))
    os.symlink("back,v", depot.path("main/turn,v"))
    equal(depot.probe("open", depot.path("main/turn,v")), "open=-1 errno=ELOOP\n")
    os.symlink("none,v", depot.path("main/other,v"))
    equal(depot.probe("open", depot.path("main/other,v")), "open=-1 errno=ENOENT\n")
    os.symlink(os.path.join(depot.scratch, "none,v"), depot.path("main/away,v"))
    contains(depot.probe("creat", depot.path("main/away,v")), "creat=0")
    equal([path for _, path in depot.daemon.requests[1:]], ["main/none,v"])


@test("a `,d` directory under another name: missing names are found, and deletes are told")
def _(make):
    depot = make()
    depot.daemon.start()
    for name in ("1", "2", "3", "4", "5"):
        depot.write(f"main/f,d/{name}", mode=0o644)
        depot.evict(f"main/f,d/{name}")
    os.symlink("main/f,d", depot.path("alias"))
    os.symlink("main/f,d/3", depot.path("one"))
    equal(depot.probe("unlinkat", depot.path("alias/1")), "unlinkat=0 errno=-\n")
    equal(depot.daemon.requests, [("DELETE", "main/f,d/1")])
    for name in ("2", "3", "4", "5"):
        os.unlink(depot.path(f"main/f,d/{name}"))
    contains(depot.probe("stat", depot.path("alias/2")), "stat mode=100644 size=1000")
    contains(depot.probe("open_creat", depot.path("alias/2")), "open=ok bytes=1000")
    contains(depot.probe("open_creat", depot.path("one")), "open=ok bytes=1000")
    equal(depot.run("/bin/sh", "-c", f"cd {depot.path('..')} && cat depot/alias/4 | wc -c"),
          (0, "1000\n", ""))
    contains(depot.probe("rename_out", depot.path("alias/5")), "rename=0")
    equal(depot.daemon.requests[-1], ("DELETE", "main/f,d/5"))
    del depot.daemon.requests[:]
    equal(depot.probe("open", depot.path("main/plain")), "open=-1 errno=ENOENT\n")
    equal(depot.daemon.requests, [])
