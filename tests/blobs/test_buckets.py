"""The store on S3: a server of its interface, in a process of its own, and upstream's storage settings."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from flyteidl.service import dataproxy_pb2

from app import blobs as b
from app import errors
from app.blobs.presign import with_headers
from app.server import startup
from app.services import dataproxy
from app.settings import BadSetting, Settings
from tests.support import buckets
from tests.support.s3_server import s3_server

MD5 = bytes.fromhex("5eb63bbbe01eeed093cb22bb8f5acdc3")  # of "hello world"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server with the buckets flyte and other."""
    if importlib.util.find_spec("moto") is None:
        warnings.warn("NO S3 SERVER (moto is not installed): the store is tested locally only", stacklevel=1)
        pytest.skip("moto is not installed")
    with s3_server("flyte", "other") as endpoint:
        yield endpoint


def http(method: str, url: str, **how: Any) -> httpx.Response:
    """Act as a client of the store."""
    return httpx.request(method, url, **how)


def section(endpoint: str, **changes: Any) -> dict[str, Any]:
    """Upstream's section storage, as its sandbox has it."""
    connection = {
        "access_key": "minio",
        "auth_type": "accesskey",
        "secret_key": "miniostorage",
        "disable_ssl": True,
        "endpoint": endpoint,
        "region": "us-east-1",
    }
    return {"type": "minio", "connection": connection, "container": "flyte", **changes}


def store(folder: Path, endpoint: str, **changes: Any) -> b.Blobs:
    return b.Blobs(Settings(home=folder, storage=section(endpoint, **changes)))  # type: ignore[arg-type]


@pytest.mark.smoke
class TestObjects:
    @pytest.mark.parametrize("size", [0, 5_000, 12_000_000])
    def test_what_was_written_is_read(self, s3: str, tmp_path: Path, size: int) -> None:
        async def scenario() -> None:
            blobs, data = store(tmp_path, s3), os.urandom(size)
            uri = blobs.uri("metadata", "p", f"inputs{size}")
            assert uri == f"s3://flyte/metadata/p/inputs{size}"
            assert not await blobs.exists(uri)
            await blobs.write(uri, data)
            assert await blobs.read(uri, bytes_max=size or 1) == data
            assert await blobs.size(uri) == size
            if size:
                with pytest.raises(b.BlobTooLarge):
                    await blobs.read(uri, bytes_max=size - 1)

        asyncio.run(scenario())

    def test_an_object_is_created_once(self, s3: str, tmp_path: Path) -> None:
        async def scenario() -> None:
            blobs = store(tmp_path, s3)
            uri = blobs.uri("created", "x")
            assert await blobs.create(uri, b"first")
            assert not await blobs.create(uri, b"second")
            assert await blobs.read(uri, bytes_max=9) == b"first"

        asyncio.run(scenario())

    def test_every_name_is_its_own_object(self, s3: str, tmp_path: Path) -> None:
        async def scenario() -> None:
            blobs = store(tmp_path, s3)
            names = ["v1", "v1#2", "v1?2", "a/b", "..", ".", "", "a b", "a%20b", "ü", "+", "~", "x" * 2500, "x" * 2501]
            for number, name in enumerate(names):
                await blobs.write(blobs.uri("p", "d", name, "v"), str(number).encode())
            for number, name in enumerate(names):
                assert await blobs.read(blobs.uri("p", "d", name, "v"), bytes_max=9) == str(number).encode()

        asyncio.run(scenario())

    def test_a_prefix_is_the_base(self, s3: str, tmp_path: Path) -> None:
        async def scenario() -> None:
            blobs = store(tmp_path, s3, url="s3://flyte/some/prefix/")
            assert blobs.base == "s3://flyte/some/prefix"
            await blobs.write(blobs.uri("x"), b"x")
            address = await blobs.sign_get("s3://flyte/some/prefix/x", ttl_seconds=60)
            assert http("GET", address).content == b"x"
            with pytest.raises(b.BlobOutside):
                await blobs.read("s3://flyte/some/other", bytes_max=1)

        asyncio.run(scenario())

    def test_an_object_of_upstream_is_found_by_its_uri(self, s3: str, tmp_path: Path) -> None:
        async def scenario() -> None:
            http("PUT", f"{s3}/flyte/metadata/admin/p/a%20b/v1", content=b"closure").raise_for_status()
            blobs = store(tmp_path, s3)
            for uri in ("s3://flyte/metadata/admin/p/a%20b/v1", "s3://flyte/metadata/admin/p/a%20b/v1#2"):
                assert await blobs.read(uri, bytes_max=99) == b"closure"

        asyncio.run(scenario())

    def test_other_buckets_only_where_upstream_allows_them_too(self, s3: str, tmp_path: Path) -> None:
        async def scenario() -> None:
            http("PUT", f"{s3}/other/x", content=b"x").raise_for_status()
            with pytest.raises(b.BlobOutside):
                await store(tmp_path, s3).read("s3://other/x", bytes_max=1)
            many = store(tmp_path, s3, enable_multicontainer=True)
            assert await many.read("s3://other/x", bytes_max=1) == b"x"
            for uri in ("/etc/passwd", "s3://other", "s3://other/"):
                with pytest.raises(b.BlobOutside):
                    await many.read(uri, bytes_max=1)
            with pytest.raises(b.BlobOutside):
                await many.write("s3://other/x", b"y")

        asyncio.run(scenario())

    def test_missing_objects_and_buckets(self, s3: str, tmp_path: Path) -> None:
        async def scenario() -> None:
            with pytest.raises(b.BlobMissing, match=r"object \[s3://flyte/gone\] does not exist"):
                await store(tmp_path, s3).read("s3://flyte/gone", bytes_max=1)
            nowhere = store(tmp_path, s3, container="nowhere")
            with pytest.raises(b.BlobUnreadable, match=r"there is no bucket \[s3://nowhere\]"):
                await nowhere.read("s3://nowhere/x", bytes_max=1)
            with pytest.raises(b.BlobError, match="cannot be stored"):
                await nowhere.write("s3://nowhere/x", b"x")

        asyncio.run(scenario())

    def test_a_store_that_does_not_answer_is_an_error_in_time(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        blobs = store(tmp_path, f"http://127.0.0.1:{port}")
        started = time.monotonic()
        with pytest.raises(b.BlobUnavailable, match=r"object \[s3://flyte/x\] cannot be read now") as caught:
            asyncio.run(blobs.read("s3://flyte/x", bytes_max=1))
        assert time.monotonic() - started < 20
        assert "\n" not in str(caught.value)
        assert "miniostorage" not in str(caught.value)


class TestAddresses:
    def test_upload_and_download_through_signed_addresses(self, s3: str, tmp_path: Path) -> None:
        async def scenario() -> None:
            blobs = store(tmp_path, s3)
            uri = blobs.uri("p", "my file#1")
            put = await blobs.sign_put(uri, ttl_seconds=60, content_md5=MD5, with_metadata=True)
            headers = blobs.upload_headers(MD5, with_metadata=True)
            assert headers == {
                "Content-Length": "24",
                "Content-MD5": "XrY7u+Ae7tCTyyK7j1rNww==",
                "x-amz-meta-flyteContentMD5": "XrY7u+Ae7tCTyyK7j1rNww==",
            }
            signed = parse_qs(urlsplit(put).query)["X-Amz-SignedHeaders"]
            assert signed == ["content-md5;host;x-amz-meta-flytecontentmd5"]
            http("PUT", put, content=b"hello world", headers={**headers, "Content-Length": "11"}).raise_for_status()
            assert http("GET", await blobs.sign_get(uri, ttl_seconds=60)).content == b"hello world"
            assert await blobs.matches_md5(uri, MD5)
            assert not await blobs.matches_md5(uri, b"\0" * 16)

        asyncio.run(scenario())

    @pytest.mark.parametrize("token", ["", "a session/token+="])
    def test_headers_are_signed_as_botocore_signs_them(self, token: str) -> None:
        headers = {"Content-MD5": "XrY7u+Ae7tCTyyK7j1rNww==", "x-amz-meta-flyteContentMD5": "XrY7u+Ae7tCTyyK7j1rNww=="}
        url = "https://s3.example.org:9000/flyte/p/my%20file~2E%2B"
        credentials = Credentials("key", "secret/+", token or None)

        def signed(**given: str) -> str:
            request = AWSRequest(method="PUT", url=url, headers=given)
            S3SigV4QueryAuth(credentials, "s3", "eu-west-1", expires=60).add_auth(request)
            return str(request.url)

        def query(address: str) -> dict[str, list[str]]:
            return parse_qs(urlsplit(address).query)

        # Both are signed within one second, sooner or later.
        while True:
            ours, theirs = with_headers(signed(), "PUT", "secret/+", headers), signed(**headers)
            if query(ours)["X-Amz-Date"] == query(theirs)["X-Amz-Date"]:
                break
        assert query(ours) == query(theirs)
        assert urlsplit(ours).path == urlsplit(url).path

    def test_azure_gets_the_kind_of_blob(self, tmp_path: Path) -> None:
        storage = {
            "type": "stow",
            "stow": {"kind": "azure", "config": {"account": "a", "key": "a2V5"}},
            "container": "c",
        }
        headers = b.Blobs(Settings(home=tmp_path, storage=storage)).upload_headers(MD5, with_metadata=True)
        assert headers["x-ms-blob-type"] == "BlockBlob"
        assert headers["x-ms-meta-flyteContentMD5"] == headers["Content-MD5"]

    def test_the_md5_that_an_uploader_noted_counts_before_the_etag(self, s3: str, tmp_path: Path) -> None:
        async def scenario() -> None:
            noted = {"x-amz-meta-flyteContentMD5": "XrY7u+Ae7tCTyyK7j1rNww=="}
            http("PUT", f"{s3}/flyte/noted", content=b"something else", headers=noted).raise_for_status()
            assert await store(tmp_path, s3).matches_md5("s3://flyte/noted", MD5)

        asyncio.run(scenario())

    def test_clients_may_know_the_store_by_another_address(self, s3: str, tmp_path: Path) -> None:
        changes = {"signed_url": {"stow_config_override": {"endpoint": "https://s3.example.org:30002"}}}
        address = asyncio.run(store(tmp_path, s3, **changes).sign_get("s3://flyte/x", ttl_seconds=60))
        assert (urlsplit(address).netloc, urlsplit(address).path) == ("s3.example.org:30002", "/flyte/x")

    def test_the_data_proxy_on_a_bucket(self, s3: str, bench: Callable[..., Any]) -> None:
        async def scenario(desk: Any) -> None:
            root = secrets.token_hex(8)
            request = dataproxy_pb2.CreateUploadLocationRequest(
                project="p", domain="development", filename_root=root, filename="hello.txt"
            )
            answer = await desk.call(dataproxy.create_upload_location, request)
            assert answer.native_url == f"s3://flyte/p/development/{root}/hello.txt"
            http("PUT", answer.signed_url, content=b"hello world").raise_for_status()
            with pytest.raises(errors.AlreadyExists):
                await desk.call(dataproxy.create_upload_location, request)
            request.content_md5 = MD5
            await desk.call(dataproxy.create_upload_location, request)
            wanted = dataproxy_pb2.CreateDownloadLocationRequest(native_url=answer.native_url)
            signed = await desk.call(dataproxy.create_download_location, wanted)
            assert http("GET", signed.signed_url).content == b"hello world"

        bench(scenario, storage=section(s3))

    @pytest.mark.parametrize("on_bucket", [True, False])
    def test_an_uploaded_file_keeps_its_name(
        self, s3: str, tmp_path: Path, bench: Callable[..., Any], on_bucket: bool
    ) -> None:
        names = [" ü+#&%~()'\"?*[]\\:=@$,;!{}|^`<>", "#", "?x", "%41", "100%", "é日本😀", ".hidden..", "x" * 250]

        async def scenario(desk: Any) -> None:
            blobs = desk.blobs
            for name in (f"a{name}.txt" for name in names):
                request = dataproxy_pb2.CreateUploadLocationRequest(
                    project="p", domain="development", filename_root=secrets.token_hex(8), filename=name
                )
                answer = await desk.call(dataproxy.create_upload_location, request)
                # flytekit decodes it.
                folder, _, last = unquote(answer.native_url).rpartition("/")
                assert (last, folder) == (name, f"{blobs.base}/p/development/{request.filename_root}")
                if on_bucket:
                    assert http("PUT", answer.signed_url, content=name.encode()).status_code == 200
                else:
                    assert unquote(urlsplit(answer.signed_url).path).endswith(f"/{name}")
                    await blobs.write(f"{folder}/{name}", name.encode())
                for uri in (answer.native_url, f"{folder}/{name}"):
                    assert await blobs.read(uri, bytes_max=999) == name.encode()
                wanted = dataproxy_pb2.CreateDownloadLocationRequest(native_url=answer.native_url)
                signed = await desk.call(dataproxy.create_download_location, wanted)
                if on_bucket:
                    assert http("GET", signed.signed_url).content == name.encode()
                with pytest.raises(errors.AlreadyExists):
                    await desk.call(dataproxy.create_upload_location, request)

        bench(scenario, **({"storage": section(s3)} if on_bucket else {}))


class TestSettings:
    @pytest.mark.parametrize(
        "storage",
        [
            {"type": "s3", "connection": {"auth_type": "accesskey", "access_key": "a", "secret_key": "b",
                                          "endpoint": "{host}", "disable_ssl": True}},
            {"type": "stow", "stow": {"kind": "s3", "config": {
                "auth_type": "accesskey", "access_key_id": "a", "secret_key": "b", "endpoint": "{url}",
                "region": "eu-west-1"}}},
            {"stow": {"kind": "s3", "config": {"access_key_id": "a", "secret_key": "b", "endpoint": "{host}",
                                               "disable_ssl": "true"}}},
        ],
    )  # fmt: skip
    def test_every_way_in_which_upstream_names_a_bucket(self, s3: str, tmp_path: Path, storage: Any) -> None:
        def fill(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: fill(item) for name, item in value.items()}
            return value.format(url=s3, host=urlsplit(s3).netloc) if isinstance(value, str) else value

        async def scenario() -> None:
            blobs = b.Blobs(Settings(home=tmp_path, storage={"container": "flyte", **fill(storage)}))
            await blobs.write("s3://flyte/set", b"x")
            assert await blobs.read("s3://flyte/set", bytes_max=1) == b"x"

        asyncio.run(scenario())

    def test_the_environment_of_aws_counts_without_a_section(
        self, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in (("ENDPOINT_URL", s3), ("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b")):
            monkeypatch.setenv(f"AWS_{name}", value)

        async def scenario() -> None:
            blobs = b.Blobs(Settings(home=tmp_path, storage={"url": "s3://flyte"}))  # type: ignore[arg-type]
            await blobs.write("s3://flyte/env", b"x")
            assert await blobs.read("s3://flyte/env", bytes_max=1) == b"x"

        asyncio.run(scenario())

    @pytest.mark.parametrize("url", ["gs://bucket", "az://container", "ftp://host/x"])
    def test_a_store_that_cannot_be_opened_is_a_bad_setting(
        self, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if url.startswith("gs"):
            monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
        with pytest.raises(BadSetting, match="storage"):
            b.Blobs(Settings(home=tmp_path, storage={"url": url}))  # type: ignore[arg-type]


@pytest.mark.slow
class TestFaults:
    @pytest.mark.parametrize("fault", ["500", "503", "429", "408", "reset"])
    def test_transient_errors_are_unavailable(self, tmp_path: Path, fault: str) -> None:
        with buckets.running() as bucket:
            blobs = store(tmp_path, bucket.address)
            bucket.fault = fault

            async def scenario() -> None:
                for work in (blobs.read(blobs.uri("x"), bytes_max=1), blobs.size(blobs.uri("x")),
                             blobs.write(blobs.uri("x"), b"x")):  # fmt: skip
                    with pytest.raises(b.BlobUnavailable, match="now: "):
                        await work

            asyncio.run(scenario())

    @pytest.mark.parametrize(
        ("fault", "error", "reason"),
        [
            ("denied", b.BlobUnreadable, "403 Forbidden"),
            ("400", b.BlobUnreadable, "400 Bad Request"),
            ("501", b.BlobUnreadable, "501 Not Implemented"),
            ("bucket", b.BlobUnreadable, r"there is no bucket \[s3://flyte\]"),
            ("404", b.BlobMissing, "does not exist"),
        ],
    )
    def test_permanent_errors_are_not_retried(
        self, tmp_path: Path, fault: str, error: type[Exception], reason: str
    ) -> None:
        with buckets.running() as bucket:
            blobs = store(tmp_path, bucket.address)
            bucket.fault = fault

            async def scenario() -> None:
                with pytest.raises(error, match=reason):
                    await blobs.read(blobs.uri("x"), bytes_max=1)
                with pytest.raises(b.BlobUnwritable):
                    await blobs.write(blobs.uri("x"), b"x")
                if fault == "501":
                    assert not await blobs.create(blobs.uri("x"), b"x")

            asyncio.run(scenario())

    def test_a_closed_port_is_unavailable(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            blobs = store(tmp_path, "http://127.0.0.1:1")
            with pytest.raises(b.BlobUnavailable):
                await blobs.read(blobs.uri("x"), bytes_max=1)

        asyncio.run(scenario())


def bind(home: Path, url: str, storage: dict[str, Any]) -> None:
    startup.bind_storage(Settings.model_validate({"home": home, "database": {"url": url}, "storage": storage}))


def test_a_bucket_belongs_to_a_database(s3: str, tmp_path: Path, empty_database: Callable[[str], str]) -> None:
    url = empty_database("sqlite")
    bind(tmp_path, url, section(s3))
    bind(tmp_path / "another", url, section(s3))
    with pytest.raises(BadSetting, match=r"the storage s3://other is not the one of this database .it carries no id"):
        bind(tmp_path, url, section(s3, container="other"))
    with pytest.raises(BadSetting, match="storage is not the one of this database"):
        bind(tmp_path, url, {})


def test_an_unreachable_bucket_stops_the_start(
    tmp_path: Path, empty_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.blobs.bucket._RETRY", {"max_retries": 0, "retry_timeout": timedelta(seconds=1)})
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(BadSetting, match=r"the storage s3://flyte cannot be used: .*check that it answers"):
        bind(tmp_path, empty_database("sqlite"), section(closed))
