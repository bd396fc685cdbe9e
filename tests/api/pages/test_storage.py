"""Signed addresses of the local store, through a real server with the protocols that are served."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from app.api.pages import storage
from app.blobs import Blobs
from app.blobs.folder import INCOMING
from app.settings import Settings
from tests.support.waiting import wait_for

MD5 = hashlib.md5(b"hello world").digest()
UPLOAD_BYTES_MAX = 3_000_000


class Desk:
    """A served local store."""

    def __init__(self, folder: Path, port: int) -> None:
        settings = Settings(
            home=folder / "home",
            storage={"url": str(folder / "store")},  # type: ignore[arg-type]
            limits={"upload_bytes_max": UPLOAD_BYTES_MAX, "body_wait_seconds_max": 0.5},  # type: ignore[arg-type]
        )
        self.blobs = Blobs(settings)
        self.endpoint = f"http://127.0.0.1:{port}"
        self.port = port
        self.app = Starlette(routes=storage.routes(self.blobs, settings))

    def put_address(self, *parts: str, ttl_seconds: int = 60, md5: bytes = b"") -> str:
        uri = self.blobs.uri(*parts)
        return asyncio.run(self.blobs.sign_put(uri, ttl_seconds=ttl_seconds, content_md5=md5, endpoint=self.endpoint))

    def get_address(self, *parts: str, ttl_seconds: int = 60) -> str:
        return asyncio.run(self.blobs.sign_get(self.blobs.uri(*parts), ttl_seconds=ttl_seconds, endpoint=self.endpoint))

    def store(self, data: bytes, *parts: str) -> str:
        """Store an object; the address to download it from."""
        asyncio.run(self.blobs.write(self.blobs.uri(*parts), data))
        return self.get_address(*parts)

    def stored(self) -> list[str]:
        """Every file of the store, half-written ones too."""
        base = Path(self.blobs.base)
        return sorted(str(path.relative_to(base)) for path in base.rglob("*") if path.is_file())


@pytest.fixture(params=["zttp", "httptools"], scope="module")
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    listener = socket.create_server(("127.0.0.1", 0))
    desk = Desk(tmp_path_factory.mktemp(request.param), listener.getsockname()[1])
    more: dict[str, Any] = {"http2": True} if request.param == "zttp" else {}
    server = uvicorn.Server(uvicorn.Config(desk.app, http=request.param, log_level="critical", lifespan="off", **more))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield desk
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        yield client


class TestUpload:
    @pytest.mark.parametrize("size", [0, 11, 1_000_000, 2_500_000])
    def test_what_is_put_is_there_and_can_be_got(self, desk: Desk, client: httpx.Client, size: int) -> None:
        data = os.urandom(size)
        answer = client.put(desk.put_address("p", "d", "up", str(size)), content=data)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["etag"] == f'"{hashlib.md5(data).hexdigest()}"'
        assert asyncio.run(desk.blobs.read(desk.blobs.uri("p", "d", "up", str(size)), bytes_max=0)) == data
        assert client.get(desk.get_address("p", "d", "up", str(size))).content == data

    def test_with_every_header_that_flytekit_sends(self, desk: Desk, client: httpx.Client) -> None:
        headers = desk.blobs.upload_headers(MD5, with_metadata=True)
        assert headers == {
            "Content-Length": "24",
            "Content-MD5": "XrY7u+Ae7tCTyyK7j1rNww==",
            "x-amz-meta-flyteContentMD5": "XrY7u+Ae7tCTyyK7j1rNww==",
        }
        headers["Content-Length"] = "11"  # requests sets it from the body, whatever was given
        answer = client.put(desk.put_address("p", "full", md5=MD5), content=b"hello world", headers=headers)
        assert answer.status_code == 200

    def test_the_empty_md5_of_an_unhashed_upload_is_none(self, desk: Desk, client: httpx.Client) -> None:
        headers = {**desk.blobs.upload_headers(b"", with_metadata=False), "Content-Length": "1"}
        assert headers["Content-MD5"] == ""
        assert client.put(desk.put_address("p", "nohash"), content=b"x", headers=headers).status_code == 200

    def test_a_body_in_chunks_of_unknown_length(self, desk: Desk, client: httpx.Client) -> None:
        answer = client.put(desk.put_address("p", "chunks", md5=MD5), content=iter([b"hello", b" ", b"world"]))
        assert answer.status_code == 200

    @pytest.mark.parametrize(
        ("md5", "headers", "body", "status", "reason"),
        [
            (MD5, {}, b"hello", 400, "MD5 of the body"),
            (MD5, {"Content-MD5": base64.b64encode(MD5).decode()}, b"other", 400, "MD5 of the body"),
            (MD5, {"Content-MD5": base64.b64encode(b"x" * 16).decode()}, b"hello world", 400, "signed with"),
            (b"", {"Content-MD5": base64.b64encode(b"x" * 16).decode()}, b"hello world", 400, "MD5 of the body"),
            (b"", {"Content-MD5": "***"}, b"hello world", 400, "no base64"),
            (b"odd", {}, b"odd", 400, "MD5 of the body"),
            (b"", {}, b"x" * (UPLOAD_BYTES_MAX + 1), 413, "limits.uploadBytesMax"),
            (b"", {}, [b"x" * 1_000_000] * 4, 413, "limits.uploadBytesMax"),
        ],
    )
    def test_what_does_not_fit_is_refused_and_nothing_stored(
        self, desk: Desk, client: httpx.Client, md5: bytes, headers: dict[str, str], body: Any, status: int, reason: str
    ) -> None:
        before = desk.stored()
        content = iter(body) if isinstance(body, list) else body
        answer = client.put(desk.put_address("p", "refused", md5=md5), content=content, headers=headers)
        assert answer.status_code == status
        assert reason in answer.text
        assert answer.headers["content-type"].startswith("text/plain")
        assert desk.stored() == before

    @pytest.mark.slow
    @pytest.mark.parametrize("ending", ["hangs up", "waits"])
    def test_a_client_that_stops_half_way_leaves_nothing(self, desk: Desk, ending: str) -> None:
        before = [name for name in desk.stored() if not name.startswith(INCOMING)]
        url = urlsplit(desk.put_address("p", "half"))
        connection = http.client.HTTPConnection("127.0.0.1", desk.port, timeout=10)
        connection.putrequest("PUT", f"{url.path}?{url.query}")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b"only this")
        # The upload has begun: before that, nothing of it could be left.
        wait_for(lambda: desk.stored() != before)
        if ending == "waits":
            assert connection.getresponse().status == 408
        connection.close()
        wait_for(lambda: desk.stored() == before)

    def test_a_body_that_drips_is_ended(self, desk: Desk) -> None:
        """A byte within each wait would hold the connection for ever; on average the body is too slow."""
        url = urlsplit(desk.put_address("p", "drip"))
        with socket.create_connection(("127.0.0.1", desk.port), timeout=5) as connection:
            connection.sendall(f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n".encode())
            began = time.monotonic()
            connection.settimeout(0.2)
            answer = b""
            while not answer and time.monotonic() - began < 20:
                connection.send(b"x")
                with suppress(TimeoutError):
                    answer = connection.recv(4096)
            assert b" 408 " in answer

    @pytest.mark.parametrize(
        "parts",
        [("file", "below"), ("file", "below", "below"), ("folder",), ("deep", *["x" * 170] * 25)],
        ids=["below a file", "two below a file", "a folder", "too deep"],
    )
    def test_a_name_that_no_file_can_have_is_refused(
        self, desk: Desk, client: httpx.Client, parts: tuple[str, ...]
    ) -> None:
        client.put(desk.put_address("p", "file"), content=b"x")
        client.put(desk.put_address("p", "folder", "file"), content=b"x")
        answer = client.put(desk.put_address("p", *parts), content=b"x")
        assert (answer.status_code, "cannot be stored under this name" in answer.text) == (400, True)
        assert client.get(desk.get_address("p", *parts)).status_code == 404

    @pytest.mark.parametrize("name", ["x" * 256, "é" * 128], ids=["ASCII", "UTF-8"])
    def test_a_component_that_is_too_long_is_refused(self, desk: Desk, client: httpx.Client, name: str) -> None:
        uri = f"{desk.blobs.base}/{name}"
        address = asyncio.run(desk.blobs.sign_put(uri, ttl_seconds=60, endpoint=desk.endpoint))
        assert client.put(address, content=b"x").status_code == 400


class TestDownload:
    def test_a_deck_is_shown_in_a_sandbox(self, desk: Desk, client: httpx.Client) -> None:
        answer = client.get(desk.store(b"<h1>deck</h1>", "p", "deck.html"))
        assert (answer.status_code, answer.content) == (200, b"<h1>deck</h1>")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("sandbox ")
        assert "allow-same-origin" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"

    @pytest.mark.parametrize(
        ("asked", "status", "body", "where"),
        [
            ("bytes=0-4", 206, b"hello", "bytes 0-4/11"),
            ("bytes=6-", 206, b"world", "bytes 6-10/11"),
            ("bytes=-3", 206, b"rld", "bytes 8-10/11"),
            ("bytes=20-", 416, b"", "bytes */11"),
        ],
    )
    def test_ranges(self, desk: Desk, client: httpx.Client, asked: str, status: int, body: bytes, where: str) -> None:
        answer = client.get(desk.store(b"hello world", "p", "r"), headers={"Range": asked})
        assert (answer.status_code, answer.content, answer.headers["content-range"]) == (status, body, where)

    def test_head_says_what_get_would(self, desk: Desk, client: httpx.Client) -> None:
        answer = client.head(desk.store(b"hello world", "p", "data.json"))
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-length"] == "11"
        assert answer.headers["content-type"] == "application/json"

    def test_every_name_survives_the_way_through_an_address(self, desk: Desk, client: httpx.Client) -> None:
        for name in ("a b", "a%20b", "ü", "a+b&c=d", "q?x#y", "~", "..", ";:@"):
            assert client.get(desk.store(name.encode(), "p", name)).content == name.encode()
        # Tasks write names of their own choice into the folder.
        for name in ("raw b", "raw%20b", "raw-ü", "raw+b&c=d", "raw?x#y"):
            path = f"{desk.blobs.base}/p/{name}"
            Path(path).write_bytes(name.encode())
            address = asyncio.run(desk.blobs.sign_get(path, ttl_seconds=9, endpoint=desk.endpoint))
            assert client.get(address).content == name.encode()

    def test_nothing_there_is_404(self, desk: Desk, client: httpx.Client) -> None:
        answer = client.get(desk.get_address("p", "nothing"))
        assert (answer.status_code, answer.text) == (404, "object [p/nothing] does not exist\n")

    def test_a_link_out_of_the_store_is_refused(self, desk: Desk, client: httpx.Client) -> None:
        desk.store(b"x", "p", "x")
        os.symlink("/etc/passwd", f"{desk.blobs.base}/p/passwd-{desk.port}")
        assert client.get(desk.get_address("p", f"passwd-{desk.port}")).status_code == 403


class TestSignature:
    def changed(self, address: str, **changes: str) -> str:
        url = urlsplit(address)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        query.update(changes)
        return f"{url.scheme}://{url.netloc}{url.path}?{urlencode(query)}"

    def test_any_change_is_refused(self, desk: Desk, client: httpx.Client) -> None:
        address = desk.store(b"x", "p", "signed")
        desk.store(b"secret", "p", "signee")
        signature = parse_qs(urlsplit(address).query)["signature"][0]
        for wrong in (
            address.replace("/p/signed", "/p/signee"),
            self.changed(address, expires=str(int(time.time()) + 10**6)),
            self.changed(address, expires="soon"),
            self.changed(address, expires="9" * 5000),
            self.changed(address, method="PUT"),
            self.changed(address, md5="00"),
            self.changed(address, md5="no hex"),
            self.changed(address, signature=""),
            self.changed(address, signature="é"),
            self.changed(address, signature=("0" if signature[0] != "0" else "1") + signature[1:]),
            address.partition("?")[0],
        ):
            assert client.get(wrong).status_code == 403, wrong
        assert client.get(address).status_code == 200

    def test_a_link_serves_one_method(self, desk: Desk, client: httpx.Client) -> None:
        get, put = desk.store(b"x", "p", "one"), desk.put_address("p", "one")
        assert client.put(get, content=b"y").status_code == 403
        assert client.get(put).status_code == 403
        assert client.head(put).status_code == 403
        assert client.delete(get).status_code == 405
        assert client.get(get).content == b"x"

    def test_a_link_expires(self, desk: Desk, client: httpx.Client) -> None:
        desk.store(b"x", "p", "old")
        answer = client.get(desk.get_address("p", "old", ttl_seconds=0))
        assert (answer.status_code, answer.text) == (403, "the URL has expired\n")
        assert client.put(desk.put_address("p", "old", ttl_seconds=-5), content=b"y").status_code == 403

    @pytest.mark.parametrize("key", ["../home/storage.key", "p/../../home/storage.key", "%00", "~incoming/x", ""])
    def test_even_a_signed_key_stays_inside(self, desk: Desk, client: httpx.Client, key: str) -> None:
        """The signature is made here with the server's own key, as if someone had got hold of it."""
        assert desk.blobs._signer is not None
        plain = key.replace("%00", "\0")
        address = desk.blobs._signer.sign(desk.endpoint, "GET", plain, ttl_seconds=60)
        url = urlsplit(address)
        connection = http.client.HTTPConnection("127.0.0.1", desk.port, timeout=10)
        connection.request("GET", f"{url.path}?{url.query}")
        assert connection.getresponse().status in (400, 403, 404)
        connection.close()

    def test_servers_with_the_same_key_take_one_anothers_addresses(self, desk: Desk, client: httpx.Client) -> None:
        desk.blobs.use_signing_key(b"k" * 32)
        address = desk.store(b"x", "p", "later")
        again = Blobs(Settings(home=Path(desk.blobs.base).parent / "home", storage={"url": desk.blobs.base}))  # type: ignore[arg-type]
        again.use_signing_key(b"k" * 32)
        url = urlsplit(address)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        assert again.check_signed_url("GET", url.path.removeprefix("/storage/"), query) == b""

    def test_the_address_is_the_clients_own_or_the_configured_one(self, tmp_path: Path) -> None:
        def signed(endpoint: str, **server: Any) -> str:
            blobs = Blobs(Settings(home=tmp_path, server=server))  # type: ignore[arg-type]
            return asyncio.run(blobs.sign_get(blobs.uri("x"), ttl_seconds=1, endpoint=endpoint))

        assert re.match(r"http://a:1/storage/x\?", signed("http://a:1"))
        assert re.match(r"http://localhost:30080/storage/x\?", signed(""))
        assert re.match(
            r"https://flyte.example.org/storage/x\?", signed("http://a", public_url="https://flyte.example.org/")
        )
