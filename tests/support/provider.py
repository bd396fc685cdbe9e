"""A small OpenID provider in a thread: PKCE, nonces, codes that work once, refresh tokens that rotate.

Reusing a refresh token ends its whole family, as Keycloak, Auth0 and Okta do. Tests change what it answers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT, SECRET = "flyteadmin", "secret of/the client"
KEY_ID = "key-1"


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Grant:
    """What a code or a refresh token stands for."""

    subject: str
    nonce: str = ""
    challenge: str = ""
    redirect_uri: str = ""
    family: str = field(default_factory=lambda: secrets.token_hex(4))


class Provider:
    """The provider and its state.

    Attributes:
        people: Claims by subject.
        subject: Who signs in next.
        id_token_seconds: The validity of id tokens.
        change: Claims that replace those of the next id tokens; None removes one.
        down: Whether every request but those of the document is answered with 503.
        slow_seconds: The time that a refresh takes.
        refreshes: The number of refresh tokens that were redeemed.
    """

    def __init__(self) -> None:
        self.key = _key()
        self.people: dict[str, dict[str, Any]] = {
            "alice": {"name": "Alice Doe", "email": "alice@example.com", "email_verified": True, "groups": ["ml"]}
        }
        self.subject = "alice"
        self.id_token_seconds = 3600.0
        self.change: dict[str, Any] = {}
        self.down = False
        self.slow_seconds = 0.0
        self.refresh_tokens = True
        self.user_info_subject = ""
        self.refreshes = 0
        self.revoked: list[str] = []
        self.seen: list[tuple[str, dict[str, str]]] = []
        self._codes: dict[str, Grant] = {}
        self._refresh_tokens: dict[str, Grant] = {}
        self._spent: dict[str, str] = {}
        self._access_tokens: dict[str, str] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://localhost:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def document(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/jwks",
            "end_session_endpoint": f"{self.url}/end",
            "revocation_endpoint": f"{self.url}/revoke",
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def authorize(self, query: Mapping[str, str]) -> str:
        """Sign the subject in and return the address of the callback, with a code."""
        code = secrets.token_urlsafe(16)
        assert query["code_challenge_method"] == "S256"
        self._codes[code] = Grant(self.subject, query["nonce"], query["code_challenge"], query["redirect_uri"])
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state'], 'iss': self.url})}"

    def id_token(self, subject: str, nonce: str = "") -> str:
        now = int(time.time())
        claims: dict[str, Any] = {"iss": self.url, "aud": CLIENT, "sub": subject, "iat": now}
        claims |= {"exp": time.time() + self.id_token_seconds, **({"nonce": nonce} if nonce else {})}
        claims |= self.people.get(subject, {}) | self.change
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": KEY_ID})

    def _tokens(self, grant: Grant) -> tuple[int, dict[str, Any]]:
        access, refresh = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        self._access_tokens[access] = grant.subject
        found = {"access_token": access, "token_type": "Bearer", "expires_in": 3600}
        if self.change.get("id_token", "") is not None:
            found["id_token"] = self.id_token(grant.subject, grant.nonce)
        if self.refresh_tokens:
            self._refresh_tokens[refresh] = Grant(grant.subject, family=grant.family)
            found["refresh_token"] = refresh
        return 200, found

    def _redeem(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        refused = 400, {"error": "invalid_grant"}
        if form["grant_type"] == "authorization_code":
            grant = self._codes.pop(form["code"], None)
            challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
            if grant is None or challenge.rstrip(b"=").decode() != grant.challenge:
                return refused
            return self._tokens(grant) if form["redirect_uri"] == grant.redirect_uri else refused
        time.sleep(self.slow_seconds)
        token = form["refresh_token"]
        with self._lock:
            if token in self._spent:
                family = self._spent[token]
                self._refresh_tokens = {k: v for k, v in self._refresh_tokens.items() if v.family != family}
                return refused
            grant = self._refresh_tokens.pop(token, None)
            if grant is None:
                return refused
            self._spent[token] = grant.family
            self.refreshes += 1
            return self._tokens(grant)

    def _answer(self, method: str, path: str, form: dict[str, str], authorization: str) -> tuple[int, Any]:
        if path == "/.well-known/openid-configuration":
            return 200, self.document
        if path == "/jwks":
            public = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
            return 200, {"keys": [{**public, "kid": KEY_ID, "use": "sig", "alg": "RS256"}]}
        if self.down:
            return 503, {}
        self.seen.append((path, form))
        if path == "/userinfo":
            subject = self._access_tokens.get(authorization.removeprefix("Bearer "))
            return (401, {}) if subject is None else (200, self._user_info(subject))
        basic = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if [unquote_plus(basic[0]), unquote_plus(basic[2])] != [CLIENT, SECRET]:
            return 401, {"error": "invalid_client"}
        if path == "/revoke":
            self.revoked.append(form["token"])
            return 200, {}
        return self._redeem(form)

    def _user_info(self, subject: str) -> dict[str, Any]:
        return {**self.people.get(subject, {}), "sub": self.user_info_subject or subject}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._serve({})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                self._serve(dict(parse_qsl(body)))

            def _serve(self, form: dict[str, str]) -> None:
                url = urlsplit(self.path)
                if url.path == "/authorize":
                    self.send_response(303)
                    self.send_header("location", provider.authorize(dict(parse_qsl(url.query))))
                    self.end_headers()
                    return
                status, found = provider._answer(self.command, url.path, form, self.headers.get("authorization", ""))
                body = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                return None

        return Handler
