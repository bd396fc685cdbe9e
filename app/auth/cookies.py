"""Cookies of the browser login: their keys, names, values and attributes.

    flyte_session             id of a session, signed; the session itself is a row (app/auth/sessions.py)
    flyte_csrf_state          binds one sign-in to one browser, signed
    flyte_redirect_location   the page to which a sign-in returns

Deviates: upstream keeps all tokens in `flyte_at_1`, `flyte_at_2`, `flyte_idt`, `flyte_rt` and `flyte_user_info`.
Users of many groups cannot sign in with it, a logout revokes nothing, and copies of the cookies work until they expire.
After a switch from upstream everybody signs in again.

Source: flyteadmin/auth/cookie.go, cookie_manager.go.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.settings.auth import UserAuth

SESSION = "flyte_session"
STATE = "flyte_csrf_state"
TARGET = "flyte_redirect_location"
# A logout deletes the cookies of upstream too: they hold tokens.
OF_UPSTREAM = ("flyte_at", "flyte_at_1", "flyte_at_2", "flyte_idt", "flyte_rt", "flyte_user_info")

# Browsers drop a longer cookie.
COOKIE_BYTES_MAX = 4096
HASH_KEY_BYTES = 64
BLOCK_KEY_BYTES = 32
_NONCE_BYTES = 12
_SAME_SITE = {"DefaultMode": "Lax", "LaxMode": "Lax", "StrictMode": "Strict", "NoneMode": "None"}


@dataclass(frozen=True, slots=True)
class CookieKeys:
    """The keys that sign cookies and encrypt sessions. Servers with the same keys share sessions.

    Attributes:
        hash_key: Key of HMAC-SHA256, HASH_KEY_BYTES long.
        block_key: Key of AES-GCM, BLOCK_KEY_BYTES long.
    """

    hash_key: bytes = field(repr=False)
    block_key: bytes = field(repr=False)

    def mac(self, purpose: str, text: str) -> str:
        """Return the signature of a text for one purpose, in base64url."""
        digest = hmac.new(self.hash_key, f"{purpose}|{text}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def signed(self, purpose: str, text: str) -> str:
        """Return a text with its signature."""
        return f"{text}.{self.mac(purpose, text)}"

    def verified(self, purpose: str, value: str) -> str | None:
        """Return the text of a signed value; None for another signature or purpose."""
        text, separator, signature = value.rpartition(".")
        if not separator or not value.isascii() or not hmac.compare_digest(self.mac(purpose, text), signature):
            return None
        return text

    def seal(self, data: bytes, context: str) -> bytes:
        """Return data encrypted; only `unseal` with the same context returns them."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self.block_key).encrypt(nonce, data, context.encode())

    def unseal(self, sealed: bytes, context: str) -> bytes | None:
        """Return decrypted data; None where the key or the context is another one."""
        try:
            return AESGCM(self.block_key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError):
            return None


class CookieWriter:
    """Writes Set-Cookie headers with the attributes of the settings.

    Args:
        auth: Section `auth.userAuth` of the settings.
        secure: Whether browsers may send the cookies over TLS only (and to localhost).
    """

    def __init__(self, auth: UserAuth, *, secure: bool) -> None:
        policy = _SAME_SITE[auth.cookie_setting.same_site_policy]
        self._same_site = policy
        domain = auth.cookie_setting.domain
        self._common = "; Path=/" + (f"; Domain={domain}" if domain else "") + "; HttpOnly"
        # Browsers drop a cookie with SameSite=None that is not Secure.
        self._secure = "; Secure" if secure or policy == "None" else ""

    @property
    def strict(self) -> bool:
        """Return whether browsers keep the session's cookie back from a request that another site caused."""
        return self._same_site == "Strict"

    def session(self, value: str) -> str:
        """Return the header that sets the session's cookie. The browser drops it when it ends."""
        return f"{SESSION}={value}{self._common}{self._secure}; SameSite={self._same_site}"

    def of_login(self, name: str, value: str) -> str:
        """Return the header for a cookie of one sign-in, which the provider's redirect must bring back."""
        return f"{name}={value}{self._common}{self._secure}; SameSite=Lax"

    def expired(self, name: str) -> str:
        """Return the header that deletes a cookie."""
        past = "Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0"
        return f"{name}={self._common}{self._secure}; SameSite=Lax; {past}"


def cookie_header(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the cookies of a request as one text. Over HTTP/2 a browser may send one header for each cookie."""
    return "; ".join(value.decode("latin-1") for name, value in headers if name == b"cookie")


def values(header: str, name: str) -> list[str]:
    """Return the values of a cookie in the order in which they were sent: two of different Path or Domain may exist."""
    found = []
    for part in header.split(";"):
        key, separator, value = part.partition("=")
        if separator and key.strip() == name:
            found.append(value.strip().strip('"'))
    return found


def new_state(keys: CookieKeys) -> str:
    """Return a new value of the cookie that binds a sign-in to a browser."""
    return keys.signed(STATE, f"{secrets.token_urlsafe(32)}.{int(time.time())}")


def is_state(keys: CookieKeys, value: str, seconds_max: float) -> bool:
    """Return whether this server, or one with the same keys, made the value at most so many seconds ago."""
    text = keys.verified(STATE, value)
    return text is not None and 0 <= time.time() - int(text.rpartition(".")[2]) + 1 <= seconds_max + 1


def state_of(value: str) -> str:
    """Return the parameter `state` that belongs to a cookie's value."""
    return hashlib.sha256(value.encode()).hexdigest()
