"""Roles as callers meet them, over REST and gRPC: refusals, lists, pages, cached replies, and changes of roles."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import common_pb2, execution_pb2, project_pb2
from flyteidl.core import identifier_pb2
from flyteidl.service import dataproxy_pb2
from google.protobuf.message import Message

from app.api.grpc.protocol import frame
from app.api.routers import ALL
from app.auth.authentication import Authentication
from app.auth.identity import ALL as ALL_SCOPE
from app.auth.identity import Identity, TaskGrant
from app.main import FlyteAdmin, create_app
from app.settings import Settings
from tests.api.asgi import Answer, ask
from tests.support.databases import migrated

BY_NAME = {rpc.name: rpc for rpc in ALL}
PROJECTS = ("p1", "p2", "shared", "team-a", "team-b", "teams")
BINDINGS = (
    {"role": "run", "project": "p1", "domain": "development", "subjects": ("alice",)},
    {"role": "view", "project": "shared", "domain": "*", "subjects": ("alice",)},
    {"role": "register", "project": "team-*", "domain": "dev*", "claim_values": ("teams",)},
)
DENIED = "the role {} is needed in {}"


class Desk:
    """A served application, and requests to it as different callers."""

    def __init__(self, app: FlyteAdmin, runner: asyncio.Runner) -> None:
        self.app = app
        self.run = runner.run

    def rest(self, who: Identity, verb: str, target: str, body: Any = None, **headers: str) -> Answer:
        """Send a request with JSON."""
        raw = None if body is None else json.dumps(body).encode()
        known = {"Accept": "application/json", "Content-Type": "application/json", **bearer(who), **headers}
        return self.run(ask(self.app, verb, target, known, raw))

    def grpc(self, who: Identity, name: str, request: Message) -> tuple[int, str, Message]:
        """Call an RPC; return status, message and reply."""
        rpc = BY_NAME[name]
        scope = {"extensions": {"http.response.trailers": {}}}
        headers = {"content-type": "application/grpc", "te": "trailers", **bearer(who)}
        raw = bytes(frame(request.SerializeToString()))
        answer = self.run(ask(self.app, "POST", rpc.path, headers, raw, http_version="2", scope=scope))
        found = answer.trailers or answer.headers
        return int(found["grpc-status"]), found.get("grpc-message", ""), rpc.response.FromString(answer.body[5:])


CALLERS: dict[str, Identity] = {}


class Names:
    """Verifies the names of CALLERS as tokens."""

    async def verify(self, token: str, public_url: str) -> Identity:
        return CALLERS[token]

    def recent(self, token: str, public_url: str) -> Identity | None:
        return CALLERS.get(token)


def bearer(who: Identity) -> dict[str, str]:
    name = who.subject if who.task is None else f"task-of-{who.subject}"
    CALLERS[name] = who
    return {"authorization": f"Bearer {name}"}


def person(name: str, **claims: Any) -> Identity:
    return Identity(subject=name, claims=claims, method="access_token", scopes=frozenset({ALL_SCOPE}))


ALICE, TEAM, ROOT, NOBODY = person("alice"), person("tina", groups=["teams"]), person("root"), person("nobody")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    home = tmp_path_factory.mktemp("roles")
    url = migrated(home / "flyte.db")
    roles = {"enabled": True, "admins": ("root",), "bindings": BINDINGS, "cache_seconds": 0.2}
    security = {"security": {"allowed_hosts": ("here",)}}
    settings = Settings(
        home=home, database={"url": url}, engine={"kind": "none"}, server=security, auth={"roles": roles}
    )
    app = create_app(settings)
    app.server.auth = Authentication(settings, access_tokens=Names(), id_tokens=Names())
    with asyncio.Runner() as runner:
        running = app.running()
        runner.run(running.__aenter__())
        desk = Desk(app, runner)
        for id in PROJECTS:
            answer = desk.rest(ROOT, "POST", "/api/v1/projects", {"project": {"id": id, "name": id}})
            assert answer.status == 200, answer.body
        yield desk
        runner.run(running.__aexit__(None, None, None))


def an_execution(project: str, domain: str = "development", name: str = "e") -> Any:
    return execution_pb2.WorkflowExecutionGetRequest(
        id=identifier_pb2.WorkflowExecutionIdentifier(project=project, domain=domain, name=name)
    )


REFUSED = [
    # Caller, RPC, request, REST form, role, place.
    (ALICE, "GetExecution", an_execution("p2"), "GET /api/v1/executions/p2/development/e", "view", "p2/development"),
    (ALICE, "GetExecution", an_execution("P1"), "GET /api/v1/executions/P1/development/e", "view", "P1/development"),
    (ALICE, "GetExecution", an_execution("p1", "staging"), "GET /api/v1/executions/p1/staging/e", "view", "p1/staging"),
    (
        ALICE,
        "GetExecution",
        an_execution("p%", "development"),
        "GET /api/v1/executions/p%25/development/e",
        "view",
        "p%/development",
    ),
    (ALICE, "GetExecution", an_execution("*", "*"), "GET /api/v1/executions/*/*/e", "view", "*/*"),
    (
        TEAM,
        "GetExecution",
        an_execution("teams"),
        "GET /api/v1/executions/teams/development/e",
        "view",
        "teams/development",
    ),
    (TEAM, "GetExecution", an_execution("team-*", "*"), "GET /api/v1/executions/team-*/*/e", "view", "team-*/*"),
    (NOBODY, "GetProject", project_pb2.ProjectGetRequest(id="p1"), "GET /api/v1/projects/p1", "view", "p1/any domain"),
    (ALICE, "UpdateProject", project_pb2.Project(id="p1"), "PUT /api/v1/projects/p1", "admin", "p1/*"),
    (
        ALICE,
        "ListTasks",
        common_pb2.ResourceListRequest(
            id=common_pb2.NamedEntityIdentifier(project="p2", domain="development"), limit=1
        ),
        "GET /api/v1/tasks/p2/development?limit=1",
        "view",
        "p2/development",
    ),
    (
        ALICE,
        "CreateUploadLocation",
        dataproxy_pb2.CreateUploadLocationRequest(project="shared", domain="development", filename="x"),
        "POST /api/v1/dataproxy/artifact_urn",
        "run",
        "shared/development",
    ),
    (
        ALICE,
        "GetData",
        dataproxy_pb2.GetDataRequest(flyte_url="flyte://v1/p2/development/e/n0/i"),
        "GET /api/v1/data?flyte_url=flyte://v1/p2/development/e/n0/i",
        "view",
        "p2/development",
    ),
]


@pytest.mark.parametrize(("who", "rpc", "request_", "rest", "role", "place"), REFUSED)
def test_a_call_without_the_role_is_refused_on_both_transports(
    desk: Desk, who: Identity, rpc: str, request_: Message, rest: str, role: str, place: str
) -> None:
    message = DENIED.format(role, place)
    code, text, _ = desk.grpc(who, rpc, request_)
    assert (code, text.replace("%25", "%")) == (7, message)
    verb, target = rest.split(" ", 1)
    if target.startswith("/api/v1/dataproxy"):
        target = next(b.template for b in BY_NAME[rpc].bindings)
    body = {"project": "shared", "domain": "development", "filename": "x"} if rpc == "CreateUploadLocation" else {}
    answer = desk.rest(who, verb, target, body if verb != "GET" else None)
    assert (answer.status, answer.json["code"], answer.json["message"]) == (403, 7, message)


def launch(project: str, plan: str, **metadata: Any) -> execution_pb2.ExecutionCreateRequest:
    spec = execution_pb2.ExecutionSpec(
        launch_plan=identifier_pb2.Identifier(
            resource_type=identifier_pb2.LAUNCH_PLAN, project=plan, domain="development", name="n", version="v"
        ),
        metadata=execution_pb2.ExecutionMetadata(**metadata),
    )
    return execution_pb2.ExecutionCreateRequest(project=project, domain="development", spec=spec)


P2_EXECUTION = identifier_pb2.WorkflowExecutionIdentifier(project="p2", domain="development", name="e")
P2_NODE = identifier_pb2.NodeExecutionIdentifier(node_id="n0", execution_id=P2_EXECUTION)


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (launch("p1", "shared"), 5, ""),  # Allowed: such a plan does not exist.
        (launch("p1", "p2"), 7, DENIED.format("view", "p2/development")),
        (launch("p2", "p1"), 7, DENIED.format("run", "p2/development")),
        (launch("shared", "shared"), 7, DENIED.format("run", "shared/development")),
        # The child of a foreign execution would get its principal, a recovered one its data.
        (launch("p1", "p1", parent_node_execution=P2_NODE), 7, DENIED.format("run", "p2/development")),
        (launch("p1", "p1", reference_execution=P2_EXECUTION, mode=5), 7, DENIED.format("view", "p2/development")),
    ],
)
def test_a_launch_needs_roles_in_every_place_that_it_names(
    desk: Desk, request_: Message, code: int, message: str
) -> None:
    found, text, _ = desk.grpc(ALICE, "CreateExecution", request_)
    assert (found, text if code == 7 else "") == (code, message)


def test_nothing_is_revealed_about_what_exists(desk: Desk) -> None:
    known = [desk.rest(ALICE, "GET", f"/api/v1/projects/{id}").body for id in ("p2", "p3")]
    assert known[0].replace(b"p2", b"p3") == known[1]
    assert desk.rest(ALICE, "GET", "/api/v1/projects/p1").status == 200


def test_the_body_cannot_name_another_place_than_the_path(desk: Desk) -> None:
    body = {"id": {"project": "p1", "domain": "development", "name": "e"}, "cause": "x"}
    answer = desk.rest(ALICE, "DELETE", "/api/v1/executions/p2/development/e", body)
    assert (answer.status, answer.json["message"]) == (403, DENIED.format("run", "p2/development"))


def test_a_missing_place_needs_the_role_everywhere(desk: Desk) -> None:
    code, text, _ = desk.grpc(ALICE, "GetExecution", execution_pb2.WorkflowExecutionGetRequest())
    assert (code, text) == (7, DENIED.format("view", "*/*"))
    code, text, _ = desk.grpc(ROOT, "GetExecution", execution_pb2.WorkflowExecutionGetRequest())
    assert (code, text) == (3, "missing id")


class TestLists:
    @pytest.mark.parametrize(
        ("who", "ids"),
        [(ALICE, ["p1", "shared"]), (TEAM, ["team-a", "team-b"]), (ROOT, list(PROJECTS)), (NOBODY, [])],
    )
    def test_projects_are_those_that_the_caller_may_see(self, desk: Desk, who: Identity, ids: list[str]) -> None:
        assert [one["id"] for one in desk.rest(who, "GET", "/api/v1/projects").json["projects"]] == ids
        paged: list[str] = []
        token = ""
        while True:
            request = project_pb2.ProjectListRequest(limit=1, token=token)
            _, _, reply = desk.grpc(who, "ListProjects", request)
            assert isinstance(reply, project_pb2.Projects)
            paged += [one.id for one in reply.projects]
            token = reply.token
            if not token:
                break
        assert paged == ids

    def test_filters_find_nothing_that_the_caller_may_not_see(self, desk: Desk) -> None:
        answer = desk.rest(ALICE, "GET", "/api/v1/projects?filters=value_in(identifier,p1%3Bp2)")
        assert [one["id"] for one in answer.json["projects"]] == ["p1"]

    def test_a_project_shows_the_domains_that_the_caller_may_see(self, desk: Desk) -> None:
        answer = desk.rest(ALICE, "GET", "/api/v1/projects")
        shown = {one["id"]: [domain["id"] for domain in one["domains"]] for one in answer.json["projects"]}
        assert shown == {"p1": ["development"], "shared": ["development", "staging", "production"]}

    def test_matchable_attributes_are_narrowed(self, desk: Desk) -> None:
        attributes = {"matching_attributes": {"cluster_assignment": {"cluster_pool_name": "x"}}}
        for project in ("p1", "p2", "team-a"):
            for domain in ("development", "production"):
                path = f"/api/v1/project_domain_attributes/{project}/{domain}"
                body = {"attributes": {"project": project, "domain": domain, **attributes}}
                assert desk.rest(ROOT, "PUT", path, body).status == 200
            body = {"attributes": {"project": project, **attributes}}
            assert desk.rest(ROOT, "PUT", f"/api/v1/project_attributes/{project}", body).status == 200

        def seen(who: Identity) -> set[tuple[str, str]]:
            answer = desk.rest(who, "GET", "/api/v1/matchable_attributes?resource_type=CLUSTER_ASSIGNMENT")
            return {(one["project"], one["domain"]) for one in answer.json["configurations"]}

        assert seen(ALICE) == {("p1", "development"), ("p1", "")}
        assert seen(TEAM) == {("team-a", "development"), ("team-a", "")}
        assert len(seen(ROOT)) == 9
        assert seen(NOBODY) == set()


TASK = Identity(subject="alice", method="task", scopes=frozenset({ALL_SCOPE}), task=TaskGrant("p1", "development", "e"))


class TestTasks:
    def test_the_token_opens_its_own_place(self, desk: Desk) -> None:
        assert desk.grpc(TASK, "GetExecution", an_execution("p1"))[0] == 5
        assert desk.grpc(TASK, "CreateExecution", launch("p1", "shared"))[0] == 5

    def test_the_token_opens_no_other_place(self, desk: Desk) -> None:
        assert desk.grpc(TASK, "GetExecution", an_execution("shared"))[0] == 7
        assert desk.grpc(TASK, "CreateExecution", launch("p1", "p2"))[0] == 7

    def test_the_token_is_not_for_every_rpc(self, desk: Desk) -> None:
        code, text, _ = desk.grpc(TASK, "ListProjects", project_pb2.ProjectListRequest())
        assert (code, text) == (7, "the token of a running task may not call ListProjects")


class TestPages:
    def test_logs_need_the_role(self, desk: Desk) -> None:
        assert desk.rest(ALICE, "GET", "/logs/p1/development/e/n0/0").status == 404
        answer = desk.rest(ALICE, "GET", "/logs/p2/development/e/n0/0")
        assert (answer.status, answer.json["message"]) == (403, DENIED.format("view", "p2/development"))

    def test_roles_are_for_administrators(self, desk: Desk) -> None:
        for verb in ("GET", "POST", "DELETE"):
            answer = desk.rest(ALICE, verb, "/api/v1/roles", {} if verb != "GET" else None)
            assert (answer.status, answer.json["message"]) == (403, DENIED.format("admin", "*/*"))
        found = desk.rest(ROOT, "GET", "/api/v1/roles?limit=2").json
        assert found["roles"][0] == {
            "role": "admin",
            "project": "*",
            "domain": "*",
            "member_kind": "subject",
            "member": "root",
            "source": "settings",
        }
        assert len(desk.rest(ROOT, "GET", f"/api/v1/roles?limit=2&token={found['token']}").json["roles"]) == 2

    def test_callers_read_their_own_roles(self, desk: Desk) -> None:
        found = desk.rest(ALICE, "GET", "/api/v1/roles/mine").json
        assert found["enabled"] is True
        assert {"role": "run", "project": "p1", "domain": "development"} in found["grants"]
        everywhere = {"role": "admin", "project": "*", "domain": "*"}
        assert everywhere in desk.rest(ROOT, "GET", "/api/v1/roles/mine").json["grants"]
        assert everywhere not in found["grants"]

    def test_a_change_has_effect_at_once_here(self, desk: Desk) -> None:
        binding = {"role": "view", "project": "p2", "domain": "*", "member": "carol"}
        carol = person("carol")
        assert desk.grpc(carol, "GetExecution", an_execution("p2"))[0] == 7
        assert desk.rest(ROOT, "POST", "/api/v1/roles", binding).status == 200
        assert desk.grpc(carol, "GetExecution", an_execution("p2"))[0] == 5
        assert desk.rest(ROOT, "DELETE", "/api/v1/roles", binding).status == 200
        assert desk.grpc(carol, "GetExecution", an_execution("p2"))[0] == 7
        assert desk.rest(ROOT, "DELETE", "/api/v1/roles", binding).status == 404

    @pytest.mark.parametrize(
        "body",
        [
            [],
            {},
            {"role": "owner", "project": "p", "domain": "d", "member": "m"},
            {"role": "view", "project": "p*x", "domain": "d", "member": "m"},
            {"role": "view", "project": "", "domain": "d", "member": "m"},
            {"role": "view", "project": "p", "domain": "d/e", "member": "m"},
            {"role": "view", "project": "p", "domain": "d", "member": ""},
            {"role": "view", "project": "p", "domain": "d", "member": "a\nb"},
            {"role": "view", "project": "p", "domain": "d", "member": 7},
            {"role": "view", "project": "p", "domain": "d", "member": "*", "member_kind": "claim"},
            {"role": "view", "project": "p", "domain": "d", "member": "m", "more": "x"},
            {"role": "view", "project": "p", "domain": "d", "member": "m" * 1001},
        ],
    )
    def test_a_wrong_binding_is_refused(self, desk: Desk, body: Any) -> None:
        assert desk.rest(ROOT, "POST", "/api/v1/roles", body).status == 400

    def test_a_long_body_is_refused(self, desk: Desk) -> None:
        assert desk.rest(ROOT, "POST", "/api/v1/roles", {"member": "m" * 20_000}).status == 429


def test_a_row_has_effect_in_other_processes_after_the_time_of_the_setting(desk: Desk, tmp_path: Path) -> None:
    other = create_app(desk.app.server.settings)
    carol = person("carol2")

    async def scenario() -> list[bool]:
        found = []
        await other.server.database.open()
        assert other.server.access is not None
        assert other.server.access.roles is not None
        found.append((await other.server.access.roles.permissions(carol)).grants != ())
        await asyncio.to_thread(lambda: None)
        answer = await ask(
            desk.app,
            "POST",
            "/api/v1/roles",
            bearer(ROOT),
            json.dumps({"role": "view", "project": "p2", "domain": "*", "member": "carol2"}).encode(),
        )
        assert answer.status == 200
        await asyncio.sleep(0.25)
        found.append((await other.server.access.roles.permissions(carol)).grants != ())
        await other.server.database.close()
        return found

    assert desk.run(scenario()) == [False, True]


def test_cached_replies_are_for_callers_who_see_everything(desk: Desk) -> None:
    access = desk.app.server.access
    assert access is not None
    assert access.roles is not None
    desk.run(access.roles.read(at_once=True))
    seen = [access.sees_everything(one) for one in (ROOT, ALICE, TASK)]
    assert seen == [True, False, False]
