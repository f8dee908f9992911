"""Random operations on a plain directory and on a depot whose files are evicted at random between
any two of them: every return, errno, byte and field must be the same, and the trees at the end.

P4SHIM_SEED and P4SHIM_OPS choose another run; the seed is printed with a failure.
"""

import json
import os
import random
import stat
import subprocess
import sys

from depot import Daemon
from harness import equal, test

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = [f"{d}{n}" for d in ("", "d1/", "d2/", "d1/x,d/") for n in ("a,v", "b,v", "c")] + \
        ["d1", "d2", "d1/x,d", "link", "none/a,v"]


class ByInode(Daemon):
    """Keeps content by the marker's inode, so that it follows renames at once."""

    def __init__(self, depot):
        super().__init__(depot)
        self.kept = {}

    def fetch(self, conn, path):
        target = os.path.join(self.depot.root, path)
        try:
            st = os.lstat(target)
        except OSError:
            return "ERR NOTFOUND nothing there"
        content = self.kept.get(st.st_ino)
        if content is None or not stat.S_ISSOCK(st.st_mode):
            return "ERR NOTFOUND no marker"
        rel = os.path.join(self.depot.store, "one")
        with open(rel, "wb") as f:
            f.write(content)
        os.chmod(rel, st.st_mode & 0o7777)
        os.utime(rel, ns=(st.st_mtime_ns, st.st_mtime_ns))
        del self.kept[st.st_ino]
        os.rename(rel, target)
        return f"OK {len(content)}"

    def stat(self, conn, path):
        return "ERR NOTFOUND nothing there"

    def delete(self, conn, path):
        return "ERR NOTFOUND it knows markers only"

    def evict_some(self, rng):
        for directory, names, files in os.walk(self.depot.root):
            if ".p4cache" in names:
                names.remove(".p4cache")
            for name in sorted(files):
                path = os.path.join(directory, name)
                st = os.lstat(path)
                if rng.random() < 0.5 and os.path.isfile(path) and not os.path.islink(path) \
                        and st.st_nlink == 1:
                    with open(path, "rb") as f:
                        content = f.read()
                    self.depot.evict(os.path.relpath(path, self.depot.root), keep=False)
                    self.kept[os.lstat(path).st_ino] = content


def random_op(rng):
    name = rng.choice(NAMES)
    other = rng.choice(NAMES)
    return rng.choice([
        ["open", name, rng.choice(["r", "r", "w", "a", "r+", "x", "creat", "path", "directory",
                                   "nofollow"]), rng.randrange(1, 5000)],
        ["stat", name], ["lstat", name], ["stat", name], ["statat", name], ["read", name],
        ["read", name],
        ["truncate", name, rng.choice([0, 1, 100, 9000])],
        ["rename", name, other], ["rename", name, other], ["link", name, other],
        ["unlink", name], ["rmdir", name], ["mkdir", name], ["mkdir", name],
        ["chmod", name, rng.choice([0o600, 0o444, 0o755])],
        ["utime", name, rng.randrange(1, 2_000_000_000) * 1_000_000_000 + 7],
        ["access", name], ["scandir", rng.choice(["", "d1", "d2"])],
        ["symlink", "d1/a,v", "link"], ["readlink", "link"], ["chdir", rng.choice(["", "d1"])],
        ["replace", name], ["replace", name],
    ])


def play(ops, root, env, between):
    """The worker's answer to each operation, with `between` called before each."""
    worker = subprocess.Popen([sys.executable, "-B", os.path.join(HERE, "worker.py"), root],
                              env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    answers = []
    for op in ops:
        between()
        worker.stdin.write(json.dumps(op) + "\n")
        worker.stdin.flush()
        answers.append(worker.stdout.readline().strip())
    worker.communicate()
    return answers


def differ(make, seed, count):
    rng = random.Random(seed)
    ops = [["mkdir", "d1"], ["mkdir", "d2"], ["mkdir", "d1/x,d"]] + \
        [random_op(rng) for _ in range(count)] + [["tree", ""]]
    plain, depot = make(), make()
    depot.daemon = ByInode(depot)
    depot.daemon.start()
    chaos = random.Random(seed + 1)
    wanted = play(ops, plain.root, plain.environment(LD_PRELOAD=None), lambda: None)
    got = play(ops, depot.root, depot.environment(P4CACHE_MANAGE="all"),
               lambda: depot.daemon.evict_some(chaos))
    for i, op in enumerate(ops):
        equal(got[i], wanted[i], f"seed {seed}, operation {i} of {len(ops)}: {op}")
    return depot.daemon.verbs().count("FETCH")


@test("random operations on a depot under eviction do as on a plain directory")
def _(make):
    seed = int(os.environ.get("P4SHIM_SEED") or random.SystemRandom().randrange(1 << 32))
    count = int(os.environ.get("P4SHIM_OPS") or 1500)
    restored = differ(make, seed, count)
    assert restored > count / 20, f"seed {seed}: only {restored} restores in {count} operations"

