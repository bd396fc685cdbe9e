"""Sockets that a server listens on: bound before anything else happens, so that a taken port changes nothing."""

import errno
import json
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from app.settings import BadSetting, Settings

# How users know the ports: the flag that moves one, the key in a file, and who is usually in the way.
_PORTS = {
    "rest": ("--port", "server.httpPort", "another flyteadmin or the Flyte sandbox (docker ps shows it)"),
    "grpc": ("--grpc-port", "server.grpc.port", "another flyteadmin or the Flyte sandbox (docker ps shows it)"),
    "mcp": ("--mcp-port", "mcp.port", "Prometheus, whose own port it is"),
    "adapter": ("--rest-adapter-port", "mcp.adapterPort", "a proxy or a web server under development"),
    "metrics": ("--metrics-port", "flyteadmin.profilerPort", "another flyteadmin, its scheduler or a Kubernetes probe"),
}


def bind(host: str, port: int, use: str) -> socket.socket:
    """A bound TCP socket that does not listen yet; port 0 takes a free one.

    errors: BadSetting naming the port, the flag that moves it and who usually holds it
    """
    flag, key, holder = _PORTS[use]
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise BadSetting(f"server.host={host} is no address of this machine ({error.strerror}); see --host") from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _not_bound(error, host, port, flag, key, holder) from error
    return bound


def _not_bound(error: OSError, host: str, port: int, flag: str, key: str, holder: str) -> BadSetting:
    move = f"choose another with {flag} ({key} in a file)"
    if error.errno == errno.EADDRINUSE:
        return BadSetting(f"port {port} is in use, usually by {holder}; stop that, or {move}")
    if error.errno == errno.EACCES:
        return BadSetting(f"port {port} is reserved for root; {move}")
    return BadSetting(f"port {port} on {host} cannot be used ({error.strerror}); see --host, or {move}")


def listen(sockets: Mapping[str, socket.socket]) -> None:
    """Begin to accept connections on bound sockets, given by their use.

    errors: BadSetting where another process began to listen on the same port in between
    """
    for use, bound in sockets.items():
        try:
            bound.listen(2048)
        except OSError as error:
            host, port = bound.getsockname()[:2]
            raise _not_bound(error, host, port, *_PORTS[use]) from error


def port_of(bound: socket.socket) -> int:
    """The port that a socket is bound to."""
    return int(bound.getsockname()[1])


class MetricsListener:
    """/metrics, /healthcheck, /version and /config, from a thread of its own: it answers when the loop is busy."""

    def __init__(self, bound: socket.socket, settings: Settings, metrics: Callable[[], str]) -> None:
        from app.api.http.origins import Origins

        origins = Origins(settings)
        pages: dict[str, tuple[str, Callable[[], str]]] = {
            "/metrics": ("text/plain; version=0.0.4; charset=utf-8", lambda: metrics() + _process()),
            "/healthcheck": ("text/plain", lambda: ""),
            "/version": ("application/json", _version),
            "/config": ("application/json", lambda: _config(settings)),
        }

        class Handler(BaseHTTPRequestHandler):
            # A client that sends nothing must not keep a thread forever.
            timeout = 10

            def parse_request(self) -> bool:
                """Read the head of a request; refuse it where no web page may send it."""
                if not super().parse_request():
                    return False
                if self.headers.defects:
                    # The parser ignores the fields after a malformed line, a Host among them.
                    self._reply(400, "text/plain", b"malformed header field")
                    return False
                fields = [
                    (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()
                ]
                refusal = origins.refusal(self.command, self.path.encode("latin-1"), fields)
                if refusal is not None:
                    self._reply(refusal.status, "application/json", refusal.body)
                return refusal is None

            def do_GET(self) -> None:
                found = pages.get(self.path.partition("?")[0])
                if found is None:
                    self._reply(404, "text/plain", b"")
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

        self._server = ThreadingHTTPServer(bound.getsockname()[:2], Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = bound
        self._server.daemon_threads = True

    def start(self) -> None:
        """Serve until the process ends or close is called."""
        self._server.server_activate()
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Stop serving and close the socket."""
        self._server.shutdown()
        self._server.server_close()


def _process() -> str:
    """Memory, CPU and open files of the process behind the listener, as Prometheus' client tells them."""
    import prometheus_client

    text: bytes = prometheus_client.generate_latest()
    return text.decode()


def _version() -> str:
    from importlib.metadata import version

    return json.dumps({"Build": "", "Version": version("flyteadmin"), "BuildTime": ""})


def _config(settings: Settings) -> str:
    from app.settings import masked

    return json.dumps(masked(settings), indent=2)
