"""A bucket of S3, Google Cloud Storage or Azure as a store, through obstore. Keys are the paths of locations."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, cast
from urllib.parse import unquote

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError
from obstore.store import from_url

from app.blobs import names, problems
from app.blobs.presign import with_headers
from app.settings import BadSetting, Settings, redact

# Upstream's name for the MD5 that an uploader leaves in the object's metadata.
CONTENT_MD5 = "flyteContentMD5"

# obstore has one class for errors of the network, of the server and of some requests; their texts tell them apart.
_PASSING = re.compile(
    r"HTTP error: |error sending request|status code: (?:408|429|5(?!01)\d\d)\b"
    r"|<Code>(?:RequestTimeout|SlowDown)</Code>"
)

# The answer of a store that knows no conditional put.
_NOT_IMPLEMENTED = "501 Not Implemented"
_CLIENT = {"connect_timeout": "5s", "timeout": "60s"}
_RETRY = {"max_retries": 3, "retry_timeout": timedelta(seconds=15)}


class Bucket:
    """Objects of one bucket. url has no path: s3://bucket."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = url
        self._store = _connect(url, settings, {})
        override = settings.storage.signed_url.stow_config_override
        # Clients may reach the store by another address than this server does.
        self._signer = _connect(url, settings, override) if override else self._store
        self._secret = _secret(self._signer) if url.startswith("s3://") else ""

    async def read(self, key: str, uri: str, bytes_max: int) -> bytes:
        """The bytes of the object; bytes_max 0 is no limit. errors: BlobMissing, BlobTooLarge, BlobUnreadable"""
        try:
            found = await obstore.get_async(self._store, await self._present(key))
            if bytes_max and found.meta["size"] > bytes_max:
                raise problems.too_large(uri, found.meta["size"], bytes_max)
            return bytes(await found.bytes_async())
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise problems.unreadable(uri, f"there is no bucket [{self.url}]") from error
            raise problems.missing(uri) from None
        except (BaseError, ValueError, OSError) as error:
            raise _unreadable(uri, error) from error

    async def size(self, key: str, uri: str) -> int:
        """How many bytes the object has. errors: BlobMissing, BlobUnreadable"""
        return int((await self._head(key, uri)).meta["size"])

    async def matches_md5(self, key: str, uri: str, md5: bytes) -> bool:
        """Whether the object has this MD5, by the metadata that its uploader left, else by its ETag.

        errors: BlobMissing, BlobUnreadable
        source: upstream Service.CreateUploadLocation
        """
        found = await self._head(key, uri)
        attributes = {str(name).lower(): value for name, value in found.attributes.items()}
        recorded = attributes.get(CONTENT_MD5.lower())
        text = base64.b64encode(md5).decode()
        if recorded:
            return str(recorded) == text
        etag = (found.meta["e_tag"] or "").strip('"')
        return str(etag) in (md5.hex(), base64.b32encode(md5).decode(), text)

    async def _head(self, key: str, uri: str) -> Any:
        try:
            return await obstore.get_async(self._store, await self._present(key), options={"head": True})
        except FileNotFoundError:
            raise problems.missing(uri) from None
        except (BaseError, ValueError, OSError) as error:
            raise _unreadable(uri, error) from error

    async def _present(self, key: str) -> str:
        """Return the key of the object that a location means: its text, else that decoded, else as upstream reads it.

        flytekit writes keys as they are. Upstream's server encodes them in the locations of its rows.
        """
        last = names.key_of(key)
        for candidate in dict.fromkeys((key, unquote(key))):
            if candidate == last:
                break
            try:
                await obstore.head_async(self._store, candidate)
            except FileNotFoundError:
                continue
            return candidate
        return last

    async def write(self, key: str, uri: str, data: bytes) -> None:
        """Store data as the object, whole or not at all. errors: BlobUnwritable"""
        try:
            await obstore.put_async(self._store, key, data)
        except (BaseError, ValueError, OSError) as error:
            raise _unwritable(uri, error) from error

    async def create(self, key: str, uri: str, data: bytes) -> bool:
        """Store data as the object; False where there is one, or where the bucket knows no conditional put.

        errors: BlobUnwritable
        """
        try:
            await obstore.put_async(self._store, key, data, mode="create")
        except (AlreadyExistsError, NotSupportedError):
            return False
        except (BaseError, ValueError, OSError) as error:
            if _NOT_IMPLEMENTED in _reason(error):
                return False
            raise _unwritable(uri, error) from error
        return True

    def upload_headers(self, content_md5: str, *, with_metadata: bool) -> dict[str, str]:
        """Return the headers of an upload besides its length: the MD5, and where it is kept as the object's metadata.

        Deviates: GCS, and S3 with credentials of a role, take no metadata: they refuse headers that are not signed, and
        obstore signs the host alone.

        Source: upstream PreSignRequest of stow's containers.
        """
        headers = {"Content-MD5": content_md5}
        if self._secret and with_metadata and content_md5:
            headers[f"x-amz-meta-{CONTENT_MD5}"] = content_md5
        if self.url.startswith("az://"):
            headers["x-ms-blob-type"] = "BlockBlob"
            if with_metadata and content_md5:
                headers[f"x-ms-meta-{CONTENT_MD5}"] = content_md5
        return headers

    async def sign(
        self,
        method: Literal["GET", "PUT"],
        key: str,
        uri: str,
        ttl_seconds: int,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Return an address that allows method on the object for ttl_seconds.

        Args:
            method: What the address allows.
            key: The object's key.
            uri: The object's URI, for errors.
            ttl_seconds: How long the address is valid.
            headers: What a request has to bring; bound by the signature on S3 where the secret key is configured.

        Raises:
            BlobUnreadable: There are no credentials.
        """
        try:
            url: str = await obstore.sign_async(
                cast(Any, self._signer),
                method,
                await self._present(key) if method == "GET" else key,
                expires_in=timedelta(seconds=ttl_seconds),
            )
            needed = {name: value for name, value in (headers or {}).items() if value}
            return with_headers(url, method, self._secret, needed) if self._secret and needed else url
        except (BaseError, ValueError, OSError) as error:
            reason = _reason(error)
            if _may_pass(reason):
                raise problems.unavailable(uri, "signed for", reason) from error
            raise problems.BlobUnreadable(f"object [{uri}] cannot be signed for: {reason}") from error


def _unwritable(uri: str, error: Exception) -> problems.BlobError:
    reason = _reason(error)
    if _may_pass(reason):
        return problems.unavailable(uri, "stored", reason)
    return problems.BlobUnwritable(f"object [{uri}] cannot be stored: {reason}")


def _unreadable(uri: str, error: Exception) -> problems.BlobError:
    reason = _reason(error)
    return problems.unavailable(uri, "read", reason) if _may_pass(reason) else problems.unreadable(uri, reason)


def _may_pass(reason: str) -> bool:
    """Return whether the same call may succeed later: the store did not answer, was busy, or failed by itself."""
    return _PASSING.search(reason) is not None


def _secret(store: Any) -> str:
    """Return the secret access key that obstore signs with; "" for the credentials of a role, which it keeps."""
    given: str = store.config.get("secret_access_key", "")
    if given or "AWS_ACCESS_KEY_ID" not in os.environ:
        return given
    return os.environ.get("AWS_SECRET_ACCESS_KEY", "")


def _reason(error: Exception) -> str:
    """Return the first line of obstore's message, without secrets; below it stands a dump of its own state."""
    return redact(str(error).partition("\n")[0])[:500]


def _connect(url: str, settings: Settings, override: Mapping[str, str]) -> Any:
    scheme = url.partition("://")[0]
    options = _options(scheme, settings, override)
    endpoint = options.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or ""
    client = {**_CLIENT, "allow_http": str(endpoint).startswith("http://")}
    try:
        return from_url(
            url, config=cast(Any, options), client_options=cast(Any, client), retry_config=cast(Any, _RETRY)
        )
    except (BaseError, ValueError, OSError) as error:
        raise BadSetting(f"storage {url} cannot be opened: {_reason(error)}") from error


def _options(scheme: str, settings: Settings, override: Mapping[str, str]) -> dict[str, str]:
    """obstore's options out of upstream's sections storage.connection and storage.stow.config."""
    stow = {**settings.storage.stow.config, **override}
    if scheme == "gs":
        return {"service_account_key": stow["json"]} if stow.get("json") else {}
    if scheme == "az":
        names = {"account": "account_name", "key": "account_key", "base_url": "endpoint"}
        return {ours: stow[theirs] for theirs, ours in names.items() if stow.get(theirs)}
    return s3_options(settings, override)


def s3_options(settings: Settings, override: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return endpoint, region and keys of an S3 store by the settings, without those that the environment decides.

    Args:
        settings: Its sections storage.connection and storage.stow.config count.
        override: Entries of storage.stow.config that count instead.
    """
    stow = {**settings.storage.stow.config, **(override or {})}
    connection = settings.storage.connection
    endpoint = stow.get("endpoint") or connection.endpoint
    if endpoint and "://" not in endpoint:
        plain = connection.disable_ssl or stow.get("disable_ssl", "").lower() == "true"
        endpoint = f"{'http' if plain else 'https'}://{endpoint}"
    chosen = {
        "endpoint": endpoint.rstrip("/"),
        # Only a region that was given counts; else AWS_REGION does.
        "region": stow.get("region") or (connection.region if "region" in connection.model_fields_set else ""),
        "access_key_id": stow.get("access_key_id") or connection.access_key,
        "secret_access_key": stow.get("secret_key") or connection.secret_key.get_secret_value(),
    }
    auth_type = stow.get("auth_type") or ("accesskey" if stow.get("access_key_id") else connection.auth_type)
    if auth_type == "iam":
        # Parity: with iam the keys of the section are not used; the machine's own identity is.
        del chosen["access_key_id"], chosen["secret_access_key"]
    return {name: value for name, value in chosen.items() if value}
