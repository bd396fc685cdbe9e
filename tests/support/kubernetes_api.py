"""The API of a Kubernetes cluster for tests: FlyteWorkflow objects in memory, with failures on demand."""

from __future__ import annotations

import json
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# status and body, "drop" for a connection that closes without an answer, or None for the usual answer.
Fault = tuple[int, dict[str, Any]] | str | None


def failure(code: int, reason: str, message: str) -> tuple[int, dict[str, Any]]:
    return code, {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code}


class FakeCluster:
    """One running API.

    Attributes:
        objects: The objects by path.
        created: The paths of objects in the order of their creation.
        fault: Decides the answer to a call by method and path; the call takes effect first where `after` is set.
        tokens: The bearer tokens that are valid, None for any; each call's header is in `authorizations`.
        retry_after: The header Retry-After of answers that are no success, "" for none.
        callers: The name in the client certificate of each call, "" for none.
        connections: The number of connections so far.
    """

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.created: list[str] = []
        self.deleted: list[str] = []
        self.fault: Callable[[str, str], Fault] = lambda method, path: None
        self.after = False
        self.tokens: set[str] | None = None
        self.authorizations: list[str] = []
        self.retry_after = ""
        self.callers: list[str] = []
        self.connections = 0
        self.address = ""
        self.authority = ""
        self._lock = threading.Lock()

    def kubeconfig(self, folder: Path, **user: Any) -> str:
        """Write a kubeconfig file for this cluster and return its path. user: its user, instead of a token."""
        path = folder / "kubeconfig"
        cluster = {"server": self.address} | ({"certificate-authority": self.authority} if self.authority else {})
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "x",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user or {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        }
        path.write_text(json.dumps(document))
        return str(path)

    def answer(self, method: str, path: str, body: bytes, authorization: str) -> Fault:
        self.authorizations.append(authorization)
        if self.tokens is not None and authorization.removeprefix("Bearer ") not in self.tokens:
            return failure(401, "Unauthorized", "Unauthorized")
        fault = self.fault(method, path)
        if fault is not None and not self.after:
            return fault
        found = self._act(method, path, body)
        return found if fault is None else fault

    def _act(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        with self._lock:
            if method == "POST":
                document = json.loads(body)
                key = f"{path}/{document['metadata']['name']}"
                if key in self.objects:
                    return failure(409, "AlreadyExists", f"{key} already exists")
                document["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": "2026-01-01T00:00:00Z"}
                self.objects[key] = document
                self.created.append(key)
                return 201, document
            if method == "GET" and path.endswith("/flyteworkflows"):
                return 200, {"items": [{"metadata": one["metadata"]} for one in self.objects.values()], "metadata": {}}
            if path not in self.objects:
                return failure(404, "NotFound", f"{path} not found")
            if method == "DELETE":
                self.deleted.append(path)
                del self.objects[path]
                return 200, {"kind": "Status", "status": "Success"}
            return 200, self.objects[path]


@contextmanager
def fake_cluster(tls: ssl.SSLContext | None = None) -> Iterator[FakeCluster]:
    """Serve an API without objects. tls: for https, which may ask for client certificates."""
    cluster = FakeCluster()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            cluster.connections += 1
            super().setup()

        def handle(self) -> None:
            with suppress(ConnectionResetError):
                # The client may have been killed.
                super().handle()

        def _caller(self) -> str:
            if not isinstance(self.connection, ssl.SSLSocket):
                return ""
            subject: Any = (self.connection.getpeercert() or {}).get("subject", ())
            return str(dict(pair for part in subject for pair in part).get("commonName", ""))

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

        def _answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(length)
            whole = len(body) == length
            cluster.callers.append(self._caller())
            authorization = self.headers.get("authorization", "")
            found = cluster.answer(self.command, self.path.split("?")[0], body, authorization) if whole else "drop"
            if not isinstance(found, tuple):
                self.close_connection = True
                self.connection.close()
                return
            content = json.dumps(found[1]).encode()
            self.send_response(found[0])
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            if cluster.retry_after and found[0] >= 400:
                self.send_header("retry-after", cluster.retry_after)
            self.end_headers()
            with suppress(OSError):
                # The client may have been killed.
                self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PATCH = _answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    cluster.address = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()
