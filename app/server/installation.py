"""Values that all servers of a database share: the id of its storage, and the key that signs storage addresses.

Storage and database carry the same id: the storage in an object, the database in a row. A server that finds two
different ids must not start, because rows would name objects that it cannot read. Where neither has an id, the first
server writes one. It writes the object before it commits the row, so a crash between the two leaves an object
without a row, which the next start takes over. Servers that start at the same time wait for each other at the row.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from app.blobs import BlobError, BlobMissing, Blobs, BlobTooLarge, BlobUnwritable
from app.blobs.signed_urls import KEY_BYTES
from app.database import schema
from app.database.base import Database, UnitOfWork
from app.server.home import STORAGE_KEY_FILE
from app.settings import BadSetting, Settings

# Below the storage's base. No name of a client becomes a component that begins with `~` and a letter.
_ID_OBJECT = "~flyteadmin/storage-id"
_ID_BYTES_MAX = 1_000
_ID = re.compile(r"[0-9a-f]{32}")
# Names of rows.
_STORAGE_ID, _LINK_KEY = "storage_id", "link_key"

log = structlog.get_logger(__name__)


async def bind_storage(database: Database, blobs: Blobs) -> None:
    """Check that the storage belongs to the database; give both an id where the database has none.

    A storage that cannot be written to (a bucket that may only be read) stays without an id, with a warning.

    Raises:
        BadSetting: The storage carries another id or none, or it cannot be read.
    """
    async with database.unit_of_work() as unit:
        expected = await _value(unit, _STORAGE_ID)
        found = await _on_storage(_read_id, blobs)
        if expected is None:
            chosen = found or secrets.token_hex(16)
            if await _insert(unit, _STORAGE_ID, chosen):
                if found is None and not await _mark(blobs, chosen):
                    await unit.delete(schema.SharedValue, name=_STORAGE_ID)
                return
            # Another server was first, perhaps with this very storage.
            expected, found = await _value(unit, _STORAGE_ID), await _on_storage(_read_id, blobs)
    if found != expected:
        carries = f"it carries id {found}" if found else "it carries no id"
        raise BadSetting(
            f"the storage {blobs.base} is not the one of this database ({carries}, the database expects {expected}); "
            "give all servers of a database the same storage (FLYTEADMIN_STORAGE_URL, storage.url), or run "
            "`flyteadmin storage adopt` once if its data was moved here"
        )


async def adopt_storage(database: Database, blobs: Blobs) -> str:
    """Make the storage belong to the database, whatever ids they have. Return their common id.

    Raises:
        BadSetting: The storage cannot be read or written.
    """
    found = await _on_storage(_read_id, blobs)
    if found is None:
        found = secrets.token_hex(16)
        await _on_storage(_write_id, blobs, found)
    async with database.unit_of_work() as unit:
        if not await _insert(unit, _STORAGE_ID, found):
            await unit.update(schema.SharedValue, {"name": _STORAGE_ID}, value=found)
    return found


async def link_key(database: Database, settings: Settings) -> bytes:
    """Return the key that signs storage addresses, of at least KEY_BYTES bytes. Create it where there is none.

    Earlier versions stored the key in a file of the home folder, where tasks could read it. This function moves it into
    the database, so that addresses stay valid.

    Raises:
        BadSetting: The file cannot be read or deleted.
    """
    file = settings.home_path / STORAGE_KEY_FILE
    try:
        return await _link_key(database, file)
    except OSError as error:
        raise BadSetting(
            f"the file {file}, which earlier versions kept a key in, cannot be taken over ({error.strerror}); delete it"
        ) from error


async def _link_key(database: Database, file: Path) -> bytes:
    async with database.unit_of_work() as unit:
        stored = await _value(unit, _LINK_KEY)
        if stored is None:
            fresh = _key_in(file) or secrets.token_hex(KEY_BYTES)
            stored = fresh if await _insert(unit, _LINK_KEY, fresh) else await _value(unit, _LINK_KEY)
    assert stored is not None
    await asyncio.to_thread(file.unlink, missing_ok=True)
    return bytes.fromhex(stored)


def _key_in(file: Path) -> str | None:
    """Return the key in the file, in hexadecimal; None without a file, or where it contains no key."""
    kept = file.read_text().strip() if file.exists() else ""
    return kept if re.fullmatch(rf"(?:[0-9a-f]{{2}}){{{KEY_BYTES},}}", kept) else None


async def _value(unit: UnitOfWork, name: str) -> str | None:
    row = await unit.find(schema.SharedValue, columns=("value",), name=name)
    return None if row is None else str(row.value)


async def _insert(unit: UnitOfWork, name: str, value: str) -> bool:
    """Insert the row unless it exists, and return whether it was inserted. Wait for a process that is inserting it."""
    return await unit.insert_if_absent(schema.SharedValue, name=name, value=value) is not None


async def _mark(blobs: Blobs, chosen: str) -> bool:
    """Write the id into the storage. Return False where the storage cannot be written."""
    try:
        await _write_id(blobs, chosen)
    except BlobUnwritable as error:
        log.warning("storage_has_no_id", storage=blobs.base, reason=str(error))
        return False
    except BlobError as error:
        raise _unusable(blobs, error) from error
    return True


async def _on_storage(call: Callable[..., Awaitable[str | None]], blobs: Blobs, *values: str) -> str | None:
    """Call a function of the storage. Raise BadSetting where the storage fails."""
    try:
        return await call(blobs, *values)
    except BlobError as error:
        raise _unusable(blobs, error) from error


def _unusable(blobs: Blobs, error: BlobError) -> BadSetting:
    return BadSetting(
        f"the storage {blobs.base} cannot be used: {error.message}; check that it answers, and storage.url "
        "(FLYTEADMIN_STORAGE_URL) with its credentials"
    )


async def _read_id(blobs: Blobs) -> str | None:
    uri = f"{blobs.base}/{_ID_OBJECT}"
    try:
        text = (await blobs.read(uri, bytes_max=_ID_BYTES_MAX)).decode("utf-8", "replace").strip()
    except BlobMissing:
        return None
    except BlobTooLarge:
        text = ""
    if not _ID.fullmatch(text):
        raise BadSetting(f"{uri} holds no id (32 of 0-9 and a-f); delete it if the storage is the right one")
    return text


async def _write_id(blobs: Blobs, value: str) -> None:
    await blobs.write(f"{blobs.base}/{_ID_OBJECT}", f"{value}\n".encode())
