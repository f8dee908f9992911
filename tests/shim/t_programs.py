"""Programs that nobody here wrote read and write a tree that is resident, and the same tree
evicted: what they print, and what they leave behind, must be the same.
"""

import ctypes
import hashlib
import os
import shutil
import stat
import subprocess

from depot import MTIME_NS
from harness import Skip, equal, test


@test("pidfd_spawn and pidfd_spawnp of an evicted program")
def _(make):
    said = []
    for is_evicted in (False, True):
        depot = make()
        depot.daemon.start()
        rel = "main/tool,d/1.1"
        path = depot.write(rel, b"#!/bin/sh\nexit $1\n", mode=0o755)
        if not hasattr(ctypes.CDLL("libc.so.6"), "pidfd_spawn"):  # one that can, in the chain
            depot.library += ":" + os.path.join(depot.out, "pidfd_spawn.so")
        if is_evicted:
            depot.evict(rel)
        said.append(depot.probe("pidfd_spawn", path, PROBE_BARE="false"))
        equal(depot.daemon.verbs(), ["FETCH"] if is_evicted else [])
    equal(said[0], "pidfd_spawn=0\nexited=1 status=7\npidfd_spawnp=0\nexited=1 status=7\n"
                   "pidfd_spawnp=0\nexited=1 status=1\n")
    equal(said[1], said[0])


def build_rcs(depot):
    work = os.path.join(depot.scratch, "jam.c")
    for revision in ("one\n", "one\ntwo\n", "zero\none\ntwo\n"):
        with open(work, "w") as f:
            f.write(revision)
        subprocess.run(["ci", "-q", "-l", "-wjam", "-d2014-05-13 16:53:20Z", "-t-jam", "-mchange",
                        work, depot.path("jam.c,v")], check=True, capture_output=True,
                       cwd=depot.scratch)
        os.unlink(work)
    subprocess.run(["rcs", "-q", "-u", depot.path("jam.c,v")], check=True, capture_output=True)


def build_git(depot):
    run = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-c",
           "init.defaultBranch=main"]
    env = dict(os.environ, GIT_AUTHOR_DATE="@1400000000 +0000", HOME=depot.scratch,
               GIT_COMMITTER_DATE="@1400000000 +0000", GIT_CONFIG_NOSYSTEM="1")
    work = os.path.join(depot.scratch, "work")
    subprocess.run(run + ["init", "-q", work], check=True, env=env)
    for i in range(5):
        with open(os.path.join(work, f"file{i}"), "w") as f:
            f.write(f"{i}\n" * 1000)
        subprocess.run(run + ["-C", work, "add", "."], check=True, env=env)
        subprocess.run(run + ["-C", work, "commit", "-q", "-m", str(i)], check=True, env=env)
    subprocess.run(run + ["clone", "-q", "--bare", "--no-local", work, depot.path("bare.git")],
                   check=True, env=env)
    subprocess.run(run + ["-C", depot.path("bare.git"), "remote", "remove", "origin"], check=True,
                   env=env)  # its URL names the temporary directory
    shutil.rmtree(work)


def build_tree(depot):
    for i in range(20):
        depot.write(f"tree/d{i % 3}/file{i}", bytes([i]) * (i * 3000), mode=0o640 + i % 2)


def build_sqlite(depot):
    subprocess.run(["sqlite3", depot.path("data.sqlite"),
                    "create table t(a); insert into t values (1),(2),(3);"], check=True)


def all_files(top):
    for directory, names, files in os.walk(top):
        names[:] = sorted(n for n in names if n != ".p4cache")
        for file in sorted(files):
            yield os.path.join(directory, file)


def evict_all(depot):
    for path in all_files(depot.root):
        st = os.lstat(path)
        if stat.S_ISREG(st.st_mode):
            os.utime(path, ns=(MTIME_NS, MTIME_NS))
            depot.evict(os.path.relpath(path, depot.root))


def tree_of(depot):
    """Every file, restored, as name, mode and hash."""
    result = []
    for path in all_files(depot.root):
        rel = os.path.relpath(path, depot.root)
        if depot.is_marker(rel):
            path = os.path.join(depot.store, rel)
        with open(path, "rb") as f:
            result.append((rel, oct(os.lstat(path).st_mode), hashlib.sha256(f.read()).hexdigest()))
    return result


def run_script(depot, script):
    env = depot.environment(P4CACHE_MANAGE="all", HOME=depot.scratch, GIT_CONFIG_NOSYSTEM="1",
                            GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="safe.directory",
                            GIT_CONFIG_VALUE_0="*", DEPOT=depot.root, OUT=depot.scratch, TZ="UTC",
                            P4CACHE_STAT="restore" if "cp -a" in script else None)
    done = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True,
                          timeout=120, cwd=depot.scratch)
    text = f"{done.stdout}{done.stderr}exit={done.returncode}\n"
    return text.replace(depot.top, "TOP")


def program(needs, name, build, script):
    @test(f"{name}: the same on an evicted tree")
    def _(make):
        if shutil.which(needs) is None:
            raise Skip(f"{needs} is not installed")
        results = []
        for is_evicted in (False, True):
            depot = make()
            depot.daemon.start()
            build(depot)
            for path in all_files(depot.root):
                os.utime(path, ns=(MTIME_NS, MTIME_NS))
            if is_evicted:
                evict_all(depot)
            results.append((run_script(depot, script), tree_of(depot)))
        equal(results[1][0], results[0][0], "output")
        equal(results[1][1], results[0][1], "tree")
        assert "exit=0" in results[1][0], results[1][0]


program("co", "co, rlog and rcsdiff of GNU RCS", build_rcs,
        "co -q -p1.2 $DEPOT/jam.c,v && rlog $DEPOT/jam.c,v && rcsdiff -q -r1.1 -r1.3 "
        "$DEPOT/jam.c,v; [ $? = 1 ]")
program("ci", "ci of GNU RCS adds a revision to all the others", build_rcs,
        "co -q -l jam.c $DEPOT/jam.c,v && echo four >> jam.c && "
        "ci -q -wjam '-d2020-01-01 00:00:00Z' -m4 jam.c $DEPOT/jam.c,v && "
        "co -q -p1.1 $DEPOT/jam.c,v && rlog -h $DEPOT/jam.c,v")
program("git", "git fsck, log and clone of a bare repository", build_git,
        "git -C $DEPOT/bare.git fsck --full && git -C $DEPOT/bare.git log --stat && "
        "git clone -q $DEPOT/bare.git clone && cat clone/file4 | sha256sum")
program("git", "git gc of a bare repository", build_git,
        "git -C $DEPOT/bare.git gc -q --prune=now && git -C $DEPOT/bare.git fsck --full")
# A restore changes its directory's times, which tar compares and ls shows: docs/semantics.md.
program("tar", "tar", build_tree, "tar -C $DEPOT --warning=no-file-changed --exclude=.p4cache "
        "--mtime=@1400000000 --sort=name -cf - . | sha256sum")
program("zip", "zip", build_tree, "cd $DEPOT && zip -q -r -X - tree | wc -c")
program("find", "find by type and size, and ls", build_tree,
        "find $DEPOT/tree -type f -size +20k | sort; find $DEPOT/tree -type s; ls -lR $DEPOT/tree "
        "| grep -v -e ^total -e ^d")
program("grep", "grep -r and sha256sum", build_tree,
        "grep -rlaP '\\x05' $DEPOT/tree; find $DEPOT/tree -type f | sort | xargs sha256sum")
program("cp", "cp -a, with P4CACHE_STAT=restore", build_tree,
        "cp -a $DEPOT/tree copy && cd copy && find . -type f -printf '%P %s %m %T@\\n' | sort")
program("mv", "mv out of the depot", build_tree,
        "mv $DEPOT/tree/d1/file4 out && sha256sum < out && ls $DEPOT/tree/d1")
program("rm", "rm -r", build_tree, "rm -r $DEPOT/tree/d1 && ls $DEPOT/tree")
program("sqlite3", "sqlite3", build_sqlite,
        "sqlite3 $DEPOT/data.sqlite 'insert into t values (4); select sum(a) from t;'")
program("rsync", "rsync -a", build_tree,
        "rsync -a $DEPOT/tree copy && ls -lR copy | grep -v -e ^total -e ^d")
program("python3", "python: walk, copytree, mmap, glob", build_tree, """
/usr/bin/python3 -B - <<'END'
import glob, mmap, os, shutil
top = os.environ["DEPOT"] + "/tree"
for directory, names, files in os.walk(top):
    names.sort()
    for name in sorted(files):
        path = os.path.join(directory, name)
        with open(path, "rb") as f:
            size = os.fstat(f.fileno()).st_size
            text = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)[:1] if size else b""
        print(name, size, text, os.path.isfile(path), os.stat(path).st_size)
shutil.copytree(top, "copy")
print(sorted(os.path.getsize(p) for p in glob.glob("copy/*/*")))
with os.scandir(top + "/d2") as entries:
    print(sorted((e.name, e.is_file(), e.stat().st_size) for e in entries))
END
""")
