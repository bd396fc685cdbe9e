"""Compose authentication from the settings and the database."""

from __future__ import annotations

from app.auth.access_tokens import OwnAccessTokens
from app.auth.authentication import Authentication, NoTokens, Verifier
from app.auth.keys import SigningKeys
from app.auth.secrets_store import SecretsStore
from app.database.base import Database
from app.settings import Settings


def authentication_of(settings: Settings, database: Database) -> Authentication | None:
    """Return the authentication of this process; None where `server.security.useAuth` is false.

    Args:
        settings: The settings.
        database: Holds sessions, grants, clients and roles.

    Raises:
        BadSetting: A secret is missing, or a key cannot be used.
    """
    if not settings.server.security.use_auth:
        return None
    access_tokens: Verifier = NoTokens("this server verifies no tokens of an external authorization server")
    if settings.auth.app_auth.auth_server_type == "Self":
        access_tokens = OwnAccessTokens(settings, SigningKeys.load(settings, SecretsStore(settings)))
    return Authentication(
        settings,
        access_tokens=access_tokens,
        id_tokens=NoTokens("auth.userAuth.openId.clientId is empty, so no id token is accepted"),
    )
