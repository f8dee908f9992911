"""Updates an RCS archive the way p4d's RCS code does it.

Open the archive for reading; if that fails and stat says that there is no such file, begin a
new archive; if it fails in any other way, give up. Then write a temporary file beside it and
rename it over the archive.

Usage: rcs_update.py ARCHIVE LINE. Prints what it did: "appended", "new", or "failed: errno".
"""

import errno
import os
import sys

archive, line = sys.argv[1:3]
try:
    with open(archive, "rb") as f:
        os.fstat(f.fileno())
        history = f.read()
except OSError as error:
    try:
        os.stat(archive)
        exists = True
    except OSError:
        exists = False  # Stat() of p4d does not look at errno
    if exists:
        print("failed:", errno.errorcode[error.errno])
        sys.exit(1)
    history = b""
temporary = os.path.join(os.path.dirname(archive), "tmp.%d.1" % os.getpid())
with open(temporary, "wb") as f:
    f.write(history + line.encode() + b"\n")
    f.flush()
    os.fsync(f.fileno())
os.chmod(temporary, 0o444)
os.rename(temporary, archive)
print("appended" if history else "new")
