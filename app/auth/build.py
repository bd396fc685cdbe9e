"""Compose authentication from the settings and the database."""

from __future__ import annotations

from app.auth.access_tokens import OwnAccessTokens
from app.auth.authentication import Authentication, NoTokens, Verifier
from app.auth.bearer_tokens import BearerTokens
from app.auth.keys import SigningKeys
from app.auth.oauth.build import build as authorization_server_of
from app.auth.oauth.personal import PersonalTokens
from app.auth.secrets_store import SecretsStore
from app.auth.task_tokens import TaskTokens, TaskTokenVerifier, signing_key
from app.database.base import Database
from app.settings import Settings

# The length of the key that signs cookies (`auth.userAuth.cookieHashKeySecretName`).
COOKIE_KEY_BYTES = 64


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
    secrets = SecretsStore(settings)
    access_tokens: Verifier = NoTokens("this server verifies no tokens of an external authorization server")
    oauth = None
    if settings.auth.app_auth.auth_server_type == "Self":
        keys = SigningKeys.load(settings, secrets)
        access_tokens = OwnAccessTokens(settings, keys)
        oauth = authorization_server_of(settings, database, keys)
    return Authentication(
        settings,
        access_tokens=BearerTokens(
            (
                (TaskTokenVerifier.recognises, TaskTokenVerifier(_task_key(settings, secrets), database)),
                (PersonalTokens.recognises, PersonalTokens(database)),
            ),
            access_tokens,
        ),
        id_tokens=NoTokens("auth.userAuth.openId.clientId is empty, so no id token is accepted"),
        oauth=oauth,
    )


def task_tokens_of(settings: Settings) -> TaskTokens | None:
    """Return the issuer of the tokens of tasks; None without authentication, or where `auth.taskTokenLifespan` is 0.

    Raises:
        BadSetting: The secret is missing, or no key.
    """
    seconds = settings.auth.task_token_lifespan_seconds
    if not settings.server.security.use_auth or not seconds:
        return None
    return TaskTokens(_task_key(settings, SecretsStore(settings)), seconds)


def _task_key(settings: Settings, secrets: SecretsStore) -> bytes:
    """Derive the key of task tokens: all servers of a deployment have the key that signs cookies."""
    name = settings.auth.user_auth.cookie_hash_key_secret_name
    return signing_key(secrets.key(name, bytes_wanted=COOKIE_KEY_BYTES))
