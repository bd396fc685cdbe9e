"""`flyteadmin get`: the exact drawing, what is folded, and what a refusal says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from app.cli.main import app
from app.cli.terminal import tree as trees
from tests.cli.api import Api
from tests.cli.terminal import rows

pytestmark = pytest.mark.heavy


class Noon(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return datetime(2026, 1, 2, 12, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "datetime", Noon)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["get", *arguments])


def lines(*arguments: str) -> list[str]:
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    return [line.rstrip() for line in done.stdout.splitlines()]


def test_a_tree_with_attempts_cache_and_an_error(api: Api) -> None:
    nodes = [
        rows.node("start-node"),
        rows.node("n0", task_node_metadata={"cache_status": "CACHE_HIT"}),
        rows.node("n1", "FAILED", error={"code": "USER:ValueError", "message": "Traceback\n\nValueError: odd"}),
        rows.node("n2", "RUNNING", duration=None),
    ]
    compiled = rows.workflow(rows.task("n0", "wf.load"), rows.task("n1"), rows.task("n2"), rows.task("n3", "wf.save"))
    rows.serve(api, rows.execution("RUNNING"), nodes, compiled)
    api.routes[f"GET /api/v1/task_executions/{rows.PATH}/n1"] = {
        "task_executions": [rows.attempt("n1", 1, "FAILED"), rows.attempt("n1", 0, "FAILED")]
    }
    assert lines("f1") == [
        "flytesnacks/development/f1  ● RUNNING  5 min 0 s",
        "workflow wf.main  version v1  launched 5 min 0 s ago by ada",
        "console  http://localhost:30080/console/projects/flytesnacks/domains/development/executions/f1",
        "",
        "├─ n0 wf.load  ✓ succeeded       1.5 s  cached",
        "├─ n1 wf.work  ✗ failed          1.5 s  2 attempts",
        "├─ n2 wf.work  ● running    4 min 59 s",
        "└─ n3 wf.save  · waiting",
        "",
        "✗ n1 wf.work  USER:ValueError",
        "  Traceback",
        "",
        "  ValueError: odd",
        "  log: flyteadmin logs f1 n1",
    ]


def test_an_error_that_the_list_cuts_is_shown_as_a_whole(api: Api) -> None:
    whole = "the secret with group [db] and key [password] is not set. Set it: flyteadmin secret set db/password"
    cut = rows.node("n0", "FAILED", error={"code": "SecretNotFound", "message": whole[:40]})
    rows.serve(api, rows.execution("FAILED"), [cut], rows.workflow(rows.task("n0")))
    api.routes[f"GET /api/v1/node_executions/{rows.PATH}/n0"] = rows.node(
        "n0", "FAILED", error={"code": "SecretNotFound", "message": whole}
    )
    assert f"  {whole}" in "\n".join(lines("f1"))


def test_an_attempt_that_never_started_has_no_log(api: Api) -> None:
    nodes = [rows.node("n1", "FAILED", error={"code": "FailedToBuildResource", "message": "no such package"})]
    rows.serve(api, rows.execution("FAILED"), nodes, rows.workflow(rows.task("n1")))
    api.routes[f"GET /api/v1/node_executions/{rows.PATH}/n1"] = nodes[0]
    attempts = f"GET /api/v1/task_executions/{rows.PATH}/n1"
    api.routes[attempts] = {"task_executions": [rows.attempt("n1", 0, "FAILED", started_at=None)]}
    assert lines("f1")[-1] == "  no such package"
    api.routes[attempts] = {"task_executions": [rows.attempt("n1", 0, "FAILED")]}
    assert lines("f1")[-1] == "  log: flyteadmin logs f1 n1"


def test_what_an_attempt_waits_for_is_shown_until_it_starts(api: Api) -> None:
    reason = "waits for environment 5c9e for image [me:tag]; `flyteadmin envs` shows its progress\nnotice: no effect"
    nodes = [rows.node("n1", "RUNNING")]
    rows.serve(api, rows.execution("RUNNING"), nodes, rows.workflow(rows.task("n1")))
    attempts = f"GET /api/v1/task_executions/{rows.PATH}/n1"
    for phase, started_at in (("INITIALIZING", None), ("RUNNING", "2026-01-02T12:00:01.5Z")):
        last = rows.attempt("n1", 0, phase, started_at=started_at, reason=reason)
        api.routes[attempts] = {"task_executions": [last]}
        shown = "\n".join(lines("f1"))
        assert ("waits for environment 5c9e" in shown) == (started_at is None), shown
        assert "no effect" not in shown


def test_a_killed_task_has_no_heading_without_a_message(api: Api) -> None:
    nodes = [rows.node("n1", "FAILED", error={"code": "OOMKilled", "message": "Reason [OOMKilled]. Message: \n\n"})]
    rows.serve(api, rows.execution("FAILED"), nodes, rows.workflow(rows.task("n1")))
    api.routes[f"GET /api/v1/node_executions/{rows.PATH}/n1"] = nodes[0]
    assert "  Reason [OOMKilled]." in lines("f1")


def test_a_long_line_is_not_cut_in_a_pipe(api: Api) -> None:
    message = f"{'the reason ' * 40}and what to do"
    nodes = [rows.node("n1", "FAILED", error={"code": "Missing", "message": message})]
    rows.serve(api, rows.execution("FAILED"), nodes, rows.workflow(rows.task("n1")))
    api.routes[f"GET /api/v1/node_executions/{rows.PATH}/n1"] = nodes[0]
    assert f"  {message}" in lines("f1")


def test_levels_below_and_a_map(api: Api) -> None:
    sub = {"project": "flytesnacks", "domain": "development", "name": "wf.inner", "version": "v1"}
    compiled = rows.workflow(
        {"id": "n0", "workflow_node": {"sub_workflow_ref": sub}},
        {"id": "n1", "array_node": {"node": rows.task("n1", "wf.each")}},
        {"id": "n2", "gate_node": {"approve": {"signal_id": "go"}}},
        subs=({"template": {"id": sub, "nodes": [rows.task("m0", "wf.deep")]}},),
    )
    top = [
        rows.node("n0", metadata={"is_parent_node": True}),
        rows.node("n1", metadata={"is_array": True, "is_parent_node": True}),
        rows.node("n2", "RUNNING"),
    ]
    rows.serve(api, rows.execution(), top, compiled)
    api.routes[f"GET /api/v1/node_executions/{rows.PATH}"] = lambda request: {
        "node_executions": {"": top, "n0": [rows.node("n0-0-m0", spec="m0")]}[
            request.url.params.get("uniqueParentId", "")
        ],
        "token": "",
    }
    api.routes[f"GET /api/v1/task_executions/{rows.PATH}/n0-0-m0"] = {"task_executions": [rows.attempt("n0-0-m0")]}
    phases = ["SUCCEEDED"] * 97 + ["FAILED"] * 2 + ["RUNNING"]
    external = [{"index": at, "phase": phase} for at, phase in enumerate(phases)]
    external.append({"index": 99, "phase": "SUCCEEDED", "retry_attempt": 1})
    api.routes[f"GET /api/v1/task_executions/{rows.PATH}/n1"] = {
        "task_executions": [rows.attempt("n1", metadata={"external_resources": external})]
    }
    assert lines("f1")[4:] == [
        "├─ n0 wf.inner         ✓ succeeded       1.5 s",
        "│  └─ n0-0-m0 wf.deep  ✓ succeeded       1.5 s",
        "├─ n1 wf.each          ✓ succeeded       1.5 s  100 elements: 2 failed, 98 succeeded, failed indices 97, 98",
        "└─ n2 go               ‖ paused     4 min 59 s  waits for the signal go",
    ]


@pytest.mark.slow
def test_ten_thousand_nodes_are_folded_and_read_with_few_calls(api: Api) -> None:
    nodes = [rows.node(f"n{at}", "FAILED" if at == 7_777 else "SUCCEEDED") for at in range(10_000)]
    rows.serve(api, rows.execution("FAILED"), nodes, rows.workflow(*(rows.task(f"n{at}") for at in range(10_000))))

    def page(request: httpx.Request) -> dict[str, Any]:
        start, limit = int(request.url.params["token"] or 0), int(request.url.params["limit"])
        end = start + limit
        return {"node_executions": nodes[start:end], "token": str(end) if end < len(nodes) else ""}

    api.routes[f"GET /api/v1/node_executions/{rows.PATH}"] = page
    found = lines("f1")
    assert found[4].startswith("├─ n0 wf.work")
    assert "├─ n7777 wf.work  ✗ failed     1.5 s" in found
    assert [part.strip() for part in found[-1].split("  ") if part] == [
        "└─ …",
        "and 9,970 succeeded (--all shows all)",
    ]
    assert len(found) == 4 + 30 + 1
    assert len(api.sent) == 2 + 10 + 30


def test_json_has_what_the_drawing_has(api: Api) -> None:
    rows.serve(api, rows.execution(), [rows.node("n0")], rows.workflow(rows.task("n0")))
    found = json.loads(run("f1", "-o", "json").stdout)
    assert (found["name"], found["phase"], found["seconds"], found["workflow"]) == ("f1", "SUCCEEDED", 83.2, "wf.main")
    assert found["nodes"][0] == {
        "id": "n0",
        "spec_id": "n0",
        "name": "wf.work",
        "kind": "task",
        "phase": "SUCCEEDED",
        "seconds": 1.5,
        "attempts": 1,
        "cache": "",
        "error": None,
        "signal": None,
        "execution": None,
        "elements": None,
        "logs": [{"name": "Task log", "uri": f"http://localhost:30080/logs/{rows.PATH}/n0/0"}],
        "nodes": [],
    }


def test_a_list_of_the_latest_executions(api: Api) -> None:
    api.routes["GET /api/v1/executions/flytesnacks/development"] = {"executions": [rows.execution()], "token": ""}
    found = lines()
    assert found[0].split() == ["execution", "workflow", "phase", "took", "launched"]
    assert found[1].startswith("f1         wf.main   ✓ succeeded  1 min 23 s  ")


@pytest.mark.parametrize(
    ("options", "command"), [((), "run FILE"), (("-d", "production"), "run -p p -d production FILE")]
)
def test_an_empty_list_launches_in_the_place_that_was_asked_for(
    api: Api, options: tuple[str, ...], command: str
) -> None:
    place = "p/production" if options else "flytesnacks/development"
    api.routes[f"GET /api/v1/executions/{place}"] = {"executions": [], "token": ""}
    rows.serve_projects(api, flytesnacks=("development",), p=("production",))
    arguments = ("-p", "p", *options) if options else ()
    assert lines(*arguments) == [f"no execution in {place}; launch one with `flyteadmin {command} WORKFLOW`"]


@pytest.mark.parametrize(
    ("execution", "path"),
    [
        ("f1", "flytesnacks/development/f1"),
        ("p/d/f1", "p/d/f1"),
        ("https://flyte.example.com/console/projects/p/domains/d/executions/f1?tab=x", "p/d/f1"),
    ],
)
def test_the_forms_of_a_name(api: Api, execution: str, path: str) -> None:
    assert run(execution).exit_code == 1
    assert api.paths() == [f"GET /api/v1/executions/{path}"]


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (
            httpx.Response(404, json={"code": 5, "message": "missing entity"}),
            "there is no execution flytesnacks/development/f1; see the latest ones with "
            "`flyteadmin get -p flytesnacks -d development`",
        ),
        (
            httpx.Response(403, json={"code": 7, "message": "no role"}),
            "403: no role; ask an administrator for the role (flyteadmin auth role add)",
        ),
        (httpx.ConnectError("refused"), "is the server running (flyteadmin serve), and is --endpoint its address?"),
        (httpx.Response(502, text="<html>"), "502: <html>"),
    ],
)
def test_a_refusal_says_what_to_do(api: Api, reply: httpx.Response | Exception, text: str) -> None:
    api.replies = [reply]
    done = run("f1")
    assert done.exit_code == 1
    assert text in done.stderr
    assert done.stderr.count("\n") == 1


def test_text_that_is_no_name(api: Api) -> None:
    done = run("a/b")
    assert done.stderr == (
        "flyteadmin: 'a/b' names no execution; give a name, PROJECT/DOMAIN/NAME or an address of a console, "
        "and see the latest ones with `flyteadmin get`\n"
    )
    assert api.sent == []


class TestOutputs:
    DATA = f"GET /api/v1/data/executions/{rows.PATH}"

    @pytest.fixture
    def succeeded(self, api: Api) -> Api:
        rows.serve(api, rows.execution(), [rows.node("n0")], rows.workflow(rows.task("n0")))
        values = {"o1": {"string_value": "x" * 2000}, "o0": {"integer": "7"}}
        literals = {name: {"scalar": {"primitive": value}} for name, value in values.items()}
        api.routes[self.DATA] = {"full_outputs": {"literals": literals}}
        return api

    def test_each_has_a_line_that_is_cut(self, succeeded: Api) -> None:
        found = lines("f1")
        assert found[-3:-1] == ["", "o0 = 7"]
        assert found[-1].startswith('o1 = "xxx')
        assert found[-1].endswith("x…")
        assert len(found[-1]) < 600

    def test_json_has_them_as_a_whole(self, succeeded: Api) -> None:
        assert json.loads(run("f1", "-o", "json").stdout)["outputs"] == {"o0": 7, "o1": "x" * 2000}

    def test_those_that_cannot_be_read_leave_the_drawing(self, succeeded: Api) -> None:
        succeeded.routes[self.DATA] = httpx.Response(403, json={"code": 7, "message": "not allowed"})
        done = run("f1")
        assert done.exit_code == 0
        assert "n0 wf.work  ✓ succeeded" in done.stdout
        assert "the outputs of flytesnacks/development/f1 cannot be read: 403: not allowed" in done.stderr
        assert json.loads(run("f1", "-o", "json").stdout)["outputs"] is None

    def test_a_failed_execution_has_none(self, api: Api) -> None:
        rows.serve(api, rows.execution("FAILED"), [rows.node("n0")], rows.workflow(rows.task("n0")))
        assert json.loads(run("f1", "-o", "json").stdout)["outputs"] is None
        assert self.DATA not in api.paths()


def test_a_list_of_an_unknown_project_or_domain_names_those_that_exist(api: Api) -> None:
    rows.serve_projects(api, flytesnacks=("development", "production"), mine=())
    for place in ("nope/development", "flytesnacks/nope", "flytesnacks/production"):
        api.routes[f"GET /api/v1/executions/{place}"] = {"executions": [], "token": ""}
    done = run("-p", "nope")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "the project nope is unknown; there are flytesnacks, mine" in done.stderr
    assert run("-p", "nope", "-o", "json").exit_code == 1
    assert "the domain nope of flytesnacks is unknown; there are development, production" in run("-d", "nope").stderr
    assert lines("-d", "production")[0].startswith("no execution in flytesnacks/production; launch one")
