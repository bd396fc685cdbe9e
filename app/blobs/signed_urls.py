"""Signed, expiring URLs of objects in a local folder, which this server serves itself (app/api/pages/storage.py).

    <endpoint>/storage/<key>?method=GET&expires=<Unix seconds>&signature=<HMAC-SHA256>[&md5=<hex>]

The signature covers method, key, expiry and MD5, so a URL allows one operation for a limited time. The signing key is
stored in the database (app/server/installation.py): a URL is valid on every server of that database, and after a
restart.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from app import errors

PREFIX = "/storage/"
KEY_BYTES = 32


class SignedUrlRefused(errors.PermissionDenied):
    """The URL is not signed by this installation, was signed for something else, or has expired."""


class UrlSigner:
    """Signs and verifies URLs with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, endpoint: str, method: str, key: str, *, ttl_seconds: int, md5: bytes = b"") -> str:
        """Return a URL that allows `method` on an object.

        Args:
            endpoint: scheme://host[:port] of this server.
            method: GET or PUT.
            key: The object's location relative to the storage's base.
            ttl_seconds: How long the URL is valid.
            md5: The MD5 that the body of a PUT must have; b"" for any.
        """
        expires = int(time.time()) + ttl_seconds
        query = {"method": method, "expires": str(expires)}
        if md5:
            query["md5"] = md5.hex()
        query["signature"] = self._signature(method, key, expires, md5)
        return f"{endpoint.rstrip('/')}{PREFIX}{quote(key)}?{urlencode(query)}"

    def verify(self, method: str, key: str, query: Mapping[str, str]) -> bytes:
        """Return the MD5 that the URL requires of a PUT, b"" for none.

        Args:
            method: The method of the request.
            key: The key in the URL's path.
            query: The URL's query parameters.

        Raises:
            SignedUrlRefused: The URL does not allow this request.
        """
        try:
            expires, md5 = int(query.get("expires", "")), bytes.fromhex(query.get("md5", ""))
        except ValueError as error:
            raise SignedUrlRefused(
                "the URL is not a signed one: its parameter expires or md5 cannot be parsed"
            ) from error
        signed = query.get("method", "")
        expected = self._signature(signed, key, expires, md5)
        if not hmac.compare_digest(expected.encode(), query.get("signature", "").encode()):
            raise SignedUrlRefused("the signature does not match the URL")
        if signed != ("GET" if method == "HEAD" else method):
            raise SignedUrlRefused(f"the URL was signed for {signed}, not for {method}")
        if expires <= time.time():
            raise SignedUrlRefused("the URL has expired")
        return md5

    def _signature(self, method: str, key: str, expires: int, md5: bytes) -> str:
        # Only the key can contain a line break, and it comes last: different requests give different texts.
        text = f"{method}\n{expires}\n{md5.hex()}\n{key}"
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
