"""What a tree holds, one line a name: type, mode, size, hash, or where a link leads."""

import hashlib
import os
import re
import stat
import sys

# What CVS writes of the clock and of chance.
CLOCK = ((rb"\d{4}\.\d\d\.\d\d\.\d\d\.\d\d\.\d\d", b"DATE"), (rb"commitid\s+\w+", b"COMMIT"))


def content_of(path):
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read()
    assert len(content) == size == os.lstat(path).st_size, path
    if path.endswith(",v"):
        for pattern, word in CLOCK:
            content = re.sub(pattern, word, content)
    return content


def line_of(path):
    st = os.lstat(path)
    if stat.S_ISLNK(st.st_mode):
        return f"link -> {os.readlink(path)}"
    if not stat.S_ISREG(st.st_mode):
        return f"{st.st_mode:o}"
    digest = hashlib.sha256(content_of(path)).hexdigest()[:16]
    return f"{st.st_mode:o} {st.st_size} {digest}"


def refuse(error):
    raise error


def main():
    top = sys.argv[1]
    for directory, names, files in os.walk(top, onerror=refuse):
        names[:] = sorted(n for n in names if n != ".p4cache")
        for name in sorted(names + files):
            path = os.path.join(directory, name)
            print(os.path.relpath(path, top).replace(top, "TOP"), line_of(path))


main()
