"""The check of one call: who is checked at all, tokens of tasks where roles are off, logs over MCP."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import execution_pb2
from flyteidl.core import identifier_pb2

from app import errors
from app.api.routers import ALL
from app.auth.caller_access import AccessCheck, access_check
from app.auth.credentials import Credentials
from app.auth.identity import ANONYMOUS, INTERNAL, Identity, TaskGrant
from app.auth.object_places import ObjectPlaces
from app.auth.role_store import claims_of_roles
from app.auth.rpc_roles import RULES
from app.auth.task_access import TASK_RPCS
from app.blobs import Blobs
from app.database.base import Database
from app.database.connect import database_at
from app.engine.local.processes import folders
from app.engine.port import NoEngine
from app.mcp.clients import InProcessClient
from app.runtime.dispatch import Server
from app.settings import Settings

BY_NAME = {rpc.name: rpc for rpc in ALL}
TASK = Identity(subject="a", method="task", task=TaskGrant("p", "development", "e"))
ALICE = Identity(subject="alice", method="session")


def database_of(home: Path) -> Database:
    return database_at(f"sqlite:///{home}/x.db", connections_max=1, busy_timeout_seconds=1, statement_timeout_seconds=1)


@pytest.fixture
def without_roles(tmp_path: Path) -> AccessCheck:
    settings = Settings(home=tmp_path)
    return AccessCheck(None, ObjectPlaces(settings, Blobs(settings)))


def get(project: str, domain: str = "development") -> execution_pb2.WorkflowExecutionGetRequest:
    id = identifier_pb2.WorkflowExecutionIdentifier(project=project, domain=domain, name="e")
    return execution_pb2.WorkflowExecutionGetRequest(id=id)


def test_without_authentication_and_roles_there_is_no_check(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert access_check(settings, database_of(tmp_path), Blobs(settings)) is None


@pytest.mark.parametrize("identity", [ALICE, ANONYMOUS, INTERNAL])
def test_without_roles_only_tasks_are_checked(without_roles: AccessCheck, identity: Identity) -> None:
    assert asyncio.run(without_roles.check(identity, "GetExecution", get("p"))) is None
    assert without_roles.sees_everything(identity)
    assert not without_roles.sees_everything(TASK)


def test_the_token_of_a_task_is_restricted_without_roles_too(without_roles: AccessCheck) -> None:
    def check(rpc: str, request: Any) -> Any:
        return asyncio.run(without_roles.check(TASK, rpc, request))

    assert check("GetExecution", get("p")) is not None
    for project, domain in (("q", "development"), ("p", "production"), ("", ""), ("*", "*")):
        with pytest.raises(errors.PermissionDenied):
            check("GetExecution", get(project, domain))
    # The launcher could read versions of all projects, so a launch may name them.
    task = BY_NAME["GetTask"].request()
    task.id.project, task.id.domain = "q", "development"
    assert check("GetTask", task) is not None
    create = BY_NAME["CreateTask"].request()
    create.id.project, create.id.domain = "q", "development"
    with pytest.raises(errors.PermissionDenied):
        check("CreateTask", create)


@pytest.mark.parametrize("rpc", sorted(set(RULES) - TASK_RPCS))
def test_other_rpcs_are_closed_to_tasks(without_roles: AccessCheck, rpc: str) -> None:
    with pytest.raises(errors.PermissionDenied, match=f"may not call {rpc}"):
        asyncio.run(without_roles.check(TASK, rpc, BY_NAME[rpc].request()))


@pytest.mark.parametrize(("project", "text"), [("p", "line"), ("q", None)])
def test_an_assistant_reads_logs_where_its_caller_may(tmp_path: Path, project: str, text: str | None) -> None:
    settings = Settings(home=tmp_path)
    server = Server(settings, database_of(tmp_path), Blobs(settings), NoEngine())
    server.access = AccessCheck(None, ObjectPlaces(settings, server.blobs))
    server.auth = object()  # type: ignore[assignment]  # The edge has authenticated the caller.
    id = identifier_pb2.TaskExecutionIdentifier()
    execution = id.node_execution_id.execution_id
    execution.project, execution.domain, execution.name = project, "development", "e"
    id.node_execution_id.node_id = "n0"
    node = folders.node_folder(folders.execution_folder(tmp_path, execution), "n0")
    folder = folders.attempt_folder(node, 0)
    folder.mkdir(parents=True)
    (folder / folders.LOG).write_text("line")
    client = InProcessClient(server, Credentials("http", (), known=TASK))
    assert asyncio.run(client.read_log_end(id, 100)) == text


@pytest.mark.parametrize(
    ("roles", "claims"),
    [
        ({}, ()),
        ({"enabled": True}, ("groups", "email_verified")),
        ({"enabled": True, "claim": "realm_access.roles"}, ("realm_access.roles", "realm_access", "email_verified")),
    ],
)
def test_own_tokens_repeat_the_claims_of_roles(roles: Any, claims: tuple[str, ...]) -> None:
    assert claims_of_roles(Settings(auth={"roles": roles})) == claims
