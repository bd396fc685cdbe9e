"""Section `auth`: sign-in of people and applications.

Source: flyteadmin/auth/config at v1.16.8.
"""

from typing import Literal

from pydantic import Field, SecretStr

from app.settings.roles import Audit, Roles
from app.settings.values import Seconds, Section


class OpenId(Section):
    """The OpenID provider at which people sign in."""

    client_id: str = ""
    """Id of this server at the provider."""

    client_secret_name: str = "oidc_client_secret"
    """Name of the secret with the password of that client."""

    client_secret_file: str = ""
    """Path of a file with that password; older than `clientSecretName`."""

    base_url: str = ""
    """Address of the provider."""

    issuer_url: str = ""
    """Issuer of tokens, where it is not `baseUrl`."""

    scopes: tuple[str, ...] = ("openid", "profile")
    """Scopes that are requested."""


class CookieSetting(Section):
    """Cookies of signed-in people."""

    same_site_policy: Literal["DefaultMode", "LaxMode", "StrictMode", "NoneMode"] = "DefaultMode"
    """Attribute SameSite of cookies."""

    domain: str = ""
    """Attribute Domain of cookies."""


class SignInAllowed(Section):
    """Who may sign in. Each list that is not empty must admit the person. Not upstream's."""

    email_domains: tuple[str, ...] = ()
    """Domains of e-mail addresses, such as `example.com`. The provider must call the address verified. Empty admits
    every address. Not upstream's."""

    claim: str = ""
    """Claim of the id token, or of the provider's user info, that `claimValues` looks at, such as `groups`. Not
    upstream's."""

    claim_values: tuple[str, ...] = ()
    """Values of `claim`. One of them must be the claim's value or be in its list. Empty admits everybody. Not
    upstream's."""


class Logout(Section):
    """The end of a session at the identity provider. Not upstream's."""

    at_provider: bool = True
    """Send a browser that opens `/logout` on to the `end_session_endpoint` of the provider, where it has one. Not
    upstream's."""

    redirect_url: str = ""
    """Address to which the provider returns the browser. It must be registered at the provider as
    `post_logout_redirect_uri`. Empty: the browser stays on the provider's page. Not upstream's."""


class UserAuth(Section):
    """Sign-in of people in a browser."""

    redirect_url: str = "/console"
    """Address to which the browser returns after sign-in."""

    open_id: OpenId = OpenId()
    http_proxy_url: str = ""
    """HTTP proxy for requests to the provider."""

    cookie_hash_key_secret_name: str = "cookie_hash_key"
    """Name of the secret that signs cookies."""

    cookie_block_key_secret_name: str = "cookie_block_key"
    """Name of the secret that encrypts cookies."""

    cookie_setting: CookieSetting = CookieSetting()
    idp_query_parameter: str = ""
    """Name of the query parameter that selects an identity provider."""

    allow: SignInAllowed = SignInAllowed()
    logout: Logout = Logout()

    session_seconds_max: Seconds = Field(default=30 * 86400.0, gt=0)
    """Time after which a person must sign in again, as a duration. Not upstream's."""

    login_seconds_max: Seconds = Field(default=600.0, gt=0)
    """Time for one sign-in, from `/login` to the return from the provider, as a duration. Not upstream's."""

    callback_bytes_max: int = Field(default=1_000_000, ge=1)
    """Largest form that `/callback` reads, in bytes. Not upstream's."""


class StaticClient(Section):
    """An OAuth 2 client of the own authorization server."""

    id: str = ""
    """Id of the client."""

    client_secret: SecretStr = SecretStr("")
    """Base64 of the bcrypt hash of the client's password. Shown masked."""

    redirect_uris: tuple[str, ...] = ()
    """Addresses to which the client may be redirected."""

    grant_types: tuple[str, ...] = ()
    """OAuth 2 grant types of the client."""

    response_types: tuple[str, ...] = ()
    """OAuth 2 response types of the client."""

    scopes: tuple[str, ...] = ()
    """Scopes that the client may request."""

    audience: tuple[str, ...] = ()
    """Audience of its tokens."""

    public: bool = False
    """Whether the client has no password."""


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
    """This server's own OAuth 2 authorization server."""

    issuer: str = ""
    """Issuer of tokens; empty means the address of this server."""

    access_token_lifespan_seconds: Seconds = 1800.0
    """Validity of access tokens, as a duration."""

    refresh_token_lifespan_seconds: Seconds = 3600.0
    """Validity of refresh tokens, as a duration."""

    authorization_code_lifespan_seconds: Seconds = 300.0
    """Validity of authorization codes, as a duration."""

    claim_symmetric_encryption_key_secret_name: str = "claim_symmetric_key"
    """Name of the secret that encrypts claims."""

    token_signing_rsa_key_secret_name: str = "token_rsa_key.pem"
    """Name of the secret with the RSA key that signs tokens."""

    old_token_signing_rsa_key_secret_name: str = "token_rsa_key_old.pem"
    """Name of the secret with an earlier RSA key, whose tokens stay valid."""

    static_clients: dict[str, StaticClient] = STATIC_CLIENTS

    device_flow: bool = False
    """Whether clients without a browser may sign a person in by a code that the person types at `/oauth2/device`
    (RFC 8628). Public clients with the grant type authorization_code may then do so, too. Not upstream's."""

    device_code_lifespan_seconds: Seconds = 600.0
    """Time in which a person must type a device's code, as a duration. Not upstream's."""

    device_poll_interval_seconds: Seconds = 5.0
    """Time between two requests of a device for its token, as a duration. Not upstream's."""

    device_codes_max: int = Field(default=1000, ge=1)
    """Device codes that wait for a person at once, of all clients. Not upstream's."""

    secret_failures_per_minute_max: int = Field(default=10, ge=1)
    """Wrong secrets of one client from one address in a minute, in each worker process. Further attempts are answered
    with 429 until the minute is over. Not upstream's."""

    secret_checks_max: int = Field(default=2, ge=1)
    """Client secrets that one worker process compares at once; each takes a thread for some 0.2 s. Not upstream's."""


class ExternalAuthServer(Section):
    """An OAuth 2 authorization server elsewhere."""

    base_url: str = ""
    """Address of the authorization server."""

    allowed_audience: tuple[str, ...] = ()
    """Audiences of accepted tokens."""

    metadata_url: str = ""
    """Path of its metadata."""

    http_proxy_url: str = ""
    """HTTP proxy for requests to the authorization server."""

    retry_attempts: int = Field(default=5, ge=0)
    """Number of attempts to read its metadata."""

    retry_delay_seconds: Seconds = 1.0
    """Time between two such attempts, as a duration."""

    allowed_issuers: tuple[str, ...] = ()
    """Issuers of accepted tokens beside the one in its metadata. Entra ID has another one for tokens of version 1.
    Not upstream's."""


class FlyteClient(Section):
    """The OAuth 2 client of command line tools."""

    client_id: str = "flytectl"
    """Id of the client."""

    redirect_uri: str = "http://localhost:53593/callback"
    """Address to which the client is redirected."""

    scopes: tuple[str, ...] = ("all", "offline")
    """Scopes that the client requests."""

    audience: str = ""
    """Audience of its tokens."""


class ThirdParty(Section):
    """Settings for flytectl and pyflyte, which read them from the server before they sign in."""

    flyte_client: FlyteClient = FlyteClient()


class AppAuth(Section):
    """Sign-in of applications, by OAuth 2."""

    auth_server_type: Literal["Self", "External"] = "Self"
    """`Self`: this server issues tokens. `External`: another server does."""

    self_auth_server: SelfAuthServer = SelfAuthServer()
    external_auth_server: ExternalAuthServer = ExternalAuthServer()
    third_party_config: ThirdParty = ThirdParty()


class Auth(Section):
    """Authentication."""

    http_authorization_header: str = "flyte-authorization"
    """Header with the token in HTTP requests."""

    grpc_authorization_header: str = "flyte-authorization"
    """Metadata key with the token in gRPC requests."""

    disable_for_http: bool = False
    """Serve HTTP requests without a token."""

    disable_for_grpc: bool = False
    """Serve gRPC requests without a token."""

    authorized_uris: tuple[str, ...] = ()
    """Addresses of this server as clients write them. Their hosts are accepted in the header Host, and their pages
    by CORS."""

    http_proxy_url: str = ""
    """HTTP proxy for all requests of authentication."""

    task_token_lifespan_seconds: Seconds = 600.0
    """Validity of the token with which a task of the local engine calls this server, as a duration. It is replaced
    while the task runs. 0 gives tasks no token. Not upstream's."""

    token_bytes_max: int = Field(default=32 * 1024, ge=1024)
    """Longest token that is verified, in bytes. Not upstream's."""

    verified_token_seconds: float = Field(default=60.0, ge=0)
    """Time after which the signature of a token is verified anew, in seconds. Not upstream's."""

    provider_timeout_seconds: float = Field(default=10.0, gt=0)
    """Time for a whole reply of the identity provider, in seconds. Not upstream's."""

    provider_document_bytes_max: int = Field(default=1024**2, ge=1024)
    """Largest reply of the identity provider, in bytes. Not upstream's."""

    provider_document_seconds: float = Field(default=300.0, gt=0)
    """Age from which the documents and keys of the identity provider are fetched anew in the background, in seconds.
    Not upstream's."""

    key_fetches_per_minute_max: int = Field(default=60, ge=1)
    """Fetches of the identity provider's keys that tokens with an unknown key may cause in a minute. Not upstream's."""

    verified_tokens_bytes_max: int = Field(default=8 * 1024**2, ge=0)
    """Size of the cache of verified tokens, in bytes for each process. Not upstream's."""

    required_scope: str = "all"
    """Scope that a token must have; empty accepts tokens of any scope. Not upstream's."""

    services: tuple[str, ...] = ()
    """Subjects and client ids of services that launch on behalf of users, beside those whose tokens come from the grant
    client_credentials: the execution identity that they send is kept. Not upstream's."""

    open_health_check: bool = False
    """Answer gRPC's Health/Check without a token, for probes that have none. Not upstream's."""

    user_auth: UserAuth = UserAuth()
    app_auth: AppAuth = AppAuth()

    revocation_delay_seconds: Seconds = 15.0
    """Time after which every worker process refuses the access tokens of a client that was revoked, as a duration.
    Not upstream's."""
    roles: Roles = Roles()
    audit: Audit = Audit()
