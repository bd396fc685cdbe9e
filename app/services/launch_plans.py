"""Launch plans: a workflow with some of its inputs bound, and possibly a schedule (flyteidl/admin/launch_plan.proto).

A version's content never changes, its state does: at most one version of a name is active, and only its schedule fires.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import structlog
from flyteidl.admin import common_pb2, launch_plan_pb2, schedule_pb2
from flyteidl.core import identifier_pb2, interface_pb2, types_pb2
from sqlalchemy import Select, bindparam, func, literal, literal_column, select, update
from sqlalchemy.engine.interfaces import Dialect

from app import errors
from app.compiler.literals import check_literals, check_parameters, expected_inputs
from app.database import schema
from app.database.statements import Statement
from app.query import lists, pages
from app.query.filters import Filter
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
from app.wire.cron import parse_cron
from app.wire.go.digest import digest
from app.wire.page import Page
from app.wire.text import text
from app.wire.times import put_time

log = structlog.get_logger(__name__)

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
    """A row as the API shows it (upstream FromLaunchPlanModel)."""
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
    """Register a version of a launch plan, inactive.

    shape:  request.id{LAUNCH_PLAN, project, domain, name, version}, spec{workflow_id, …} -> empty
    errors: INVALID_ARGUMENT for missing parts, an unknown or inactive project, an unknown domain, inputs that do not
            fit the workflow, a bad schedule or notification, another launch plan under this id; NOT_FOUND for the
            workflow; ALREADY_EXISTS for the same launch plan
    source: upstream LaunchPlanManager.CreateLaunchPlan
    """
    # Parity: the workflow's id and row come before the launch plan's own id.
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
    """Check and store a launch plan whose ids have been checked; also for those that single tasks are launched with.

    shape:  interface and workflow_row (column id): of the workflow
    errors: as create_launch_plan
    """
    id, spec = request.id, request.spec
    await in_thread_if_large(spec.ByteSize() + interface.ByteSize(), _check_spec, spec, interface)
    literal_limits.check(ctx.settings, "fixed_inputs", spec.fixed_inputs)
    literal_limits.check(ctx.settings, "default_inputs", spec.default_inputs)
    closure = launch_plan_pb2.LaunchPlanClosure(expected_inputs=spec.default_inputs)
    if interface.HasField("outputs"):
        closure.expected_outputs.CopyFrom(interface.outputs)
    plan = launch_plan_pb2.LaunchPlan(id=id, spec=spec, closure=closure)
    plan_digest = await in_thread_if_large(plan.ByteSize(), digest, plan)
    # Deviates: an error of this look-up is one; upstream takes it for "not registered".
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
        # Somebody else has registered it since the look-up.
        await _check_new(ctx, id, spec, plan_digest)
        raise errors.Aborted(f"launch plan {id.name} was registered and removed meanwhile, try again")


def _check_spec(spec: launch_plan_pb2.LaunchPlanSpec, interface: interface_pb2.TypedInterface) -> None:
    """Check, and write the inputs that are still open into default_inputs (upstream ValidateLaunchPlan)."""
    check_labels(spec.labels.values)
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
    """That the version is not registered, neither like this nor otherwise."""
    row = await ctx.db.find(schema.LaunchPlan, columns=("digest", "spec"), **version_key(id))
    if row is None:
        return
    if row.digest == plan_digest:
        raise exists_identical("launch plan")
    before = launch_plan_pb2.LaunchPlanSpec.FromString(row.spec)
    raise await in_thread_if_large(spec.ByteSize(), exists_different, "launch plan", id.name, before, spec)


# Schedules.


def _schedule_type(schedule: schedule_pb2.Schedule) -> str:
    """Parity: an empty cron schedule counts, an empty cron expression does not (CreateLaunchPlanModel)."""
    if schedule.cron_expression or schedule.HasField("cron_schedule"):
        return "CRON"
    return "RATE" if schedule.HasField("rate") else "NONE"


def _check_schedule(schedule: schedule_pb2.Schedule, expected: interface_pb2.ParameterMap) -> None:
    """That a schedule can fire without anybody giving inputs (upstream validateSchedule)."""
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
    """Whether there is something to fire (upstream isScheduleEmpty)."""
    return bool(schedule.cron_schedule.schedule or schedule.cron_expression or schedule.rate.value)


async def _start_schedule(ctx: Context, key: dict[str, Any], schedule: schedule_pb2.Schedule) -> None:
    """Enter the schedule into what the scheduler reads, or set the entry there active again.

    Parity: an entry that is there keeps its content; the old field cron_expression cannot be activated.
    Deviates: that is INVALID_ARGUMENT, upstream answers INTERNAL.
    """
    if schedule.WhichOneof("ScheduleExpression") == "cron_expression":
        raise errors.InvalidArgument(
            f"failed adding schedule for unknown schedule expression type &{{{schedule.cron_expression}}}"
        )
    entered = await ctx.db.insert_if_absent(
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
    if entered is None:
        await ctx.db.update(schema.SchedulableEntity, key, active=True, updated_at=ctx.now)
    _warn_of_no_scheduler()


@cache
def _warn_of_no_scheduler() -> None:
    """Log once per process that active schedules wait for a scheduler, such as that of a flyteadmin beside this one."""
    log.warning("schedules_are_stored_but_this_server_fires_none")


# State.


def _lock(dialect: Dialect) -> Select[Any]:
    if dialect.name == "postgresql":
        return select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("launch_plan"), 0)).label("locked"))
    # On SQLite the transaction has locked the whole database.
    return select(literal(1).label("locked"))


_LOCK = Statement(_lock)


async def lock_name(ctx: Context, project: str, domain: str, name: str) -> None:
    """Hold back others that count executions of a name or change its states, until this transaction ends.

    The rows alone cannot do that: two launches or activations of different versions lock different ones.
    """
    await ctx.db.begin()
    await ctx.db.one(_LOCK, launch_plan=f"{project}/{domain}/{name}")


@lru_cache(maxsize=1)
def _deactivate_others() -> Statement:
    """Parity: without a change of updated_at."""
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
    """Activate a version in place of the one that is active, or deactivate it.

    shape:  request.id, state INACTIVE unless it is given
    errors: INVALID_ARGUMENT for missing parts, another resource type or an unknown state; NOT_FOUND
    source: upstream LaunchPlanManager.UpdateLaunchPlan
    """
    id = field_or_none(request, "id")
    if id is not None and id.resource_type == identifier_pb2.UNSPECIFIED:
        id.resource_type = identifier_pb2.LAUNCH_PLAN
    # Deviates: upstream only logs what is wrong with the id, and activates whatever fits.
    check_identifier(id, identifier_pb2.LAUNCH_PLAN)
    if request.state not in launch_plan_pb2.LaunchPlanState.values():
        raise errors.InvalidArgument(
            f"Unrecognized launch plan state {request.state} for update for launch plan [{text(id)}]"
        )
    # Deviates: one transaction under one lock; upstream switches schedules before and apart from states, and two
    # activations at once can leave two active versions.
    key = version_key(id)
    await lock_name(ctx, id.project, id.domain, id.name)
    row = await ctx.db.find(schema.LaunchPlan, columns=("spec",), **key)
    if row is None:
        raise not_registered("LAUNCH_PLAN", id)
    metadata = launch_plan_pb2.LaunchPlanSpec.FromString(row.spec).entity_metadata
    if request.state == launch_plan_pb2.ACTIVE:
        keys = {f"key_{part}": value for part, value in key.items()}
        await ctx.db.run(_deactivate_others(), **keys)
        await ctx.db.run(_stop_other_schedules(), **keys, now=ctx.now)
        if _has_schedule(metadata.schedule):
            await _start_schedule(ctx, key, metadata.schedule)
        await ctx.db.run(_activate(), **keys)
    else:
        await ctx.db.update(schema.LaunchPlan, key, state=launch_plan_pb2.INACTIVE, updated_at=ctx.now)
        if metadata.HasField("schedule"):
            await ctx.db.update(schema.SchedulableEntity, key, active=False, updated_at=ctx.now)
    return launch_plan_pb2.LaunchPlanUpdateResponse()


# Reads.


async def get_launch_plan(ctx: Context, request: common_pb2.ObjectGetRequest) -> launch_plan_pb2.LaunchPlan:
    """A version of a launch plan.

    errors: INVALID_ARGUMENT for missing parts or another resource type; NOT_FOUND
    source: upstream LaunchPlanManager.GetLaunchPlan
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
    # The index holds active versions only: it applies to a state that stands in the statement.
    active = _PLANS.c.state == literal_column(str(int(launch_plan_pb2.ACTIVE)))
    return Statement(select(*columns).where(*named, active).limit(1))


async def get_active_launch_plan(
    ctx: Context, request: launch_plan_pb2.ActiveLaunchPlanRequest
) -> launch_plan_pb2.LaunchPlan:
    """The active version of a name.

    errors: INVALID_ARGUMENT for missing parts; NOT_FOUND where no version is active
    source: upstream LaunchPlanManager.GetActiveLaunchPlan
    """
    id = request.id
    # Parity: an absent id is told as a missing project (ValidateActiveLaunchPlanRequest).
    check_parts(id, *_NAME)
    row = await ctx.db.one(_active(), project=id.project, domain=id.domain, name=id.name)
    if row is None:
        raise errors.NotFound(f"No active launch plan could be found: {id.project}:{id.domain}:{id.name}")
    return to_message(row)


async def list_launch_plans(
    ctx: Context, request: common_pb2.ResourceListRequest
) -> Page[launch_plan_pb2.LaunchPlanList]:
    """One page of the versions of all launch plans of a project and domain, or of one name.

    shape:  request.id{project, domain[, name]}, limit 1..n; filters may speak of the workflow
    errors: INVALID_ARGUMENT for missing parts, limit 0, a filter, sort or token
    source: upstream LaunchPlanManager.ListLaunchPlans
    """
    rows, token = await page_of_versions(ctx, LISTING, request, rpc="ListLaunchPlans", columns=_COLUMNS)
    return Page(launch_plan_pb2.LaunchPlanList(token=token), rows, to_message)


async def list_active_launch_plans(
    ctx: Context, request: launch_plan_pb2.ActiveLaunchPlanListRequest
) -> Page[launch_plan_pb2.LaunchPlanList]:
    """One page of the active versions of all names of a project and domain.

    errors: INVALID_ARGUMENT for missing parts, limit 0, a sort or token
    source: upstream LaunchPlanManager.ListActiveLaunchPlans
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
    """One page of the names of the launch plans of a project and domain.

    shape:  Parity: project or domain may be left out and then stand for all of them
    errors: INVALID_ARGUMENT without both, limit 0, a sort or token
    source: upstream LaunchPlanManager.ListLaunchPlanIds
    """
    if not request.limit:
        raise errors.InvalidArgument("missing and/or invalid parameters: limit")
    if not request.project and not request.domain:
        raise errors.InvalidArgument("missing and/or invalid parameters: filters")
    page = registered_names.page if request.project and request.domain else registered_names.page_across
    return await page(ctx, identifier_pb2.LAUNCH_PLAN, request, rpc="")
