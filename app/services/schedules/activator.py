"""Who activated a schedule: its executions have the principal and the roles of this caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app import errors
from app.auth.roles import ANY, Member, Need, Role
from app.runtime.context import Context

if TYPE_CHECKING:
    from app.auth.caller_access import AccessCheck


def columns_of_caller(ctx: Context) -> dict[str, str | None]:
    """Return the columns of a schedule's state that name the caller, who activates the schedule."""
    roles = ctx.settings.auth.roles
    member = Member.of(ctx.identity, roles.claim, roles.claim_values_max) if roles.enabled else None
    return {"activated_by": ctx.principal, "activated_as": member.to_json() if member is not None else None}


async def check_roles(ctx: Context, access: AccessCheck | None, state: Any, project: str, domain: str) -> None:
    """Give a launch the roles of the activator, and raise where the activator may launch nothing in the domain.

    Bindings count as they are now, values of claims, such as groups, as they were at the activation. A schedule that
    was activated while roles were off has the roles of the user id. One without a user id, such as one that upstream
    activated, is launched without a check.

    Args:
        ctx: The call, which launches a slot.
        access: The check of the process; None where neither authentication nor roles are on.
        state: The row of the schedule's state with `activated_by` and `activated_as`; None without one.
        project: The project of the schedule.
        domain: The domain of the schedule.

    Raises:
        PermissionDenied: The activator lacks the role `run` in the domain.
    """
    if access is None or state is None or not (state.activated_as or state.activated_by):
        return
    known = state.activated_as
    member = Member.from_json(known) if known else Member((ANY, state.activated_by), ())
    ctx.access = await access.access_of(member)
    if ctx.access is None or ctx.access.allows(need := Need(Role.RUN, project, domain)):
        return
    raise errors.PermissionDenied(
        f"[{state.activated_by or ''}] activated the schedule and lacks the role {need.role.text} in {need.place}; "
        "a caller with this role may activate it again"
    )
