"""Store objects in a bucket of S3, Google Cloud Storage or Azure, through obstore.

An object's key is the path of its location: `metadata/x` for s3://bucket/metadata/x.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, cast
from urllib.parse import unquote

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError
from obstore.store import from_url

from app.blobs import blob_errors, object_names
from app.blobs.presign import with_headers
from app.settings import BadSetting, Settings, redact

# Upstream's name of the object metadata in which an uploader records the MD5.
CONTENT_MD5 = "flyteContentMD5"

# obstore raises one class for errors of the network, of the server and of some requests; only their texts differ.
_TRANSIENT = re.compile(
    r"HTTP error: |error sending request|status code: (?:408|429|5(?!01)\d\d)\b"
    r"|<Code>(?:RequestTimeout|SlowDown)</Code>"
)

# The answer of a store without conditional put.
_NOT_IMPLEMENTED = "501 Not Implemented"
_CLIENT = {"connect_timeout": "5s", "timeout": "60s"}
_RETRY = {"max_retries": 3, "retry_timeout": timedelta(seconds=15)}


class Bucket:
    """Objects of one bucket.

    Args:
        url: Without a path, such as s3://bucket.
        settings: Its section storage gives endpoint and credentials.

    Raises:
        BadSetting: obstore refuses the options.
    """

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = url
        self._store = _connect(url, settings, {})
        override = settings.storage.signed_url.stow_config_override
        # Clients may have to use another address of the store than this server.
        self._signer = _connect(url, settings, override) if override else self._store
        self._secret = _secret(self._signer) if url.startswith("s3://") else ""

    async def read(self, key: str, uri: str, bytes_max: int, setting: str) -> bytes:
        """Return the bytes of the object; arguments and errors as `Blobs.read`."""
        try:
            found = await obstore.get_async(self._store, await self._existing(key))
            if bytes_max and found.meta["size"] > bytes_max:
                raise blob_errors.too_large(uri, found.meta["size"], bytes_max, setting)
            return bytes(await found.bytes_async())
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise blob_errors.unreadable(uri, f"there is no bucket [{self.url}]") from error
            raise blob_errors.missing(uri) from None
        except (BaseError, ValueError, OSError) as error:
            raise _unreadable(uri, error) from error

    async def size(self, key: str, uri: str) -> int:
        """Return the size of the object in bytes; errors as `Blobs.size`."""
        return int((await self._head(key, uri)).meta["size"])

    async def matches_md5(self, key: str, uri: str, md5: bytes) -> bool:
        """Return whether the object has this MD5, by the metadata of its uploader, else by its ETag.

        Errors are those of `Blobs.matches_md5`.

        Source:
            upstream Service.CreateUploadLocation
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
            return await obstore.get_async(self._store, await self._existing(key), options={"head": True})
        except FileNotFoundError:
            raise blob_errors.missing(uri) from None
        except (BaseError, ValueError, OSError) as error:
            raise _unreadable(uri, error) from error

    async def _existing(self, key: str) -> str:
        """Return the key under which the object exists: the given text, the decoded text, or as upstream reads it.

        flytekit writes keys unchanged. Upstream's server percent-encodes them in the locations of its rows.
        """
        last = object_names.key_of(key)
        for candidate in dict.fromkeys((key, unquote(key))):
            if candidate == last:
                break
            try:
                await obstore.head_async(self._store, candidate)
            except FileNotFoundError:
                continue
            return candidate
        return last

    async def write(self, key: str, uri: str, data: bytes, *, replace: bool) -> bool:
        """Store data as the object, completely or not at all; arguments, result and errors as `Blobs.create`."""
        try:
            await obstore.put_async(self._store, key, data, mode="overwrite" if replace else "create")
        except (BaseError, ValueError, OSError) as error:
            refused = isinstance(error, AlreadyExistsError | NotSupportedError) or _NOT_IMPLEMENTED in _reason(error)
            if refused and not replace:
                return False
            raise _unwritable(uri, error) from error
        return True

    async def write_all(self, objects: Sequence[tuple[str, str, bytes]]) -> None:
        """Store objects, given as key, location and data, at the same time; errors as `Blobs.write`."""
        await asyncio.gather(*(self.write(key, uri, data, replace=True) for key, uri, data in objects))

    def upload_headers(self, content_md5: str, *, with_metadata: bool) -> dict[str, str]:
        """Return the headers of an upload except its length: the MD5, also as metadata where the store accepts it.

        Deviates: no metadata for GCS, and for S3 with the credentials of a role. Both refuse headers that are not
        signed, and obstore signs only the host.

        Args:
            content_md5: Base64 of the MD5, "" for none.
            with_metadata: Whether to record the MD5 as metadata of the object.

        Source:
            upstream PreSignRequest of stow's containers
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
        """Return a signed URL that allows `method` on the object.

        Args:
            method: The allowed method.
            key: The object's key.
            uri: The object's location for errors.
            ttl_seconds: How long the URL is valid.
            headers: Headers that a request must have. The signature covers them on S3 with a configured secret key.

        Raises:
            BlobUnreadable: There are no credentials to sign with.
            BlobUnavailable: The store does not answer.
        """
        try:
            url: str = await obstore.sign_async(
                cast(Any, self._signer),
                method,
                await self._existing(key) if method == "GET" else key,
                expires_in=timedelta(seconds=ttl_seconds),
            )
            needed = {name: value for name, value in (headers or {}).items() if value}
            return with_headers(url, method, self._secret, needed) if self._secret and needed else url
        except (BaseError, ValueError, OSError) as error:
            reason = _reason(error)
            if _TRANSIENT.search(reason):
                raise blob_errors.unavailable(uri, "signed for", reason) from error
            raise blob_errors.BlobUnreadable(f"object [{uri}] cannot be signed for: {reason}") from error


def _unwritable(uri: str, error: Exception) -> blob_errors.BlobError:
    reason = _reason(error)
    return blob_errors.unwritable(uri, reason, transient=_TRANSIENT.search(reason) is not None)


def _unreadable(uri: str, error: Exception) -> blob_errors.BlobError:
    reason = _reason(error)
    return blob_errors.unreadable(uri, reason, transient=_TRANSIENT.search(reason) is not None)


def _secret(store: Any) -> str:
    """Return the secret access key that obstore signs with; "" for the credentials of a role, which it hides."""
    given: str = store.config.get("secret_access_key", "")
    if given or "AWS_ACCESS_KEY_ID" not in os.environ:
        return given
    return os.environ.get("AWS_SECRET_ACCESS_KEY", "")


def _reason(error: Exception) -> str:
    """Return the first line of obstore's message, without secrets; the other lines dump obstore's state."""
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
    """Return obstore's options from upstream's sections storage.connection and storage.stow.config."""
    stow = {**settings.storage.stow.config, **override}
    if scheme == "gs":
        return {"service_account_key": stow["json"]} if stow.get("json") else {}
    if scheme == "az":
        names = {"account": "account_name", "key": "account_key", "base_url": "endpoint"}
        return {ours: stow[theirs] for theirs, ours in names.items() if stow.get(theirs)}
    return s3_options(settings, override)


def s3_options(settings: Settings, override: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return endpoint, region and keys of an S3 store that the settings give; the environment gives the others.

    Args:
        settings: Its sections storage.connection and storage.stow.config are read.
        override: Entries that replace those of storage.stow.config.
    """
    stow = {**settings.storage.stow.config, **(override or {})}
    connection = settings.storage.connection
    endpoint = stow.get("endpoint") or connection.endpoint
    if endpoint and "://" not in endpoint:
        plain = connection.disable_ssl or stow.get("disable_ssl", "").lower() == "true"
        endpoint = f"{'http' if plain else 'https'}://{endpoint}"
    chosen = {
        "endpoint": endpoint.rstrip("/"),
        # The default region of the settings must not override AWS_REGION.
        "region": stow.get("region") or (connection.region if "region" in connection.model_fields_set else ""),
        "access_key_id": stow.get("access_key_id") or connection.access_key,
        "secret_access_key": stow.get("secret_key") or connection.secret_key.get_secret_value(),
    }
    auth_type = stow.get("auth_type") or ("accesskey" if stow.get("access_key_id") else connection.auth_type)
    if auth_type == "iam":
        # Parity: iam means the identity of the machine; the keys of the section are ignored.
        del chosen["access_key_id"], chosen["secret_access_key"]
    return {name: value for name, value in chosen.items() if value}
