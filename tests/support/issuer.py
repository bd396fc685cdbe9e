"""An issuer of tokens over HTTP: its document and keys, which tests change, break and slow down."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from app.auth.keys import SigningKeys
from tests.support.tokens import rsa_key, signed


class Issuer:
    """The issuer and its state.

    Attributes:
        url: Its address, which is its issuer too.
        keys: Names of the published keys (`tests.support.tokens.rsa_key`); the key id is the name.
        more_keys: Published keys as JSON, beside `keys`.
        document: Fields that replace those of its document.
        replies: Status, headers and body by path, which replace the documents.
        slow_seconds: The time before each reply.
        requests: The number of requests by path.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys = ["a"]
        self.more_keys: list[Any] = []
        self.document: dict[str, Any] = {}
        self.replies: dict[str, tuple[int, Mapping[str, str], bytes]] = {}
        self.slow_seconds = 0.0
        self.requests: Counter[str] = Counter()

    def reply(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        """Return the reply to a GET request."""
        self.requests[path] += 1
        time.sleep(self.slow_seconds)
        if path in self.replies:
            return self.replies[path]
        if path == "/jwks":
            return _json({"keys": [public_jwk(name) for name in self.keys] + self.more_keys})
        if path.startswith("/.well-known/"):
            document = {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/jwks",
                "authorization_endpoint": f"{self.url}/auth",
                "token_endpoint": f"{self.url}/token",
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid", "all"],
            }
            return _json({**document, **self.document})
        return 404, {}, b"nothing here"

    def token(
        self, key: str = "a", algorithm: str = "RS256", header: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """Return a token of this issuer; a claim of ... is left out."""
        now = int(time.time())
        made = {"iss": self.url, "aud": "flyteadmin", "sub": "ida", "exp": now + 600, "iat": now, **claims}
        kept = {name: value for name, value in made.items() if value is not ...}
        return signed(kept, rsa_key(key), algorithm, {"kid": key} if header is None else header)


def public_jwk(name: str) -> dict[str, Any]:
    """Return the public half of a key as an issuer publishes it."""
    return {**SigningKeys(rsa_key(name)).jwks()["keys"][0], "kid": name, "use": "sig"}


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """Serve an issuer on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = issuer.reply(self.path)
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Clients of these tests break off."""

    server = Server(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _json(value: Any) -> tuple[int, Mapping[str, str], bytes]:
    return 200, {"content-type": "application/json"}, json.dumps(value).encode()
