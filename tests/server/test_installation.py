"""The storage that belongs to a database, and the key that both kinds of database keep for all servers."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.blobs import Blobs, BlobUnreadable, BlobUnwritable
from app.database import base as db
from app.database.connect import database_at
from app.server import home as homes
from app.server import installation, startup
from app.settings import BadSetting, Settings
from tests.conftest import DATABASES
from tests.support.servers import COMMAND, environment, run, serving

pytestmark = pytest.mark.heavy

PORTS = ("--port", "0", "--grpc-port", "0", "--metrics-port", "0")


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, emptied_database: Callable[[str], str]) -> str:
    return emptied_database(request.param)


def settings(folder: Path, url: str, **storage: Any) -> Settings:
    return Settings.model_validate({"home": folder, "database": {"url": url}, "storage": storage})


def bind(folder: Path, url: str) -> None:
    startup.bind_storage(settings(folder, url))


def id_of(folder: Path) -> str:
    return (folder / "storage" / "~flyteadmin" / "storage-id").read_text().strip()


def test_storage_and_database_that_have_no_id_get_the_same(tmp_path: Path, url: str) -> None:
    bind(tmp_path, url)
    bind(tmp_path, url)
    assert len(id_of(tmp_path)) == 32


def test_another_storage_is_refused_until_it_is_adopted(tmp_path: Path, url: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    bind(one, url)
    with pytest.raises(BadSetting, match=rf"{two}/storage is not the one of this database .it carries no id.*adopt"):
        bind(two, url)
    assert not (two / "storage" / "~flyteadmin").exists()
    adopted = startup.adopt_storage(settings(two, url))
    assert adopted == id_of(two)
    bind(two, url)
    with pytest.raises(BadSetting, match=f"it carries id {id_of(one)}, the database expects {adopted}"):
        bind(one, url)


def test_a_storage_that_was_moved_with_its_id_is_the_same(tmp_path: Path, url: str) -> None:
    bind(tmp_path / "old", url)
    (tmp_path / "new").mkdir()
    (tmp_path / "old" / "storage").rename(tmp_path / "new" / "storage")
    bind(tmp_path / "new", url)


def test_a_new_database_takes_the_id_of_a_storage_over(
    tmp_path: Path, url: str, empty_database: Callable[[str], str]
) -> None:
    """So does a start after a crash that left the object without its row."""
    bind(tmp_path, url)
    before = id_of(tmp_path)
    bind(tmp_path, empty_database("sqlite"))
    assert id_of(tmp_path) == before


def test_a_storage_that_cannot_be_marked_is_used_without_an_id(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> None:
        raise BlobUnwritable("access denied")

    with monkeypatch.context() as changed:
        changed.setattr(Blobs, "write", refuse)
        bind(tmp_path / "one", url)
        with pytest.raises(BadSetting, match="access denied"):
            startup.adopt_storage(settings(tmp_path / "one", url))
    # Nothing was written down, so the first storage that can be marked is the one.
    bind(tmp_path / "two", url)


def test_a_storage_that_does_not_answer_stops_the_start(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> bytes:
        raise BlobUnreadable("connection refused")

    monkeypatch.setattr(Blobs, "read", fail)
    with pytest.raises(BadSetting, match=r"cannot be used: connection refused; check that it answers, and storage\."):
        bind(tmp_path, url)


@pytest.mark.parametrize("text", ["?", "a" * 2000], ids=["odd", "long"])
def test_what_is_no_id_is_named(tmp_path: Path, url: str, text: str) -> None:
    bind(tmp_path, url)
    (tmp_path / "storage" / "~flyteadmin" / "storage-id").write_text(text)
    with pytest.raises(BadSetting, match="storage-id holds no id"):
        bind(tmp_path, url)


@pytest.mark.parametrize("homes", [("one", "one"), ("one", "two")], ids=["same storage", "other storage"])
def test_of_servers_that_start_at_once_only_those_of_one_storage_start(
    tmp_path: Path, url: str, homes: tuple[str, str]
) -> None:
    async def main() -> list[BaseException | None]:
        opened = [
            database_at(url, connections_max=2, busy_timeout_seconds=20, statement_timeout_seconds=30) for _ in homes
        ]
        for database in opened:
            await database.open()
        stores = [Blobs(settings(tmp_path / home, url)) for home in homes]
        found = await asyncio.gather(
            *(installation.bind_storage(*both) for both in zip(opened, stores, strict=True)), return_exceptions=True
        )
        for database in opened:
            await database.close()
        return found

    found = asyncio.run(main())
    assert [isinstance(one, BadSetting) for one in found].count(True) == len(set(homes)) - 1, found


def key(folder: Path, url: str) -> bytes:
    async def main(database: db.Database) -> bytes:
        return await installation.link_key(database, settings(folder, url))

    return startup.on_database(settings(folder, url), main)


def test_the_key_of_storage_addresses_is_the_same_on_every_server(tmp_path: Path, url: str) -> None:
    first = key(tmp_path / "one", url)
    assert len(first) == 32
    assert key(tmp_path / "two", url) == first


@pytest.mark.parametrize("content", ["ab" * 32 + "\n", "", "abcd", "no hex"])
def test_the_key_file_of_an_earlier_version_is_taken_over_and_deleted(tmp_path: Path, url: str, content: str) -> None:
    file = tmp_path / "storage.key"
    file.write_text(content)
    taken = key(tmp_path, url)
    assert (taken == b"\xab" * 32) == content.startswith("ab" * 32)
    assert not file.exists()
    # That of another home, which is later, counts no more.
    file.write_text("cd" * 32)
    assert key(tmp_path, url) == taken
    assert not file.exists()


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def test_the_file_of_a_database_is_its_owners_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with umask(0o022):
        homes.prepare(home)
        startup.migrate(settings(home, ""), startup.Progress())
    file = home / "flyteadmin.db"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)

    async def look(_: db.Database) -> set[int]:
        return {stat.S_IMODE(one.stat().st_mode) for one in home.glob("flyteadmin.db*")}

    assert startup.on_database(settings(home, ""), look) == {0o600}


@pytest.mark.slow
class TestServed:
    def test_a_second_server_with_a_home_of_its_own_is_refused(
        self, tmp_path: Path, empty_database: Callable[[str], str]
    ) -> None:
        for kind in DATABASES:
            variables = {"FLYTEADMIN_DATABASE_URL": empty_database(kind)}
            with serving(tmp_path / f"{kind}-one", variables=variables):
                ended = run(tmp_path / f"{kind}-two", "serve", *PORTS, **variables)
                assert ended.returncode == 1
                assert ended.stderr.count("flyteadmin:") == 1
                assert f"{kind}-two/storage is not the one of this database" in ended.stderr
                for command in (("migrate", "rollback"), ("storage", "adopt")):
                    ended = run(tmp_path / f"{kind}-two", *command, **variables)
                    assert ended.returncode == 1
                    assert "a flyteadmin server uses this database; stop every server" in ended.stderr
            assert run(tmp_path / f"{kind}-two", "storage", "adopt", **variables).returncode == 0
            with serving(tmp_path / f"{kind}-two", variables=variables):
                pass
            ended = run(tmp_path / f"{kind}-two", "migrate", "rollback", **variables)
            assert ended.returncode == 0

    def test_an_assistant_on_another_storage_is_refused(
        self, tmp_path: Path, empty_database: Callable[[str], str]
    ) -> None:
        url = empty_database("sqlite")
        bind(tmp_path / "one", url)
        ended = subprocess.run(
            [*COMMAND, "mcp"],
            env=environment(tmp_path / "two", FLYTEADMIN_DATABASE_URL=url),
            input="",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 1
        assert "is not the one of this database" in ended.stderr
