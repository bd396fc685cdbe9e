"""An S3 server in a process of its own, for tests: moto's."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

_START_SECONDS_MAX = 60
# Any key is accepted.
ACCESS_KEY, SECRET_KEY = "minio", "miniostorage"


@contextmanager
def s3_server(*buckets: str) -> Iterator[str]:
    """Serve these buckets, which are empty. Yields the server's address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    endpoint = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _START_SECONDS_MAX
        while True:
            try:
                for bucket in buckets:
                    httpx.put(f"{endpoint}/{bucket}").raise_for_status()
                break
            except httpx.TransportError:
                assert process.poll() is None, "the S3 server ended by itself"
                assert time.monotonic() < deadline, "the S3 server does not answer"
                time.sleep(0.1)
        yield endpoint
    finally:
        process.terminate()
        process.wait()
