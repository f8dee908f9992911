"""Asks the daemon of $DEPOT, where there is one, to evict all that a test has made so far."""

import json
import os
import socket
import stat
import time

DEPOT = os.environ["DEPOT"]
SOCKET = os.path.join(DEPOT, ".p4cache", "shim.sock")


def ask(**request):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(SOCKET)
        connection.sendall(f"P4CACHE/1 CONTROL {json.dumps(request)}\n".encode())
        reply = b""
        while part := connection.recv(65536):
            reply += part
    last = reply.decode().splitlines()[-1]
    assert last.startswith("OK "), last
    return json.loads(last[3:])


def holds_files():
    """Whether the tree has any file at all, evicted or not: the shim says so of both."""
    for directory, names, files in os.walk(DEPOT):
        names[:] = [n for n in names if n != ".p4cache"]
        for name in files:
            try:
                if stat.S_ISREG(os.lstat(os.path.join(directory, name)).st_mode):
                    return True
            except OSError:
                pass
    return False


def evict_all():
    if not os.path.exists(SOCKET) or not holds_files():
        return
    while True:
        ask(op="drain", wait=True)
        done = ask(op="evict", selection="", dryRun=False)
        if done["keptDirty"] == done["keptYoung"] == done["evictedFiles"] == 0:
            return
        time.sleep(0.02)
