"""IdentityService: the identity of the caller.

Not served where authentication is off.
Proto: flyteidl/service/identity.proto.
"""

from flyteidl.service import identity_pb2

from app import errors
from app.runtime.context import Context


async def user_info(ctx: Context, request: identity_pb2.UserInfoRequest) -> identity_pb2.UserInfoResponse:
    """Return the claims of the caller's token.

    Raises:
        errors.Unimplemented: Authentication is off.

    Source: flyteidl/service/identity.proto UserInfo.
    """
    # Parity: without authentication upstream does not register this service (newGRPCServer). This is gRPC's message.
    raise errors.Unimplemented("unknown service flyteidl.service.IdentityService")
