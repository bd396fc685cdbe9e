"""Who is calling: IdentityService, which exists only where callers are authenticated.

Proto: flyteidl/service/identity.proto.
"""

from flyteidl.service import identity_pb2

from app import errors
from app.runtime.context import Context


async def user_info(ctx: Context, request: identity_pb2.UserInfoRequest) -> identity_pb2.UserInfoResponse:
    """What the caller's token says about its owner.

    errors: UNIMPLEMENTED while authentication is off
    source: flyteidl/service/identity.proto UserInfo
    """
    # Parity: upstream registers this service only with authentication on (newGRPCServer), so gRPC says this of it.
    raise errors.Unimplemented("unknown service flyteidl.service.IdentityService")
