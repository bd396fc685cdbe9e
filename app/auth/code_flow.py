"""The authorization code flow towards the OpenID provider: where to send a browser, and what its code is worth.

PKCE (S256) and a nonce go with each request. The provider ties the code to the first and the id token to the second, so
a code or an id token that was stolen elsewhere signs nobody in.

Source: flyteadmin/auth/handlers.go, golang.org/x/oauth2.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote_plus, urlencode

import orjson

from app import errors, limited_log
from app.auth.identity import Identity
from app.auth.provider_client import ProviderClient
from app.auth.sessions import ProviderRefused, ProviderUnavailable, TokenReply
from app.settings import Settings

# An id token as a hint makes the address of a logout longer; servers and proxies refuse longer addresses.
LOGOUT_URL_LENGTH_MAX = 6000
_SHOWN_MAX = 200


class Discovery(Protocol):
    """The OpenID provider's own description."""

    async def document(self) -> Mapping[str, Any]:
        """Return the provider's document (OpenID Connect Discovery 1.0).

        Raises:
            Exception: The provider does not answer.
        """


class IdTokenVerifier(Protocol):
    """Verifies id tokens."""

    async def verify(self, token: str, public_url: str) -> Identity:
        """Return the identity of an id token. Raises Unauthenticated for one that proves none."""


class CodeFlow:
    """Requests to the provider for the browser login.

    Args:
        settings: The settings.
        client: Sends the requests, within the limits of the settings.
        discovery: The provider's document.
        id_tokens: Verifies id tokens.
        client_secret: The password of this server at the provider.
    """

    def __init__(
        self,
        settings: Settings,
        client: ProviderClient,
        discovery: Discovery,
        id_tokens: IdTokenVerifier,
        client_secret: str,
    ) -> None:
        self._openid = settings.auth.user_auth.open_id
        self._selector = settings.auth.user_auth.idp_query_parameter
        self._logout = settings.auth.user_auth.logout
        self._client = client
        self._discovery = discovery
        self._id_tokens = id_tokens
        self._secret = client_secret

    async def authorization_url(
        self, redirect_uri: str, *, state: str, nonce: str, verifier: str, query: Mapping[str, str]
    ) -> str:
        """Return the address at the provider to which a browser is sent.

        Args:
            redirect_uri: The address of /callback.
            state: Comes back with the code.
            nonce: Comes back in the id token.
            verifier: The PKCE verifier, of which the provider gets the hash.
            query: The query of /login, of which one parameter may select an identity provider.

        Raises:
            ProviderUnavailable: The provider does not answer.
        """
        endpoint = await self._endpoint("authorization_endpoint")
        if endpoint is None:
            raise ProviderUnavailable("its document has no authorization_endpoint")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        parameters = {
            "client_id": self._openid.client_id,
            "redirect_uri": redirect_uri,
            "response_type": "code",
            "scope": " ".join(self._openid.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        if self._selector and query.get(self._selector):
            parameters[self._selector] = query[self._selector]
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"

    async def redeem(self, code: str, redirect_uri: str, *, verifier: str, nonce: str, issuer: str) -> TokenReply:
        """Return the tokens for a code, the id token verified.

        Args:
            code: The code.
            redirect_uri: The address of /callback, as in `authorization_url`.
            verifier: The PKCE verifier.
            nonce: The value that the id token must have.
            issuer: The parameter `iss` of the callback, "" without one.

        Raises:
            ProviderRefused: The code is refused, or the id token is not the one that was asked for.
            ProviderUnavailable: The provider does not answer.
        """
        expected = str((await self._document()).get("issuer", ""))
        if issuer and issuer != expected:
            # RFC 9207: the code of another provider (mix-up attack).
            raise ProviderRefused(f"the callback comes from the issuer {issuer[:_SHOWN_MAX]}, wanted is {expected}")
        reply = await self._tokens(
            {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier}
        )
        if reply.claims is None:
            raise ProviderRefused("the provider's reply has no id_token; auth.userAuth.openId.scopes needs openid")
        if reply.claims.get("nonce") != nonce:
            raise ProviderRefused("the id token has another nonce than this sign-in")
        if not reply.refresh_token:
            limited_log.warning(
                "no_refresh_token",
                reason="the provider sent no refresh token, so sessions end with their id token; some providers need "
                "the scope offline_access in auth.userAuth.openId.scopes",
            )
        return reply

    async def refresh(self, refresh_token: str) -> TokenReply:
        """Return new tokens, see app.auth.sessions.Refresher."""
        return await self._tokens({"grant_type": "refresh_token", "refresh_token": refresh_token})

    async def user_info(self, access_token: str, subject: str) -> Mapping[str, Any]:
        """Return the provider's user info, see app.auth.sessions.Refresher."""
        endpoint = await self._endpoint("userinfo_endpoint")
        if endpoint is None:
            return {}
        status, found = await self._send("GET", endpoint, headers={"authorization": f"Bearer {access_token}"})
        if status != 200:
            raise ProviderRefused(f"the provider's user info has the status {status}")
        if found.get("sub") != subject:
            # OpenID Connect Core 5.3.2: otherwise a provider's mistake makes one user another.
            raise ProviderRefused("the provider's user info is that of another subject than the id token")
        return found

    async def logout_url(self, id_token: str) -> str | None:
        """Return the address at which the provider ends its own session; None where it has none.

        Source: OpenID Connect RP-Initiated Logout 1.0.
        """
        if not self._logout.at_provider:
            return None
        try:
            endpoint = await self._endpoint("end_session_endpoint")
        except ProviderUnavailable:
            return None
        if endpoint is None:
            return None
        parameters = {"client_id": self._openid.client_id}
        if self._logout.redirect_url:
            parameters["post_logout_redirect_uri"] = self._logout.redirect_url
        for more in ({"id_token_hint": id_token}, {}):
            url = f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode({**parameters, **more})}"
            if len(url) <= LOGOUT_URL_LENGTH_MAX:
                return url
        return None

    async def revoke(self, refresh_token: str) -> None:
        """Revoke a refresh token where the provider has an endpoint for it (RFC 7009); log a failure."""
        try:
            endpoint = await self._endpoint("revocation_endpoint")
            if endpoint is not None and refresh_token:
                form = {"token": refresh_token, "token_type_hint": "refresh_token"}
                status, _ = await self._authenticated(endpoint, form)
                if status != 200:
                    limited_log.warning("refresh_token_not_revoked", status=status)
        except ProviderUnavailable as error:
            limited_log.warning("refresh_token_not_revoked", reason=str(error))

    async def _document(self) -> Mapping[str, Any]:
        try:
            return await self._discovery.document()
        except errors.FlyteError as error:
            raise ProviderUnavailable(error.message) from error

    async def _endpoint(self, name: str) -> str | None:
        found = (await self._document()).get(name)
        return found if isinstance(found, str) and found else None

    async def _tokens(self, form: dict[str, str]) -> TokenReply:
        endpoint = await self._endpoint("token_endpoint")
        if endpoint is None:
            raise ProviderUnavailable("its document has no token_endpoint")
        status, found = await self._authenticated(endpoint, form)
        if status != 200:
            problem = f"{found.get('error', '')} {found.get('error_description', '')}".strip()[:_SHOWN_MAX]
            raise ProviderRefused(f"the provider's token endpoint has the status {status}: {problem or 'no reason'}")
        texts = {name: found.get(name) or "" for name in ("access_token", "id_token", "refresh_token")}
        if not all(isinstance(text, str) for text in texts.values()) or not texts["access_token"]:
            raise ProviderRefused("the provider's reply has no access_token, or a token that is no text")
        claims = None
        if texts["id_token"]:
            try:
                claims = (await self._id_tokens.verify(texts["id_token"], "")).claims
            except errors.Unauthenticated as error:
                raise ProviderRefused(error.message) from error
            if not isinstance(claims.get("sub"), str) or not claims["sub"]:
                raise ProviderRefused("the id token has no claim sub")
        lasts = found.get("expires_in")
        seconds = float(lasts) if isinstance(lasts, (int, float)) and not isinstance(lasts, bool) else None
        return TokenReply(**texts, claims=claims, expires_in=seconds)

    async def _authenticated(self, endpoint: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """POST a form as this server's client: by client_secret_basic, or by client_secret_post if only that works."""
        offered = (await self._document()).get("token_endpoint_auth_methods_supported")
        client_id = self._openid.client_id
        with_secret = {**form, "client_id": client_id, "client_secret": self._secret}
        if isinstance(offered, list) and "client_secret_basic" not in offered and "client_secret_post" in offered:
            return await self._send("POST", endpoint, data=with_secret)
        # RFC 6749 2.3.1: both parts are escaped as in a form.
        basic = quote_plus(client_id), quote_plus(self._secret)
        status, found = await self._send("POST", endpoint, data=form, auth=basic)
        if status == 401 and not isinstance(offered, list):
            return await self._send("POST", endpoint, data=with_secret)
        return status, found

    async def _send(self, method: str, url: str, **parts: Any) -> tuple[int, dict[str, Any]]:
        """Return the status and the JSON object of a reply; an empty object for another body.

        Raises:
            ProviderUnavailable: There is no reply, it is too large, or it has a status of 5xx or 429.
        """
        try:
            reply = await self._client.send(method, url, **parts)
        except errors.Unavailable as error:
            raise ProviderUnavailable(error.message) from error
        if reply.status >= 500 or reply.status == 429:
            raise ProviderUnavailable(f"it has the status {reply.status}")
        try:
            found = orjson.loads(reply.body)
        except orjson.JSONDecodeError:
            found = {}
        return reply.status, found if isinstance(found, dict) else {}
