"""The device flow of RFC 8628: a person signs a device in by typing its code into a browser elsewhere.

Deviates: upstream has no device flow, although its clients implement it. It is off unless `deviceFlow` is set.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from app.auth.oauth.clients import Client, Clients
from app.auth.oauth.errors import OAuthError, invalid_grant, invalid_request
from app.auth.oauth.grants import APPROVED, DENIED, PENDING, DeviceRow, Grant, Grants
from app.auth.oauth.limits import MinuteLimit, network_of
from app.auth.oauth.parameters import Caller, Parameters, client_credentials, scopes_of
from app.settings.auth import SelfAuthServer

# Letters that make no words and that nobody confuses (RFC 8628 6.1): 20 to the power of 8 codes.
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_LENGTH = 8
# Codes that one person may type wrong, and that one address may ask for, in a minute.
GUESSES_PER_MINUTE_MAX = 10
REQUESTS_PER_MINUTE_MAX = 30
_POLLS_MAX = 10_000
PAGE = "/oauth2/device"


class Devices:
    """Requests of devices that wait for a person. One object per process; the requests are rows of the database."""

    def __init__(self, settings: SelfAuthServer, clients: Clients, grants: Grants) -> None:
        self._settings = settings
        self._clients = clients
        self._grants = grants
        self._guesses = MinuteLimit(GUESSES_PER_MINUTE_MAX)
        self._requests = MinuteLimit(REQUESTS_PER_MINUTE_MAX)
        self._polls: OrderedDict[str, float] = OrderedDict()

    @property
    def enabled(self) -> bool:
        """Return whether the device flow is switched on."""
        return self._settings.device_flow

    async def request(self, parameters: Parameters, caller: Caller) -> Mapping[str, Any]:
        """Answer a request of /oauth2/device_authorization.

        Raises:
            OAuthError: The request is refused.
        """
        self._limit(self._requests, network_of(caller.address))
        client = await self._clients.authenticate(client_credentials(parameters, caller.authorization), caller.address)
        self._requests.add(("", network_of(caller.address)))
        if not client.may_use_devices():
            raise OAuthError("unauthorized_client", "The client may not use the device flow.")
        scopes = scopes_of(parameters)
        if not client.scopes.issuperset(scopes):
            raise OAuthError("invalid_scope", "The client may not request one of the scopes.")
        user_code = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        grant = Grant(client_id=client.id, scopes=scopes, address=caller.address)
        lifespan = self._settings.device_code_lifespan_seconds
        code = await self._grants.add_device_code(grant, user_code, lifespan, self._settings.device_codes_max)
        if code is None:
            raise OAuthError("temporarily_unavailable", "Too many devices wait for a person.", retry_after_seconds=60)
        page = caller.public_url.rstrip("/") + PAGE
        shown = f"{user_code[:4]}-{user_code[4:]}"
        return {
            "device_code": code,
            "user_code": shown,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={shown}",
            "expires_in": int(lifespan),
            "interval": max(1, round(self._settings.device_poll_interval_seconds)),
        }

    async def approved(self, client: Client, parameters: Parameters) -> Grant:
        """Return the grant of a device code that a person has approved.

        Raises:
            OAuthError: authorization_pending, slow_down, access_denied, expired_token or invalid_grant.
        """
        if not self.enabled:
            raise OAuthError("unsupported_grant_type", "The device flow is switched off.")
        if not client.may_use_devices():
            raise OAuthError("unauthorized_client", "The client may not use the device flow.")
        code = parameters.get("device_code", "")
        if not code:
            raise invalid_request("The parameter device_code is missing.")
        row = await self._grants.find_device_code(code)
        if row is None:
            raise OAuthError("expired_token", "The device code is unknown or has expired.")
        if row.grant.client_id != client.id:
            raise invalid_grant("The device code was issued to another client.")
        if row.status == DENIED:
            raise OAuthError("access_denied", "The person refused the request.")
        if row.status == PENDING:
            if self._too_early(row.grant_id):
                raise OAuthError("slow_down", "The device asks too often.")
            raise OAuthError("authorization_pending", "The person has not decided yet.")
        return row.grant

    async def waiting(self, user_code: str, subject: str) -> DeviceRow | None:
        """Return the device that shows a code; None for a wrong or expired one. Case, blanks and dashes do not count.

        Raises:
            OAuthError: This person has typed too many wrong codes.
        """
        self._limit(self._guesses, subject)
        # Counted before the wait: otherwise guesses that are sent at once would all pass.
        self._guesses.add(("", subject))
        row = await self._grants.find_user_code("".join(c for c in user_code.upper() if c in _LETTERS))
        if row is not None:
            self._guesses.take_back(("", subject))
        return row

    async def decide(self, row: DeviceRow, grant: Grant | None) -> bool:
        """Approve a device for the person of a grant, or deny it. Return False where it does not wait any more."""
        if grant is None:
            return await self._grants.decide(row.grant_id, DENIED, row.grant)
        return await self._grants.decide(row.grant_id, APPROVED, grant)

    def _limit(self, limit: MinuteLimit, key: str) -> None:
        wait = limit.seconds_left(("", key))
        if wait > 0:
            raise OAuthError(
                "temporarily_unavailable", "Too many requests; try again later.", status=429, retry_after_seconds=wait
            )

    def _too_early(self, grant_id: str) -> bool:
        """Return whether a device polls more often than its interval allows, in this process."""
        now, last = time.monotonic(), self._polls.pop(grant_id, None)
        self._polls[grant_id] = now
        if len(self._polls) > _POLLS_MAX:
            self._polls.popitem(last=False)
        # With a second of tolerance for clients that count from the start of their last request.
        return last is not None and now - last < self._settings.device_poll_interval_seconds - 1
