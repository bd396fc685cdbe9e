"""The fork server: reads requests from its socket, forks a supervisor for each, and sends an answer for each.

A message in either direction is JSON after its length in four bytes. The fork server sends a first message when its
imports are done. When the server has ended, the socket is closed; then the fork server ends too, but no supervisor.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import struct
import sys
from typing import Any

from . import supervisor
from .preload import preload

_LENGTH = struct.Struct(">I")


def _receive(connection: socket.socket, size: int) -> bytes:
    """Read `size` bytes; fewer if the server has ended."""
    data = bytearray()
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            break
        data += part
    return bytes(data)


def _next_request(connection: socket.socket) -> dict[str, Any] | None:
    head = _receive(connection, _LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    size = _LENGTH.unpack(head)[0]
    body = _receive(connection, size)
    if len(body) < size:
        return None
    request: dict[str, Any] = json.loads(body)
    return request


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    body = json.dumps(message).encode()
    connection.sendall(_LENGTH.pack(len(body)) + body)


def _fork(request: dict[str, Any], connection: socket.socket) -> dict[str, Any]:
    """Fork a supervisor and return its report: the record of the started task, or `error`."""
    read_end, write_end = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(read_end)
        os.close(write_end)
        return {"error": f"the system refused to start a process: {error.strerror}", "errno": error.errno}
    if pid == 0:
        connection.close()
        os.close(read_end)
        supervisor.run(request, write_end)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        report = pipe.read()
    if not report:
        return {"error": "the supervisor of the task ended before the task began", "errno": 0}
    answer: dict[str, Any] = json.loads(report)
    return answer


def main() -> None:
    """Serve the socket whose descriptor is the first argument. The second argument is "warm" or "plain"."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    hello: dict[str, Any] = {"warm": False}
    if sys.argv[2] == "warm":
        hello = preload()
    # With this setting the system reaps supervisors that end.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    # The collector skips frozen objects. It would write to their pages, and forked processes could not share these.
    gc.freeze()
    _send(connection, hello)
    while True:
        request = _next_request(connection)
        if request is None:
            return
        _send(connection, _fork(request, connection))
