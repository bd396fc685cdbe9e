"""The object storage of a server: locations, objects, and signed URLs for clients."""

from __future__ import annotations

import base64
import errno
import os
import secrets
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import unquote

from app.blobs import blob_errors, object_names
from app.blobs.bucket import CONTENT_MD5, Bucket
from app.blobs.folder import Folder
from app.blobs.signed_urls import KEY_BYTES, SignedUrlRefused, UrlSigner
from app.cache import ByteCache
from app.settings import BadSetting, Settings

_Reply = TypeVar("_Reply")

_LOCAL_MD5_HEADER = f"x-amz-meta-{CONTENT_MD5}"


class Blobs:
    """Objects below `base`: an absolute path, or s3://bucket[/prefix], gs://…, az://….

    Rows, events and replies hold locations as URIs, which are plain absolute paths for a local folder. Locations
    outside the base can be read where storage.aliases maps them to a folder, or storage.enableMulticontainer allows all
    buckets.

    Args:
        settings: Their section storage is used.

    Raises:
        BadSetting: The base cannot be created, or the options of the store are wrong.

    Attributes:
        base: The location of the storage.
        local: Whether the base is a local folder.
        unavailable: The last call that failed because the store did not answer; None before the first.
    """

    def __init__(self, settings: Settings) -> None:
        self.base = settings.storage_url
        self.local = "://" not in self.base
        self.unavailable: blob_errors.Unavailability | None = None
        self._settings = settings
        self._buckets: dict[str, Bucket] = {}
        self._immutable = ByteCache(settings.limits.kept_closure_bytes_max)
        self._folder: Folder | None = None
        self._signer: UrlSigner | None = None
        self._public_url = settings.own_url
        self._public_url_wins = bool(settings.server.public_url)
        self._aliases = {p.rstrip("/"): Folder(os.path.abspath(f)) for p, f in settings.storage.aliases.items()}
        try:
            if self.local:
                self._folder = Folder(self.base)
                self._folder.prepare()
                self._signer = UrlSigner(secrets.token_bytes(KEY_BYTES))
            else:
                self._bucket(self.base)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise BadSetting(f"the storage {self.base} cannot be used ({reason}); change storage.url") from error

    def use_signing_key(self, key: bytes) -> None:
        """Sign and verify URLs of a local folder with this key. Until then a random key of this process is used."""
        if self._signer is not None:
            self._signer = UrlSigner(key)

    # Locations.

    def uri(self, *parts: str) -> str:
        """Return the location below the base for these parts; different parts give different locations."""
        return "/".join((self.base, *map(object_names.component, parts)))

    def upload_uri(self, folder: Sequence[str], file: Sequence[str]) -> str:
        """Return the location of an uploaded file, which keeps its name.

        Args:
            folder: Parts of the folder's location, as in `uri`.
            file: Path components that `object_names.file_name_problem` accepts; none is empty, `.` or `..`.
        """
        return "/".join((self.uri(*folder), *file))

    def contains(self, uri: str) -> bool:
        """Return whether a location is below the base."""
        path = _plain(uri)
        if "\0" in path:
            return False
        return self._folder.holds(path) if self._folder is not None else path.startswith(self.base + "/")

    def in_own_folder(self, uri: str) -> bool:
        """Return whether a location is in the local folder, where tasks may create links and pipes."""
        return self._folder is not None and self.contains(uri)

    def _decoded(self, uri: str) -> str:
        """Return a location; a local one without a file is returned with %XX decoded."""
        if self._folder is None or "%" not in uri or "://" in uri or "\0" in uri or os.path.lexists(uri):
            return uri
        return unquote(uri)

    def key(self, uri: str) -> str:
        """Return the location relative to the base, as in signed URLs.

        Raises:
            BlobOutside: The location is not below the base.
        """
        if not self.contains(uri):
            raise blob_errors.outside(uri)
        return _plain(uri)[len(self.base) + 1 :]

    def check_name(self, uri: str) -> None:
        """Raise BlobNameRefused for a location whose name is too long for the store."""
        if self.local:
            if len(uri.encode()) > object_names.PATH_BYTES_MAX or any(
                len(part.encode()) > object_names.FILE_NAME_BYTES_MAX for part in uri.split("/")
            ):
                raise blob_errors.unwritable_file(uri, OSError(errno.ENAMETOOLONG, ""))
        elif len(uri.split("/", 3)[3].encode()) > object_names.KEY_BYTES_MAX:
            raise blob_errors.name_refused(uri, f"a key of a bucket has at most {object_names.KEY_BYTES_MAX} bytes")

    def folder_path(self, key: str) -> tuple[Folder, str]:
        """Return the local folder and the path of an object in it.

        Args:
            key: The key in a signed URL, as `key` returns it.

        Raises:
            BlobOutside: The storage is not local, or the path leads out of the folder.
        """
        path = os.path.normpath(f"{self.base}/{key}")
        if self._folder is None or "\0" in key or not self._folder.holds(path):
            raise blob_errors.outside(key)
        return self._folder, path

    # Objects.

    async def read(self, uri: str, *, bytes_max: int, setting: str = "") -> bytes:
        """Return the bytes of an object.

        Args:
            uri: The object's location.
            bytes_max: Largest size in bytes; 0 is no limit.
            setting: The setting behind `bytes_max` for the error, such as DOWNLOAD_LIMIT; "" for a fixed limit.

        Raises:
            BlobMissing: There is no object.
            BlobTooLarge: The object is larger than `bytes_max`.
            BlobUnreadable, BlobUnavailable: The object cannot be read.
            BlobOutside: The location cannot be read by this server.
        """
        store, key = self._locate(self._decoded(uri))
        return await self._recorded(store.read(key, uri, bytes_max, setting))

    async def read_immutable(self, uri: str, *, bytes_max: int, setting: str = "") -> bytes:
        """Return the bytes of an object that never changes, from a cache; arguments and errors as `read`."""
        data = self._immutable.get((uri,))
        if data is None or (bytes_max and len(data) > bytes_max):
            data = await self.read(uri, bytes_max=bytes_max, setting=setting)
            self._immutable.put((uri,), data)
        return data

    async def size(self, uri: str) -> int:
        """Return the object's size in bytes; errors as `read`."""
        store, key = self._locate(self._decoded(uri))
        return await self._recorded(store.size(key, uri))

    async def exists(self, uri: str) -> bool:
        """Return whether the object exists; errors as `read`."""
        try:
            await self.size(uri)
        except blob_errors.BlobMissing:
            return False
        return True

    async def matches_md5(self, uri: str, md5: bytes) -> bool:
        """Return whether the object has this MD5; errors as `read`."""
        store, key = self._locate(self._decoded(uri))
        return await self._recorded(store.matches_md5(key, uri, md5))

    async def write(self, uri: str, data: bytes, *, durable: bool = True) -> None:
        """Store an object and replace an existing one, atomically: readers see the old or the new object.

        Args:
            uri: The object's location.
            data: Its bytes.
            durable: Whether the object outlives a power failure of a machine with a local store. An object that can be
                made again need not: its write takes half the time.

        Raises:
            BlobOutside: The location is not below the base.
            BlobUnwritable, BlobUnavailable, BlobNameRefused, StorageFull: The object cannot be stored.
        """
        await self._write(uri, data, replace=True, durable=durable)

    async def write_all(self, objects: Mapping[str, bytes]) -> None:
        """Store several objects of one kind of store by location, as `write` does, with less work than one by one."""
        by_store: dict[Folder | Bucket, list[tuple[str, str, bytes]]] = {}
        for uri, data in objects.items():
            if not self.contains(uri):
                raise blob_errors.outside(uri)
            store, key = self._locate(uri)
            by_store.setdefault(store, []).append((key, uri, data))
        for store, some in by_store.items():
            await self._recorded(store.write_all(some))

    async def create(self, uri: str, data: bytes) -> bool:
        """Store an object unless one exists; errors as `write`.

        Returns:
            Whether the object was stored. False where one exists, and where a bucket has no conditional put.
        """
        return await self._write(uri, data, replace=False)

    async def _write(self, uri: str, data: bytes, *, replace: bool, durable: bool = True) -> bool:
        if not self.contains(uri):
            raise blob_errors.outside(uri)
        store, key = self._locate(uri)
        if isinstance(store, Folder):
            return await self._recorded(store.write(key, uri, data, replace=replace, durable=durable))
        return await self._recorded(store.write(key, uri, data, replace=replace))

    async def _recorded(self, call: Awaitable[_Reply]) -> _Reply:
        try:
            return await call
        except blob_errors.BlobUnavailable as error:
            self.unavailable = blob_errors.Unavailability(time.time(), error.message)
            raise

    # Signed URLs for clients.

    async def sign_get(self, uri: str, *, ttl_seconds: int, endpoint: str = "") -> str:
        """Return a URL from which anybody may download the object.

        Args:
            uri: The object's location.
            ttl_seconds: How long the URL is valid.
            endpoint: scheme://host[:port] by which the client reached this server; used for a local folder.

        Raises:
            BlobOutside: The location cannot be read by this server.
            BlobUnreadable: There are no credentials to sign with.
        """
        if self._signer is not None:
            key = self.key(self._decoded(uri))
            return self._signer.sign(self._endpoint(endpoint), "GET", key, ttl_seconds=ttl_seconds)
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
        """Return a URL to which anybody may upload the object; `endpoint` and errors as `sign_get`.

        Args:
            uri: The object's location.
            ttl_seconds: How long the URL is valid.
            content_md5: The MD5 that the upload must have, b"" for any; a local folder and S3 enforce it.
            with_metadata: Whether the upload records its MD5 as metadata, see `upload_headers`.
            endpoint: scheme://host[:port] by which the client reached this server.
        """
        if self._signer is not None:
            where = self._endpoint(endpoint)
            return self._signer.sign(where, "PUT", self.key(uri), ttl_seconds=ttl_seconds, md5=content_md5)
        store, key = self._locate(uri)
        assert isinstance(store, Bucket)
        headers = store.upload_headers(base64.b64encode(content_md5).decode(), with_metadata=with_metadata)
        return await store.sign("PUT", key, uri, ttl_seconds, headers)

    def upload_headers(self, content_md5: bytes, *, with_metadata: bool) -> dict[str, str]:
        """Return the headers that a client must send with its upload.

        Parity: Content-Length is that of the MD5's text, because the length of the body is unknown; clients replace it.
        """
        text = base64.b64encode(content_md5).decode()
        length = {"Content-Length": str(len(text))}
        if not self.local:
            return length | self._bucket(self.base).upload_headers(text, with_metadata=with_metadata)
        return length | {"Content-MD5": text} | ({_LOCAL_MD5_HEADER: text} if with_metadata else {})

    def check_signed_url(self, method: str, key: str, query: dict[str, str]) -> bytes:
        """Return the MD5 that a signed URL requires of an upload; arguments and errors as `UrlSigner.verify`."""
        if self._signer is None:
            raise SignedUrlRefused("the storage is a bucket, whose URLs this server does not serve")
        return self._signer.verify(method, key, query)

    def _endpoint(self, endpoint: str) -> str:
        return self._public_url if self._public_url_wins or not endpoint else endpoint

    def _locate(self, uri: str) -> tuple[Folder | Bucket, str]:
        """Return the store of a location, and the object's key there.

        Raises:
            BlobOutside: The location is in no store of this server.
        """
        for prefix, folder in self._aliases.items():
            if uri.startswith(prefix + "/"):
                key = uri[len(prefix) + 1 :]
                path = os.path.normpath(f"{folder.path}/{key}")
                if not os.path.exists(path):
                    path = os.path.normpath(f"{folder.path}/{object_names.key_of(key)}")
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
        raise blob_errors.outside(uri)

    def _bucket(self, uri: str) -> Bucket:
        scheme, _, rest = uri.partition("://")
        url = f"{scheme}://{rest.partition('/')[0]}"
        if url not in self._buckets:
            self._buckets[url] = Bucket(url, self._settings)
        return self._buckets[url]


def _plain(uri: str) -> str:
    """Return a URI in the form of rows: local ones as a normalised path, others unchanged."""
    if uri.startswith("file://"):
        uri = unquote(uri.removeprefix("file://"))
    return os.path.normpath(uri) if uri.startswith("/") else uri
