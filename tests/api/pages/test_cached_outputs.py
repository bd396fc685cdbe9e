"""The routes of cached outputs, on both databases: pages, choices, deletion in pieces, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from app.api.pages import cached_outputs, json_pages
from app.database.catalog_tables import CatalogArtifact, CatalogTag
from app.runtime.dispatch import Server
from app.services.catalog import CacheKey
from tests.api.pages import own_replies
from tests.cli.test_cache import ENTRIES

Scenario = Callable[..., Any]
PLACE = f"{cached_outputs.PATH}/p/d"


class Desk:
    """The routes on a bench with the entries of tests/cli/test_cache.py."""

    def __init__(self, b: Any) -> None:
        self._bench = b
        self._app = Starlette(routes=cached_outputs.routes(Server(b.settings, b.database, b.blobs, b.engine)))

    async def fill(self) -> None:
        async with self._bench.database.unit_of_work() as unit:
            for values in ENTRIES:
                await unit.insert(CatalogArtifact, **{name: value for name, value in values.items() if name != "tag"})
                await unit.insert(CatalogTag, **{name: values[name] for name in (*CacheKey._fields, "artifact_id")})

    async def __call__(self, verb: str, path: str = PLACE, **query: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://localhost") as client:
            reply = await client.request(verb, path, params=query)
        own_replies.check(verb, path, reply)
        return reply

    async def listed(self, **query: str) -> list[int]:
        entries = (await self("GET", **query)).json()["entries"]
        return [int(one["tag"].removeprefix("flyte_cached-")) for one in entries]


def test_entries_of_a_domain_are_listed_in_pages(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        call = Desk(b)
        assert (await call("GET")).json() == {"entries": [], "token": ""}
        await call.fill()
        first = (await call("GET", limit="3")).json()
        assert {name: first["entries"][0][name] for name in ("task", "version", "execution", "node", "attempt")} == {
            "task": "wf.a",
            "version": "1-1",
            "execution": "e0",
            "node": "n0",
            "attempt": 1,
        }
        assert first["entries"][0]["updated_at"].endswith("Z")
        rest = (await call("GET", limit="3", token=first["token"])).json()
        assert ([one["execution"] for one in rest["entries"]], rest["token"]) == (["e3", "e4"], "")
        assert await call.listed(task="wf.a", version="1") == [1, 2]
        assert await call.listed(task="wf") == []

    bench(scenario)


def test_the_entries_of_a_task_are_deleted_in_pieces(bench: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(b: Any) -> None:
        call = Desk(b)
        await call.fill()
        monkeypatch.setattr(json_pages, "PAGE_ROWS_MAX", 2)
        assert (await call("DELETE", task="wf.a", version="2")).json() == {"deleted": 1, "more": False}
        assert (await call("DELETE", task="wf.a")).json() == {"deleted": 2, "more": True}
        assert (await call("DELETE", task="wf.a")).json() == {"deleted": 1, "more": False}
        assert await call.listed(limit="2") == [4]
        for place, left in (("q/d", ["e6"]), ("p/e", ["e5"])):
            entries = (await call("GET", f"{cached_outputs.PATH}/{place}", limit="2")).json()["entries"]
            assert [one["execution"] for one in entries] == left

    bench(scenario)


@pytest.mark.parametrize(
    ("verb", "query"),
    [
        ("DELETE", {}),
        ("DELETE", {"version": "1"}),
        ("GET", {"token": "x"}),
        ("GET", {"token": "WzEsMl0"}),
        ("GET", {"limit": "0"}),
        ("GET", {"limit": "1001"}),
    ],
)
def test_bad_requests_are_refused(bench: Scenario, verb: str, query: dict[str, str]) -> None:
    async def scenario(b: Any) -> None:
        call = Desk(b)
        await call.fill()
        assert (await call(verb, **query)).status_code == 400
        assert len(await call.listed()) == 5

    bench(scenario)
