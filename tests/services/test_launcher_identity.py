"""What an execution shows of who launched, relaunched and ended it, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.admin import common_pb2, execution_pb2

from app.auth.identity import ALL, ANONYMOUS, INTERNAL, Identity, TaskGrant, UserInfo
from app.services import events, executions, launch_plans
from app.services.executions.launcher_identity import is_service
from app.services.phases import Node
from tests.services.test_events import get, node_event, run_id
from tests.services.test_executions import a_launch, prepare
from tests.support.builders import a_launch_plan

Scenario = Callable[..., Any]


def user(subject: str, **fields: Any) -> Identity:
    return Identity(subject, scopes=frozenset({ALL}), **{"method": "access_token", **fields})


def service(name: str) -> Identity:
    return user(name, client_id=name)


def a_forgery(name: str = "e1", *, task: bool = False) -> execution_pb2.ExecutionCreateRequest:
    """A launch whose request names another user in every place."""
    request = a_launch(name, task=task)
    request.spec.metadata.principal = "root"
    request.spec.security_context.run_as.execution_identity = "root"
    request.spec.security_context.run_as.k8s_service_account = "sa"
    return request


def who(execution: execution_pb2.Execution) -> tuple[str, str]:
    return execution.spec.metadata.principal, execution.spec.security_context.run_as.execution_identity


@pytest.mark.parametrize("task", [False, True])
def test_a_user_launches_and_runs_as_nobody_else(bench: Scenario, task: bool) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        await b.call(executions.create_execution, a_forgery(task=task), identity=user("alice", client_id="flytectl"))
        found = await get(b, "e1")
        assert who(found) == ("alice", "alice")
        assert found.spec.security_context.run_as.k8s_service_account == "sa"
        request = execution_pb2.ExecutionRelaunchRequest(id=run_id("e1"), name="e2")
        await b.call(executions.relaunch_execution, request, identity=user("bob"))
        assert who(await get(b, "e2")) == ("bob", "bob")
        recovery = execution_pb2.ExecutionRecoverRequest(id=run_id("e1"), name="e3")
        await b.call(executions.recover_execution, recovery, identity=service("scheduler"))
        assert who(await get(b, "e3")) == ("scheduler", "scheduler")

    bench(scenario)


def test_the_identity_in_a_launch_plan_of_another_user_does_not_count(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        plan = a_launch_plan()
        plan.spec.security_context.run_as.execution_identity = "root"
        await prepare(b, plan)
        await b.call(executions.create_execution, a_launch(), identity=user("alice"))
        assert who(await get(b, "e1")) == ("alice", "alice")

    bench(scenario)


@pytest.mark.parametrize(
    ("caller", "wanted"),
    [
        (service("flytepropeller"), ("flytepropeller", "root")),
        (user(""), ("", "root")),
        (INTERNAL, ("", "root")),
        (user("robot"), ("robot", "root")),
        (ANONYMOUS, ("", "")),
        (user("alice", method="session"), ("alice", "alice")),
        (user("alice", method="id_token", client_id="alice"), ("alice", "alice")),
        (user("alice", method="task", task=TaskGrant("p", "d", "e", "n", "her-role")), ("alice", "her-role")),
    ],
)
def test_only_services_and_engines_run_as_somebody_else(
    bench: Scenario, caller: Identity, wanted: tuple[str, str]
) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        await b.call(executions.create_execution, a_forgery(), identity=caller)
        assert who(await get(b, "e1")) == wanted

    bench(scenario, auth={"services": ("robot",)})


@pytest.mark.parametrize(
    ("identity", "wanted"),
    [
        (user("c", client_id="c"), True),
        (user("", client_id="c"), True),
        (user("c@clients", client_id="c"), True),
        (user("x", claims={"idtyp": "app"}), True),
        (user("x", client_id="c"), False),
        (user("@clients"), False),
        (user("x"), False),
        (user("s"), True),
        (user("x", client_id="s"), True),
        (user("s", method="session"), False),
        (user("t", client_id="t", method="personal_token"), False),
    ],
)
def test_services_are_known_by_their_tokens(identity: Identity, wanted: bool) -> None:
    assert is_service(identity, ("s",)) is wanted


def test_without_authentication_a_request_may_name_any_identity(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        await b.call(executions.create_execution, a_forgery())
        assert who(await get(b, "e1")) == ("", "root")

    bench(scenario)


def test_the_one_who_terminates_is_recorded_and_executions_are_found_by_user(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        await b.call(executions.create_execution, a_forgery(), identity=user("alice"))
        await b.call(executions.create_execution, a_launch("e2"), identity=user("bob"))
        end = execution_pb2.ExecutionTerminateRequest(id=run_id("e1"), cause="enough")
        await b.call(executions.terminate_execution, end, identity=user("bob"))
        assert (await get(b, "e1")).closure.abort_metadata.principal == "bob"
        request = common_pb2.ResourceListRequest(limit=9, filters="eq(user,alice)")
        request.id.project, request.id.domain = "p", "development"
        found = await b.call(executions.list_executions, request)
        assert [one.id.name for one in found.executions] == ["e1"]

    bench(scenario, engine={"kind": "none"})


OWN = {"a": "b", "flyte.org/user-sub": "mine"}
EMAIL = "alice@example.com"
ALICE = user("s1", user=UserInfo(email=EMAIL))


@pytest.mark.parametrize(
    ("caller", "section", "given", "wanted"),
    [
        (ALICE, {}, OWN, {**OWN, "flyte.org/user-email": EMAIL}),
        (ALICE, {}, {}, {}),
        (ALICE, {"identity_annotation_prefix": "x.y"}, OWN, {**OWN, "x.y/user-email": EMAIL, "x.y/user-sub": "s1"}),
        (ALICE, {"identity_annotation_prefix": "Not DNS"}, {"a": "b"}, {"a": "b"}),
        (ALICE, {"inject_identity_annotations": False}, {"a": "b"}, {"a": "b"}),
        (ALICE, {"identity_annotation_keys": ("sub", "unknown")}, {"a": "b"}, {"a": "b", "flyte.org/user-sub": "s1"}),
        (user("s2"), {}, {"a": "b"}, {"a": "b", "flyte.org/user-sub": "s2"}),
        (ANONYMOUS, {}, {"a": "b"}, {"a": "b"}),
        (
            user("s1", client_id="c"),
            {},
            {"a": "b"},
            {"a": "b", "flyte.org/app-email": "c", "flyte.org/app-sub": "c", "flyte.org/app-id": "c"},
        ),
    ],
)  # fmt: skip
def test_annotations_name_the_verified_caller(
    bench: Scenario, caller: Identity, section: dict[str, Any], given: dict[str, str], wanted: dict[str, str]
) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        request = a_launch()
        request.spec.annotations.values.update(given)
        await b.call(executions.create_execution, request, identity=caller)
        assert dict((await get(b, "e1")).spec.annotations.values) == wanted

    keys = {"inject_identity_annotations": True, "identity_annotation_keys": ("email", "sub", "id")}
    bench(scenario, flyteadmin={**keys, **section})


def test_a_user_who_names_a_node_of_another_stays_the_principal(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        await b.call(launch_plans.create_launch_plan, a_launch_plan("child"))
        await b.call(executions.create_execution, a_launch(), identity=user("alice"))
        await b.call(events.create_node_event, node_event("n0", Node.RUNNING, 1))
        wanted = {"thief": user("thief"), "alice": service("flytepropeller")}
        grant = TaskGrant("p", "development", "e1")
        callers = [*wanted.items(), ("alice", user("alice", method="task", task=grant))]
        for number, (principal, caller) in enumerate(callers):
            request = a_launch(f"child{number}")
            parent = request.spec.metadata.parent_node_execution
            parent.node_id = "n0"
            parent.execution_id.CopyFrom(run_id("e1"))
            await b.call(executions.create_execution, request, identity=caller)
            assert (await get(b, f"child{number}")).spec.metadata.principal == principal

    bench(scenario)


def test_a_child_that_the_engine_launches_or_recovers_runs_as_its_parent(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        robot = a_launch()
        robot.spec.security_context.run_as.execution_identity = "robot"
        await b.call(executions.create_execution, robot, identity=service("scheduler"))
        await b.call(executions.create_execution, a_launch("old"), identity=user("bob"))
        await b.call(events.create_node_event, node_event("n0", Node.RUNNING, 1))
        request = a_launch("child")
        recovery = execution_pb2.ExecutionRecoverRequest(id=run_id("old"), name="recovered")
        for metadata in (request.spec.metadata, recovery.metadata):
            metadata.parent_node_execution.node_id = "n0"
            metadata.parent_node_execution.execution_id.CopyFrom(run_id("e1"))
        await b.call(executions.create_execution, request, identity=INTERNAL)
        await b.call(executions.recover_execution, recovery, identity=INTERNAL)
        assert who(await get(b, "child")) == ("scheduler", "robot")
        assert who(await get(b, "recovered")) == ("scheduler", "robot")

    bench(scenario)
