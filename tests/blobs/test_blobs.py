"""The local store and the names of objects. tests/blobs/test_buckets.py has the same for S3."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import blobs as b
from app.blobs import folder as blob_folder
from app.blobs import object_names
from app.settings import BadSetting, Settings
from app.system.interface import System
from app.system.portable import Portable

texts = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="./~%#?\\aB0=-_ \0é", max_size=6),
    st.integers(170, 300).map(lambda n: "x" * n),
    st.integers(50, 90).map(lambda n: "é" * n),
)


def store(tmp_path: Path, **storage: Any) -> b.Blobs:
    storage = {"url": str(tmp_path / "store"), **storage}
    return b.Blobs(Settings(home=tmp_path / "home", storage=storage))  # type: ignore[arg-type]


class TestNames:
    @given(texts, texts)
    def test_two_texts_never_share_a_component(self, one: str, other: str) -> None:
        assert (object_names.component(one) == object_names.component(other)) == (one == other)

    @given(texts)
    def test_a_component_is_one_harmless_ascii_step(self, text: str) -> None:
        name = object_names.component(text)
        assert re.fullmatch(r"[A-Za-z0-9_.=~-]{1,180}", name)
        assert name not in (".", "..")
        # No reader of URIs sees anything else in it: neither one that decodes nor one that does not.
        assert object_names.key_of(name) == name

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("acc.wf.main", "acc.wf.main"),
            (".flytegen.acc.wf.double", ".flytegen.acc.wf.double"),
            ("L23DXO7AD3XNBE6LEK5Y6WWNYM======", "L23DXO7AD3XNBE6LEK5Y6WWNYM======"),
            (".", "~2E"),
            ("...", "~2E~2E~2E"),
            ("", "~"),
            ("..", "~2E~2E"),
            ("v1#2?a/b", "v1~232~3Fa~2Fb"),
            ("~2F", "~7E2F"),
        ],
    )
    def test_known_names(self, text: str, name: str) -> None:
        assert object_names.component(text) == name

    def test_a_key_is_read_from_a_uri_as_upstream_reads_it(self) -> None:
        assert object_names.key_of("metadata/a%20b/v1#2") == "metadata/a b/v1"
        assert object_names.key_of("metadata/a%2Fb?x=1") == "metadata/a/b"


class TestLocations:
    def test_plain_names_are_the_path(self, tmp_path: Path) -> None:
        blobs = store(tmp_path)
        assert blobs.uri("metadata", "admin", "p", "d", "wf", "v1") == f"{tmp_path}/store/metadata/admin/p/d/wf/v1"

    @given(parts=st.lists(texts, min_size=1, max_size=4))
    def test_every_location_lies_under_the_base(self, tmp_path_factory: Any, parts: list[str]) -> None:
        global _shared
        _shared = _shared or store(tmp_path_factory.mktemp("locations"))
        uri = _shared.uri(*parts)
        assert _shared.contains(uri)
        assert os.path.normpath(uri) == uri
        assert uri.count("/") == _shared.base.count("/") + len(parts)

    @pytest.mark.parametrize(
        "uri",
        ["", "/", "relative", "/etc/passwd", "{base}", "{base}/../x", "{base}x/y", "{base}/a\0b", "s3://bucket/key",
         "http://example.org/x", "file:///etc/passwd", "{base}/~incoming/x"],
    )  # fmt: skip
    def test_nothing_outside_the_base_is_touched(self, tmp_path: Path, uri: str) -> None:
        blobs = store(tmp_path)
        uri = uri.format(base=blobs.base)
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: blobs.read(uri, bytes_max=10),
            lambda: blobs.size(uri),
            lambda: blobs.write(uri, b"x"),
            lambda: blobs.sign_get(uri, ttl_seconds=1),
            lambda: blobs.sign_put(uri, ttl_seconds=1),
        ]
        for call in calls:
            with pytest.raises(b.BlobOutside, match="is not in this server's storage"):
                asyncio.run(call())  # type: ignore[arg-type]

    def test_a_file_url_is_the_path_it_names(self, tmp_path: Path) -> None:
        blobs = store(tmp_path)
        asyncio.run(blobs.write(blobs.uri("a b"), b"x"))
        assert asyncio.run(blobs.read(f"file://{blobs.base}/a~20b", bytes_max=1)) == b"x"

    def test_an_alias_reads_what_upstream_wrote_and_never_writes(self, tmp_path: Path) -> None:
        folder = tmp_path / "copy"
        (folder / "metadata").mkdir(parents=True)
        (folder / "metadata" / "v 1").write_bytes(b"closure")
        (tmp_path / "secret").write_bytes(b"secret")
        blobs = store(tmp_path, aliases={"s3://flyte-sample": str(folder)})
        assert asyncio.run(blobs.read("s3://flyte-sample/metadata/v%201", bytes_max=100)) == b"closure"
        for uri in (
            "s3://flyte-sample/../secret",
            "s3://flyte-sample/%2e%2e/secret",
            "s3://flyte-sample/%00",
            "s3://flyte-sampler/x",
        ):
            with pytest.raises(b.BlobOutside):
                asyncio.run(blobs.read(uri, bytes_max=100))
        with pytest.raises(b.BlobOutside):
            asyncio.run(blobs.write("s3://flyte-sample/metadata/v%201", b"x"))

    def test_every_location_in_the_sample_of_upstream_is_readable(self, tmp_path: Path) -> None:
        sample = Path(__file__).parents[1] / "sample"
        blobs = store(tmp_path, aliases={"s3://flyte-sample": str(sample / "blobs" / "flyte-sample")})
        uris = set(re.findall(r"s3://flyte-sample/[^'\"\s]+", (sample / "dump.sql").read_text()))
        assert len(uris) > 20
        for uri in uris:
            assert asyncio.run(blobs.read(uri, bytes_max=2**21))

    def test_a_base_that_cannot_be_made_names_the_setting(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(BadSetting, match=r"storage.*Not a directory.*storage\.url"):
            store(tmp_path, url=str(tmp_path / "file" / "below"))


_shared: b.Blobs | None = None


class TestObjects:
    @pytest.mark.parametrize("size", [0, 1, 5_000, 256 * 1024, 256 * 1024 + 1, 3_000_000])
    def test_what_was_written_is_read(self, tmp_path: Path, size: int) -> None:
        blobs, data = store(tmp_path), os.urandom(size)
        uri = blobs.uri("metadata", "p", "inputs")
        asyncio.run(blobs.write(uri, data))
        assert asyncio.run(blobs.read(uri, bytes_max=size or 1)) == data
        assert asyncio.run(blobs.read(uri, bytes_max=0)) == data
        assert asyncio.run(blobs.size(uri)) == size
        assert asyncio.run(blobs.exists(uri))

    def test_a_later_write_replaces_the_object(self, tmp_path: Path) -> None:
        blobs = store(tmp_path)
        for data in (b"longer than the next", b"short"):
            asyncio.run(blobs.write(blobs.uri("x"), data))
        assert asyncio.run(blobs.read(blobs.uri("x"), bytes_max=100)) == b"short"

    def test_missing_large_and_unreadable_are_different_errors(self, tmp_path: Path) -> None:
        blobs = store(tmp_path)
        uri = blobs.uri("folder", "x")
        with pytest.raises(b.BlobMissing, match=re.escape(f"object [{uri}] does not exist")):
            asyncio.run(blobs.read(uri, bytes_max=10))
        assert not asyncio.run(blobs.exists(uri))
        asyncio.run(blobs.write(uri, b"12345678901"))
        with pytest.raises(b.BlobTooLarge, match="larger than the limit of 10 bytes"):
            asyncio.run(blobs.read(uri, bytes_max=10))
        for nothing in (blobs.uri("folder"), blobs.uri("folder", "x", "y"), f"{blobs.base}/{'x' * 300}"):
            with pytest.raises(b.BlobMissing):
                asyncio.run(blobs.read(nothing, bytes_max=10))
        # A pipe would block whoever opens it in the ordinary way.
        os.mkfifo(blobs.uri("folder", "pipe"))
        with pytest.raises(b.BlobUnreadable, match="not a regular file"):
            asyncio.run(blobs.read(blobs.uri("folder", "pipe"), bytes_max=10))
        os.symlink("loop", blobs.uri("loop"))
        with pytest.raises(b.BlobUnreadable, match="symbolic links"):
            asyncio.run(blobs.read(blobs.uri("loop"), bytes_max=10))

    @pytest.mark.parametrize(
        ("setting", "advice"),
        [
            ("", ""),
            (b.DOWNLOAD_LIMIT, "; the limit is storage.limits.maxDownloadMBs"),
            (b.CLOSURE_LIMIT, "; the limit is storage.limits.maxDownloadMBs, but at least 64 MiB"),
        ],
    )
    @pytest.mark.parametrize("size", [11, 300_000])
    def test_too_large_names_the_limit_that_applies(self, tmp_path: Path, setting: str, advice: str, size: int) -> None:
        blobs = store(tmp_path)
        uri = blobs.uri("x")
        asyncio.run(blobs.write(uri, b"x" * size))
        for read in (blobs.read, blobs.read_immutable):
            with pytest.raises(b.BlobTooLarge) as caught:
                asyncio.run(read(uri, bytes_max=10, setting=setting))
            assert caught.value.message == (
                f"object [{uri}] has {size} bytes, larger than the limit of 10 bytes{advice}"
            )

    @pytest.mark.parametrize("twin", [blob_folder.system, Portable()], ids=["this system", "portable"])
    def test_links_are_followed_only_inside(
        self, tmp_path: Path, twin: System, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(blob_folder, "system", twin)
        blobs = store(tmp_path)
        (tmp_path / "secret").write_bytes(b"secret")
        asyncio.run(blobs.write(blobs.uri("real", "x"), b"x"))
        os.symlink(blobs.uri("real"), blobs.uri("inside"))
        os.symlink(tmp_path / "secret", blobs.uri("file"))
        os.symlink(tmp_path, blobs.uri("dir"))
        assert asyncio.run(blobs.read(blobs.uri("inside", "x"), bytes_max=10)) == b"x"
        for uri in (blobs.uri("file"), blobs.uri("dir", "secret")):
            with pytest.raises(b.BlobOutside):
                asyncio.run(blobs.read(uri, bytes_max=10))
        for uri in (blobs.uri("dir", "new"), blobs.uri("dir", "newer", "x"), blobs.uri("dir", "a", "b", "x")):
            with pytest.raises(b.BlobOutside):
                asyncio.run(blobs.write(uri, b"x"))
        assert sorted(os.listdir(tmp_path)) == ["secret", "store"]
        # A link in place of the object itself is replaced, not followed.
        asyncio.run(blobs.write(blobs.uri("file"), b"new"))
        assert (tmp_path / "secret").read_bytes() == b"secret"
        assert asyncio.run(blobs.read(blobs.uri("file"), bytes_max=9)) == b"new"

    @pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
    def test_an_object_is_created_once(self, tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        if not links:
            monkeypatch.setattr("app.blobs.folder.os.link", refuse)
        blobs = store(tmp_path)
        uri = blobs.uri("a", "x")
        assert asyncio.run(blobs.create(uri, b"first")) == links
        assert not asyncio.run(blobs.create(uri, b"second"))
        assert asyncio.run(blobs.exists(uri)) == links
        if links:
            assert asyncio.run(blobs.read(uri, bytes_max=9)) == b"first"
        assert os.listdir(f"{blobs.base}/~incoming") == []

    def test_a_base_behind_a_link_works(self, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        os.symlink(tmp_path / "disk", tmp_path / "link")
        blobs = store(tmp_path, url=str(tmp_path / "link"))
        asyncio.run(blobs.write(blobs.uri("x"), b"x"))
        assert asyncio.run(blobs.read(blobs.uri("x"), bytes_max=1)) == b"x"

    def test_only_durable_objects_with_content_wait_for_the_disk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        blobs, flushed = store(tmp_path), []
        monkeypatch.setattr(blob_folder, "_sync", flushed.append)
        large = b"x" * (blob_folder.DIRECT_WRITE_BYTES_MAX + 1)
        for name, data, durable, flushes in (
            ("a", b"x", True, 1),
            ("b", b"", True, 0),
            ("c", b"x", False, 0),
            ("d", large, False, 0),
            ("e", large, True, 1),
        ):
            flushed.clear()
            asyncio.run(blobs.write(blobs.uri(name, "below", name), data, durable=durable))
            assert len(flushed) == flushes, name
            assert asyncio.run(blobs.read(blobs.uri(name, "below", name), bytes_max=0)) == data

    def test_missing_folders_are_made_and_the_storage_folder_too(self, tmp_path: Path) -> None:
        blobs = store(tmp_path)
        shutil.rmtree(blobs.base)
        asyncio.run(blobs.write(blobs.uri("a", "b", "c", "x"), b"x"))
        assert asyncio.run(blobs.read(blobs.uri("a", "b", "c", "x"), bytes_max=1)) == b"x"
        os.symlink(tmp_path / "nothing", blobs.uri("link"))
        with pytest.raises(b.BlobError):
            asyncio.run(blobs.write(blobs.uri("link", "x"), b"x"))
        assert not (tmp_path / "nothing").exists()

    def test_a_write_that_fails_leaves_nothing(self, tmp_path: Path) -> None:
        blobs = store(tmp_path)
        asyncio.run(blobs.write(blobs.uri("a"), b"x"))
        for place in (blobs.uri("a", "below"), blobs.base + "/" + "x" * 300):
            with pytest.raises(b.BlobNameRefused, match="cannot be stored"):
                asyncio.run(blobs.write(place, b"x"))
        assert os.listdir(f"{blobs.base}/~incoming") == []

    def test_a_full_disk_is_its_own_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        blobs = store(tmp_path)

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("app.blobs.folder.os.write", full)
        with pytest.raises(b.StorageFull, match="No space left on device"):
            asyncio.run(blobs.write(blobs.uri("a"), b"x"))
        assert os.listdir(f"{blobs.base}/~incoming") == []

    @pytest.mark.slow
    def test_a_kill_during_writes_leaves_complete_objects(self, tmp_path: Path) -> None:
        """A process overwrites one object with whole values as fast as it can and is killed at some moment."""
        blobs = store(tmp_path)
        program = (
            "import asyncio, sys\n"
            "from app.blobs import Blobs\nfrom app.settings import Settings\n"
            "blobs = Blobs(Settings(home=sys.argv[1], storage={'url': sys.argv[2]}))\n"
            "async def main():\n"
            "    for n in range(10**9):\n"
            "        await blobs.write(blobs.uri('x'), bytes([n % 256]) * 400_000)\n"
            "asyncio.run(main())\n"
        )
        for _ in range(3):
            process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "home"), blobs.base])
            deadline = time.monotonic() + 30
            while not os.path.exists(blobs.uri("x")) and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
            process.wait()
            data = asyncio.run(blobs.read(blobs.uri("x"), bytes_max=0))
            assert len(data) == 400_000
            assert len(set(data)) == 1
            os.unlink(blobs.uri("x"))

    def test_unfinished_files_are_deleted_after_a_day(self, tmp_path: Path) -> None:
        store(tmp_path)
        incoming = tmp_path / "store" / "~incoming"
        for name, age in (("old", 25 * 3600), ("new", 3600)):
            (incoming / name).write_text("")
            os.utime(incoming / name, (time.time() - age,) * 2)
        store(tmp_path)
        assert os.listdir(incoming) == ["new"]

    def test_md5_is_that_of_the_content(self, tmp_path: Path) -> None:
        blobs = store(tmp_path)
        asyncio.run(blobs.write(blobs.uri("x"), b"hello world"))
        md5 = bytes.fromhex("5eb63bbbe01eeed093cb22bb8f5acdc3")
        assert asyncio.run(blobs.matches_md5(blobs.uri("x"), md5))
        assert not asyncio.run(blobs.matches_md5(blobs.uri("x"), b"\0" * 16))
        with pytest.raises(b.BlobMissing):
            asyncio.run(blobs.matches_md5(blobs.uri("y"), md5))

    def test_reading_a_small_object_is_cheap(self, tmp_path: Path) -> None:
        blobs = store(tmp_path)
        uri = blobs.uri("metadata", "admin", "flytesnacks", "development", "acc.wf.main", "v1")

        async def best_microseconds() -> float:
            await blobs.write(uri, b"x" * 5000)
            best = float("inf")
            for _ in range(20):
                started = time.perf_counter()
                for _ in range(50):
                    await blobs.read(uri, bytes_max=2**21)
                best = min(best, (time.perf_counter() - started) / 50)
            return best * 1e6

        assert asyncio.run(best_microseconds()) < 100
