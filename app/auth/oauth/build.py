"""Compose the authorization server of a process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.auth.keys import SigningKeys
from app.auth.oauth.clients import Clients
from app.auth.oauth.devices import Devices
from app.auth.oauth.grants import Grants
from app.auth.oauth.revocations import RevokedClients
from app.auth.oauth.server import AuthorizationServer
from app.auth.periodic import Periodic
from app.database.base import Database
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class OAuth:
    """The authorization server of a process.

    Attributes:
        keys: The signing keys.
        revoked: The clients whose access tokens are refused.
        services: The background services.
    """

    server: AuthorizationServer
    keys: SigningKeys
    revoked: RevokedClients
    services: tuple[Periodic, ...]


def build(settings: Settings, database: Database, keys: SigningKeys, claim_names: Sequence[str] = ()) -> OAuth:
    """Return the authorization server.

    Args:
        settings: The settings.
        database: The database, not opened yet.
        keys: The signing keys.
        claim_names: Claims of a person's session that access tokens repeat.

    Raises:
        BadSetting: The secret of a static client is no bcrypt hash.
    """
    section = settings.auth.app_auth.self_auth_server
    clients, grants = Clients(section, database), Grants(database)
    devices = Devices(section, clients, grants)
    revoked = RevokedClients(database, clients.static_ids)
    return OAuth(
        server=AuthorizationServer(section, keys, clients, grants, devices, claim_names),
        keys=keys,
        revoked=revoked,
        services=(grants.cleaning(), revoked.service(settings.auth.revocation_delay_seconds)),
    )
