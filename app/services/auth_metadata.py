"""AuthMetadataService: how a client signs in. Its RPCs are open to callers without a token.

Not served where authentication is off.
Proto: flyteidl/service/auth.proto.

Source: flyteadmin/auth/authzserver/metadata_provider.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flyteidl.service import auth_pb2

from app import errors
from app.runtime.context import Context
from app.settings import Settings

if TYPE_CHECKING:
    from app.auth.authentication import Authentication

# Parity: without authentication upstream does not register this service (newGRPCServer). This is gRPC's message then.
_UNKNOWN = "unknown service flyteidl.service.AuthMetadataService"


async def get_oauth2_metadata(ctx: Context, request: auth_pb2.OAuth2MetadataRequest) -> auth_pb2.OAuth2MetadataResponse:
    """Return the metadata of the authorization server (RFC 8414): of the own one, or of the external one.

    Raises:
        errors.Unimplemented: Authentication is off.
        errors.FlyteError: The external server does not answer.

    Source: flyteidl/service/auth.proto GetOAuth2Metadata.
    """
    if ctx.auth is None:
        raise errors.Unimplemented(_UNKNOWN)
    if ctx.auth.external_server is not None:
        return _of_document(await ctx.auth.external_server.document())
    return _own(ctx.settings, _public_url(ctx, ctx.auth))


async def get_public_client_config(
    ctx: Context, request: auth_pb2.PublicClientAuthConfigRequest
) -> auth_pb2.PublicClientAuthConfigResponse:
    """Return the client id, redirect URI and scopes with which flytectl and pyflyte sign in.

    Raises:
        errors.Unimplemented: Authentication is off.

    Source: flyteidl/service/auth.proto GetPublicClientConfig.
    """
    if ctx.auth is None:
        raise errors.Unimplemented(_UNKNOWN)
    client = ctx.settings.auth.app_auth.third_party_config.flyte_client
    return auth_pb2.PublicClientAuthConfigResponse(
        client_id=client.client_id,
        redirect_uri=client.redirect_uri,
        scopes=client.scopes,
        authorization_metadata_key=ctx.settings.auth.grpc_authorization_header,
        audience=client.audience,
    )


def _public_url(ctx: Context, auth: Authentication) -> str:
    return auth.public_urls.of(ctx.credentials) if ctx.credentials is not None else auth.public_urls.of_host("")


def _own(settings: Settings, public_url: str) -> auth_pb2.OAuth2MetadataResponse:
    # Imported here, because a server without authentication needs none of the OAuth server's libraries.
    from app.auth.oauth.clients import DEVICE_CODE

    # Deviates: upstream leaves out the path of a public URL, so its endpoints are wrong below a path.
    base = public_url.rstrip("/")
    server = settings.auth.app_auth.self_auth_server
    grants = ("client_credentials", "refresh_token", "authorization_code")
    return auth_pb2.OAuth2MetadataResponse(
        issuer=server.issuer or public_url,
        authorization_endpoint=f"{base}/oauth2/authorize",
        token_endpoint=f"{base}/oauth2/token",
        jwks_uri=f"{base}/oauth2/jwks",
        response_types_supported=("code", "token", "code token"),
        scopes_supported=("all",),
        token_endpoint_auth_methods_supported=("client_secret_basic",),
        code_challenge_methods_supported=("S256",),
        grant_types_supported=(*grants, DEVICE_CODE) if server.device_flow else grants,
        device_authorization_endpoint=f"{base}/oauth2/device_authorization" if server.device_flow else "",
    )


def _of_document(document: Mapping[str, Any]) -> auth_pb2.OAuth2MetadataResponse:
    """Return the fields that both documents have. A value of another type is left out."""
    reply = auth_pb2.OAuth2MetadataResponse()
    for field in reply.DESCRIPTOR.fields:
        value = document.get(field.name)
        if field.is_repeated and isinstance(value, list):
            getattr(reply, field.name).extend(one for one in value if isinstance(one, str))
        elif not field.is_repeated and isinstance(value, str):
            setattr(reply, field.name, value)
    return reply
