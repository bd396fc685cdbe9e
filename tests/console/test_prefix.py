"""The console below a path, as a proxy or a host application serves it."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from playwright.sync_api import Page, expect
from starlette.applications import Starlette
from starlette.routing import Mount

from app.database import migrations
from app.main import create_app
from app.settings import Settings
from tests.support.browser import Faults
from tests.support.sign_in import free_port

pytestmark = pytest.mark.campaign

PREFIX = "/flyte"


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an application that mounts the server at PREFIX."""
    home = tmp_path_factory.mktemp("prefix")
    settings = Settings.model_validate({"home": home, "engine": {"kind": "none"}})
    migrations.run(settings.database_url)
    admin = create_app(settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with admin.running():
            yield

    port = free_port()
    config = uvicorn.Config(
        Starlette(routes=[Mount(PREFIX, admin)], lifespan=lifespan), port=port, log_config=None, proxy_headers=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    yield f"http://localhost:{port}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def address(mounted: str) -> str:
    return mounted


def test_every_request_and_link_has_the_prefix(page: Page, faults: Faults) -> None:
    faults.allow("400 .*/projects/|404 ")
    page.goto(f"{PREFIX}/console/select-project")
    expect(page.locator("h1")).to_be_visible()
    assert all(
        one.partition(" ")[2].partition("://")[2].partition("/")[2].startswith("flyte/") for one in faults.calls("")
    )
    links = page.eval_on_selector_all("a[href]", "all => all.map(e => e.getAttribute('href'))")
    assert links
    assert [one for one in links if one.startswith("/") and not one.startswith(f"{PREFIX}/")] == []


def test_the_old_addresses_are_redirected_below_the_prefix(page: Page) -> None:
    page.goto(f"{PREFIX}/")
    assert page.url.endswith(f"{PREFIX}/console") or f"{PREFIX}/console/" in page.url
