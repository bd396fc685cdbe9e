"""NATS: a real nats-server, of the Debian package nats-server."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat

from app.background.events_out import nats as publishers
from app.background.events_out.nats import NatsPublisher
from app.background.outbox.targets import Away, MessageRefused
from app.settings.events_out import Nats
from app.wire.cloud_events import STRUCTURED
from tests.background.events_out.messages import message

pytestmark = pytest.mark.slow
SUBJECT = "flyte.events"


@contextmanager
def nats_server(folder: Path, *arguments: str, port: int = 0) -> Iterator[int]:
    """Yield the port of a nats-server; skip loudly where there is none on the machine."""
    program = shutil.which("nats-server") or shutil.which("/usr/sbin/nats-server")
    if program is None:
        warnings.warn("NO NATS on this machine (nats-server not found): its tests are SKIPPED", stacklevel=1)
        pytest.skip("no nats-server on this machine")
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    command = [program, "-a", "127.0.0.1", "-p", str(port), *arguments]
    with (folder / "nats.log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if process.poll() is not None:
                    pytest.fail((folder / "nats.log").read_text())
                time.sleep(0.02)
            yield port
        finally:
            process.terminate()


@asynccontextmanager
async def publisher(port: int, **section: Any) -> AsyncIterator[NatsPublisher]:
    made = NatsPublisher(Nats.model_validate({"servers": [f"nats://127.0.0.1:{port}"], **section}), SUBJECT)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


def test_subscribers_get_one_document_a_message(tmp_path: Path) -> None:
    async def scenario(port: int) -> None:
        client = await nats.connect(f"nats://127.0.0.1:{port}")
        subscription = await client.subscribe(SUBJECT)
        await client.flush()
        async with publisher(port) as made:
            assert await made.check() == ""
            for number in range(10):
                assert await made.publish(message(node=f"n{number}")) == "received by the server"
        found = [(await subscription.next_msg(5)).data for _ in range(10)]
        await client.close()
        for number, one in enumerate(found):
            read = http.from_structured(http.HTTPMessage({"content-type": STRUCTURED}, one), JSONFormat())
            assert read.get_id() == message(node=f"n{number}").event.id  # type: ignore[union-attr]

    with nats_server(tmp_path) as port:
        asyncio.run(scenario(port))


def test_a_stream_stores_each_message_once(tmp_path: Path) -> None:
    async def scenario(port: int) -> None:
        client = await nats.connect(f"nats://127.0.0.1:{port}")
        stream = client.jetstream()
        async with publisher(port, jet_stream=True) as made:
            assert "no stream" in await made.check()
            with pytest.raises(Away, match="no stream"):
                await made.publish(message())
            await stream.add_stream(name="events", subjects=[SUBJECT])
            assert await made.check() == ""
            for node in ("n0", "n1", "n1", "n2"):
                assert "stream events" in await made.publish(message(node=node))
        info = await stream.stream_info("events")
        assert info.state.messages == 3
        stored = await stream.get_msg("events", 2)
        assert json.loads(stored.data or b"")["id"] == message(node="n1").event.id  # type: ignore[union-attr]
        await client.close()

    with nats_server(tmp_path, "-js", "-sd", str(tmp_path / "store")) as port:
        asyncio.run(scenario(port))


def test_a_server_that_is_stopped_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishers, "TIMEOUT_SECONDS", 1.0)

    async def scenario() -> None:
        with nats_server(tmp_path) as port:
            pass
        async with publisher(port) as made:
            assert f"127.0.0.1:{port}: " in await made.check()
            for number in range(2):
                with nats_server(tmp_path, port=port):
                    assert await made.check() == ""
                    await made.publish(message(node=f"n{number}"))
                with pytest.raises(Away):
                    await made.publish(message())

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("arguments", "section", "problem"),
    [
        (
            ("--user", "u", "--pass", "right"),
            {"user_authentication": {"enabled": True, "user": "u", "password": "right"}},
            "",
        ),
        (
            ("--user", "u", "--pass", "right"),
            {"user_authentication": {"enabled": True, "user": "u", "password": "wrong"}},
            "Authorization Violation",
        ),
        (("--auth", "t0ken"), {"token_authentication": {"enabled": True, "token": "t0ken"}}, ""),
        (("--auth", "t0ken"), {}, "Authorization Violation"),
    ],
)
def test_authentication(tmp_path: Path, arguments: tuple[str, ...], section: dict[str, Any], problem: str) -> None:
    async def scenario(port: int) -> None:
        async with publisher(port, **section) as made:
            found = await made.check()
            # The server closes the connection together with its reason, which a reset may overtake.
            for _ in range(5):
                if "reset by peer" not in found:
                    break
                found = await made.check()
            assert problem.lower() in found.lower()
            assert bool(problem) == bool(found)
            if problem:
                with pytest.raises(Away):
                    await made.publish(message())
                assert "wrong" not in found
            else:
                await made.publish(message())

    with nats_server(tmp_path, *arguments) as port:
        asyncio.run(scenario(port))


def test_a_message_above_the_limit_is_refused(tmp_path: Path) -> None:
    async def scenario(port: int) -> None:
        async with publisher(port) as made:
            with pytest.raises(MessageRefused, match="at most 1048576"):
                await made.publish(message(node="n" * 1_100_000))

    with nats_server(tmp_path) as port:
        asyncio.run(scenario(port))


def test_a_subject_that_the_user_must_not_publish_at(tmp_path: Path) -> None:
    file = tmp_path / "nats.conf"
    file.write_text('authorization: {users: [{user: u, password: p, permissions: {publish: "other"}}]}')

    async def scenario(port: int) -> None:
        section = {"user_authentication": {"enabled": True, "user": "u", "password": "p"}}
        async with publisher(port, **section) as made:
            # The refusal comes before the reply to the flush, each time.
            for _ in range(50):
                with pytest.raises(Away, match=r"(?i)permissions violation"):
                    await made.publish(message())

    with nats_server(tmp_path, "-c", str(file)) as port:
        asyncio.run(scenario(port))
