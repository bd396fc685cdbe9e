"""Workflows whose tasks call the server that runs them."""

import os

from flyteidl.admin import common_pb2, project_pb2
from flytekit import current_context, eager, task, workflow
from flytekit.configuration import Config
from flytekit.exceptions.base import FlyteException
from flytekit.models.core.identifier import WorkflowExecutionIdentifier
from flytekit.remote import FlyteRemote


def _remote() -> FlyteRemote:
    return FlyteRemote(Config.auto(), default_project="flytesnacks", default_domain="development")


@task
def principal() -> str:
    """The principal of the execution in which this task runs."""
    id = current_context().execution_id
    found = _remote().client.get_execution(WorkflowExecutionIdentifier(id.project, id.domain, id.name))
    return str(found.spec.metadata.principal)


@task
def forbidden() -> str:
    """How the server refuses what a task may not do: register a project, read another project."""
    stub = _remote().client._stub
    elsewhere = common_pb2.NamedEntityIdentifier(project="other", domain="development")
    project = project_pb2.Project(id="stolen", name="stolen")
    answers = []
    for call, request in (
        (stub.RegisterProject, project_pb2.ProjectRegisterRequest(project=project)),
        (stub.ListExecutions, common_pb2.ResourceListRequest(id=elsewhere, limit=1)),
    ):
        try:
            call(request)
            answers.append("allowed")
        except FlyteException as error:
            answers.append(" ".join(str(error.__cause__).split()))
    return "\n".join(answers)


@task
def token() -> str:
    """The token of this task, for a test that uses it after the task has ended."""
    with open(os.environ["FLYTEADMIN_TASK_TOKEN_FILE"]) as file:
        return file.read()


@task
def double(x: int) -> int:
    return x * 2


@eager
async def eagerly(x: int) -> int:
    """Launches another execution."""
    return double(x=x)


@workflow
def calls_back() -> str:
    return principal()


@workflow
def oversteps() -> str:
    return forbidden()


@workflow
def leaks() -> str:
    return token()
