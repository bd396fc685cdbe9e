"""The authorization server behind its pages, in process, for tests."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import bcrypt
import httpx
import jwt
from starlette.applications import Starlette

from app.api.pages import oauth
from app.auth.access_tokens import OwnAccessTokens
from app.auth.authentication import Authentication
from app.auth.credentials import Credentials
from app.auth.identity import Identity, UserInfo
from app.auth.keys import SigningKeys
from app.auth.oauth.build import build
from app.database.base import Database
from app.settings import Settings
from tests.support.tokens import URL, NoTokens, rsa_key

CALLBACK = "http://localhost:53593/callback"
ALICE = Identity(
    subject="alice",
    user=UserInfo(subject="alice", name="Alice Doe", email="alice@example.com"),
    claims={"groups": ["ml"], "iss": "http://provider"},
    method="session",
)


def hashed(secret: str) -> str:
    """Return a secret as configurations have it."""
    return base64.b64encode(bcrypt.hashpw(secret.encode(), bcrypt.gensalt(4))).decode()


PUBLIC = {
    "redirect_uris": [CALLBACK, "http://localhost:12345/callback"],
    "grant_types": ["refresh_token", "authorization_code"],
    "response_types": ["code", "token"],
    "scopes": ["all", "offline", "access_token"],
    "public": True,
}
SERVICE = {"grant_types": ["refresh_token", "client_credentials"], "response_types": ["token"]}
CLIENTS = {
    "flytectl": {"id": "flytectl", **PUBLIC},
    "flyte-cli": {"id": "flyte-cli", **PUBLIC},
    "flytepropeller": {
        "id": "flytepropeller",
        "client_secret": hashed("pro:peller +%"),
        "redirect_uris": ["http://localhost:3846/callback"],
        "scopes": ["all", "offline"],
        **SERVICE,
    },
    "limited": {"id": "limited", "client_secret": hashed("limited-secret"), "scopes": ["read"], **SERVICE},
    "confidential": {
        "id": "confidential",
        "client_secret": hashed("confidential-secret"),
        "redirect_uris": [CALLBACK],
        "grant_types": ["refresh_token", "authorization_code"],
        "response_types": ["code"],
        "scopes": ["all", "offline"],
    },
}
PROPELLER = ("flytepropeller", "pro:peller +%")


@dataclass
class Desk:
    """The pages, a client of them, and who is signed in with its browser."""

    settings: Settings
    database: Database
    keys: SigningKeys = field(default_factory=lambda: SigningKeys(rsa_key("own"), rsa_key("old")))
    person: Identity | None = ALICE
    url: str = URL
    address: str = "192.0.2.7"

    def __post_init__(self) -> None:
        self.oauth = build(self.settings, self.database, self.keys, ["groups"])
        self.server = self.oauth.server
        self.auth = Authentication(
            self.settings, OwnAccessTokens(self.settings, self.keys), NoTokens(), self, self.oauth
        )
        self.auth.public_urls = self  # type: ignore[assignment]
        app = Starlette(routes=oauth.routes(self.settings, self.auth))
        transport = httpx.ASGITransport(app, client=(self.address, 1))
        self.http = httpx.AsyncClient(transport=transport, base_url=URL)

    def of(self, credentials: Credentials, *, forwarded: bool = True) -> str:
        """Stand in for PublicUrls."""
        return self.url

    async def identity(self, credentials: Credentials, public_url: str) -> Identity | None:
        """Stand in for Sessions."""
        return self.person

    async def authorize(self, **over: Any) -> tuple[dict[str, str], str]:
        """Return the parameters that the client receives at the end of an authorization, and the PKCE verifier."""
        query, verifier = request(**over)
        answer = await self.http.get("/oauth2/authorize", params=query)
        if answer.status_code == 307:
            answer = await self.http.get("/oauth2/authorize_callback")
        assert answer.status_code == 303, answer.text
        parts = urlsplit(answer.headers["location"])
        assert parts._replace(query="", fragment="").geturl() == query.get("redirect_uri", CALLBACK)
        return dict(parse_qsl(parts.query or parts.fragment, keep_blank_values=True)), verifier

    async def code(self, **over: Any) -> tuple[str, str]:
        """Return a code and its verifier."""
        got, verifier = await self.authorize(**over)
        return got["code"], verifier

    async def ask(self, auth: tuple[str, str] | None = None, **form: str | None) -> httpx.Response:
        """Send a request to the token endpoint."""
        given = {name: value for name, value in form.items() if value is not None}
        return await self.http.post("/oauth2/token", data=given, auth=auth if auth is None else basic(*auth))

    async def redeem(self, a_code: str, verifier: str | None, **over: str | None) -> httpx.Response:
        """Redeem a code."""
        form = {"grant_type": "authorization_code", "code": a_code, "redirect_uri": CALLBACK, "client_id": "flytectl"}
        return await self.ask(**{**form, "code_verifier": verifier, **over})

    async def refresh(self, token: str, client_id: str = "flytectl") -> httpx.Response:
        """Use a refresh token."""
        return await self.ask(grant_type="refresh_token", refresh_token=token, client_id=client_id)


def basic(client_id: str, secret: str) -> httpx.BasicAuth:
    """Return Basic credentials, form-encoded as RFC 6749 wants them."""
    encode = lambda text: urlencode({"x": text})[2:]  # noqa: E731
    return httpx.BasicAuth(encode(client_id), encode(secret))


def request(**over: Any) -> tuple[dict[str, str], str]:
    """Return the parameters of an authorization request; None leaves one out. And the PKCE verifier."""
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "client_id": "flytectl",
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "all offline",
        "state": "state-" + secrets.token_hex(8),
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        **over,
    }
    return {name: value for name, value in query.items() if value is not None}, verifier


def claims(token: str) -> dict[str, Any]:
    """Return the claims of a JWT without a check."""
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


def refused(answer: httpx.Response, status: int, error: str) -> str:
    """Check an error of RFC 6749 and return its description."""
    assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text
    assert answer.headers["content-type"] == "application/json;charset=UTF-8"
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    description: str = answer.json()["error_description"]
    assert description.isascii()
    assert '"' not in description
    return description
