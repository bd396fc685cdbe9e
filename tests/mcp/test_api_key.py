"""The key of both listeners, their Host and Origin, the size and form of requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.settings import BadSetting, load
from tests.mcp.conftest import PORTS, Served, connected, post, value
from tests.support.servers import Running, run, serving

pytestmark = pytest.mark.slow

KEY = "s3cret-key-of-the-test"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with a key and small requests, whose two workers share the listeners."""
    variables = {
        "FLYTE_API_KEY": KEY,
        "FLYTEADMIN__SERVER__GRPC__MAXMESSAGESIZEBYTES": "100000",
        "FLYTEADMIN__MCP__RESULTBYTESMAX": "2000",
    }
    home = tmp_path_factory.mktemp("locked") / "home"
    with serving(home, *PORTS, "--workers", "2", variables=variables) as server:
        yield server


def mcp(server: Running) -> str:
    return f"http://{server.address('MCP')}/mcp"


@pytest.mark.parametrize(
    "header",
    [
        "",
        KEY,
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        "Bearer",
        f"Basic {KEY}",
        "Bearer \xe9",
        f"Bearer {KEY} x",
    ],
)
def test_a_wrong_key_reaches_nothing(locked: Running, header: str) -> None:
    headers = {"authorization": header.encode("latin-1")} if header else {}
    adapter = f"http://{locked.address('REST adapter')}/v1/api/v1/executions/p/d?limit=1"
    answers = (
        httpx.post(mcp(locked), json=PING, headers=headers),
        httpx.get(adapter, headers=headers),
        httpx.get(f"http://{locked.address('REST adapter')}/openapi.json", headers=headers),
    )
    for answer in answers:
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["code"] == 16
    assert KEY not in locked.printed


def test_a_key_in_the_query_is_none(locked: Running) -> None:
    assert httpx.post(f"{mcp(locked)}?access_token={KEY}", json=PING).status_code == 401


def test_two_keys_are_none(locked: Running) -> None:
    headers = [("authorization", "Bearer wrong"), ("authorization", f"Bearer {KEY}")]
    assert httpx.post(mcp(locked), json=PING, headers=headers).status_code == 401


def test_the_right_key(locked: Running) -> None:
    async def main() -> None:
        async with connected(mcp(locked), KEY) as client:
            assert (await client.call_tool("list-workflow-executions", {"id": {"project": "p", "domain": "d"}})).content

    asyncio.run(main())
    for scheme in ("Bearer", "bearer"):
        address = f"http://{locked.address('REST adapter')}/v1/api/v1/executions/p/d?limit=1"
        assert httpx.get(address, headers={"authorization": f"{scheme} {KEY}"}).status_code == 200
    assert KEY not in httpx.get(f"{locked.metrics}/config").text


def test_pages_are_as_long_as_fits(locked: Running) -> None:
    for number in range(12):
        answer = httpx.post(f"{locked.web}/api/v1/projects", json={"project": {"id": f"p-{number}", "name": "x" * 50}})
        assert answer.status_code == 200, answer.text

    async def main() -> None:
        async with connected(mcp(locked), KEY) as client:
            found, token, notes = [], "", 0
            while True:
                result = await client.call_tool("list-projects", {"limit": 50, "token": token})
                page = value(result)
                assert len(json.dumps(page, separators=(",", ":"))) <= 2000
                found += [one["id"] for one in page["projects"]]
                notes += len(result.content) > 1 and "Truncated: only" in result.content[1].text  # type: ignore[union-attr]
                token = page["token"]
                if not token:
                    break
            assert len(found) == len(set(found)) == 13
            assert notes >= 1

    asyncio.run(main())


def test_pages_of_other_origins_and_other_names_reach_nothing(served: Served) -> None:
    for address in (served.mcp, f"{served.adapter}/v1/api/v1/executions/p/d?limit=1"):
        method = "POST" if address == served.mcp else "GET"
        for headers, status in (
            ({"host": "evil.example:9090"}, 421),
            ({"host": "localhost.evil.example"}, 421),
            ({"origin": "https://evil.example"}, 403),
            ({"origin": "null"}, 403),
            ({"origin": "http://localhost.evil.example:80"}, 403),
            ({"origin": "http://localhost:5173"}, 403),
        ):
            assert httpx.request(method, address, headers=headers).status_code == status, headers
    assert post(served.mcp, PING, origin=served.mcp.removesuffix("/mcp")).status_code == 200


def test_other_methods_and_paths(served: Served) -> None:
    for method in ("GET", "DELETE", "PUT", "OPTIONS"):
        answer = httpx.request(method, served.mcp, headers={"accept": "text/event-stream"})
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert httpx.post(served.mcp.removesuffix("/mcp")).status_code == 404
    assert httpx.post(f"{served.mcp}/../mcp/x").status_code == 404


def test_large_and_broken_bodies(locked: Running) -> None:
    key = f"Bearer {KEY}"
    assert post(mcp(locked), b"x" * 100_001, authorization=key).status_code == 429
    for body in (b"", b"{", b"[]", b"null", b'"x"', b"\x00", b"[" * 50_000, b'{"jsonrpc":"2.0","id":1}', b"\xff\xfe"):
        answer = post(mcp(locked), body, authorization=key)
        assert answer.status_code == 400, (body[:20], answer.text)
        assert "Traceback" not in answer.text
    assert post(mcp(locked), PING, authorization=key, accept="text/html").status_code == 406
    assert "Traceback" not in locked.printed


def test_a_port_that_is_taken(locked: Running, tmp_path: Path) -> None:
    for flag, label, holder in (("--mcp-port", "MCP", "Prometheus"), ("--rest-adapter-port", "REST adapter", "proxy")):
        port = locked.address(label).rpartition(":")[2]
        ports = {
            "--port": "0",
            "--grpc-port": "0",
            "--metrics-port": "0",
            "--mcp-port": "0",
            "--rest-adapter-port": "0",
        }
        flags = [part for pair in ({**ports, flag: port}).items() for part in pair]
        ended = run(tmp_path / "home", "serve", *flags)
        assert ended.returncode == 1
        assert f"port {port} is in use" in ended.stderr
        assert flag in ended.stderr
        assert holder in ended.stderr
        assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("key", ["two words", "schlüssel", "a\x00b"])
def test_a_key_that_no_header_can_hold_is_refused_unseen(key: str) -> None:
    with pytest.raises(BadSetting, match=r"FLYTE_API_KEY in the environment: allowed are printable ASCII") as refused:
        load((), None, {"FLYTE_API_KEY": key})
    assert key not in str(refused.value)
