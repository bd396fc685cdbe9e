"""The checks of authentication before a server starts: its secrets, and the identity provider's documents.

Parity: a failure of either one ends the start, with upstream's text.

Source: flyteadmin/auth/auth_context.go NewAuthenticationContext, flyteadmin/pkg/server/service.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app import errors
from app.auth.keys import SigningKeys
from app.auth.provider import ExternalServer, OpenIdProvider
from app.auth.secrets_store import SecretsStore
from app.settings import BadSetting, Settings

HASH_KEY_BYTES = 64
BLOCK_KEY_BYTES = 32

_SETUP = "[AUTH_CONTEXT_SETUP_FAILED]"


def warnings(settings: Settings) -> list[str]:
    """Return sentences about settings with which authentication works in part only."""
    auth, found = settings.auth, []
    if not auth.user_auth.open_id.client_id:
        found.append(
            "auth.userAuth.openId.clientId is empty: no id token is accepted, and nobody signs in with a browser"
        )
    if not auth.authorized_uris:
        found.append(
            "auth.authorizedUris is empty: set it to the addresses of this server as clients write them, because each "
            "token is made for one of them"
        )
    return found


def check_secrets(settings: Settings, secrets: SecretsStore | None = None) -> None:
    """Read every secret that the settings name.

    Raises:
        BadSetting: One is missing, or has the wrong form.
    """
    secrets = secrets or SecretsStore(settings)
    user, app = settings.auth.user_auth, settings.auth.app_auth
    if app.auth_server_type == "Self":
        SigningKeys.load(settings, secrets)
    with _named("[CONFIG_OPTION_FILE_READ_FAILED] Could not read hash key file, caused by: "):
        secrets.key(user.cookie_hash_key_secret_name, bytes_wanted=HASH_KEY_BYTES)
        secrets.key(user.cookie_block_key_secret_name, bytes_wanted=BLOCK_KEY_BYTES)
    with _named(f"{_SETUP} Error creating OAuth2 library configuration, caused by: "):
        secrets.client_secret(user.open_id.client_secret_name, user.open_id.client_secret_file)


async def check_providers(settings: Settings) -> None:
    """Fetch the documents of the OpenID provider and of an external authorization server.

    Raises:
        BadSetting: One cannot be fetched or used.
    """
    if settings.auth.app_auth.auth_server_type == "External":
        await _check_external(settings)
    base = settings.auth.user_auth.open_id.base_url
    problem = f"{_SETUP} Error creating oidc provider w/ issuer [{base}], caused by: "
    if not base:
        raise BadSetting(f"{problem}auth.userAuth.openId.baseUrl is empty; set it to the provider's issuer")
    provider = OpenIdProvider(settings)
    try:
        await provider.document()
    except errors.FailedPrecondition as error:
        advice = "set auth.userAuth.openId.baseUrl to the second one, or issuerUrl where it has another address"
        raise BadSetting(f"{problem}{error.message}; {advice}") from error
    except errors.FlyteError as error:
        advice = "auth.userAuth.openId.baseUrl is the address before /.well-known/openid-configuration"
        raise BadSetting(f"{problem}{error.message}; {advice}") from error
    finally:
        await provider.close()


async def _check_external(settings: Settings) -> None:
    server = ExternalServer(settings)
    try:
        await server.document()
    except errors.FlyteError as error:
        problem = f"{_SETUP} Error reading the authorization server's metadata [{server.metadata_url}]"
        advice = "auth.appAuth.externalAuthServer.baseUrl and metadataUrl make this address"
        raise BadSetting(f"{problem}, caused by: {error.message}; {advice}") from error
    finally:
        await server.close()


@contextmanager
def _named(prefix: str) -> Iterator[None]:
    """Put upstream's text before that of a BadSetting."""
    try:
        yield
    except BadSetting as error:
        raise BadSetting(f"{prefix}{error}") from error
