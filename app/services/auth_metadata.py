"""How a client authenticates: AuthMetadataService, which exists only where callers are authenticated.

Proto: flyteidl/service/auth.proto.
"""

from flyteidl.service import auth_pb2

from app import errors
from app.runtime.context import Context

# Parity: upstream registers this service only with authentication on (newGRPCServer), so gRPC says this of it.
_UNKNOWN = "unknown service flyteidl.service.AuthMetadataService"


async def get_oauth2_metadata(ctx: Context, request: auth_pb2.OAuth2MetadataRequest) -> auth_pb2.OAuth2MetadataResponse:
    """The authorization server's metadata (RFC 8414).

    errors: UNIMPLEMENTED while authentication is off
    source: flyteidl/service/auth.proto GetOAuth2Metadata
    """
    raise errors.Unimplemented(_UNKNOWN)


async def get_public_client_config(
    ctx: Context, request: auth_pb2.PublicClientAuthConfigRequest
) -> auth_pb2.PublicClientAuthConfigResponse:
    """The client id, redirect address and scopes that flytectl and pyflyte log in with.

    errors: UNIMPLEMENTED while authentication is off
    source: flyteidl/service/auth.proto GetPublicClientConfig
    """
    raise errors.Unimplemented(_UNKNOWN)
