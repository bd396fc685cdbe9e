"""Signed, expiring addresses of objects in a local folder, which this server serves itself (app/api/storage.py).

    <endpoint>/storage/<key>?method=GET&expires=<Unix seconds>&signature=<HMAC-SHA256>[&md5=<hex>]

The signature covers method, key, expiry and MD5, so a link serves one purpose for a time. Its key is kept in the
home folder, readable for its owner alone, so that every worker, and the server after a restart, knows it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

from app import errors

PREFIX = "/storage/"
KEY_FILE = "storage.key"
KEY_BYTES = 32


class LinkRefused(errors.PermissionDenied):
    """the address is not valid"""


def secret(home: Path) -> bytes:
    """The signing key of this home folder, made when there is none.

    errors: OSError, ValueError where the file is not one of ours
    """
    file = home / KEY_FILE
    if not file.exists():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = home / f".{KEY_FILE}.{secrets.token_hex(8)}"
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_hex(KEY_BYTES) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            # Linking fails when another worker was first, and then its key counts.
            os.link(fresh, file)
        except FileExistsError:
            pass
        finally:
            os.unlink(fresh)
    key = bytes.fromhex(file.read_text().strip())
    if len(key) < KEY_BYTES:
        raise ValueError(f"{file} holds no key of {KEY_BYTES} bytes")
    return key


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
