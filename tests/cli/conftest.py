"""A server's API in this process, for commands that call one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.api import Api


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Api:
    """The API that every command of the test finds at http://localhost:30080."""
    for name in ("FLYTE_API_KEY", "FLYTECTL_CONFIG", "FLYTE_PLATFORM_URL", "FLYTE_PLATFORM_INSECURE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FLYTEADMIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "100")
    made = Api()
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda transport, request: made.handle(request))
    return made


@pytest.fixture
def answer(api: Api) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that sets the replies of the server and returns the list of the requests sent."""

    def use(*replies: httpx.Response | Exception) -> list[dict[str, Any]]:
        api.replies = list(replies)
        return api.sent

    return use
