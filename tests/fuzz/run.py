"""Send random input to a server process on SQLite, and check after each batch that nothing broke.

Faults: a reply that is an unforeseen server error, a process that ended, a slow health check, a traceback or an
`rpc_failed` in the log, memory above the limit. Each is printed with seed, number and bytes of its input; `--only N`
sends that input again.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

import orjson
import zttp

from tests.fuzz.inputs import Input, made
from tests.support.servers import Running, serving

BATCH = 200
AT_ONCE = 50
IDLE_SECONDS_MAX = 0.25
READ_SECONDS_MAX = 10.0
HEALTH_SECONDS_MAX = 0.5
MEMORY_BYTES_MAX = 768 * 1024**2
# 501: not implemented, 503: stopping or no database, 504: a deadline that the client set, 505: gRPC without HTTP/2.
DOCUMENTED = {501, 503, 504, 505}
_STATUS = re.compile(rb"^HTTP/1\.1 (\d{3})", re.MULTILINE)
_BROKEN = re.compile(r"Traceback|rpc_failed|Exception in ASGI|Fatal error")


class Fuzzer:
    """One run against one server."""

    def __init__(self, server: Running, seed: int) -> None:
        self.server = server
        self.seed = seed
        self.host, _, port = server.web.removeprefix("http://").rpartition(":")
        self.port = int(port)
        self.sent: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.faults: list[str] = []
        self._log_at = 0

    async def run(self, seconds: float, inputs_max: int, first: int = 0) -> None:
        """Send batches until the time or the count is reached."""
        until, number = time.monotonic() + seconds, first
        while time.monotonic() < until and number < first + inputs_max and self.server.process.poll() is None:
            batch = range(number, min(number + BATCH, first + inputs_max))
            if found := await self.send(batch):
                await self._blame(batch, found)
            number = batch.stop

    async def send(self, numbers: range) -> list[str]:
        """Send a batch; return its faults."""
        places = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> list[str]:
            async with places:
                return await self._exchange(number)

        faults = [fault for found in await asyncio.gather(*map(one, numbers)) for fault in found]
        return faults + self._check()

    async def _exchange(self, number: int) -> list[str]:
        kind, given = made(self.seed, number)
        self.sent[kind] += 1
        try:
            received = await asyncio.wait_for(self._received(given), READ_SECONDS_MAX)
        except TimeoutError:
            return [self._text(number, "no end of the reply")]
        except OSError:
            return []
        faults = []
        for status in _statuses(received, given.client):
            self.statuses[str(status)] += 1
            if status >= 500 and status not in DOCUMENTED:
                faults.append(self._text(number, f"status {status}: {received[-300:]!r}"))
        return faults

    async def _received(self, given: Input) -> bytes:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(given.data)
            received = b""
            # Damaged requests are often incomplete: the server waits for more, and the fuzzer does not.
            while len(received) < 1 << 20:
                part = await asyncio.wait_for(reader.read(1 << 16), IDLE_SECONDS_MAX)
                if not part:
                    break
                received += part
        except TimeoutError:
            pass
        finally:
            writer.transport.abort()
        return received

    def _check(self) -> list[str]:
        """Return what is wrong with the process after a batch."""
        if self.server.process.poll() is not None:
            return [f"the process ended with {self.server.process.returncode}"]
        faults = []
        fastest = min(self._health_seconds() for _ in range(3))
        if fastest > HEALTH_SECONDS_MAX:
            faults.append(f"the health check takes {fastest:.2f} s")
        printed = self.server.printed
        if broken := _BROKEN.search(printed, self._log_at):
            faults.append("log: " + printed[max(0, broken.start() - 200) : broken.start() + 3000])
        self._log_at = len(printed)
        if (memory := memory_bytes(self.server.process.pid)) > MEMORY_BYTES_MAX:
            faults.append(f"{memory >> 20} MiB resident")
        return faults

    def _health_seconds(self) -> float:
        began = time.monotonic()
        try:
            with urllib.request.urlopen(f"{self.server.web}/healthcheck", timeout=10) as reply:
                reply.read()
        except OSError:
            return 10.0
        return time.monotonic() - began

    async def _blame(self, batch: range, faults: list[str]) -> None:
        """Record faults; those of the whole batch once more with the input that causes them alone."""
        for fault in faults:
            self.faults.append(fault)
            say(f"FAULT in {batch.start}…{batch.stop - 1}: {fault}")
        if all(fault.startswith("input ") for fault in faults):
            return
        for number in batch:
            for fault in await self.send(range(number, number + 1)):
                say("  alone: " + self._text(number, fault))

    def _text(self, number: int, fault: str) -> str:
        kind, given = made(self.seed, number)
        return f"input {number} of seed {self.seed} ({kind}): {fault}\n  bytes: {given.data.hex()}"

    def report(self) -> str:
        """Return the counts by kind and by status."""
        rows = [f"  {kind:16} {count:9,}" for kind, count in sorted(self.sent.items())]
        statuses = ", ".join(f"{status} {count:,}" for status, count in sorted(self.statuses.items()))
        memory = memory_bytes(self.server.process.pid) >> 20
        head = (
            f"{sum(self.sent.values()):,} inputs of seed {self.seed}, {len(self.faults)} faults, {memory} MiB resident"
        )
        return "\n".join((head, *rows, f"  replies: {statuses}"))


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _statuses(received: bytes, client: zttp.H2Connection | None) -> list[int]:
    """The HTTP statuses of the replies."""
    if client is None:
        return [int(status) for status in _STATUS.findall(received)]
    found = []
    try:
        client.receive_data(received)
        while (event := client.next_event()) is not zttp.NEED_DATA:
            if isinstance(event, zttp.Response):
                found.append(event.status_code)
    except zttp.ProtocolError:
        pass
    return found


def memory_bytes(pid: int) -> int:
    """Resident memory of a process."""
    try:
        return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) * 1024
    except (OSError, IndexError):
        return 0


def seeded(server: Running) -> None:
    """Register the task and the execution that some inputs name."""
    id = {"resource_type": "TASK", "project": "flytesnacks", "domain": "development", "name": "fuzz", "version": "v1"}
    template = {"id": id, "type": "raw-container", "interface": {}, "container": {"image": "x", "command": ["true"]}}
    template["metadata"] = {"runtime": {"type": "OTHER", "version": "1", "flavor": "x"}, "retries": {}}
    launch = {"project": "flytesnacks", "domain": "development", "name": "fuzz", "spec": {"launch_plan": id}}
    for path, body in (("tasks", {"id": id, "spec": {"template": template}}), ("executions", launch)):
        request = urllib.request.Request(f"{server.web}/api/v1/{path}", orjson.dumps(body), method="POST")
        request.add_header("content-type", "application/json")
        urllib.request.urlopen(request, timeout=30).close()


def main() -> int:
    """Run; the exit code is 1 where faults were found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long to send (60)")
    parser.add_argument("--inputs", type=int, default=10**9, help="how many inputs to send at most")
    parser.add_argument("--seed", type=int, default=1, help="chooses the inputs (1)")
    parser.add_argument("--only", type=int, help="send this input alone")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "home") as server:
        seeded(server)
        fuzzer = Fuzzer(server, given.seed)
        first, count = (0, given.inputs) if given.only is None else (given.only, 1)
        asyncio.run(fuzzer.run(given.seconds, count, first))
        say(fuzzer.report())
        return 1 if fuzzer.faults else 0


if __name__ == "__main__":
    sys.exit(main())
