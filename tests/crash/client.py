"""A program on the depot, run with the shim in it: reads and unlinks what it is told.

One JSON request a line on stdin: {"op": "read" | "unlink", "path": P}. One reply a line:
{"sha256": S} with what a plain reader saw, {"ok": true}, or {"errno": NAME}.
"""

import errno
import hashlib
import json
import os
import sys


def read(path):
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read()
    if len(content) != size:
        return {"errno": f"fstat said {size} bytes and read gave {len(content)}"}
    return {"sha256": hashlib.sha256(content).hexdigest()}


def unlink(path):
    os.unlink(path)
    return {"ok": True}


OPERATIONS = {"read": read, "unlink": unlink}

for line in sys.stdin:
    request = json.loads(line)
    try:
        reply = OPERATIONS[request["op"]](request["path"])
    except OSError as error:
        reply = {"errno": errno.errorcode.get(error.errno, str(error.errno))}
    print(json.dumps(reply), flush=True)
