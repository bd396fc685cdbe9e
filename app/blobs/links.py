"""Signed, expiring addresses of objects in a local folder, which this server serves itself (app/api/pages/storage.py).

    <endpoint>/storage/<key>?method=GET&expires=<Unix seconds>&signature=<HMAC-SHA256>[&md5=<hex>]

The signature covers method, key, expiry and MD5, so a link serves one purpose for a time. The signing key lies in the
database (app/server/installation.py), so an address works on every server of that database, also after a restart.
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


class LinkRefused(errors.PermissionDenied):
    """the address is not valid"""


class Links:
    """Makes and checks the addresses."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def address(self, endpoint: str, method: str, key: str, *, ttl_seconds: int, md5: bytes = b"") -> str:
        """The address that allows method on the object for ttl_seconds; md5 is what a PUT has to bring."""
        expires = int(time.time()) + ttl_seconds
        query = {"method": method, "expires": str(expires)}
        if md5:
            query["md5"] = md5.hex()
        query["signature"] = self._signature(method, key, expires, md5)
        return f"{endpoint.rstrip('/')}{PREFIX}{quote(key)}?{urlencode(query)}"

    def check(self, method: str, key: str, query: Mapping[str, str]) -> bytes:
        """The MD5 that the address asks of a PUT, b"" for none.

        errors: LinkRefused where the address is not ours, was signed for something else, or has expired
        """
        try:
            expires, md5 = int(query.get("expires", "")), bytes.fromhex(query.get("md5", ""))
        except ValueError as error:
            raise LinkRefused("the address is not a signed one: expires or md5 cannot be read") from error
        signed = query.get("method", "")
        expected = self._signature(signed, key, expires, md5)
        if not hmac.compare_digest(expected.encode(), query.get("signature", "").encode()):
            raise LinkRefused("the signature does not fit the address")
        if signed != ("GET" if method == "HEAD" else method):
            raise LinkRefused(f"the address was signed for {signed}, not for {method}")
        if expires <= time.time():
            raise LinkRefused("the address has expired")
        return md5

    def _signature(self, method: str, key: str, expires: int, md5: bytes) -> str:
        # No field before the key can hold a line break, and the key comes last, so no two requests read alike.
        text = f"{method}\n{expires}\n{md5.hex()}\n{key}"
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
