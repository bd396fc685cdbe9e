"""What `flyteadmin serve` prints at a start."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from app.cli.serve import address_warning, ready_text
from app.settings import Settings, masker_of


def settings(*uris: str, use_auth: bool = True, secure: bool = False, port: int = 30080) -> Settings:
    server: dict[str, Any] = {"security": {"use_auth": use_auth, "secure": secure}, "http_port": port}
    return Settings(server=server, auth={"authorized_uris": uris})


@pytest.mark.parametrize(
    ("given", "warned"),
    [
        (settings("http://localhost:30080"), False),
        (settings("http://127.0.0.1:30080", "https://localhost:1"), False),
        (settings("http://localhost:30080", port=31080), True),
        (settings("http://localhost:30080", secure=True), True),
        (settings("https://localhost", secure=True, port=443), False),
        (settings("https://flyte.example.com"), False),
        (settings("https://flyte.example.com", "http://localhost:1"), False),
        (settings(), False),
        (settings("http://localhost:1", use_auth=False), False),
    ],
)
def test_a_warning_for_sign_in_at_another_address_of_this_machine(given: Settings, warned: bool) -> None:
    assert address_warning(given).startswith("auth.authorizedUris names http://localhost:30080, ") is warned
    assert bool(address_warning(given)) is warned


@pytest.mark.parametrize("use_auth", [False, True])
def test_printed_commands_send_a_token_where_one_is_needed(use_auth: bool) -> None:
    started: Any = SimpleNamespace(settings=settings(use_auth=use_auth), assistants={})
    text = masker_of(started.settings).text(ready_text(started))
    calls = [line for line in text.splitlines() if line.startswith("  curl ")]
    assert len(calls) == 2
    assert all(('--oauth2-bearer "$TOKEN"' in line) is use_auth for line in calls)
    assert ("flyteadmin auth token create NAME --subject USER_ID" in text) is use_auth
