"""The authorization server: the requests of /oauth2/authorize, /oauth2/authorize_callback and /oauth2/token.

Source: fosite v0.42 authorize_request_handler.go, access_request_handler.go, handler/oauth2, handler/pkce.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from app.auth.identity import Identity
from app.auth.keys import SigningKeys
from app.auth.oauth import tokens
from app.auth.oauth.clients import (
    AUTHORIZATION_CODE,
    CLIENT_CREDENTIALS,
    DEVICE_CODE,
    REFRESH_TOKEN,
    Client,
    Clients,
)
from app.auth.oauth.devices import Devices
from app.auth.oauth.errors import OAuthError, RedirectError, invalid_grant, invalid_request
from app.auth.oauth.grants import Grant, Grants
from app.auth.oauth.parameters import Caller, Parameters, client_credentials, scopes_of
from app.settings.auth import SelfAuthServer

STATE_CHARACTERS_MIN = 8
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}")

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A request of /oauth2/authorize that its client may send.

    Attributes:
        given_uri: The redirect URI in the request; "" where the only registered one is meant.
    """

    client: Client
    redirect_uri: str
    given_uri: str
    scopes: tuple[str, ...]
    state: str
    response_type: str
    challenge: str
    challenge_method: str


class AuthorizationServer:
    """Issues codes and tokens. One object per process.

    Args:
        settings: Section auth.appAuth.selfAuthServer.
        claim_names: Claims of a person's session that access tokens repeat, such as the claim that roles are given to.
    """

    def __init__(
        self,
        settings: SelfAuthServer,
        keys: SigningKeys,
        clients: Clients,
        grants: Grants,
        devices: Devices,
        claim_names: Sequence[str] = (),
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._clients = clients
        self._grants = grants
        self._claim_names = tuple(claim_names)
        self.devices = devices

    async def authorization_request(self, parameters: Parameters) -> AuthorizationRequest:
        """Check a request of /oauth2/authorize as far as upstream does before the sign-in.

        Raises:
            RedirectError: The request is wrong; its client receives the error by a redirect.
            OAuthError: The client or its redirect URI is unknown, so that nobody may be redirected.
        """
        client = await self._clients.find(parameters.get("client_id", ""))
        if client is None:
            raise OAuthError("invalid_client", "The client is unknown.")
        given = parameters.get("redirect_uri", "")
        only = client.redirect_uris[0] if len(client.redirect_uris) == 1 else ""
        redirect_uri = given or only
        if not redirect_uri or redirect_uri not in client.redirect_uris:
            raise invalid_request("The redirect_uri is none of those that are registered for the client.")
        state = parameters.get("state", "")

        def refused(error: str, description: str) -> RedirectError:
            return RedirectError(error, description, redirect_uri=redirect_uri, state=state)

        scopes = scopes_of(parameters)
        if not client.scopes.issuperset(scopes):
            raise refused("invalid_scope", "The client may not request one of the scopes.")
        if _foreign_audience(parameters, client):
            raise refused("invalid_request", "The client may not request this audience.")
        response_type = parameters.get("response_type", "")
        if response_type not in client.response_types or response_type not in ("code", "token"):
            raise refused("unsupported_response_type", "The client may not use this response_type.")
        if len(state) < STATE_CHARACTERS_MIN:
            raise refused("invalid_state", f"The state must have at least {STATE_CHARACTERS_MIN} characters.")
        return AuthorizationRequest(
            client=client,
            redirect_uri=redirect_uri,
            given_uri=given,
            scopes=scopes,
            state=state,
            response_type=response_type,
            challenge=parameters.get("code_challenge", ""),
            challenge_method=parameters.get("code_challenge_method", ""),
        )

    async def authorize(self, request: AuthorizationRequest, identity: Identity) -> str:
        """Return the address of the client with a code for the person who is signed in.

        Raises:
            RedirectError: The request asks for a token instead of a code, or for no PKCE with S256.
        """

        def refused(error: str, description: str, *, fragment: bool = False) -> RedirectError:
            return RedirectError(
                error, description, redirect_uri=request.redirect_uri, state=request.state, fragment=fragment
            )

        if request.response_type != "code":
            raise refused("unsupported_response_type", "Tokens are issued at the token endpoint only.", fragment=True)
        # Deviates: upstream gives public clients a code without a challenge (RFC 9700 2.1.1).
        needs_challenge = request.client.public or request.challenge or request.challenge_method
        good = request.challenge_method == "S256" and _CHALLENGE.fullmatch(request.challenge)
        if needs_challenge and not good:
            raise refused("invalid_request", "A code_challenge with code_challenge_method S256 is required.")
        grant = self._granted(request.client.id, request.scopes, identity)
        code = await self._grants.add_code(
            Grant(
                client_id=grant.client_id,
                scopes=grant.scopes,
                subject=grant.subject,
                user=grant.user,
                claims=grant.claims,
                redirect_uri=request.given_uri,
                challenge=request.challenge,
            ),
            self._settings.authorization_code_lifespan_seconds,
        )
        answer = {"code": code, "scope": tokens.granted_scopes(request.scopes), "state": request.state}
        return with_parameters(request.redirect_uri, answer)

    async def token(self, parameters: Parameters, caller: Caller) -> Answer:
        """Answer a request of /oauth2/token.

        Raises:
            OAuthError: The request is refused.
        """
        if not parameters:
            raise invalid_request("The body must be a form that is not empty.")
        grant_type = parameters.get("grant_type", "")
        if not grant_type:
            raise invalid_request("The parameter grant_type is missing.")
        answers = {
            AUTHORIZATION_CODE: self._code,
            REFRESH_TOKEN: self._refresh,
            CLIENT_CREDENTIALS: self._client_credentials,
            DEVICE_CODE: self._device,
        }
        client = await self._clients.authenticate(client_credentials(parameters, caller.authorization), caller.address)
        if grant_type not in answers:
            raise OAuthError("unsupported_grant_type", "The grant_type is unknown.")
        if _foreign_audience(parameters, client, caller.public_url):
            raise invalid_request("The client may not request this audience.")
        return await answers[grant_type](client, parameters, caller)

    async def approve_device(self, user_code: str, identity: Identity) -> bool:
        """Let a device act for the person who is signed in. Return False where it does not wait any more."""
        row = await self.devices.waiting(user_code, identity.subject)
        return row is not None and await self.devices.decide(
            row, self._granted(row.grant.client_id, row.grant.scopes, identity, row.grant.family)
        )

    async def _code(self, client: Client, parameters: Parameters, caller: Caller) -> Answer:
        _check_grant_type(client, AUTHORIZATION_CODE)
        code = parameters.get("code", "")
        if not code:
            raise invalid_request("The parameter code is missing.")
        grant = await self._grants.find_code(code)
        if grant is None:
            raise invalid_grant("The authorization code is unknown or has expired.")
        if grant.client_id != client.id:
            raise invalid_grant("The authorization code was issued to another client.")
        if parameters.get("redirect_uri", "") != grant.redirect_uri:
            # Deviates: upstream does not compare (RFC 6749 4.1.3).
            raise invalid_grant("The redirect_uri is not that of the authorization request.")
        _check_verifier(grant.challenge, parameters.get("code_verifier", ""))
        return await self._first_tokens(code, grant, client, caller)

    async def _device(self, client: Client, parameters: Parameters, caller: Caller) -> Answer:
        grant = await self.devices.approved(client, parameters)
        return await self._first_tokens(parameters["device_code"], grant, client, caller)

    async def _refresh(self, client: Client, parameters: Parameters, caller: Caller) -> Answer:
        _check_grant_type(client, REFRESH_TOKEN)
        token = parameters.get("refresh_token", "")
        if not token:
            raise invalid_request("The parameter refresh_token is missing.")
        grant = await self._grants.find_refresh_token(token)
        if grant is None:
            grant, until = tokens.upstream_refresh_token(self._keys, token, {caller.public_url, self._issuer(caller)})
            if grant.client_id == client.id:
                await self._grants.adopt_refresh_token(token, grant, until)
        if grant.client_id != client.id:
            raise invalid_grant("The refresh token was issued to another client.")
        # Parity: the parameter scope is ignored; flytekit sends one.
        successor = await self._grants.rotate(token, self._settings.refresh_token_lifespan_seconds)
        return self._answer(grant, caller, successor, refreshed=True)

    async def _client_credentials(self, client: Client, parameters: Parameters, caller: Caller) -> Answer:
        scopes = scopes_of(parameters)
        if not client.scopes.issuperset(scopes):
            raise OAuthError("invalid_scope", "The client may not request one of the scopes.")
        if client.public:
            raise invalid_grant("A public client has no secret, so it cannot act for itself.")
        _check_grant_type(client, CLIENT_CREDENTIALS)
        token, seconds = tokens.client_token(
            self._keys,
            client.id,
            scopes,
            issuer=self._issuer(caller),
            audience=caller.public_url,
            lifespan_seconds=self._settings.access_token_lifespan_seconds,
        )
        return {"access_token": token, "expires_in": seconds, "scope": " ".join(scopes), "token_type": "bearer"}

    async def _first_tokens(self, code: str, grant: Grant, client: Client, caller: Caller) -> Answer:
        refreshes = tokens.OFFLINE in grant.scopes and REFRESH_TOKEN in client.grant_types
        lifespan = self._settings.refresh_token_lifespan_seconds if refreshes else None
        return self._answer(grant, caller, await self._grants.redeem(code, grant, lifespan))

    def _answer(self, grant: Grant, caller: Caller, refresh_token: str | None, *, refreshed: bool = False) -> Answer:
        token, seconds = tokens.access_token(
            self._keys,
            grant,
            issuer=self._issuer(caller),
            audience=caller.public_url,
            lifespan_seconds=self._settings.access_token_lifespan_seconds,
            refreshed=refreshed,
        )
        answer = {
            "access_token": token,
            "expires_in": seconds,
            "scope": tokens.granted_scopes(grant.scopes),
            "token_type": "bearer",
        }
        return {**answer, "refresh_token": refresh_token} if refresh_token is not None else answer

    def _granted(self, client_id: str, scopes: tuple[str, ...], identity: Identity, family: str = "") -> Grant:
        claims = {name: identity.claims[name] for name in self._claim_names if name in identity.claims}
        family_of = {"family": family} if family else {}
        return Grant(
            client_id=client_id,
            scopes=scopes,
            subject=identity.subject,
            user=tokens.user_info(identity),
            claims=claims,
            **family_of,
        )

    def _issuer(self, caller: Caller) -> str:
        return self._settings.issuer or caller.public_url


def with_parameters(uri: str, parameters: Mapping[str, str], *, fragment: bool = False) -> str:
    """Return a URI with further parameters in its query, or with a fragment of them."""
    parts = urlsplit(uri)
    if fragment:
        return urlunsplit(parts._replace(fragment=urlencode(parameters)))
    query = "&".join(text for text in (parts.query, urlencode(parameters)) if text)
    return urlunsplit(parts._replace(query=query, fragment=""))


def _check_grant_type(client: Client, grant_type: str) -> None:
    if grant_type not in client.grant_types:
        raise OAuthError("unauthorized_client", "The client may not use this grant_type.")


def _check_verifier(challenge: str, verifier: str) -> None:
    if not challenge:
        if verifier:
            raise invalid_grant("There is a code_verifier, but the authorization request had no code_challenge.")
        return
    if len(verifier) < 43:
        raise invalid_grant("The PKCE code verifier must be at least 43 characters.")
    if not _VERIFIER.fullmatch(verifier):
        raise invalid_grant("The PKCE code verifier has more than 128 characters, or one that is not allowed.")
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    if not hmac.compare_digest(digest, challenge):
        raise invalid_grant("The PKCE code challenge did not match the code verifier.")


def _foreign_audience(parameters: Parameters, client: Client, public_url: str = "") -> bool:
    audiences = set(parameters.get("audience", "").split())
    return not audiences <= {*client.audience, public_url}
