"""A bucket of S3 in memory whose requests can be made to fail: with a status, a reset connection or silence."""

from __future__ import annotations

import hashlib
import http.server
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate

_BODIES = {"bucket": b"<Error><Code>NoSuchBucket</Code></Error>", "denied": b"<Error><Code>AccessDenied</Code></Error>"}


class Bucket:
    """One running store. fault: "" for none, a status, "bucket" (404), "denied" (403), "reset" or "hang"."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.fault = ""
        self.requests = 0
        self.objects: dict[str, bytes] = {}
        self.ended = threading.Event()

    def variables(self) -> dict[str, str]:
        """The environment variables of a server that uses this store."""
        return {
            "FLYTEADMIN_STORAGE_URL": "s3://flyte",
            "AWS_ACCESS_KEY_ID": "minio",
            "AWS_SECRET_ACCESS_KEY": "miniostorage",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ALLOW_HTTP": "true",
        }


@contextmanager
def running() -> Iterator[Bucket]:
    """Start a store; it ends with the block."""
    bucket = Bucket("")

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        do_HEAD = do_PUT = do_GET

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            bucket.requests += 1
            if bucket.fault == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
            elif bucket.fault == "hang":
                bucket.ended.wait()
                self.close_connection = True
            elif bucket.fault in _BODIES:
                self._send(404 if bucket.fault == "bucket" else 403, _BODIES[bucket.fault])
            elif bucket.fault:
                self._send(int(bucket.fault), b"")
            elif self.command == "PUT":
                bucket.objects[self.path] = body
                self._send(200, b"", body)
            elif self.path in bucket.objects:
                self._send(200, bucket.objects[self.path], bucket.objects[self.path])
            else:
                self._send(404, b"<Error><Code>NoSuchKey</Code></Error>")

        def _send(self, status: int, body: bytes, content: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
            self.send_header("Last-Modified", formatdate(usegmt=True))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            return None

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    bucket.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield bucket
    finally:
        bucket.ended.set()
        server.shutdown()
        server.server_close()
