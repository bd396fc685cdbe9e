"""The listening sockets, bound before any other start-up step, so that a port in use leaves everything untouched."""

import errno
import socket
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from app.settings import BadSetting
from app.settings.keys import FLAGS
from app.settings.spelling import camel
from app.system import system


class _Port(NamedTuple):
    """The setting of a port, and the program that usually has it when it is in use."""

    setting: str
    holder: str

    @property
    def flag(self) -> str:
        """Return the flag of the setting."""
        return FLAGS[self.setting]

    @property
    def key(self) -> str:
        """Return the key of the setting in a configuration file."""
        return ".".join(map(camel, self.setting.split(".")))


_PORTS = {
    "rest": _Port("server.http_port", "another flyteadmin or the Flyte sandbox (docker ps shows it)"),
    "grpc": _Port("server.grpc.port", "another flyteadmin or the Flyte sandbox (docker ps shows it)"),
    "mcp": _Port("mcp.port", "Prometheus, whose own port it is"),
    "adapter": _Port("mcp.adapter_port", "a proxy or a web server under development"),
    "metrics": _Port("flyteadmin.profiler_port", "another flyteadmin, its scheduler or a Kubernetes probe"),
}


class _Unusable(Exception):
    """A port cannot be bound. `error` is the error of the operating system."""

    def __init__(self, error: OSError, host: str, port: int, use: str) -> None:
        self.error, self.host, self.port, self.use = error, host, port, use
        super().__init__(str(error))


def bind_all(host: str, ports: Mapping[str, int]) -> dict[str, socket.socket]:
    """Return bound TCP sockets that do not listen yet, by their use.

    Args:
        host: The address to bind.
        ports: Port by use; 0 takes a free one.

    Raises:
        BadSetting: Names every port that cannot be bound, the flags that move them and free ports to take instead.
    """
    _check_different(ports)
    bound: dict[str, socket.socket] = {}
    failed: list[_Unusable] = []
    for use, port in ports.items():
        try:
            bound[use] = _bind(host, port, use)
        except _Unusable as error:
            failed.append(error)
    if failed:
        for one in bound.values():
            one.close()
        raise _refusal(failed, set(ports.values())) from failed[0].error
    return bound


def _check_different(ports: Mapping[str, int]) -> None:
    uses: dict[int, str] = {}
    for use, port in ports.items():
        if port and (other := uses.setdefault(port, use)) != use:
            raise BadSetting(
                f"{_PORTS[other].key} and {_PORTS[use].key} are both {port}; "
                f"give each a port of its own with {_PORTS[other].flag} and {_PORTS[use].flag}"
            )


def _bind(host: str, port: int, use: str) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadSetting(
            f"server.host={host} is no address of this machine ({reason}); allowed: a name or an IP address without "
            "scheme and port, such as 127.0.0.1 or 0.0.0.0, see --host"
        ) from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _Unusable(error, host, port, use) from error
    return bound


def _refusal(failed: Sequence[_Unusable], taken: set[int]) -> BadSetting:
    """Return one error for all ports that cannot be used, with a command that uses others."""
    reasons = [_reason(one) for one in failed]
    flags = []
    for one in failed:
        other = _free_port(one.host, one.port, taken)
        if other:
            taken.add(other)
            flags.append(f"{_PORTS[one.use].flag} {other}")
    advice = f', as in `make run ARGS="{" ".join(flags)}"`' if flags else ""
    moves = " and ".join(f"{_PORTS[one.use].flag} ({_PORTS[one.use].key} in a file)" for one in failed)
    others = "another port" if len(failed) == 1 else "other ports"
    return BadSetting(f"{'; '.join(reasons)}. Free {_them(failed)}, or choose {others} with {moves}{advice}")


def _them(failed: Sequence[_Unusable]) -> str:
    return "it" if len(failed) == 1 else "them"


def _reason(one: _Unusable) -> str:
    if one.error.errno == errno.EADDRINUSE:
        return f"port {one.port} is in use, usually by {_PORTS[one.use].holder}"
    if one.error.errno == errno.EACCES:
        return f"port {one.port} is reserved for root"
    return f"port {one.port} on {one.host} cannot be used ({one.error.strerror}); see --host"


def _free_port(host: str, near: int, taken: set[int]) -> int:
    """Return a port that is free now, a thousand or more above near; 0 where none is found."""
    for port in range(near + 1000, 65536, 1000):
        if port not in taken:
            try:
                _bind(host, port, "rest").close()
            except (_Unusable, BadSetting):
                continue
            return port
    return 0


def listen(sockets: Mapping[str, socket.socket]) -> None:
    """Let the bound sockets, given by their use, accept connections.

    Raises:
        BadSetting: Another process has begun to listen on the same port meanwhile.
    """
    for use, bound in sockets.items():
        try:
            bound.listen(2048)
        except OSError as error:
            host, port = bound.getsockname()[:2]
            raise _refusal([_Unusable(error, host, port, use)], {port}) from error


def refuse_connections(sockets: Sequence[socket.socket]) -> None:
    """Let listening sockets ignore new connections, while those that wait in their queues can still be accepted.

    Closing a socket resets the connections in its queue. So a server first calls this, then accepts until the queue is
    empty, then closes the socket. A client that connects meanwhile is refused, after it repeats its SYN. Linux only: on
    other systems, connections of the last moment are reset.
    """
    for listening in sockets:
        system.refuse_connections(listening)


def port_of(bound: socket.socket) -> int:
    """Return the port of a bound socket."""
    return int(bound.getsockname()[1])
