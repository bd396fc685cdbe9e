"""The listener for Prometheus: /metrics, /healthcheck, /version and /config.

prometheus-client's own server binds its socket itself, after the port could have been taken, and serves one page
under every path and Host. This listener takes the socket that was bound first of all, and refuses web pages.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from app.auth.access import METRICS_PAGES
from app.settings import Settings
from app.settings.hosts import is_loopback

# A client that sends nothing must not keep a thread for longer.
REQUEST_SECONDS_MAX = 10


class MetricsListener:
    """Serves the pages from threads of its own, so that it answers while the event loop is busy.

    Args:
        bound: A bound socket that listens.
        metrics: Makes the text of /metrics, without the numbers of the process itself.
    """

    name = "metrics_listener"

    def __init__(self, bound: socket.socket, settings: Settings, metrics: Callable[[], str]) -> None:
        self._bound = bound
        self._handler = _handler(settings, metrics)
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Serve until `stop`."""
        server = ThreadingHTTPServer(self._bound.getsockname()[:2], self._handler, bind_and_activate=False)
        server.socket.close()
        server.socket = self._bound
        server.daemon_threads = True
        server.server_activate()
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Stop serving and close the socket."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def health(self) -> str:
        """Return "" while the thread of the listener runs."""
        return "" if self._thread is not None and self._thread.is_alive() else "the thread of the listener has ended"

    def metrics(self) -> Mapping[str, float]:
        """Return no gauges."""
        return {}


def _handler(settings: Settings, metrics: Callable[[], str]) -> type[BaseHTTPRequestHandler]:
    from app.api.http.origins import Origins

    origins = Origins(settings)
    served: dict[str, tuple[str, Callable[[], str]]] = {
        "/metrics": ("text/plain; version=0.0.4; charset=utf-8", lambda: metrics() + _process()),
        "/healthcheck": ("text/plain", lambda: ""),
        "/version": ("application/json", _version),
        "/config": ("application/json", lambda: _config(settings)),
    }

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS_MAX
        pages = served

        def parse_request(self) -> bool:
            """Read the head of a request; refuse it where no web page may send it."""
            if not super().parse_request():
                return False
            if self.headers.defects:
                # The parser ignores the fields after a malformed line, a Host among them.
                self._reply(400, "text/plain", b"malformed header field")
                return False
            fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
            refusal = origins.refusal(self.command, self.path.encode("latin-1"), fields)
            if refusal is not None:
                self._reply(refusal.status, "application/json", refusal.response()[1])
            return refusal is None

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            found = self.pages.get(path)
            if found is None:
                self._reply(404, "text/plain", b"")
            elif settings.server.security.use_auth and not _allowed(path, self.client_address[0]):
                self._reply(403, "text/plain", b"with authentication on, only clients on this machine get this page\n")
            else:
                self._reply(200, found[0], found[1]().encode())

        def _reply(self, status: int, content_type: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            return None

    return Handler


def _allowed(path: str, client: str) -> bool:
    """Return whether a client without an identity may read a page (app/auth/access.py)."""
    needs = METRICS_PAGES[path].needs
    return needs == "nothing" or (needs == "loopback" and is_loopback(client.removeprefix("::ffff:")))


def _process() -> str:
    """Return memory, CPU and open files of this process, as prometheus-client measures them."""
    import prometheus_client

    text: bytes = prometheus_client.generate_latest()
    return text.decode()


def _version() -> str:
    from importlib.metadata import version

    return json.dumps({"Build": "", "Version": version("flyteadmin"), "BuildTime": ""})


def _config(settings: Settings) -> str:
    from app.settings import masked

    return json.dumps(masked(settings), indent=2)
