"""A receiver that cannot be used is shown by /healthz/ready, and the server is ready all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.main import create_app
from app.server import home
from app.settings import Settings
from tests.api.asgi import ask
from tests.background.events_out.test_events_out import options
from tests.support.http_receiver import http_receiver


def settings_of(tmp_path: Path, url: str, receiver: str) -> Settings:
    values: dict[str, Any] = {"home": tmp_path, "engine": {"kind": "none"}, "database": {"url": url}}
    made = Settings.model_validate({**values, **options(receiver)})
    home.prepare(made.home_path)
    return made


def test_a_receiver_that_cannot_be_used_is_named(tmp_path: Path, emptied_database: Callable[[str], str]) -> None:
    url = emptied_database("sqlite")

    async def ready(receiver: str, expected: dict[str, Any]) -> None:
        admin = create_app(settings_of(tmp_path, url, receiver))
        async with admin.running():
            for _ in range(200):
                found = await ask(admin, "GET", "/healthz/ready", {"host": "localhost"})
                if found.json == expected:
                    break
                await asyncio.sleep(0.01)
            assert (found.status, found.json) == (200, expected)

    async def scenario() -> None:
        await ready("http://127.0.0.1:1/", {"ready": True, "failing": [], "degraded": ["cloud_events"]})
        async with http_receiver() as receiver:
            await ready(receiver.url, {"ready": True, "failing": []})

    asyncio.run(scenario())
