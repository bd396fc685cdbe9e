"""Compose authentication from the settings and the database. Where authentication is off, nothing here is imported."""

from __future__ import annotations

from app.auth.access_tokens import ExternalAccessTokens, OwnAccessTokens
from app.auth.authentication import Authentication, Verifier
from app.auth.bearer_tokens import BearerTokens
from app.auth.cookies import HASH_KEY_BYTES
from app.auth.id_tokens import AdmittedIdTokens, IdTokens
from app.auth.keys import SigningKeys
from app.auth.oauth.build import build as authorization_server_of
from app.auth.oauth.personal import PersonalTokens
from app.auth.provider import ExternalServer, OpenIdProvider
from app.auth.provider_service import ProviderService
from app.auth.role_store import claims_of_roles
from app.auth.secrets_store import SecretsStore
from app.auth.sign_in import sign_in_of
from app.auth.task_tokens import TaskTokens, TaskTokenVerifier, signing_key
from app.database.base import Database
from app.settings import Settings


def authentication_of(settings: Settings, database: Database) -> Authentication:
    """Return the authentication of this process.

    Args:
        settings: The settings.
        database: Holds sessions, grants, clients and roles.

    Raises:
        BadSetting: A secret is missing, or a key cannot be used.
    """
    secrets = SecretsStore(settings)
    provider = OpenIdProvider(settings)
    id_tokens = IdTokens(settings, provider)
    sign_in = sign_in_of(settings, database, secrets, provider, id_tokens)
    external, oauth = None, None
    if settings.auth.app_auth.auth_server_type == "External":
        external = ExternalServer(settings)
        access_tokens: Verifier = ExternalAccessTokens(settings, external)
    else:
        keys = SigningKeys.load(settings, secrets)
        access_tokens = OwnAccessTokens(settings, keys)
        oauth = authorization_server_of(settings, database, keys, claims_of_roles(settings))
    auth = Authentication(
        settings,
        access_tokens=BearerTokens(
            (
                (TaskTokenVerifier.recognises, TaskTokenVerifier(_task_key(settings, secrets), database)),
                (PersonalTokens.recognises, PersonalTokens(database)),
            ),
            access_tokens,
        ),
        id_tokens=AdmittedIdTokens(settings, id_tokens),
        sessions=sign_in.sessions,
        oauth=oauth,
    )
    auth.sign_in = sign_in
    auth.provider, auth.external_server = provider, external
    auth.provider_service = ProviderService([one for one in (provider, external) if one is not None])
    return auth


def task_tokens_of(settings: Settings) -> TaskTokens | None:
    """Return the issuer of the tokens of tasks; None where `auth.taskTokenLifespan` is 0.

    Raises:
        BadSetting: The secret is missing, or no key.
    """
    seconds = settings.auth.task_token_lifespan_seconds
    return TaskTokens(_task_key(settings, SecretsStore(settings)), seconds) if seconds else None


def _task_key(settings: Settings, secrets: SecretsStore) -> bytes:
    """Derive the key of task tokens: all servers of a deployment have the key that signs cookies."""
    name = settings.auth.user_auth.cookie_hash_key_secret_name
    return signing_key(secrets.key(name, bytes_wanted=HASH_KEY_BYTES))
