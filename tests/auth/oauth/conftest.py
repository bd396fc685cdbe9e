"""The authorization server on each database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.auth.oauth.desk import CLIENTS, Desk
from tests.conftest import Bench


@pytest.fixture
def oauth(bench: Callable[..., Any]) -> Callable[..., Any]:
    """Run an async scenario with a Desk; keywords are settings of section auth.appAuth.selfAuthServer."""

    def run(scenario: Callable[[Desk], Any], **settings: Any) -> Any:
        async def main(bench: Bench) -> Any:
            desk = Desk(bench.settings, bench.database)
            async with desk.http:
                return await scenario(desk)

        section = {"static_clients": CLIENTS, "device_flow": True, **settings}
        auth = {"authorized_uris": ["http://localhost:30080"], "app_auth": {"self_auth_server": section}}
        security = {"use_auth": True, "insecure_cookie_header": True}
        return bench(main, auth=auth, server={"security": security})

    return run
