"""AuthMetadataService: how a client signs in.

Not served where authentication is off.
Proto: flyteidl/service/auth.proto.
"""

from flyteidl.service import auth_pb2

from app import errors
from app.runtime.context import Context

# Parity: without authentication upstream does not register this service (newGRPCServer). This is gRPC's message then.
_UNKNOWN = "unknown service flyteidl.service.AuthMetadataService"


async def get_oauth2_metadata(ctx: Context, request: auth_pb2.OAuth2MetadataRequest) -> auth_pb2.OAuth2MetadataResponse:
    """Return the metadata of the authorization server (RFC 8414).

    Raises:
        errors.Unimplemented: Authentication is off.

    Source: flyteidl/service/auth.proto GetOAuth2Metadata.
    """
    raise errors.Unimplemented(_UNKNOWN)


async def get_public_client_config(
    ctx: Context, request: auth_pb2.PublicClientAuthConfigRequest
) -> auth_pb2.PublicClientAuthConfigResponse:
    """Return the client id, redirect URI and scopes with which flytectl and pyflyte sign in.

    Raises:
        errors.Unimplemented: Authentication is off.

    Source: flyteidl/service/auth.proto GetPublicClientConfig.
    """
    raise errors.Unimplemented(_UNKNOWN)
