"""Try the settings of authentication against the identity provider: `flyteadmin auth check`.

No secret leaves this process except to the token endpoint that it belongs to.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import httpx

from app.auth.keys import SigningKeys
from app.auth.provider import OAUTH_PATH, OPENID_PATH
from app.auth.provider_client import trusted
from app.auth.secrets_store import SecretsStore
from app.server.findings import CheckReport, FetchFailed, client, get, get_json, send
from app.server.secret_files import PLACEHOLDER
from app.settings import BadSetting, Settings
from app.settings.hosts import host_of, is_loopback

SKEW_SECONDS_MAX = 60.0
# Algorithms with public keys. The others need a secret that the provider shares with each client.
ALGORITHMS = frozenset({*(f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)), "EdDSA"})
_HASH = re.compile(rb"\$2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{53}")


async def run(settings: Settings) -> CheckReport:
    """Return the result of `check`, with the proxies and the trusted authorities that a server uses.

    Raises:
        BadSetting: The address of a proxy has no form of one.
    """
    auth = settings.auth
    external = auth.app_auth.external_auth_server.http_proxy_url or auth.http_proxy_url
    async with (
        client() as own,
        client(trusted(), auth.user_auth.http_proxy_url or auth.http_proxy_url) as provider,
        client(trusted(), external) as external_server,
    ):
        return await check(settings, own, provider, external_server)


async def check(
    settings: Settings,
    http: httpx.AsyncClient,
    provider: httpx.AsyncClient | None = None,
    external_server: httpx.AsyncClient | None = None,
) -> CheckReport:
    """Return everything that the settings lack, and the parts that work.

    Args:
        settings: The settings.
        http: Sends the requests to the addresses of this server.
        provider: Sends the requests to the OpenID provider; None for `http`.
        external_server: Sends the requests to the external authorization server; None for `http`.
    """
    report = CheckReport()
    if not settings.server.security.use_auth:
        report.warning("server.security.useAuth", "is false: a server with these settings asks nobody to sign in")
    _check_secrets(settings, report)
    await _check_addresses(settings, http, report)
    openid = settings.auth.user_auth.open_id
    if openid.base_url:
        await _Provider(settings, provider or http, report).check()
    else:
        report.error("auth.userAuth.openId.baseUrl", "is empty: a server does not start without an identity provider")
    if settings.auth.app_auth.auth_server_type == "External":
        await _check_external(settings, external_server or http, report)
    return report


def _check_secrets(settings: Settings, report: CheckReport) -> None:
    store, user, app = SecretsStore(settings), settings.auth.user_auth, settings.auth.app_auth
    keys = [(user.cookie_hash_key_secret_name, 64), (user.cookie_block_key_secret_name, 32)]
    if app.auth_server_type == "Self":
        keys.append((app.self_auth_server.claim_symmetric_encryption_key_secret_name, 32))
    for name, length in keys:
        try:
            store.key(name, bytes_wanted=length)
        except BadSetting as error:
            report.error(f"secret {name}", str(error))
        else:
            report.ok(f"secret {name}", f"a key of {length} bytes")
    if app.auth_server_type == "Self":
        try:
            found = SigningKeys.load(settings, store).jwks()["keys"]
        except BadSetting as error:
            report.error(f"secret {app.self_auth_server.token_signing_rsa_key_secret_name}", str(error))
        else:
            report.ok("signing keys", f"{len(found)} (a second one verifies the tokens of before a rotation)")
        _check_static_clients(settings, report)


def _check_static_clients(settings: Settings, report: CheckReport) -> None:
    for name, one in settings.auth.app_auth.self_auth_server.static_clients.items():
        subject, hashed = f"staticClients.{name}.client_secret", one.client_secret.get_secret_value()
        if one.public:
            continue
        if not hashed:
            report.warning(subject, "is empty: this client cannot sign in; `flyteadmin secret init` prints a hash")
            continue
        try:
            valid = bool(_HASH.fullmatch(base64.b64decode(hashed, validate=True)))
        except (binascii.Error, ValueError):
            valid = False
        if valid:
            report.ok(subject, "base64 of a bcrypt hash")
        else:
            report.error(subject, "is no base64 of a bcrypt hash; `flyteadmin secret init` prints one")


async def _check_addresses(settings: Settings, http: httpx.AsyncClient, report: CheckReport) -> None:
    uris = settings.auth.authorized_uris
    if not uris:
        report.error("auth.authorizedUris", "is empty: list the address of this server as clients write it")
    for uri in uris:
        host, scheme = host_of(uri), urlsplit(uri).scheme
        if host is None or scheme not in ("http", "https"):
            report.error("auth.authorizedUris", f"{uri} is no address; allowed: https://host[:port][/path]")
            continue
        if scheme == "http" and not is_loopback(host):
            report.warning("auth.authorizedUris", f"{uri} has no TLS: tokens and cookies can be read on the way")
        try:
            reply = await get(http, f"{uri.rstrip('/')}/healthcheck")
        except FetchFailed as error:
            report.warning(uri, f"cannot be reached from here: {error}; start the server, or run `flyteadmin doctor`")
        else:
            if reply.status == 200:
                report.ok(uri, "answers")
            else:
                report.warning(uri, f"answers {reply.status} at /healthcheck; is it this server?")


class _Provider:
    """Checks the OpenID provider of `auth.userAuth.openId`."""

    def __init__(self, settings: Settings, http: httpx.AsyncClient, report: CheckReport) -> None:
        self._settings, self._http, self._report = settings, http, report
        self._openid = settings.auth.user_auth.open_id
        self._document: Mapping[str, Any] = {}

    async def check(self) -> None:
        """Fetch the provider's document and check everything in it."""
        base, report = self._openid.base_url, self._report
        url = f"{base.removesuffix('/')}/{OPENID_PATH}"
        try:
            self._document, reply = await get_json(self._http, url)
        except FetchFailed as error:
            report.error("auth.userAuth.openId.baseUrl", f"{url} cannot be used: {error}")
            return
        report.ok("discovery", url)
        _check_clock(reply.headers, report)
        self._check_issuer()
        self._check_features()
        await check_keys(self._document, self._http, report, "id tokens")
        await self._check_client()

    def _check_issuer(self) -> None:
        wanted, found = self._openid.issuer_url or self._openid.base_url, self._document.get("issuer")
        if found == wanted:
            self._report.ok("issuer", str(found))
        else:
            self._report.error(
                "issuer",
                f"found {found!r}, wanted {wanted!r}, letter for letter; set auth.userAuth.openId.baseUrl to the "
                "first, or issuerUrl where the provider's document is at another address",
            )

    def _check_features(self) -> None:
        report, scopes = self._report, self._openid.scopes
        for name in ("authorization_endpoint", "token_endpoint"):
            address = _text(self._document, name)
            if not address:
                report.error(name, "the provider's document has none")
            elif not address.startswith("https://") and not is_loopback(host_of(address) or ""):
                report.warning(name, f"{address} has no TLS")
        if "openid" not in scopes:
            report.error("auth.userAuth.openId.scopes", "lacks `openid`: the provider sends no id token")
        supported = _texts(self._document, "scopes_supported")
        missing = [scope for scope in scopes if supported and scope not in supported]
        if missing:
            names = ", ".join(missing)
            report.warning("auth.userAuth.openId.scopes", f"the provider's document does not list {names}")
        if "offline_access" in supported and "offline_access" not in scopes:
            report.warning(
                "refresh tokens",
                "the provider may give none without the scope offline_access; add it to auth.userAuth.openId.scopes, "
                "or people sign in again when the id token expires",
            )
        response_types = _texts(self._document, "response_types_supported")
        if response_types and "code" not in response_types:
            report.error("response_types_supported", f"lacks `code`, found {', '.join(response_types)}")
        methods = _texts(self._document, "token_endpoint_auth_methods_supported")
        if methods and not {"client_secret_basic", "client_secret_post"} & set(methods):
            report.error(
                "token_endpoint_auth_methods_supported",
                f"found {', '.join(methods)}; this server sends client_secret_basic or client_secret_post",
            )
        challenges = _texts(self._document, "code_challenge_methods_supported")
        if challenges and "S256" not in challenges:
            report.warning("code_challenge_methods_supported", f"lacks S256, found {', '.join(challenges)}")
        if not _text(self._document, "end_session_endpoint"):
            report.warning("end_session_endpoint", "there is none: /logout ends the session here, not at the provider")
        if not _text(self._document, "userinfo_endpoint"):
            report.warning("userinfo_endpoint", "there is none: name and e-mail come from the id token alone")

    async def _check_client(self) -> None:
        """Redeem a code that does not exist: the error differs for a wrong secret. Then try the callback address."""
        report = self._report
        if not self._openid.client_id:
            report.error("auth.userAuth.openId.clientId", "is empty; register this server at the provider")
            return
        try:
            secret = SecretsStore(self._settings).client_secret(
                self._openid.client_secret_name, self._openid.client_secret_file
            )
        except BadSetting as error:
            report.error(f"secret {self._openid.client_secret_name}", str(error))
            return
        if not secret or secret == PLACEHOLDER:
            report.error(f"secret {self._openid.client_secret_name}", "write the provider's client secret into it")
            return
        callbacks = [urljoin(f"{uri.removesuffix('/')}/", "callback") for uri in self._settings.auth.authorized_uris]
        for callback in callbacks:
            await self._check_callback(callback)
        if callbacks:
            await self._check_client_secret(secret, callbacks[0])

    async def _check_client_secret(self, secret: str, callback: str) -> None:
        report, subject = self._report, "client id and secret"
        methods = _texts(self._document, "token_endpoint_auth_methods_supported")
        form = {"grant_type": "authorization_code", "code": secrets.token_urlsafe(), "redirect_uri": callback}
        basic = not methods or "client_secret_basic" in methods
        if not basic:
            form |= {"client_id": self._openid.client_id, "client_secret": secret}
        auth = httpx.BasicAuth(self._openid.client_id, secret) if basic else None
        try:
            request = self._http.build_request("POST", _text(self._document, "token_endpoint"), data=form)
            if auth is not None:
                request = next(auth.auth_flow(request))
            reply = await send(self._http, request, redirects=False)
            found = str(reply.json().get("error", f"status {reply.status}"))
        except (FetchFailed, httpx.InvalidURL, ValueError) as error:
            report.warning(subject, f"the token endpoint cannot be tried: {error}")
            return
        if found == "invalid_grant":
            report.ok(subject, "the token endpoint accepts them")
        elif found in ("invalid_client", "unauthorized_client"):
            report.error(subject, f"the token endpoint refuses them ({found})")
        else:
            report.warning(subject, f"the token endpoint answers {found} to a code that does not exist")

    async def _check_callback(self, callback: str) -> None:
        """Ask for a sign-in: providers refuse a callback that is not registered with an error page."""
        report, endpoint = self._report, _text(self._document, "authorization_endpoint")
        query = {
            "client_id": self._openid.client_id,
            "redirect_uri": callback,
            "response_type": "code",
            "scope": " ".join(self._openid.scopes),
            "state": secrets.token_urlsafe(16),
            "nonce": secrets.token_urlsafe(16),
        }
        try:
            separator = "&" if urlsplit(endpoint).query else "?"
            reply = await get(self._http, f"{endpoint}{separator}{urlencode(query)}")
        except FetchFailed as error:
            report.warning("redirect URI", f"register {callback}; the provider cannot be asked: {error}")
            return
        if reply.status < 400:
            report.ok("redirect URI", f"{callback} is accepted, or refused only after sign-in; register exactly this")
        else:
            report.error("redirect URI", f"register {callback}: a sign-in with it is answered {reply.status}")


async def _check_external(settings: Settings, http: httpx.AsyncClient, report: CheckReport) -> None:
    """Check the authorization server of `auth.appAuth.externalAuthServer`, and what clients are given of it."""
    external, cli = settings.auth.app_auth.external_auth_server, settings.auth.app_auth.third_party_config.flyte_client
    base = external.base_url or settings.auth.user_auth.open_id.base_url
    if not base:
        report.error("auth.appAuth.externalAuthServer.baseUrl", "is empty, and so is auth.userAuth.openId.baseUrl")
        return
    url = urljoin(f"{base.removesuffix('/')}/", external.metadata_url or OAUTH_PATH)
    try:
        document, reply = await get_json(http, url)
    except FetchFailed as error:
        report.error(
            "auth.appAuth.externalAuthServer",
            f"{url} cannot be used: {error}; where only {OPENID_PATH} exists, set it as metadataUrl",
        )
        return
    report.ok("authorization server", url)
    _check_clock(reply.headers, report)
    await check_keys(document, http, report, "access tokens")
    supported, wanted = _texts(document, "scopes_supported"), settings.auth.required_scope
    if wanted and supported and wanted not in supported:
        report.warning(
            "auth.requiredScope",
            f"the server's document does not list the scope {wanted!r}; create it, or set another auth.requiredScope",
        )
    absent = [scope for scope in cli.scopes if supported and scope not in supported]
    if absent:
        report.warning(
            "thirdPartyConfig.flyteClient.scopes", f"the server's document does not list {', '.join(absent)}"
        )
    if not external.allowed_audience:
        report.warning(
            "allowedAudience",
            "is empty: only tokens for an address in auth.authorizedUris are accepted; providers write another "
            "audience unless a mapper or a parameter sets it",
        )
    elif cli.audience and cli.audience not in external.allowed_audience:
        report.error("thirdPartyConfig.flyteClient.audience", f"{cli.audience} is not in allowedAudience")
    for name in ("authorization_endpoint", "token_endpoint"):
        if not _text(document, name):
            report.error(name, "the authorization server's document has none")
    if not _text(document, "device_authorization_endpoint"):
        report.warning(
            "device flow", "there is no device_authorization_endpoint: clients without a browser need secrets"
        )


async def check_keys(document: Mapping[str, Any], http: httpx.AsyncClient, report: CheckReport, use: str) -> None:
    """Check that the document's key set has a key which verifies the tokens."""
    subject, address = f"keys of {use}", _text(document, "jwks_uri")
    announced = _texts(document, "id_token_signing_alg_values_supported")
    if announced and not ALGORITHMS & set(announced):
        report.error(subject, f"found algorithms {', '.join(announced)}; wanted one with public keys, such as RS256")
        return
    if not address:
        report.error(subject, "the document has no jwks_uri")
        return
    try:
        found, _ = await get_json(http, address)
    except FetchFailed as error:
        report.error(subject, f"{address} cannot be used: {error}")
        return
    keys = found.get("keys")
    usable = [
        key
        for key in (keys if isinstance(keys, list) else [])
        if isinstance(key, dict)
        and key.get("kty") in ("RSA", "EC", "OKP")
        and key.get("use", "sig") == "sig"
        and key.get("alg", "RS256") in ALGORITHMS
    ]
    if usable:
        report.ok(subject, f"{len(usable)} at {address}")
    else:
        report.error(subject, f"{address} has no key that verifies signatures")


def _check_clock(headers: httpx.Headers, report: CheckReport) -> None:
    try:
        theirs = parsedate_to_datetime(headers.get("date", ""))
        skew = abs((datetime.now(UTC) - theirs).total_seconds())
    except (TypeError, ValueError):
        return
    if skew > SKEW_SECONDS_MAX:
        report.error("clock", f"differs from the provider's by {skew:.0f} s: tokens will be refused; use NTP")


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""


def _texts(document: Mapping[str, Any], name: str) -> list[str]:
    value = document.get(name)
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
