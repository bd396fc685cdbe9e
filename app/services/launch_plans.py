"""Launch plans: a workflow with bound inputs and possibly a schedule (flyteidl/admin/launch_plan.proto).

The content of a version never changes, its state does. At most one version of a name is active, and only the schedule
of the active version starts executions.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from flyteidl.admin import common_pb2, launch_plan_pb2, schedule_pb2
from flyteidl.core import identifier_pb2, interface_pb2, types_pb2
from sqlalchemy import Select, bindparam, func, literal, literal_column, select, update
from sqlalchemy.engine.interfaces import Dialect

from app import errors
from app.compiler.literals import check_literals, check_parameters, expected_inputs
from app.database import schema
from app.database.schedule_tables import ScheduleState
from app.database.statements import Statement
from app.query import lists, pages
from app.query.filters import Filter
from app.runtime.changes import SCHEDULES
from app.runtime.context import Context
from app.runtime.threads import in_thread_if_large
from app.services import literal_limits, registered_names
from app.services.checks import (
    check_identifier,
    check_labels,
    check_notifications,
    check_parts,
    check_project_and_domain,
    field_or_none,
    not_registered,
    version_key,
)
from app.services.registered_versions import exists_different, exists_identical, page_of_versions
from app.services.schedules.activator import columns_of_caller
from app.services.schedules.options import Options, of_annotations
from app.wire.cron import parse_cron
from app.wire.go.digest import digest
from app.wire.page import Page
from app.wire.text import text
from app.wire.times import put_time

LISTING = lists.Listing(
    schema.LaunchPlan,
    "launch_plan",
    joins=(lists.Join("workflow", (("workflow_id", "id"),)),),
    partial_indexes=frozenset({("eq", "state", int(launch_plan_pb2.ACTIVE)), ("ne", "schedule_type", "NONE")}),
    ordered_columns=frozenset({"workflow_id"}),
)
_ACTIVE = Filter("eq", "launch_plan", "state", (int(launch_plan_pb2.ACTIVE),))
_NAME = ("project", "domain", "name")
_COLUMNS = (*_NAME, "version", "spec", "closure", "state", "created_at", "updated_at")
_PLANS = schema.table(schema.LaunchPlan)
_SCHEDULES = schema.table(schema.SchedulableEntity)


def to_message(row: Any) -> launch_plan_pb2.LaunchPlan:
    """Return the message of a row (upstream FromLaunchPlanModel)."""
    plan = launch_plan_pb2.LaunchPlan()
    plan.id.resource_type = identifier_pb2.LAUNCH_PLAN
    plan.id.project, plan.id.domain, plan.id.name, plan.id.version = row.project, row.domain, row.name, row.version
    plan.spec.SetInParent()
    plan.spec.ParseFromString(row.spec)
    plan.closure.ParseFromString(row.closure)
    plan.closure.state = row.state or 0
    put_time(plan.closure.created_at, row.created_at)
    put_time(plan.closure.updated_at, row.updated_at)
    return plan


# Registration.


async def create_launch_plan(
    ctx: Context, request: launch_plan_pb2.LaunchPlanCreateRequest
) -> launch_plan_pb2.LaunchPlanCreateResponse:
    """Register a version of a launch plan. The version is inactive.

    Raises:
        errors.InvalidArgument: A part is missing, the project is unknown or inactive, the domain is unknown, the inputs
            do not match the workflow, the schedule or a notification is invalid, or the id is registered with another
            launch plan.
        errors.NotFound: The workflow is not registered.
        errors.AlreadyExists: The id is registered with the same launch plan.

    Source: upstream LaunchPlanManager.CreateLaunchPlan.
    """
    # Parity: the workflow is checked and read before the launch plan's own id is checked.
    workflow_id = field_or_none(request.spec, "workflow_id")
    check_identifier(workflow_id, identifier_pb2.WORKFLOW)
    row = await ctx.db.find(schema.Workflow, columns=("id", "typed_interface"), **version_key(workflow_id))
    if row is None:
        raise not_registered("WORKFLOW", workflow_id)
    interface = interface_pb2.TypedInterface.FromString(row.typed_interface or b"")
    id = field_or_none(request, "id")
    check_identifier(id, identifier_pb2.LAUNCH_PLAN)
    await check_project_and_domain(ctx, id.project, id.domain)
    await store(ctx, request, interface=interface, workflow_row=row.id)
    return launch_plan_pb2.LaunchPlanCreateResponse()


async def store(
    ctx: Context,
    request: launch_plan_pb2.LaunchPlanCreateRequest,
    *,
    interface: interface_pb2.TypedInterface,
    workflow_row: int,
) -> None:
    """Check and store a launch plan with checked ids, for create_launch_plan and for the launch of a single task.

    Args:
        ctx: The call.
        request: The launch plan.
        interface: The interface of its workflow.
        workflow_row: The id of the row of its workflow.

    Raises:
        errors.FlyteError: As create_launch_plan.
    """
    id, spec = request.id, request.spec
    check = partial(_check_spec, strict=ctx.settings.scheduler.strict)
    await in_thread_if_large(spec.ByteSize() + interface.ByteSize(), check, spec, interface)
    literal_limits.check(ctx.settings, "fixed_inputs", spec.fixed_inputs)
    literal_limits.check(ctx.settings, "default_inputs", spec.default_inputs)
    closure = launch_plan_pb2.LaunchPlanClosure(expected_inputs=spec.default_inputs)
    if interface.HasField("outputs"):
        closure.expected_outputs.CopyFrom(interface.outputs)
    plan = launch_plan_pb2.LaunchPlan(id=id, spec=spec, closure=closure)
    plan_digest = await in_thread_if_large(plan.ByteSize(), digest, plan)
    # Deviates: upstream ignores an error of this read and continues as if the version were not registered.
    await _check_new(ctx, id, spec, plan_digest)
    kind = _schedule_type(spec.entity_metadata.schedule)
    stored = await ctx.db.insert_if_absent(
        schema.LaunchPlan,
        created_at=ctx.now,
        updated_at=ctx.now,
        **version_key(id),
        spec=spec.SerializeToString(deterministic=True),
        workflow_id=workflow_row,
        closure=closure.SerializeToString(deterministic=True),
        state=launch_plan_pb2.INACTIVE,
        digest=plan_digest,
        schedule_type=kind,
        launch_condition_type=None if kind == "NONE" else "SCHED",
    )
    if stored is None:
        # A concurrent call has registered the version since _check_new.
        await _check_new(ctx, id, spec, plan_digest)
        raise errors.Aborted(f"launch plan {id.name} was registered and removed meanwhile, try again")


def _check_spec(spec: launch_plan_pb2.LaunchPlanSpec, interface: interface_pb2.TypedInterface, *, strict: bool) -> None:
    """Check a spec, and set default_inputs to all inputs that are not fixed (upstream ValidateLaunchPlan)."""
    check_labels(spec.labels.values)
    if strict and (problems := of_annotations(spec.annotations.values, Options()).problems):
        raise errors.InvalidArgument(f"{problems[0]} (scheduler.strict)")
    check_literals(spec.fixed_inputs.literals, "fixed_inputs")
    check_parameters(spec.default_inputs.parameters, "default_inputs")
    expected = expected_inputs(interface.inputs.variables, spec.fixed_inputs.literals, spec.default_inputs.parameters)
    _check_schedule(spec.entity_metadata.schedule, expected)
    spec.default_inputs.CopyFrom(expected)
    check_notifications(spec.entity_metadata.notifications)
    if spec.entity_metadata.HasField("launch_conditions"):
        found = text(spec.entity_metadata.launch_conditions)
        raise errors.InvalidArgument(f"Launch condition must be empty, found {found}")


async def _check_new(
    ctx: Context, id: identifier_pb2.Identifier, spec: launch_plan_pb2.LaunchPlanSpec, plan_digest: bytes
) -> None:
    """Raise ALREADY_EXISTS or INVALID_ARGUMENT if the version is registered, with the same or another spec."""
    row = await ctx.db.find(schema.LaunchPlan, columns=("digest", "spec"), **version_key(id))
    if row is None:
        return
    if row.digest == plan_digest:
        raise exists_identical("launch plan")
    before = launch_plan_pb2.LaunchPlanSpec.FromString(row.spec)
    raise await in_thread_if_large(spec.ByteSize(), exists_different, "launch plan", id.name, before, spec)


# Schedules.


def _schedule_type(schedule: schedule_pb2.Schedule) -> str:
    """Return the type of a schedule for its column.

    Parity: an empty cron schedule counts as a schedule, an empty cron expression does not (CreateLaunchPlanModel).
    """
    if schedule.cron_expression or schedule.HasField("cron_schedule"):
        return "CRON"
    return "RATE" if schedule.HasField("rate") else "NONE"


def _check_schedule(schedule: schedule_pb2.Schedule, expected: interface_pb2.ParameterMap) -> None:
    """Raise INVALID_ARGUMENT if a schedule cannot start executions without inputs (upstream validateSchedule)."""
    if _schedule_type(schedule) == "NONE":
        return
    kickoff = schedule.kickoff_time_input_arg
    for name, parameter in sorted(expected.parameters.items()):
        if parameter.required and name != kickoff:
            raise errors.InvalidArgument(
                "Cannot create a launch plan with a schedule if there is an unbound required input. "
                f"[{name}] is required"
            )
    if kickoff and kickoff not in expected.parameters:
        raise errors.InvalidArgument(
            "Cannot create a schedule with a KickoffTimeInputArg that does not point to a free input. "
            f"[{kickoff}] is not free or does not exist."
        )
    if kickoff:
        wanted = expected.parameters[kickoff].var.type
        if wanted.simple != types_pb2.DATETIME:
            raise errors.InvalidArgument(
                f"KickoffTimeInputArg must reference a datetime input. [{kickoff}] is a [{text(wanted)}]"
            )
    expression = schedule.cron_expression or schedule.cron_schedule.schedule
    if expression:
        try:
            parse_cron(expression)
        except ValueError as error:
            raise errors.InvalidArgument(f"Invalid cron expression: {error}") from error


def _has_schedule(schedule: schedule_pb2.Schedule) -> bool:
    """Return whether a schedule is not empty (upstream isScheduleEmpty)."""
    return bool(schedule.cron_schedule.schedule or schedule.cron_expression or schedule.rate.value)


async def _start_schedule(ctx: Context, key: dict[str, Any], schedule: schedule_pb2.Schedule) -> None:
    """Insert the schedule into the table that a scheduler reads, or activate the existing row.

    Parity: an existing row keeps its content, and a schedule in the deprecated field cron_expression is refused.
    Deviates: the refusal is INVALID_ARGUMENT. Upstream answers INTERNAL.
    """
    if schedule.WhichOneof("ScheduleExpression") == "cron_expression":
        raise errors.InvalidArgument(
            f"failed adding schedule for unknown schedule expression type &{{{schedule.cron_expression}}}"
        )
    inserted = await ctx.db.insert_if_absent(
        schema.SchedulableEntity,
        created_at=ctx.now,
        updated_at=ctx.now,
        **key,
        cron_expression=schedule.cron_schedule.schedule,
        fixed_rate_value=schedule.rate.value,
        unit=schedule.rate.unit,
        kickoff_time_input_arg=schedule.kickoff_time_input_arg,
        active=True,
    )
    if inserted is None:
        row = await ctx.db.find(schema.SchedulableEntity, columns=("active",), for_update=True, **key)
        if row is not None and row.active:
            # Deviates: upstream moves updated_at, which drops missed slots and shifts the phase of a fixed rate.
            return
        await ctx.db.update(schema.SchedulableEntity, key, active=True, updated_at=ctx.now)
    await ctx.db.insert_if_absent(ScheduleState, **key)
    await ctx.db.update(
        ScheduleState,
        key,
        **columns_of_caller(ctx),
        resume_from=None,
        failures_in_row=0,
        paused=False,
        paused_reason=None,
        paused_by=None,
        paused_at=None,
    )


# State.


def _lock(dialect: Dialect) -> Select[Any]:
    if dialect.name == "postgresql":
        return select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("launch_plan"), 0)).label("locked"))
    # On SQLite the transaction has locked the database.
    return select(literal(1).label("locked"))


_LOCK = Statement(_lock)


async def lock_name(ctx: Context, project: str, domain: str, name: str) -> None:
    """Lock the name of a launch plan until this transaction ends.

    A launch takes the lock before it counts the executions of a name, an activation before it changes states. Locks on
    rows are not enough: two launches or activations of different versions lock different rows.
    """
    await ctx.db.begin()
    await ctx.db.one(_LOCK, launch_plan=f"{project}/{domain}/{name}")


@lru_cache(maxsize=1)
def _deactivate_others() -> Statement:
    """Return the statement that deactivates the other versions of a name. Parity: updated_at is not changed."""
    named = (_PLANS.c[part] == bindparam(f"key_{part}") for part in _NAME)
    others = (_PLANS.c.state == launch_plan_pb2.ACTIVE, _PLANS.c.version != bindparam("key_version"))
    return Statement(update(_PLANS).values(state=launch_plan_pb2.INACTIVE).where(*named, *others))


@lru_cache(maxsize=1)
def _activate() -> Statement:
    this = (_PLANS.c[part] == bindparam(f"key_{part}") for part in (*_NAME, "version"))
    return Statement(update(_PLANS).values(state=launch_plan_pb2.ACTIVE).where(*this))


@lru_cache(maxsize=1)
def _stop_other_schedules() -> Statement:
    named = (_SCHEDULES.c[part] == bindparam(f"key_{part}") for part in _NAME)
    others = (_SCHEDULES.c.active.is_(True), _SCHEDULES.c.version != bindparam("key_version"))
    stopped = {"active": False, "updated_at": bindparam("now", type_=_SCHEDULES.c.updated_at.type)}
    return Statement(update(_SCHEDULES).values(stopped).where(*named, *others))


async def update_launch_plan(
    ctx: Context, request: launch_plan_pb2.LaunchPlanUpdateRequest
) -> launch_plan_pb2.LaunchPlanUpdateResponse:
    """Activate a version and deactivate the active one, or deactivate a version. A missing state means INACTIVE.

    Raises:
        errors.InvalidArgument: A part of the id is missing, the resource type is another one, or the state is unknown.
        errors.NotFound: The version is not registered.

    Source: upstream LaunchPlanManager.UpdateLaunchPlan.
    """
    id = field_or_none(request, "id")
    if id is not None and id.resource_type == identifier_pb2.UNSPECIFIED:
        id.resource_type = identifier_pb2.LAUNCH_PLAN
    # Deviates: upstream only logs errors of the id, and activates any version that matches.
    check_identifier(id, identifier_pb2.LAUNCH_PLAN)
    if request.state not in launch_plan_pb2.LaunchPlanState.values():
        raise errors.InvalidArgument(
            f"Unrecognized launch plan state {request.state} for update for launch plan [{text(id)}]"
        )
    # Deviates: one transaction under a lock changes schedules and states. Upstream changes schedules first, in another
    # transaction, and two concurrent activations can leave two active versions.
    key = version_key(id)
    await lock_name(ctx, id.project, id.domain, id.name)
    row = await ctx.db.find(schema.LaunchPlan, columns=("spec",), **key)
    if row is None:
        raise not_registered("LAUNCH_PLAN", id)
    metadata = launch_plan_pb2.LaunchPlanSpec.FromString(row.spec).entity_metadata
    if request.state == launch_plan_pb2.ACTIVE:
        keys = {f"key_{part}": value for part, value in key.items()}
        await ctx.db.run(_deactivate_others(), **keys)
        stopped = await ctx.db.run(_stop_other_schedules(), **keys, now=ctx.now)
        if _has_schedule(metadata.schedule):
            await _start_schedule(ctx, key, metadata.schedule)
        if stopped or _has_schedule(metadata.schedule):
            await ctx.announce(SCHEDULES)
        await ctx.db.run(_activate(), **keys)
    else:
        await ctx.db.update(schema.LaunchPlan, key, state=launch_plan_pb2.INACTIVE, updated_at=ctx.now)
        if metadata.HasField("schedule"):
            await ctx.db.update(schema.SchedulableEntity, key, active=False, updated_at=ctx.now)
            await ctx.announce(SCHEDULES)
    return launch_plan_pb2.LaunchPlanUpdateResponse()


# Reads.


async def get_launch_plan(ctx: Context, request: common_pb2.ObjectGetRequest) -> launch_plan_pb2.LaunchPlan:
    """Return a version of a launch plan.

    Raises:
        errors.InvalidArgument: A part of the id is missing, or the resource type is another one.
        errors.NotFound: The version is not registered.

    Source: upstream LaunchPlanManager.GetLaunchPlan.
    """
    id = field_or_none(request, "id")
    if id is not None and id.resource_type == identifier_pb2.UNSPECIFIED:
        id.resource_type = identifier_pb2.LAUNCH_PLAN
    check_identifier(id, identifier_pb2.LAUNCH_PLAN)
    row = await ctx.db.find(schema.LaunchPlan, columns=_COLUMNS, **version_key(id))
    if row is None:
        raise not_registered("LAUNCH_PLAN", id)
    return to_message(row)


@lru_cache(maxsize=1)
def _active() -> Statement:
    named = (_PLANS.c[part] == bindparam(part) for part in _NAME)
    columns = (_PLANS.c[column] for column in _COLUMNS)
    # The partial index has active versions only, so PostgreSQL uses it only for a literal state, not for a parameter.
    active = _PLANS.c.state == literal_column(str(int(launch_plan_pb2.ACTIVE)))
    return Statement(select(*columns).where(*named, active).limit(1))


async def get_active_launch_plan(
    ctx: Context, request: launch_plan_pb2.ActiveLaunchPlanRequest
) -> launch_plan_pb2.LaunchPlan:
    """Return the active version of a name.

    Raises:
        errors.InvalidArgument: A part of the id is missing.
        errors.NotFound: No version is active.

    Source: upstream LaunchPlanManager.GetActiveLaunchPlan.
    """
    id = request.id
    # Parity: an absent id is refused as a missing project (ValidateActiveLaunchPlanRequest).
    check_parts(id, *_NAME)
    row = await ctx.db.one(_active(), project=id.project, domain=id.domain, name=id.name)
    if row is None:
        raise errors.NotFound(f"No active launch plan could be found: {id.project}:{id.domain}:{id.name}")
    return to_message(row)


async def list_launch_plans(
    ctx: Context, request: common_pb2.ResourceListRequest
) -> Page[launch_plan_pb2.LaunchPlanList]:
    """Return a page of the versions of the launch plans of a project-domain, or of one name there.

    Filters may use the columns of the workflow too.

    Raises:
        errors.InvalidArgument: Project or domain is missing, or limit, filter, sort or token is invalid.

    Source: upstream LaunchPlanManager.ListLaunchPlans.
    """
    rows, token = await page_of_versions(ctx, LISTING, request, rpc="ListLaunchPlans", columns=_COLUMNS)
    return Page(launch_plan_pb2.LaunchPlanList(token=token), rows, to_message)


async def list_active_launch_plans(
    ctx: Context, request: launch_plan_pb2.ActiveLaunchPlanListRequest
) -> Page[launch_plan_pb2.LaunchPlanList]:
    """Return a page of the active versions of the names of a project-domain.

    Raises:
        errors.InvalidArgument: Project or domain is missing, or limit, sort or token is invalid.

    Source: upstream LaunchPlanManager.ListActiveLaunchPlans.
    """
    check_parts(request, "project", "domain")
    pages.check_limit(request.limit)
    rows, token = await lists.page(
        ctx,
        LISTING,
        rpc="ListActiveLaunchPlans",
        where={"project": request.project, "domain": request.domain},
        filters=(_ACTIVE,),
        sort_by=field_or_none(request, "sort_by"),
        limit=request.limit,
        token=request.token,
        columns=_COLUMNS,
    )
    return Page(launch_plan_pb2.LaunchPlanList(token=token), rows, to_message)


async def list_launch_plan_ids(
    ctx: Context, request: common_pb2.NamedEntityIdentifierListRequest
) -> common_pb2.NamedEntityIdentifierList:
    """Return a page of the names of the launch plans of a project-domain.

    Parity: either project or domain may be missing, which means all projects or all domains.

    Raises:
        errors.InvalidArgument: Project and domain are missing, or limit, sort or token is invalid.

    Source: upstream LaunchPlanManager.ListLaunchPlanIds.
    """
    if not request.limit:
        raise errors.InvalidArgument("missing and/or invalid parameters: limit")
    if not request.project and not request.domain:
        raise errors.InvalidArgument("missing and/or invalid parameters: filters")
    page = registered_names.page if request.project and request.domain else registered_names.page_across
    return await page(ctx, identifier_pb2.LAUNCH_PLAN, request, rpc="")
