"""`flyteadmin logs` and `watch` in process: labels, choice of nodes, other log systems, hostile lines, outcomes."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from app.cli.main import app
from app.cli.terminal import log_lines, watch
from tests.cli.api import Api
from tests.cli.terminal import rows

LOGS = f"GET /logs/{rows.PATH}"


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


def text(content: str) -> httpx.Response:
    return httpx.Response(200, content=content.encode(), headers={"content-type": "text/plain; charset=utf-8"})


@pytest.fixture
def two_nodes(api: Api) -> Api:
    rows.serve(
        api,
        rows.execution(),
        [rows.node("n0"), rows.node("n1")],
        rows.workflow(rows.task("n0", "wf.load"), rows.task("n1", "wf.save")),
    )
    api.routes |= {f"{LOGS}/n0/0": lambda _: text("a\nb"), f"{LOGS}/n1/0": lambda _: text("c\n")}
    return api


@pytest.mark.parametrize("node", ["n1", "wf.save", "save"])
def test_the_logs_of_one_node(two_nodes: Api, node: str) -> None:
    assert run("logs", "f1", node).stdout == "n1 │ c\n"


@pytest.mark.parametrize("follow", [(), ("-f",)])
def test_the_logs_of_all_nodes(two_nodes: Api, follow: tuple[str, ...]) -> None:
    """Attempts that have ended are not followed: their whole log is there."""
    done = run("logs", "f1", *follow)
    assert sorted(done.stdout.splitlines()) == ["n0 │ a", "n0 │ b", "n1 │ c"]
    assert done.exit_code == 0
    assert all("follow" not in one["query"] for one in two_nodes.sent)


def test_lines_as_json(two_nodes: Api) -> None:
    lines = [json.loads(line) for line in run("logs", "f1", "n0", "-o", "json").stdout.splitlines()]
    assert lines == [{"node": "n0", "line": "a"}, {"node": "n0", "line": "b"}]


def test_a_retried_task_and_a_chosen_attempt(two_nodes: Api) -> None:
    attempts = [rows.attempt("n0", 0, "FAILED"), rows.attempt("n0", 1)]
    two_nodes.routes[f"GET /api/v1/task_executions/{rows.PATH}/n0"] = {"task_executions": attempts}
    two_nodes.routes[f"{LOGS}/n0/1"] = lambda _: text("again\n")
    assert run("logs", "f1", "n0").stdout == "n0 attempt 1 │ again\n"
    assert run("logs", "f1", "n0", "--attempt", "0").stdout == "n0 │ a\nn0 │ b\n"


def test_the_elements_of_a_map(two_nodes: Api) -> None:
    link = f"http://elsewhere:1/prefix/logs/{rows.PATH}/n0/0"
    external = [{"index": at, "phase": "SUCCEEDED", "logs": [{"uri": f"{link}?index={at}&retry=0"}]} for at in (0, 1)]
    two_nodes.routes[f"GET /api/v1/task_executions/{rows.PATH}/n0"] = {
        "task_executions": [rows.attempt("n0", metadata={"external_resources": external})]
    }
    two_nodes.routes[f"{LOGS}/n0/0"] = lambda request: text(f"element {request.url.params['index']}\n")
    assert run("logs", "f1", "n0").stdout == "n0[0] │ element 0\nn0[1] │ element 1\n"
    assert run("logs", "f1", "n0", "--index", "1", "--tail", "3").stdout == "n0[1] │ element 1\n"
    assert two_nodes.sent[-1]["query"] == {"index": "1", "retry": "0", "tail": "3"}


@pytest.mark.parametrize("node", ["wf.sq", "sq", "wf.sq (map)"])
def test_a_map_is_found_by_the_name_that_is_drawn(two_nodes: Api, node: str) -> None:
    name = f"wf.map_sq_{'6b3b' * 8}-arraynode"
    rows.serve(two_nodes, rows.execution(), [rows.node("n0")], rows.workflow(rows.task("n0", name)))
    assert run("logs", "f1", node).stdout == "n0 │ a\nn0 │ b\n"
    assert run("logs", "f1", "n9").stderr.endswith("has no node n9; its nodes: n0 (wf.sq (map))\n")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--index", "9"), "no task of it has element 9; see"),
        (("--attempt", "3", "--index", "9"), "no task of it has attempt 3 and element 9; see"),
    ],
)
def test_a_part_that_is_not_there(two_nodes: Api, options: tuple[str, ...], reason: str) -> None:
    assert reason in run("logs", "f1", *options).stderr


def test_a_log_in_another_system(two_nodes: Api) -> None:
    row = rows.attempt("n0", logs=[{"name": "Stackdriver", "uri": "https://logs.example.com/x"}])
    two_nodes.routes[f"GET /api/v1/task_executions/{rows.PATH}/n0"] = {"task_executions": [row]}
    done = run("logs", "f1", "n0")
    assert (done.stdout, done.stderr) == ("", "n0: the log is in another system: https://logs.example.com/x\n")


def test_a_server_without_a_route_for_logs(two_nodes: Api) -> None:
    two_nodes.routes[f"{LOGS}/n0/0"] = httpx.Response(200, html="<html>")
    assert "http://localhost:30080 has no route for logs; open http" in run("logs", "f1", "n0").stderr


def test_an_unknown_node_is_refused_with_those_there_are(two_nodes: Api) -> None:
    assert run("logs", "f1", "n9").stderr == (
        "flyteadmin: flytesnacks/development/f1 has no node n9; its nodes: n0 (wf.load), n1 (wf.save)\n"
    )


@pytest.mark.parametrize(
    ("line", "shown", "plain"),
    [
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m", "red"),
        ("\x1b]0;title\x07x\x1b[2Jy\x1b[10;10Hz", "xyz", "xyz"),
        ("10%\r50%\r100%\r", "100%", "100%"),
        ("a\tb\x00\x07", "a\tb", "a\tb"),
    ],
)
def test_lines_do_not_control_the_terminal(line: str, shown: str, plain: str) -> None:
    assert log_lines.cleaned(line, colours=True) == shown
    assert log_lines.cleaned(line, colours=False) == plain


@given(st.text(alphabet=st.sampled_from("\x1b[]0;1mHJ\x07\\a\x9b\r\x08"), max_size=30))
def test_no_text_has_an_escape_left_without_colours(line: str) -> None:
    assert not set(log_lines.cleaned(line, colours=False)) & set("\x1b\x07\x08\r\x9b")


DATA = f"GET /api/v1/data/executions/{rows.PATH}"
OUTPUTS = {"full_outputs": {"literals": {"o0": {"scalar": {"primitive": {"integer": "7"}}}}}}


class TestWatch:
    @pytest.mark.parametrize(("phase", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("ABORTED", 1), ("TIMED_OUT", 1)])
    def test_the_exit_code_is_the_outcome(self, two_nodes: Api, phase: str, code: int) -> None:
        two_nodes.routes[f"GET /api/v1/executions/{rows.PATH}"] = rows.execution(phase)
        assert run("watch", "f1").exit_code == code

    def test_each_change_is_a_line(self, two_nodes: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watch, "SECONDS_MIN", 0.0)
        phases = iter(["RUNNING", "RUNNING", "SUCCEEDED"])
        two_nodes.routes[f"GET /api/v1/executions/{rows.PATH}"] = lambda _: rows.execution(next(phases))
        nodes = iter(["RUNNING", "SUCCEEDED", "SUCCEEDED"])
        two_nodes.routes[f"GET /api/v1/node_executions/{rows.PATH}"] = lambda _: {
            "node_executions": [rows.node("n0", next(nodes))]
        }
        two_nodes.routes[DATA] = OUTPUTS
        done = run("watch", "f1", "-o", "json")
        *changes, end = map(json.loads, done.stdout.splitlines())
        assert end == {**rows.PLACE, "name": "f1", "exit_code": 0, "outputs": {"o0": 7}}
        assert [(one["node"], one["phase"]) for one in changes] == [
            ("n0", "RUNNING"),
            (None, "RUNNING"),
            ("n0", "SUCCEEDED"),
            (None, "SUCCEEDED"),
        ]

    def test_the_outputs_come_last(self, two_nodes: Api) -> None:
        two_nodes.routes[DATA] = OUTPUTS
        assert run("watch", "f1").stdout.splitlines()[-1] == "o0 = 7"
        two_nodes.routes["POST /api/v1/executions/relaunch"] = {"id": {**rows.PLACE, "name": "f1"}}
        assert run("relaunch", "f1", "--watch").stdout.splitlines()[-1] == "o0 = 7"

    def test_outputs_that_cannot_be_read_leave_the_exit_code(self, two_nodes: Api) -> None:
        two_nodes.routes[DATA] = httpx.Response(403, json={"code": 7, "message": "not allowed"})
        done = run("watch", "f1")
        assert done.exit_code == 0
        assert "the outputs of flytesnacks/development/f1 cannot be read: 403: not allowed" in done.stderr

    def test_an_outage_is_outlasted(self, two_nodes: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watch, "SECONDS_MIN", 0.0)
        replies: Any = iter([httpx.ConnectError("refused"), httpx.Response(503, json={"message": "busy"})])

        def execution(_: httpx.Request) -> Any:
            return next(replies, rows.execution())

        two_nodes.routes[f"GET /api/v1/executions/{rows.PATH}"] = execution
        assert run("watch", "f1").exit_code == 0

    def test_an_outcome_that_cannot_be_found_out(self, two_nodes: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watch, "OUTAGE_SECONDS_MAX", 0.0)
        two_nodes.routes[f"GET /api/v1/executions/{rows.PATH}"] = httpx.ConnectError("refused")
        done = run("watch", "f1")
        assert done.exit_code == 3
        assert "is the server running (flyteadmin serve)" in done.stderr
        assert run("watch", "a/b").exit_code == 3
