"""The one store of a server: its base, what else it may read, and addresses for clients."""

from __future__ import annotations

import base64
import errno
import os
import secrets
import time
from collections.abc import Awaitable, Sequence
from typing import TypeVar
from urllib.parse import unquote

from app.blobs import links, names, problems
from app.blobs.bucket import CONTENT_MD5, Bucket
from app.blobs.folder import Folder
from app.cache import ByteCache
from app.settings import BadSetting, Settings

_Reply = TypeVar("_Reply")

_LOCAL_MD5_HEADER = f"x-amz-meta-{CONTENT_MD5}"

# Limits of Linux and macOS for a component and a path, and of S3, Google Cloud Storage and Azure for a key.
NAME_BYTES_MAX = 255
PATH_BYTES_MAX = 4095
KEY_BYTES_MAX = 1024


class Blobs:
    """Objects under `base`: an absolute path, or s3://bucket[/prefix], gs://…, az://….

    Locations that rows, events and replies hold are URIs: plain absolute paths locally. Those of others
    are read where storage.aliases maps them to a folder, or storage.enableMulticontainer allows every bucket.

    Attributes:
        unavailable: The last call that failed because the store did not answer; None where none has.
    """

    def __init__(self, settings: Settings) -> None:
        """errors: BadSetting where the base cannot be made or the store's options contradict themselves"""
        self.base = settings.storage_url
        self.local = "://" not in self.base
        self.unavailable: problems.Unavailability | None = None
        self._settings = settings
        self._buckets: dict[str, Bucket] = {}
        self._fixed = ByteCache(settings.limits.kept_closure_bytes_max)
        self._folder: Folder | None = None
        self._links: links.Links | None = None
        self._public_url = settings.server.public_url or f"http://localhost:{settings.server.http_port}"
        self._public_url_wins = bool(settings.server.public_url)
        self._aliases = {p.rstrip("/"): Folder(os.path.abspath(f)) for p, f in settings.storage.aliases.items()}
        try:
            if self.local:
                self._folder = Folder(self.base)
                self._folder.prepare()
                self._links = links.Links(secrets.token_bytes(links.KEY_BYTES))
            else:
                self._bucket(self.base)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise BadSetting(f"the storage {self.base} cannot be used ({reason}); change storage.url") from error

    def sign_with(self, key: bytes) -> None:
        """Sign and check addresses with this key. Until then a random key is used, which no other process has."""
        if self._links is not None:
            self._links = links.Links(key)

    # Locations.

    def uri(self, *parts: str) -> str:
        """The location under the base that these parts name; other parts name another location."""
        return "/".join((self.base, *map(names.component, parts)))

    def upload_uri(self, folder: Sequence[str], file: Sequence[str]) -> str:
        """Return the location of an uploaded file, which keeps its name.

        Args:
            folder: parts of the folder's location, as in uri().
            file: names without a problem (names.file_name_problem); none of them is empty, `.` or `..`.
        """
        return "/".join((self.uri(*folder), *file))

    def contains(self, uri: str) -> bool:
        """Whether a location lies under the base."""
        path = _plain(uri)
        if "\0" in path:
            return False
        return self._folder.holds(path) if self._folder is not None else path.startswith(self.base + "/")

    def in_own_folder(self, uri: str) -> bool:
        """Return whether a location lies in this server's local storage, where tasks may leave links and pipes."""
        return self._folder is not None and self.contains(uri)

    def _decoded(self, uri: str) -> str:
        """Return the location of a local object that lies there; one that does not is looked for with %XX decoded."""
        if self._folder is None or "%" not in uri or "://" in uri or "\0" in uri or os.path.lexists(uri):
            return uri
        return unquote(uri)

    def key(self, uri: str) -> str:
        """The location relative to the base, as it stands in addresses. errors: BlobOutside"""
        if not self.contains(uri):
            raise problems.outside(uri)
        return _plain(uri)[len(self.base) + 1 :]

    def check_name(self, uri: str) -> None:
        """Raise BlobNameRefused for a location whose name is too long for the store, whatever lies there."""
        if self.local:
            if len(uri.encode()) > PATH_BYTES_MAX or any(
                len(part.encode()) > NAME_BYTES_MAX for part in uri.split("/")
            ):
                raise problems.unwritable(uri, OSError(errno.ENAMETOOLONG, ""))
        elif len(uri.split("/", 3)[3].encode()) > KEY_BYTES_MAX:
            raise problems.name_refused(uri, f"a key of a bucket has at most {KEY_BYTES_MAX} bytes")

    def folder_path(self, key: str) -> tuple[Folder, str]:
        """The folder of a local store and the path in it that a key of an address means. errors: BlobOutside"""
        path = os.path.normpath(f"{self.base}/{key}")
        if self._folder is None or "\0" in key or not self._folder.holds(path):
            raise problems.outside(key)
        return self._folder, path

    # Objects.

    async def read(self, uri: str, *, bytes_max: int) -> bytes:
        """The object's bytes.

        units:  bytes_max in bytes, 0 for no limit
        errors: BlobMissing, BlobTooLarge, BlobUnreadable, BlobOutside (all BlobError)
        """
        store, key = self._locate(self._decoded(uri))
        return await self._noting(store.read(key, uri, bytes_max))

    async def read_fixed(self, uri: str, *, bytes_max: int) -> bytes:
        """As read, of an object that is written once and never changed: it is read once and kept within bounds."""
        data = self._fixed.get((uri,))
        if data is None or (bytes_max and len(data) > bytes_max):
            data = await self.read(uri, bytes_max=bytes_max)
            self._fixed.put((uri,), data)
        return data

    async def size(self, uri: str) -> int:
        """The object's size in bytes. errors: BlobMissing, BlobUnreadable, BlobOutside"""
        store, key = self._locate(self._decoded(uri))
        return await self._noting(store.size(key, uri))

    async def exists(self, uri: str) -> bool:
        """Whether there is an object. errors: BlobUnreadable, BlobOutside"""
        try:
            await self.size(uri)
        except problems.BlobMissing:
            return False
        return True

    async def matches_md5(self, uri: str, md5: bytes) -> bool:
        """Whether the object has this MD5. errors: BlobMissing, BlobUnreadable, BlobOutside"""
        store, key = self._locate(self._decoded(uri))
        return await self._noting(store.matches_md5(key, uri, md5))

    async def write(self, uri: str, data: bytes) -> None:
        """Store an object whole, in place of what was there; it survives a kill of the process at any moment.

        errors: BlobOutside, BlobUnwritable, StorageFull
        """
        if not self.contains(uri):
            raise problems.outside(uri)
        store, key = self._locate(uri)
        await self._noting(store.write(key, uri, data))

    async def create(self, uri: str, data: bytes) -> bool:
        """Store an object unless there is one. Return False, and store nothing, where there is one.

        False also where a bucket cannot be asked for this.

        Raises:
            BlobOutside, BlobUnwritable, StorageFull: The object cannot be stored.
        """
        if not self.contains(uri):
            raise problems.outside(uri)
        store, key = self._locate(uri)
        return await self._noting(store.create(key, uri, data))

    async def _noting(self, call: Awaitable[_Reply]) -> _Reply:
        try:
            return await call
        except problems.BlobUnavailable as error:
            self.unavailable = problems.Unavailability(time.time(), error.message)
            raise

    # Addresses for clients.

    async def sign_get(self, uri: str, *, ttl_seconds: int, endpoint: str = "") -> str:
        """An address from which anybody may download the object for ttl_seconds.

        shape:  endpoint: this server as the client wrote it (Context.endpoint); only local stores need it
        errors: BlobOutside; BlobUnreadable without credentials to sign with
        """
        if self._links is not None:
            key = self.key(self._decoded(uri))
            return self._links.address(self._endpoint(endpoint), "GET", key, ttl_seconds=ttl_seconds)
        store, key = self._locate(uri)
        assert isinstance(store, Bucket)
        return await store.sign("GET", key, uri, ttl_seconds)

    async def sign_put(
        self,
        uri: str,
        *,
        ttl_seconds: int,
        content_md5: bytes = b"",
        with_metadata: bool = False,
        endpoint: str = "",
    ) -> str:
        """Return an address to which anybody may upload the object for ttl_seconds.

        Args:
            uri: The object's location.
            ttl_seconds: How long the address is valid.
            content_md5: What the upload has to have, b"" for anything; a local store and S3 enforce it.
            with_metadata: Whether the upload brings its MD5 as metadata, see `upload_headers`.
            endpoint: Where the client reaches this server.

        Raises:
            BlobError: As `sign_get`.
        """
        if self._links is not None:
            where = self._endpoint(endpoint)
            return self._links.address(where, "PUT", self.key(uri), ttl_seconds=ttl_seconds, md5=content_md5)
        store, key = self._locate(uri)
        assert isinstance(store, Bucket)
        headers = store.upload_headers(base64.b64encode(content_md5).decode(), with_metadata=with_metadata)
        return await store.sign("PUT", key, uri, ttl_seconds, headers)

    def upload_headers(self, content_md5: bytes, *, with_metadata: bool) -> dict[str, str]:
        """The headers that a client has to send with its upload.

        Parity: Content-Length is that of the MD5's text, since nobody here knows the body's; clients replace it.
        """
        text = base64.b64encode(content_md5).decode()
        length = {"Content-Length": str(len(text))}
        if not self.local:
            return length | self._bucket(self.base).upload_headers(text, with_metadata=with_metadata)
        return length | {"Content-MD5": text} | ({_LOCAL_MD5_HEADER: text} if with_metadata else {})

    def check_address(self, method: str, key: str, query: dict[str, str]) -> bytes:
        """The MD5 that an address of ours asks of an upload. errors: LinkRefused"""
        if self._links is None:
            raise links.LinkRefused("this server's storage is not served by the server itself")
        return self._links.check(method, key, query)

    def _endpoint(self, endpoint: str) -> str:
        return self._public_url if self._public_url_wins or not endpoint else endpoint

    def _locate(self, uri: str) -> tuple[Folder | Bucket, str]:
        """The store that holds a location and the object's key there. errors: BlobOutside"""
        for prefix, folder in self._aliases.items():
            if uri.startswith(prefix + "/"):
                key = uri[len(prefix) + 1 :]
                path = os.path.normpath(f"{folder.path}/{key}")
                if not os.path.exists(path):
                    path = os.path.normpath(f"{folder.path}/{names.key_of(key)}")
                if folder.holds(path) and "\0" not in path:
                    return folder, path
        path, inside = _plain(uri), self.contains(uri)
        if self._folder is not None and inside:
            return self._folder, path
        if "://" in path and (inside or self._settings.storage.enable_multicontainer):
            scheme, _, rest = path.partition("://")
            bucket, _, key = rest.partition("/")
            if key:
                return self._bucket(f"{scheme}://{bucket}"), key
        raise problems.outside(uri)

    def _bucket(self, uri: str) -> Bucket:
        scheme, _, rest = uri.partition("://")
        url = f"{scheme}://{rest.partition('/')[0]}"
        if url not in self._buckets:
            self._buckets[url] = Bucket(url, self._settings)
        return self._buckets[url]


def _plain(uri: str) -> str:
    """A URI in the form that rows have: local ones as a normalised path, others as they are."""
    if uri.startswith("file://"):
        uri = unquote(uri.removeprefix("file://"))
    return os.path.normpath(uri) if uri.startswith("/") else uri
