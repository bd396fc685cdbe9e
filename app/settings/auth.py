"""Upstream's section `auth`; it counts where server.security.useAuth is true.

Source: flyteadmin/auth/config at v1.16.8.
"""

from typing import Literal

from pydantic import Field, SecretStr

from app.settings.values import Seconds, Section


class OpenId(Section):
    client_id: str = ""
    client_secret_name: str = "oidc_client_secret"
    client_secret_file: str = ""
    base_url: str = ""
    issuer_url: str = ""
    scopes: tuple[str, ...] = ("openid", "profile")


class CookieSetting(Section):
    same_site_policy: Literal["DefaultMode", "LaxMode", "StrictMode", "NoneMode"] = "DefaultMode"
    domain: str = ""


class UserAuth(Section):
    redirect_url: str = "/console"
    open_id: OpenId = OpenId()
    http_proxy_url: str = ""
    cookie_hash_key_secret_name: str = "cookie_hash_key"
    cookie_block_key_secret_name: str = "cookie_block_key"
    cookie_setting: CookieSetting = CookieSetting()
    idp_query_parameter: str = ""


class StaticClient(Section):
    """client_secret is the base64 of a bcrypt hash."""

    id: str = ""
    client_secret: SecretStr = SecretStr("")
    redirect_uris: tuple[str, ...] = ()
    grant_types: tuple[str, ...] = ()
    response_types: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    audience: tuple[str, ...] = ()
    public: bool = False


_cli = {
    "redirect_uris": ("http://localhost:53593/callback", "http://localhost:12345/callback"),
    "response_types": ("code", "token"),
    "grant_types": ("refresh_token", "authorization_code"),
    "scopes": ("all", "offline", "access_token"),
    "public": True,
}

STATIC_CLIENTS = {
    "flyte-cli": StaticClient.model_validate({"id": "flyte-cli", **_cli}),
    "flytectl": StaticClient.model_validate({"id": "flytectl", **_cli}),
    "flytepropeller": StaticClient(
        id="flytepropeller",
        redirect_uris=("http://localhost:3846/callback",),
        response_types=("token",),
        grant_types=("refresh_token", "client_credentials"),
        scopes=("all", "offline", "access_token"),
    ),
}


class SelfAuthServer(Section):
    issuer: str = ""
    access_token_lifespan_seconds: Seconds = 1800.0
    refresh_token_lifespan_seconds: Seconds = 3600.0
    authorization_code_lifespan_seconds: Seconds = 300.0
    claim_symmetric_encryption_key_secret_name: str = "claim_symmetric_key"
    token_signing_rsa_key_secret_name: str = "token_rsa_key.pem"
    old_token_signing_rsa_key_secret_name: str = "token_rsa_key_old.pem"
    static_clients: dict[str, StaticClient] = STATIC_CLIENTS


class ExternalAuthServer(Section):
    base_url: str = ""
    allowed_audience: tuple[str, ...] = ()
    metadata_url: str = ""
    http_proxy_url: str = ""
    retry_attempts: int = Field(default=5, ge=0)
    retry_delay_seconds: Seconds = 1.0


class FlyteClient(Section):
    client_id: str = "flytectl"
    redirect_uri: str = "http://localhost:53593/callback"
    scopes: tuple[str, ...] = ("all", "offline")
    audience: str = ""


class ThirdParty(Section):
    flyte_client: FlyteClient = FlyteClient()


class AppAuth(Section):
    auth_server_type: Literal["Self", "External"] = "Self"
    self_auth_server: SelfAuthServer = SelfAuthServer()
    external_auth_server: ExternalAuthServer = ExternalAuthServer()
    third_party_config: ThirdParty = ThirdParty()


class Auth(Section):
    http_authorization_header: str = "flyte-authorization"
    grpc_authorization_header: str = "flyte-authorization"
    disable_for_http: bool = False
    disable_for_grpc: bool = False
    authorized_uris: tuple[str, ...] = ()
    http_proxy_url: str = ""
    user_auth: UserAuth = UserAuth()
    app_auth: AppAuth = AppAuth()
