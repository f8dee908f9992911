"""What nginx answers: fetch.py SOCKET PATH ..., each whole, in a range, and as HEAD."""

import hashlib
import http.client
import socket
import sys


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)


def fetch(path, method, headers):
    connection = UnixConnection(sys.argv[1])
    connection.request(method, path, headers=headers)
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, reply.getheader("Content-Length"), hashlib.sha256(body).hexdigest()[:16]


for path in sys.argv[2:]:
    for method, headers in (("GET", {}), ("GET", {"Range": "bytes=100-299"}), ("HEAD", {})):
        print(path, method, headers, *fetch(path, method, headers))
