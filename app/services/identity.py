"""IdentityService: the identity of the caller.

Not served where authentication is off.
Proto: flyteidl/service/identity.proto.
"""

from __future__ import annotations

from dataclasses import asdict

from flyteidl.service import identity_pb2

from app import errors
from app.runtime.context import Context


async def user_info(ctx: Context, request: identity_pb2.UserInfoRequest) -> identity_pb2.UserInfoResponse:
    """Return who the caller is, with all claims of the token; an empty description for an anonymous caller.

    Raises:
        errors.Unimplemented: Authentication is off.

    Source: flyteidl/service/identity.proto UserInfo, NewIdentityContext of flyteadmin/auth/identity_context.go.
    """
    if ctx.auth is None:
        # Parity: without authentication upstream does not register this service (newGRPCServer). gRPC's message.
        raise errors.Unimplemented("unknown service flyteidl.service.IdentityService")
    identity = ctx.identity
    reply = identity_pb2.UserInfoResponse(**asdict(identity.user))
    # Parity: some providers name the subject in the token only.
    reply.subject = reply.subject or identity.subject
    if identity.claims:
        reply.additional_claims.update(identity.claims)
    return reply
