"""The data proxy through its functions, on both databases and the local store."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from flyteidl.admin import node_execution_pb2, task_execution_pb2
from flyteidl.core import identifier_pb2, literals_pb2
from flyteidl.service import dataproxy_pb2
from google.protobuf.duration_pb2 import Duration

from app import errors
from app.blobs import BlobMissing, BlobTooLarge
from app.database import schema
from app.services import dataproxy, execution_ids

Bench = Callable[..., Any]

NOW = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
MD5 = bytes.fromhex("5eb63bbbe01eeed093cb22bb8f5acdc3")  # of "hello world"
RUN = 'execution_id:{project:"p" domain:"development" name:"e1"}'
BASE32 = "L23DXO7AD3XNBE6LEK5Y6WWNYM======"


def upload(**changes: Any) -> dataproxy_pb2.CreateUploadLocationRequest:
    return dataproxy_pb2.CreateUploadLocationRequest(**{"project": "p", "domain": "development", **changes})


def numbers(**values: int) -> literals_pb2.LiteralMap:
    def literal(value: int) -> literals_pb2.Literal:
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(integer=value)))

    return literals_pb2.LiteralMap(literals={name: literal(value) for name, value in values.items()})


def node_id(node: str = "n0", run: str = "e1") -> identifier_pb2.NodeExecutionIdentifier:
    return identifier_pb2.NodeExecutionIdentifier(
        node_id=node,
        execution_id=identifier_pb2.WorkflowExecutionIdentifier(project="p", domain="development", name=run),
    )


def told(node: str) -> str:
    """How messages name a node of execution e1."""
    return f'node_id:"{node}" {RUN}'


async def add_node(b: Any, node: str = "n0", *, input_uri: str = "", **closure: Any) -> None:
    async with b.context() as ctx:
        await ctx.db.insert(
            schema.NodeExecution,
            **execution_ids.node_key(node_id(node)),
            input_uri=input_uri,
            closure=node_execution_pb2.NodeExecutionClosure(**closure).SerializeToString(),
        )


async def add_attempt(b: Any, attempt: int, *, input_uri: str = "", **closure: Any) -> None:
    task = identifier_pb2.Identifier(project="p", domain="development", name="t", version="v1")
    async with b.context() as ctx:
        await ctx.db.insert(
            schema.TaskExecution,
            **execution_ids.task_key(task, node_id(), attempt),
            input_uri=input_uri,
            closure=task_execution_pb2.TaskExecutionClosure(**closure).SerializeToString(),
        )


class TestCreateUploadLocation:
    @pytest.mark.parametrize(
        ("changes", "path"),
        [
            ({"content_md5": MD5, "filename": "f.txt"}, f"p/development/{BASE32}/f.txt"),
            ({"filename_root": "root/dir", "filename": "f.txt"}, "p/development/root/dir/f.txt"),
            ({"filename_root": "/root//./dir/", "filename": "sub/f"}, "p/development/root/dir/sub/f"),
            ({"filename_root": "r", "filename": "f", "org": "acme"}, "acme/p/development/r/f"),
            ({"filename_root": "r#?%", "filename": "my file"}, "p/development/r#?%/my file"),
            ({"filename_root": "r", "filename": "f" * 255}, f"p/development/r/{'f' * 255}"),
            ({"project": "a/..", "domain": "..", "filename_root": "r", "filename": "f"}, "a~2F../~2E~2E/r/f"),
        ],
    )
    def test_the_location_lies_in_the_projects_folder(self, bench: Bench, changes: dict[str, Any], path: str) -> None:
        async def scenario(b: Any) -> None:
            answer = await b.call(dataproxy.create_upload_location, upload(**changes), now=NOW)
            assert answer.native_url == f"{b.blobs.base}/{path}".replace("%", "%25")
            assert answer.expires_at.ToDatetime(UTC) == NOW.replace(hour=8)
            address = urlsplit(answer.signed_url)
            assert (address.netloc, unquote(address.path)) == ("localhost:30080", f"/storage/{path}")
            assert parse_qs(address.query)["method"] == ["PUT"]

        bench(scenario)

    def test_without_a_file_name_one_is_drawn(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            for changes in ({"content_md5": MD5}, {"filename_root": "root"}):
                answers = [await b.call(dataproxy.create_upload_location, upload(**changes)) for _ in range(2)]
                assert answers[0].native_url != answers[1].native_url
                for answer in answers:
                    assert re.fullmatch("[bcdfghjklmnpqrstvwxz2456789]{20}", answer.native_url.rpartition("/")[2])

        bench(scenario)

    @pytest.mark.parametrize(
        ("changes", "headers"),
        [
            ({"content_md5": MD5}, {"Content-Length": "24", "Content-MD5": "XrY7u+Ae7tCTyyK7j1rNww=="}),
            ({"filename_root": "r"}, {"Content-Length": "0", "Content-MD5": ""}),
            (
                {"content_md5": MD5, "add_content_md5_metadata": True},
                {
                    "Content-Length": "24",
                    "Content-MD5": "XrY7u+Ae7tCTyyK7j1rNww==",
                    "x-amz-meta-flyteContentMD5": "XrY7u+Ae7tCTyyK7j1rNww==",
                },
            ),
        ],
    )
    def test_headers_are_upstreams(self, bench: Bench, changes: dict[str, Any], headers: dict[str, str]) -> None:
        async def scenario(b: Any) -> None:
            answer = await b.call(dataproxy.create_upload_location, upload(**changes))
            assert dict(answer.headers) == headers

        bench(scenario)

    def test_what_is_there_is_replaced_only_by_itself(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            place = {"filename_root": "up", "filename": "hello.txt"}
            uri = b.blobs.uri("p", "development", "up", "hello.txt")
            await b.blobs.write(uri, b"hello world")
            for md5 in (b"", b"\0" * 16, b"odd"):
                with pytest.raises(errors.AlreadyExists) as caught:
                    await b.call(dataproxy.create_upload_location, upload(**place, content_md5=md5))
                assert caught.value.message == (
                    f"file already exists at location [{uri}], specify a matching hash if you wish to rewrite"
                )
            answer = await b.call(dataproxy.create_upload_location, upload(**place, content_md5=MD5))
            assert answer.native_url == uri
            assert parse_qs(urlsplit(answer.signed_url).query)["md5"] == [MD5.hex()]

        bench(scenario)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"project": "", "content_md5": MD5}, "project and domain are required parameters"),
            ({"domain": "", "content_md5": MD5}, "project and domain are required parameters"),
            ({"filename": "f"}, "content_md5 or filename_root is a required parameter"),
            ({"filename_root": "a/../../b"}, "filename_root [a/../../b] must not contain '..'"),
            ({"filename_root": "r", "filename": ".."}, "filename [..] must not contain '..'"),
            ({"filename_root": "./"}, "filename_root [./] names no file"),
            ({"filename_root": "r", "filename": "a\nb"}, "filename [a\nb] must not contain control characters"),
            (
                {"filename_root": "ü" * 128, "filename": "f"},
                f"filename_root [{'ü' * 128}] must not have names of more than 255 bytes",
            ),
            (
                {"project": "metadata", "content_md5": MD5},
                "[metadata] is the folder of the server's own data; nothing can be uploaded to it",
            ),
            (
                {"org": "metadata", "project": "admin", "filename_root": "wf", "filename": "v1"},
                "[metadata] is the folder of the server's own data; nothing can be uploaded to it",
            ),
            (
                {"content_md5": MD5, "expires_in": Duration(seconds=86400)},
                "expiresIn [24h0m0s] cannot exceed max allowed expiration [1h0m0s]",
            ),
            ({"content_md5": MD5, "expires_in": Duration(seconds=-5)}, "expiresIn [-5s] must be greater than 0"),
            ({"content_md5": MD5, "expires_in": Duration()}, "expiresIn [0s] must be greater than 0"),
            (
                {"content_md5": MD5, "expires_in": Duration(seconds=1, nanos=-1)},
                "expiresIn [seconds:1 nanos:-1] is invalid",
            ),
        ],
    )
    def test_what_is_wrong(self, bench: Bench, changes: dict[str, Any], message: str) -> None:
        async def scenario(b: Any) -> None:
            with pytest.raises(errors.InvalidArgument) as caught:
                await b.call(dataproxy.create_upload_location, upload(**changes))
            assert caught.value.message == message

        bench(scenario)

    def test_the_storage_prefix_comes_first(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            answer = await b.call(dataproxy.create_upload_location, upload(filename_root="r", filename="f"))
            assert answer.native_url == f"{b.blobs.base}/up/loads/p/development/r/f"

        bench(scenario, server={"data_proxy": {"upload": {"storage_prefix": "up/loads"}}})


class TestCreateDownloadLocation:
    def test_anything_in_the_storage_is_signed_for(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            request = dataproxy_pb2.CreateDownloadLocationRequest(
                native_url=b.blobs.uri("some", "thing"), expires_in=Duration(seconds=30)
            )
            answer = await b.call(dataproxy.create_download_location, request, now=NOW)
            assert urlsplit(answer.signed_url).path == "/storage/some/thing"
            assert answer.expires_at.ToDatetime(UTC) == NOW.replace(second=39)

        bench(scenario)

    @pytest.mark.parametrize(
        ("url", "seconds", "message"),
        [
            ("x", 86400, "expiresIn is invalid. Error: input duration [24h0m0s] cannot exceed max allowed expiration "
             "[1h0m0s]"),
            ("x", -1, "expiresIn is invalid. Error: input duration [-1s] should not less than 0"),
            ("x", 400_000_000_000, "expiresIn is invalid. Error: input duration [seconds:400000000000] is invalid"),
            ("x", 300_000_000_000, "expiresIn is invalid. Error: input duration [2562047h47m16.854775807s] cannot "
             "exceed max allowed expiration [1h0m0s]"),
            ("x", 0, "expiresIn is invalid. Error: input duration [0s] must be greater than 0"),
            ("s3://%zz", 1, "failed to parse native_url [s3://%zz]"),
            ("", 1, "native_url is a required parameter"),
            ("http://example.org/x", 1, "location [http://example.org/x] is not in this server's storage"),
            ("/etc/passwd", 1, "location [/etc/passwd] is not in this server's storage"),
        ],
    )  # fmt: skip
    def test_what_is_wrong(self, bench: Bench, url: str, seconds: int, message: str) -> None:
        async def scenario(b: Any) -> None:
            request = dataproxy_pb2.CreateDownloadLocationRequest(native_url=url, expires_in=Duration(seconds=seconds))
            with pytest.raises(errors.InvalidArgument) as caught:
                await b.call(dataproxy.create_download_location, request)
            assert caught.value.message == f"error while validating request: {message}"

        bench(scenario)

    def test_no_way_leads_out_of_the_storage(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            for url in ("../x", "p/../../x", "~incoming/x"):
                request = dataproxy_pb2.CreateDownloadLocationRequest(native_url=f"{b.blobs.base}/{url}")
                with pytest.raises(errors.InvalidArgument, match="is not in this server's storage"):
                    await b.call(dataproxy.create_download_location, request)

        bench(scenario)


def link(node: str = "n0", **changes: Any) -> dataproxy_pb2.CreateDownloadLinkRequest:
    fields = {"artifact_type": dataproxy_pb2.ARTIFACT_TYPE_DECK, "node_execution_id": node_id(node), **changes}
    return dataproxy_pb2.CreateDownloadLinkRequest(**fields)


class TestCreateDownloadLink:
    def test_a_deck_gets_an_address_in_old_and_new_fields(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            deck = b.blobs.uri("p", "deck.html")
            await b.blobs.write(deck, b"<h1>deck</h1>")
            await add_node(b, deck_uri=deck)
            answer = await b.call(dataproxy.create_download_link, link(), now=NOW)
            assert urlsplit(answer.signed_url[0]).path == "/storage/p/deck.html"
            assert answer.pre_signed_urls.signed_url == answer.signed_url
            assert answer.pre_signed_urls.expires_at == answer.expires_at
            assert answer.expires_at.ToDatetime(UTC) == NOW.replace(hour=8)
            by_address = dataproxy_pb2.GetDataRequest(flyte_url="flyte://v1/p/development/e1/n0/d")
            data = await b.call(dataproxy.get_data, by_address, now=NOW)
            assert urlsplit(data.pre_signed_urls.signed_url[0]).path == "/storage/p/deck.html"

        bench(scenario)

    @pytest.mark.parametrize(
        ("request_", "error", "message"),
        [
            (link("n0"), errors.NotFound, "no deckUrl found for request [artifact_type:ARTIFACT_TYPE_DECK expires_in:"
             f"{{seconds:3600}} node_execution_id:{{{told('n0')}}}]"),
            (link("gone"), errors.NotFound, "object not found"),
            (link("passwd"), errors.InvalidArgument,
             "the deck cannot be shown: location [/etc/passwd] is not in this server's storage"),
            (link("n9"), errors.InvalidArgument, f"failed to find node execution [{told('n9')}]. "
             f"Error: missing entity of type node execution with identifier {told('n9')}"),
            (link(""), errors.InvalidArgument, f"failed to find node execution [{RUN}]. Error: missing node_id"),
            (link(artifact_type=0), errors.InvalidArgument,
             "error while validating request. Error: invalid artifact type [ARTIFACT_TYPE_UNDEFINED]"),
            (dataproxy_pb2.CreateDownloadLinkRequest(artifact_type=1), errors.InvalidArgument,
             "error while validating request. Error: source is required. Provided nil"),
            (link(expires_in=Duration(seconds=86400)), errors.InvalidArgument, "error while validating request. Error: "
             "expiresIn is invalid. Error: input duration [24h0m0s] cannot exceed max allowed expiration [1h0m0s]"),
        ],
    )  # fmt: skip
    def test_what_is_wrong(self, bench: Bench, request_: Any, error: type[Exception], message: str) -> None:
        async def scenario(b: Any) -> None:
            await add_node(b)
            await add_node(b, "gone", deck_uri=b.blobs.uri("no", "deck.html"))
            await add_node(b, "passwd", deck_uri="/etc/passwd")
            with pytest.raises(error) as caught:
                await b.call(dataproxy.create_download_link, request_)
            assert str(caught.value) == message

        bench(scenario)


def data(path: str) -> dataproxy_pb2.GetDataRequest:
    return dataproxy_pb2.GetDataRequest(flyte_url=f"flyte://v1/p/development/e1/{path}")


class TestGetData:
    def test_inputs_and_outputs_of_nodes_and_attempts(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            stored = {}
            for number, name in enumerate(("node_in", "node_out", "task_in", "task_out")):
                stored[name] = b.blobs.uri("metadata", name)
                await b.blobs.write(stored[name], numbers(x=number).SerializeToString())
            await add_node(b, input_uri=stored["node_in"], output_uri=stored["node_out"])
            await add_attempt(b, 0, input_uri=stored["task_in"], output_uri=stored["task_out"])
            await add_attempt(b, 1, output_data=numbers(x=7))
            for path, value in (("n0/i", 0), ("n0/o", 1), ("n0/0/i", 2), ("n0/0/o", 3), ("n0/1/o", 7)):
                whole = await b.call(dataproxy.get_data, data(path))
                assert whole.literal_map == numbers(x=value)
                one = await b.call(dataproxy.get_data, data(f"{path}/x"))
                assert one.literal == numbers(x=value).literals["x"]
            assert (await b.call(dataproxy.get_data, data("n0/1/i"))).literal_map == numbers()

        bench(scenario)

    @pytest.mark.parametrize(
        ("url", "error", "message"),
        [
            ("", errors.InvalidArgument,
             "failed to validate resolve artifact request. Error: source is required. Provided empty string"),
            ("http://example.org", errors.InvalidArgument,
             "failed to validate resolve artifact request. Error: request does not start with the correct prefix"),
            ("flyte://v2/p/development/e1/n0/o", errors.InvalidArgument,
             "failed to parse artifact url Error: failed to parse [flyte://v2/p/development/e1/n0/o]"),
            ("flyte://v1/p/development/e1/n9/o", errors.NotFound,
             f"missing entity of type node execution with identifier {told('n9')}"),
            ("flyte://v1/p/development/e1/n0/i/zz", errors.InvalidArgument,
             f"name [zz] not found in node execution [{told('n0')}]"),
            ("flyte://v1/p/development/e1/n0/2/i/zz", errors.InvalidArgument, "name [zz] not found in task execution "
             '[task_id:{resource_type:TASK project:"p" domain:"development" name:"t" version:"v1"} '
             f"node_execution_id:{{{told('n0')}}} retry_attempt:2]"),
            ("flyte://v1/p/development/e1/n0/3/o", errors.InvalidArgument,
             f"no task executions were listed [node_execution_id:{{{told('n0')}}} retry_attempt:3]. Error: <nil>"),
            ("flyte://v1/p/development/e1/n0/2/d", errors.InvalidArgument,
             "deck type cannot be specified with a retry attempt, just use the node instead"),
            ("flyte://v1/p/development/e1/n0/99999999999/d", errors.InvalidArgument, "failed to parse artifact url "
             'Error: failed to parse attempt [99999999999], strconv.Atoi: parsing "99999999999": value out of range'),
            ("flyte://v1/p/development/e1/n0/o", BlobMissing, "object [{base}/gone] does not exist"),
            ("flyte://v1/p/development/e1/n0/2/o", BlobTooLarge,
             "object [{base}/large] has 1048577 bytes, larger than the limit of 1048576 bytes; the limit is "
             "storage.limits.maxDownloadMBs"),
            ("flyte://v1/p/development/e1/broken/i", errors.Internal, "object [{base}/broken] is no LiteralMap"),
            ("flyte://v1/p/development/e1/broken/o", errors.InvalidArgument,
             "location [/etc/passwd] is not in this server's storage"),
        ],
    )  # fmt: skip
    def test_what_is_wrong(self, bench: Bench, url: str, error: type[Exception], message: str) -> None:
        async def scenario(b: Any) -> None:
            await b.blobs.write(b.blobs.uri("large"), b"x" * (2**20 + 1))
            await b.blobs.write(b.blobs.uri("broken"), b"\xff\xff")
            await add_node(b, output_uri=b.blobs.uri("gone"))
            await add_node(b, "broken", input_uri=b.blobs.uri("broken"), output_uri="/etc/passwd")
            await add_attempt(b, 2, output_uri=b.blobs.uri("large"))
            with pytest.raises(error) as caught:
                await b.call(dataproxy.get_data, dataproxy_pb2.GetDataRequest(flyte_url=url))
            assert str(caught.value) == message.replace("{base}", b.blobs.base)

        bench(scenario, storage={"limits": {"max_download_mbs": 1}})


def test_concurrent_uploads_of_one_hash_share_the_folder(bench: Bench) -> None:
    async def scenario(b: Any) -> None:
        request = upload(content_md5=MD5, filename="f")
        answers = await asyncio.gather(*(b.call(dataproxy.create_upload_location, request) for _ in range(5)))
        assert len({answer.native_url for answer in answers}) == 1

    bench(scenario)
