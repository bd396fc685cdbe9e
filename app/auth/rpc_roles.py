"""The table of RPCs: the roles that each needs, and how the places are found in its request message.

tests/auth/test_rpc_roles.py walks all RPCs and fails for one that the table lacks. An RPC that is not in the table
needs the role `admin` everywhere.

A list across projects needs no role: the service narrows it to what the caller may see (app/query/visible.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

from app import errors
from app.auth.object_places import EVERYWHERE, ObjectPlaces
from app.auth.roles import ANY, Need, Role
from app.wire import flyte_url

Needs = Callable[[Any, ObjectPlaces | None], Iterable[Need]]

VIEW, RUN, REGISTER, ADMIN = Role


def _nothing(request: Any, objects: ObjectPlaces | None) -> tuple[Need, ...]:
    return ()


def _in(role: Role, path: str = "", *, entity: bool = False) -> Needs:
    """Return the needs of a request whose project and domain are fields of the message at a path."""
    if not path:
        return lambda request, _: (Need(role, request.project, request.domain, entity),)
    message = attrgetter(path)

    def needs(request: Any, objects: ObjectPlaces | None) -> tuple[Need, ...]:
        id = message(request)
        return (Need(role, id.project, id.domain, entity),)

    return needs


def _in_project(role: Role, path: str, domain: str | None) -> Needs:
    """Return the needs of a request about a whole project, whose id is the field at a path."""
    project = attrgetter(path)
    return lambda request, _: (Need(role, project(request), domain),)


def _launch(request: Any, objects: ObjectPlaces | None) -> Iterable[Need]:
    """Yield the needs of CreateExecution. The execution gets principal and data of executions that it refers to."""
    yield Need(RUN, request.project, request.domain)
    spec = request.spec
    if spec.HasField("launch_plan"):
        yield Need(VIEW, spec.launch_plan.project, spec.launch_plan.domain, True)
    yield from _referred(spec.metadata)


def _recover(request: Any, objects: ObjectPlaces | None) -> Iterable[Need]:
    yield Need(RUN, request.id.project, request.id.domain)
    yield from _referred(request.metadata)


def _referred(metadata: Any) -> Iterable[Need]:
    if metadata.HasField("parent_node_execution"):
        id = metadata.parent_node_execution.execution_id
        yield Need(RUN, id.project, id.domain)
    if metadata.HasField("reference_execution"):
        yield Need(VIEW, metadata.reference_execution.project, metadata.reference_execution.domain)


def _create_launch_plan(request: Any, objects: ObjectPlaces | None) -> Iterable[Need]:
    yield Need(REGISTER, request.id.project, request.id.domain)
    if request.spec.HasField("workflow_id"):
        workflow = request.spec.workflow_id
        yield Need(VIEW, workflow.project, workflow.domain, True)


def _upload(request: Any, objects: ObjectPlaces | None) -> Iterable[Need]:
    yield Need(RUN, request.project, request.domain)
    if request.org:
        # The folder of an organisation could be read as that of a project.
        yield Need(RUN, request.org, request.project)


def _download(request: Any, objects: ObjectPlaces | None) -> Iterable[Need]:
    places = EVERYWHERE if objects is None else objects.of_uri(request.native_url)
    return (Need(VIEW, project, domain) for project, domain in places)


def _data(request: Any, objects: ObjectPlaces | None) -> Iterable[Need]:
    id = flyte_url.parse(request.flyte_url).node.execution_id
    return (Need(VIEW, id.project, id.domain),)


def _names_across(request: Any, objects: ObjectPlaces | None) -> tuple[Need, ...]:
    """Return the needs of ListLaunchPlanIds, which lists all projects or domains where one is missing."""
    return (Need(VIEW, request.project, request.domain),) if request.project and request.domain else ()


_EXECUTION = "execution_id"
_VIEW_ID, _RUN_ID, _REGISTER_ID = _in(VIEW, "id"), _in(RUN, "id"), _in(REGISTER, "id")
_VIEW_ENTITY = _in(VIEW, "id", entity=True)

RULES: Mapping[str, Needs] = {
    # Nothing of a project.
    "GetVersion": _nothing,
    "UserInfo": _nothing,
    "GetOAuth2Metadata": _nothing,
    "GetPublicClientConfig": _nothing,
    "GetDomains": _nothing,
    # Projects and matchable attributes. A project can be seen where one of its domains can.
    "ListProjects": _nothing,
    "GetProject": _in_project(VIEW, "id", None),
    "RegisterProject": _in_project(ADMIN, "project.id", ANY),
    "UpdateProject": _in_project(ADMIN, "id", ANY),
    "ListMatchableAttributes": _nothing,
    "GetProjectAttributes": _in_project(VIEW, "project", None),
    "UpdateProjectAttributes": _in_project(ADMIN, "attributes.project", ANY),
    "DeleteProjectAttributes": _in_project(ADMIN, "project", ANY),
    "GetProjectDomainAttributes": _in(VIEW),
    "UpdateProjectDomainAttributes": _in(ADMIN, "attributes"),
    "DeleteProjectDomainAttributes": _in(ADMIN),
    "GetWorkflowAttributes": _in(VIEW),
    "UpdateWorkflowAttributes": _in(ADMIN, "attributes"),
    "DeleteWorkflowAttributes": _in(ADMIN),
    # Registered versions and names.
    "CreateTask": _REGISTER_ID,
    "GetTask": _VIEW_ENTITY,
    "ListTasks": _VIEW_ID,
    "ListTaskIds": _in(VIEW),
    "CreateWorkflow": _REGISTER_ID,
    "GetWorkflow": _VIEW_ENTITY,
    "ListWorkflows": _VIEW_ID,
    "ListWorkflowIds": _in(VIEW),
    "CreateLaunchPlan": _create_launch_plan,
    "UpdateLaunchPlan": _REGISTER_ID,
    "GetLaunchPlan": _VIEW_ENTITY,
    "GetActiveLaunchPlan": _VIEW_ENTITY,
    "ListLaunchPlans": _VIEW_ID,
    "ListActiveLaunchPlans": _in(VIEW),
    "ListLaunchPlanIds": _names_across,
    "ListNamedEntities": _in(VIEW),
    "GetNamedEntity": _VIEW_ID,
    "UpdateNamedEntity": _REGISTER_ID,
    "GetDescriptionEntity": _VIEW_ID,
    "ListDescriptionEntities": _VIEW_ID,
    # Executions.
    "CreateExecution": _launch,
    "RelaunchExecution": _RUN_ID,
    "RecoverExecution": _recover,
    "TerminateExecution": _RUN_ID,
    "UpdateExecution": _RUN_ID,
    "GetExecution": _VIEW_ID,
    "ListExecutions": _VIEW_ID,
    "GetExecutionData": _VIEW_ID,
    "GetExecutionMetrics": _VIEW_ID,
    "GetNodeExecution": _in(VIEW, f"id.{_EXECUTION}"),
    "GetNodeExecutionData": _in(VIEW, f"id.{_EXECUTION}"),
    "GetDynamicNodeWorkflow": _in(VIEW, f"id.{_EXECUTION}"),
    "ListNodeExecutions": _in(VIEW, "workflow_execution_id"),
    "ListNodeExecutionsForTask": _in(VIEW, f"task_execution_id.node_execution_id.{_EXECUTION}"),
    "GetTaskExecution": _in(VIEW, f"id.node_execution_id.{_EXECUTION}"),
    "GetTaskExecutionData": _in(VIEW, f"id.node_execution_id.{_EXECUTION}"),
    "ListTaskExecutions": _in(VIEW, f"node_execution_id.{_EXECUTION}"),
    "GetOrCreateSignal": _in(RUN, f"id.{_EXECUTION}"),
    "SetSignal": _in(RUN, f"id.{_EXECUTION}"),
    "ListSignals": _in(VIEW, "workflow_execution_id"),
    # Events are reported by engines: whoever may report them may write any outcome.
    "CreateWorkflowEvent": _in(ADMIN, f"event.{_EXECUTION}"),
    "CreateNodeEvent": _in(ADMIN, f"event.id.{_EXECUTION}"),
    "CreateTaskEvent": _in(ADMIN, f"event.parent_node_execution_id.{_EXECUTION}"),
    # Cached outputs are written by engines: whoever may write them decides about outcomes of later executions.
    "CreateDataset": _in(ADMIN, "dataset.id"),
    "CreateArtifact": _in(ADMIN, "artifact.dataset"),
    "UpdateArtifact": _in(ADMIN, "dataset"),
    "AddTag": _in(ADMIN, "tag.dataset"),
    "GetOrExtendReservation": _in(ADMIN, "reservation_id.dataset_id"),
    "ReleaseReservation": _in(ADMIN, "reservation_id.dataset_id"),
    "GetDataset": _in(VIEW, "dataset"),
    "GetArtifact": _in(VIEW, "dataset"),
    "ListArtifacts": _in(VIEW, "dataset"),
    "ListDatasets": _nothing,
    # Objects of the storage.
    "CreateUploadLocation": _upload,
    "CreateDownloadLocation": _download,
    "CreateDownloadLink": _in(VIEW, f"node_execution_id.{_EXECUTION}"),
    "GetData": _data,
}


def needs_of(rpc: str, request: Any, objects: ObjectPlaces | None) -> Iterable[Need]:
    """Return what a call of an RPC needs.

    Raises:
        InvalidArgument: A flyte:// URL is malformed. The service raises the same error.
    """
    rule = RULES.get(rpc)
    return (Need(ADMIN, ANY, ANY),) if rule is None else rule(request, objects)


def place_of(rpc: str, request: Any) -> str:
    """Return the place of a call for the audit log, with the name of an execution or entity; "" for none."""
    try:
        need = next(iter(needs_of(rpc, request, None)), None)
    except errors.FlyteError:
        return ""
    name = next((found for path in _NAMES if (found := _text_at(request, path))), "")
    place = "" if need is None else need.place
    return f"{place}/{name}" if place and name else place or name


_NAMES = (
    "id.name",
    "id.execution_id.name",
    "id.node_execution_id.execution_id.name",
    "event.execution_id.name",
    "name",
)


def _text_at(message: Any, path: str) -> str:
    for step in path.split("."):
        message = getattr(message, step, "")
    return message if isinstance(message, str) else ""
