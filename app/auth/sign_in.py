"""The objects of the browser login, made once per process where authentication is on."""

from __future__ import annotations

from dataclasses import dataclass

from app.auth.code_flow import CodeFlow
from app.auth.cookies import BLOCK_KEY_BYTES, HASH_KEY_BYTES, CookieKeys, CookieWriter
from app.auth.id_tokens import IdTokens
from app.auth.provider import OpenIdProvider
from app.auth.public_url import PublicUrls
from app.auth.secrets_store import SecretsStore
from app.auth.sessions import Sessions
from app.database.base import Database
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class SignIn:
    """The objects of the browser login; app/api/pages/login.py serves it.

    Attributes:
        flow: The requests to the identity provider.
        sessions: Stores who is signed in.
        keys: Sign cookies.
        writer: Writes cookies.
        public_urls: Chooses the address of this server for a request.
    """

    settings: Settings
    flow: CodeFlow
    sessions: Sessions
    keys: CookieKeys
    writer: CookieWriter
    public_urls: PublicUrls


def sign_in_of(
    settings: Settings, database: Database, secrets: SecretsStore, provider: OpenIdProvider, id_tokens: IdTokens
) -> SignIn:
    """Return the browser login of this process.

    Raises:
        BadSetting: A secret is missing, or a key has a wrong length.
    """
    auth = settings.auth.user_auth
    keys = CookieKeys(
        secrets.key(auth.cookie_hash_key_secret_name, bytes_wanted=HASH_KEY_BYTES),
        secrets.key(auth.cookie_block_key_secret_name, bytes_wanted=BLOCK_KEY_BYTES),
    )
    openid = auth.open_id
    password = secrets.client_secret(openid.client_secret_name, openid.client_secret_file)
    flow = CodeFlow(settings, provider.client, provider, id_tokens, password)
    return SignIn(
        settings=settings,
        flow=flow,
        sessions=Sessions(settings, database, keys, flow),
        keys=keys,
        writer=CookieWriter(auth, secure=not settings.server.security.insecure_cookie_header),
        public_urls=PublicUrls(settings),
    )
