"""What clients ask for when they list and get, as paths below /api/v1 on the rows of benchmarks/load.py.

The lists are those of flyteconsole, flytectl and flytekit, with the filters and sorts that they send.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from benchmarks.load import MANY, WIDE, Size, execution_name, moment
from benchmarks.seed import BUSY, DOMAIN, QUIET

# A name with 25 versions, two of them scheduled, that exists at every size.
TYPICAL = "flows.w1_0"


@dataclass(frozen=True, slots=True)
class Case:
    """One request. flat: it has to cost the same whatever the number of rows; `contains` need not, only be bounded."""

    name: str
    path: str
    flat: bool = True


def _list(path: str, *filters: str, limit: int = 10, sort: str = "created_at", up: bool = False, more: str = "") -> str:
    query = f"?limit={limit}"
    if sort:
        query += f"&sort_by.key={sort}&sort_by.direction={'ASCENDING' if up else 'DESCENDING'}"
    if filters:
        query += f"&filters={quote('+'.join(filters))}"
    return path + query + more


def _named(kind: str, name: str) -> tuple[str, ...]:
    """Flyteconsole names an entity by its three parts."""
    return f"eq({kind}.name,{name})", f"eq({kind}.project,{BUSY})", f"eq({kind}.domain,{DOMAIN})"


def cases(size: Size) -> list[Case]:
    """Every list and get of the clients."""
    return [*_registry(), *_launch_plans(), *_executions(size), *_nodes(size)]


def _registry() -> list[Case]:
    here = f"{BUSY}/{DOMAIN}"
    found = [
        Case("projects", "/projects"),
        Case("projects by id", "/projects?filters=" + quote(f"eq(identifier,{BUSY})")),
        Case("project attributes", f"/project_attributes/{BUSY}?resource_type=6"),
    ]
    for number, kind in enumerate(("task", "workflow", "launch_plan"), 1):
        plural, names = f"{kind}s", f"/named_entities/{number}/{here}"
        versions = f"/{plural}/{here}"
        found += [
            Case(f"{kind} names", _list(names, limit=25, sort="name", up=True)),
            Case(f"{kind} ids", _list(f"/{kind}_ids/{here}", limit=25, sort="")),
            Case(f"{plural}", _list(versions, limit=25)),
            Case(f"{plural}, unsorted", _list(versions, limit=25, sort="")),
            Case(f"{plural}, quiet project", _list(f"/{plural}/{QUIET[0]}/{DOMAIN}", limit=5)),
            Case(f"{plural} of a name", _list(f"{versions}/{TYPICAL}")),
            Case(f"{plural} of a name with many versions", _list(f"{versions}/{MANY}")),
            Case(f"{plural} of a name by filters", _list(versions, *_named(kind, TYPICAL))),
            Case(f"{plural} of a name by one filter", _list(versions, f"eq({kind}.name,{TYPICAL})")),
            Case(f"{plural} of a name and version", _list(f"{versions}/{TYPICAL}", "eq(version,v3)")),
            Case(f"{plural} of many and version", _list(f"{versions}/{MANY}", "eq(version,v3)")),
            Case(f"{plural} of a version", _list(versions, "eq(version,v60)")),
            Case(f"{plural}, contains", _list(versions, "contains(version,v9)"), flat=False),
            Case(f"{plural}, contains nothing", _list(versions, "contains(version,nowhere)"), flat=False),
            Case(f"{plural} of many, contains", _list(f"{versions}/{MANY}", "contains(version,9)"), flat=False),
            Case(f"{kind} version", f"{versions}/{TYPICAL}/v3"),
        ]
        if number < 3:
            found += [
                Case(f"{kind} names, active", _list(names, "eq(state,0)", limit=25, sort="name", up=True)),
                Case(f"{kind} names, archived", _list(names, "eq(state,1)", limit=25, sort="name", up=True)),
            ]
    described = f"/description_entities/2/{here}"
    return [
        *found,
        Case("descriptions", _list(f"{described}/{TYPICAL}", limit=1)),
        Case("descriptions of many", _list(f"{described}/{MANY}", limit=1)),
        Case("description", f"{described}/{TYPICAL}/v3"),
    ]


def _launch_plans() -> list[Case]:
    here = f"/launch_plans/{BUSY}/{DOMAIN}"
    active = "eq(state,1)"
    return [
        Case("active launch plans", _list(f"/active_launch_plans/{BUSY}/{DOMAIN}", limit=25)),
        Case("active launch plan", f"/active_launch_plans/{BUSY}/{DOMAIN}/flows.w2_0"),
        Case("launch plans, active, of a workflow", _list(here, active, f"eq(workflow.name,{TYPICAL})", limit=5)),
        Case("launch plans, active, of many", _list(here, active, f"eq(workflow.name,{MANY})", limit=5)),
        Case(
            "launch plans of a workflow version",
            _list(here, f"eq(workflow.name,{TYPICAL})", "eq(workflow.version,v3)", limit=50),
        ),
        Case("launch plans of a workflow", _list(here, *_named("workflow", TYPICAL), active)),
        Case("launch plan of a name, active", _list(f"{here}/{TYPICAL}", active, limit=1)),
        Case("launch plan of many, active", _list(f"{here}/{MANY}", active, limit=1)),
        Case("launch plans, active", _list(here, active, limit=25)),
        Case("launch plans of a name, scheduled", _list(f"{here}/{TYPICAL}", "ne(schedule_type,NONE)")),
        Case("launch plans of many, scheduled", _list(f"{here}/{MANY}", "ne(schedule_type,NONE)")),
        Case("launch plans of a name by filters", _list(f"{here}/{TYPICAL}", *_named("launch_plan", TYPICAL))),
    ]


def _executions(size: Size) -> list[Case]:
    here = f"/executions/{BUSY}/{DOMAIN}"
    middle = moment(size.executions // 2)
    around = f"{middle:%Y-%m-%dT%H:%M:%S.000Z}"
    found = [Case(f"executions, {limit}", _list(here, limit=limit)) for limit in (1, 5, 10, 20, 100)]
    found += [
        Case("executions, unsorted", _list(here, limit=20, sort="")),
        Case("executions, oldest first", _list(here, limit=20, up=True)),
        Case("executions, quiet project", _list(f"/executions/{QUIET[0]}/{DOMAIN}", limit=10)),
    ]
    filters: dict[str, tuple[str, ...]] = {
        "of a workflow": _named("workflow", TYPICAL),
        "of a workflow by name": (f"eq(workflow.name,{TYPICAL})",),
        "of a workflow version": (*_named("workflow", TYPICAL), "eq(workflow.version,v3)"),
        "of a workflow with many versions": _named("workflow", MANY),
        "of a launch plan": _named("launch_plan", TYPICAL),
        "of a launch plan by name": (f"eq(launch_plan.name,{TYPICAL})",),
        "of a launch plan version": (*_named("launch_plan", TYPICAL), "eq(launch_plan.version,v3)"),
        "of a launch plan with many versions": _named("launch_plan", MANY),
        "of a task": _named("task", TYPICAL),
        "of nothing": ("eq(workflow.name,nowhere)",),
        "of a workflow, running or failed": (*_named("workflow", TYPICAL), "value_in(phase,RUNNING;FAILED)"),
        "of many, running": (*_named("workflow", MANY), "value_in(phase,RUNNING;ABORTING)"),
        "running or failed": ("value_in(phase,RUNNING;FAILED)",),
        "running": ("value_in(phase,RUNNING)",),
        "aborting, none": ("eq(phase,ABORTING)",),
        "succeeded or failed": ("value_in(phase,SUCCEEDED;FAILED)",),
        "not succeeded": ("ne(phase,SUCCEEDED)",),
        "long": ("gte(duration,590)",),
        "longer than any": ("gte(duration,100000)",),
        "short": ("lt(duration,200)",),
        "since": (f"gte(created_at,{around})",),
        "until": (f"lte(created_at,{around})",),
        "of a user": ("eq(user,user3)",),
        "of no user": ("eq(user,nobody)",),
        "archived": ("eq(state,1)",),
        "scheduled": ("eq(mode,1)",),
        "recovered, none": ("eq(mode,5)",),
        "of a cluster": ("eq(cluster,propeller)",),
        "of a label": ("eq(execution_tag.key,hour)", f"eq(execution_tag.value,{middle:%Y-%m-%dT%H})"),
        "of a label, running or failed": (
            f"eq(execution_tag.value,{middle:%Y-%m-%dT%H})",
            "eq(execution_tag.key,hour)",
            "value_in(phase,RUNNING;FAILED)",
        ),
        "of no label": ("eq(execution_tag.key,nothing)",),
        "of a frequent label": ("eq(execution_tag.key,hour)",),
        "changed since": (f"gte(updated_at,{around})",),
        "changed, none": ("gte(updated_at,2100-01-01T00:00:00.000Z)",),
    }
    found += [Case(f"executions {name}", _list(here, *given)) for name, given in filters.items()]
    contains = {
        "contains": ("contains(workflow.name,flows.w2)",),
        "contains nothing": ("contains(launch_plan.name,nowhere)",),
        "contains few": ("contains(launch_plan.name,w3_1)",),
    }
    found += [Case(f"executions, {name}", _list(here, *given), flat=False) for name, given in contains.items()]
    one = f"{BUSY}/{DOMAIN}/{execution_name(size.executions // 2 + 1)}"
    return [*found, Case("execution", f"/executions/{one}"), Case("execution data", f"/data/executions/{one}")]


def _nodes(size: Size) -> list[Case]:
    one = f"{BUSY}/{DOMAIN}/{execution_name(size.executions // 2 + 1)}"
    nodes, attempts = f"/node_executions/{one}", f"/task_executions/{one}"
    return [
        Case("nodes", _list(nodes, limit=10000, up=True)),
        Case("nodes, unsorted", _list(nodes, limit=100, sort="")),
        Case("nodes, failed", _list(nodes, "value_in(phase,FAILED;RUNNING)", limit=100, up=True)),
        Case("nodes of ten thousand", _list(f"/node_executions/{BUSY}/{DOMAIN}/{WIDE}", limit=100, up=True)),
        Case("nodes of ten thousand, unsorted", _list(f"/node_executions/{BUSY}/{DOMAIN}/{WIDE}", limit=100, sort="")),
        Case("nodes inside", _list(nodes, limit=10000, sort="", more="&uniqueParentId=n1")),
        Case("node", f"{nodes}/n0"),
        Case("attempts", _list(f"{attempts}/n0", limit=10000, sort="")),
        Case("signals", f"/signals/{one}?limit=100"),
        Case("metrics", f"/metrics/executions/{one}?depth=10"),
        Case("workflow", f"/workflows/{BUSY}/{DOMAIN}/{TYPICAL}/v0"),
    ]
