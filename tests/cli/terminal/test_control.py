"""`relaunch`, `recover`, `terminate`, `signal` and `waiting`: requests, replies, refusals."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from app.cli.main import app
from tests.cli.api import Api
from tests.cli.terminal import rows

pytestmark = pytest.mark.heavy

NEW = {"id": {**rows.PLACE, "name": "f2"}}
SIGNALS = f"GET /api/v1/signals/{rows.PATH}"


MISSING = {"code": 5, "message": 'missing entity of type execution with identifier project:"flytesnacks"'}
WORKFLOW = "GET /api/v1/workflows/flytesnacks/development/wf.main/v1"


def gate(id: str, kind: str, signal: str) -> dict[str, Any]:
    return {"id": id, "gate_node": {kind: {"signal_id": signal}}}


# Approvals `go` and, in a branch of a sub-workflow, `inside`; an input `flag`.
GATES: dict[str, Any] = {
    f"GET /api/v1/executions/{rows.PATH}": rows.execution("RUNNING"),
    WORKFLOW: {
        "closure": {
            "compiled_workflow": {
                "primary": {"template": {"nodes": [gate("n0", "approve", "go"), gate("n1", "signal", "flag")]}},
                "sub_workflows": [
                    {
                        "template": {
                            "nodes": [
                                {
                                    "id": "n0",
                                    "branch_node": {
                                        "if_else": {"case": {"then_node": gate("n1", "approve", "inside")}}
                                    },
                                }
                            ]
                        }
                    }
                ],
            }
        }
    },
}


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


def signal_row(id: str, type: dict[str, Any], value: Any = None) -> dict[str, Any]:
    return {"id": {"signal_id": id, "execution_id": {**rows.PLACE, "name": "f1"}}, "type": type, "value": value}


@pytest.mark.parametrize(
    ("arguments", "sent", "printed"),
    [
        (
            ("relaunch", "f1", "--overwrite-cache"),
            {"id": {**rows.PLACE, "name": "f1"}, "name": "", "overwrite_cache": True},
            "flytesnacks/development/f1 is relaunched as flytesnacks/development/f2\n",
        ),
        (
            ("recover", "f1", "--name", "f2"),
            {"id": {**rows.PLACE, "name": "f1"}, "name": "f2"},
            "flytesnacks/development/f1 is recovered as flytesnacks/development/f2\n",
        ),
    ],
)
def test_launching_again(api: Api, arguments: tuple[str, ...], sent: dict[str, Any], printed: str) -> None:
    api.routes[f"POST /api/v1/executions/{arguments[0]}"] = NEW
    done = run(*arguments)
    assert done.stdout == printed + ("watch it with `flyteadmin watch f2`, end it with `flyteadmin terminate f2`\n")
    assert api.sent[0]["json"] == sent
    assert json.loads(run(*arguments, "-o", "json").stdout)["name"] == "f2"


def test_termination_records_the_cause(api: Api) -> None:
    api.routes[f"DELETE /api/v1/executions/{rows.PATH}"] = {}
    done = run("terminate", "f1", "--cause", "wrong input")
    assert done.stdout == "flytesnacks/development/f1 is being aborted; its end: flyteadmin watch f1\n"
    assert api.sent[0]["json"] == {"cause": "wrong input"}


@pytest.mark.parametrize("command", ["terminate", "relaunch", "recover"])
@pytest.mark.parametrize(
    ("reply", "advice", "code"),
    [
        (
            httpx.Response(404, json={"code": 5, "message": "missing"}),
            "`flyteadmin get -p flytesnacks -d development`",
            5,
        ),
        (httpx.Response(400, json={"code": 9, "message": "ended"}), "see its state with `flyteadmin get f1`", 9),
        (httpx.Response(403, json={"code": 7, "message": "no"}), "ask an administrator for the role", 7),
    ],
)
def test_a_refusal_ends_with_what_to_do(api: Api, command: str, reply: httpx.Response, advice: str, code: int) -> None:
    api.replies = [reply]
    done = run(command, "f1")
    assert done.exit_code in (1, 3)
    assert advice in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["terminate", "relaunch", "recover"])
def test_an_unknown_execution_is_named_as_other_commands_name_it(api: Api, command: str) -> None:
    api.replies = [httpx.Response(404, json=MISSING)]
    assert run(command, "f1").stderr == (
        "flyteadmin: there is no execution flytesnacks/development/f1; "
        "see the latest ones with `flyteadmin get -p flytesnacks -d development`\n"
    )


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (
            httpx.Response(409, json={"code": 6, "message": "value with matching already exists"}),
            "flytesnacks/development has an execution f2 already; give another --name\n",
        ),
        (
            httpx.Response(400, json={"code": 3, "message": "invalid name format: f2, does not match regex"}),
            "'f2' is no name of an execution; give --name lower-case letters, digits and hyphens\n",
        ),
    ],
)
def test_a_refused_name_is_the_cause_of_a_refusal(api: Api, reply: httpx.Response, text: str) -> None:
    api.replies = [reply]
    done = run("relaunch", "f1", "--name", "f2")
    assert done.exit_code == 3
    assert done.stderr == f"flyteadmin: {text}"


class TestSignal:
    @pytest.mark.parametrize(
        ("type", "text", "value"),
        [
            ({"simple": "BOOLEAN"}, "yes", {"scalar": {"primitive": {"boolean": True}}}),
            (
                {"simple": "INTEGER"},
                "12345678901234567890",
                {"scalar": {"primitive": {"integer": "12345678901234567890"}}},
            ),
            ({"simple": "FLOAT"}, "0.5", {"scalar": {"primitive": {"float_value": 0.5}}}),
            ({"simple": "STRING"}, "a b", {"scalar": {"primitive": {"string_value": "a b"}}}),
            (
                {"simple": "DATETIME"},
                "2026-01-31T12:00:00+01:00",
                {"scalar": {"primitive": {"datetime": "2026-01-31T11:00:00.000000Z"}}},
            ),
            ({"simple": "DURATION"}, "90s", {"scalar": {"primitive": {"duration": "90.0s"}}}),
            ({"simple": "STRUCT"}, '{"a": 1}', {"scalar": {"generic": {"a": 1}}}),
            ({"enum_type": {"values": ["low", "high"]}}, "low", {"scalar": {"primitive": {"string_value": "low"}}}),
            (
                {"collection_type": {"simple": "INTEGER"}},
                "[1]",
                {"collection": {"literals": [{"scalar": {"primitive": {"integer": "1"}}}]}},
            ),
        ],
    )
    def test_a_text_becomes_a_value_of_the_type(
        self, api: Api, type: dict[str, Any], text: str, value: dict[str, Any]
    ) -> None:
        api.routes |= GATES | {SIGNALS: {"signals": [signal_row("go", type)]}, "POST /api/v1/signals": {}}
        done = run("signal", "f1", "go", text)
        assert done.exit_code == 0, done.output
        assert api.sent[-1]["json"]["value"] == value

    @pytest.mark.parametrize(
        ("id", "type", "text", "refusal"),
        [
            ("go", {"simple": "BOOLEAN"}, "maybe", "'maybe' is no value of the signal go (approval): allowed are true"),
            ("flag", {"simple": "BOOLEAN"}, "5", "'5' is no value of the signal flag (boolean): allowed are true"),
            ("go", {"simple": "INTEGER"}, "1.5", "(integer): allowed is a whole number"),
            ("go", {"enum_type": {"values": ["low"]}}, "high", "(one of low): allowed are low"),
            (
                "go",
                {"blob": {"dimensionality": "SINGLE"}},
                "x",
                "(blob): such a value cannot be given as text; set it in",
            ),
            ("went", {"simple": "BOOLEAN"}, "true", "has no signal went: it has go; see its nodes with"),
        ],
    )
    def test_a_value_of_another_type_is_not_sent(
        self, api: Api, id: str, type: dict[str, Any], text: str, refusal: str
    ) -> None:
        api.routes |= GATES | {SIGNALS: {"signals": [signal_row("flag" if id == "flag" else "go", type)]}}
        done = run("signal", "f1", id, text)
        assert done.exit_code == 1
        assert refusal in done.stderr
        assert not [path for path in api.paths() if path.startswith("POST")]

    def test_no_execution_and_an_execution_without_signals_differ(self, api: Api) -> None:
        api.routes |= GATES | {SIGNALS: {"signals": []}}
        assert "has no signal go: no gate of it has begun to wait" in run("signal", "f1", "go").stderr
        api.routes[f"GET /api/v1/executions/{rows.PATH}"] = httpx.Response(404, json=MISSING)
        assert "there is no execution flytesnacks/development/f1; see the latest" in run("signal", "f1", "go").stderr

    def test_without_a_value_only_an_approval_is_sent(self, api: Api) -> None:
        api.routes |= {SIGNALS: {"signals": [signal_row("go", {"simple": "INTEGER"})]}, "POST /api/v1/signals": {}}
        done = run("signal", "f1", "go")
        assert done.exit_code == 1
        assert "signal go waits for a value (integer): flyteadmin signal f1 go VALUE" in done.stderr
        assert api.paths() == [SIGNALS]
        api.routes |= GATES | {
            SIGNALS: {"signals": [signal_row(name, {"simple": "BOOLEAN"}) for name in ("go", "flag")]}
        }
        done = run("signal", "f1", "go")
        assert "signal go of flytesnacks/development/f1 is true; it continues" in done.stdout
        assert api.sent[-1]["json"]["value"] == {"scalar": {"primitive": {"boolean": True}}}
        done = run("signal", "f1", "flag")
        assert done.exit_code == 1
        assert "signal flag waits for a value (boolean): flyteadmin signal f1 flag VALUE" in done.stderr

    def test_an_execution_that_has_ended_gets_no_signal(self, api: Api) -> None:
        api.routes |= {SIGNALS: {"signals": [signal_row("go", {"simple": "BOOLEAN"})]}, "POST /api/v1/signals": {}}
        api.routes[f"GET /api/v1/executions/{rows.PATH}"] = rows.execution("TIMED_OUT")
        done = run("signal", "f1", "go", "true")
        assert done.exit_code == 1
        assert done.stderr == (
            "flyteadmin: flytesnacks/development/f1 has ended (timed out), so that no gate of it waits; "
            "launch it again with `flyteadmin relaunch f1`\n"
        )
        assert "POST /api/v1/signals" not in api.paths()

    @pytest.mark.parametrize(("text", "code"), [("true", 0), ("false", 1)])
    def test_a_value_that_was_given_before_is_not_sent_again(self, api: Api, text: str, code: int) -> None:
        value = {"scalar": {"primitive": {"boolean": True}}}
        api.routes[SIGNALS] = {"signals": [signal_row("go", {"simple": "BOOLEAN"}, value)]}
        done = run("signal", "f1", "go", text)
        assert done.exit_code == code
        assert api.paths() == [SIGNALS]
        if code:
            assert "signal go of flytesnacks/development/f1 has the value true, which its gate uses" in done.stderr
        else:
            assert "is true; it had this value before, and nothing was sent: flyteadmin watch f1" in done.stdout


def test_the_gates_that_wait(api: Api) -> None:
    api.routes["GET /api/v1/executions/flytesnacks/development"] = {
        "executions": [rows.execution("RUNNING")],
        "token": "",
    }
    value = {"scalar": {"primitive": {"boolean": True}}}
    api.routes[SIGNALS] = {
        "signals": [
            signal_row("done", {"simple": "BOOLEAN"}, value),
            *(signal_row(name, {"simple": "BOOLEAN"}) for name in ("go", "inside", "flag")),
        ]
    }
    api.routes |= GATES
    found = run("waiting").stdout.splitlines()
    assert found[0].startswith("f1  wf.main  waits for go (approval: true or false), launched ")
    assert found[1] == "  flyteadmin signal f1 go VALUE"
    assert found[2].startswith("f1  wf.main  waits for inside (approval: true or false), launched ")
    assert found[4].startswith("f1  wf.main  waits for flag (boolean: true or false), launched ")
    assert api.sent[0]["query"]["filters"] == "eq(phase,RUNNING)"
    # The workflow is read once.
    assert len(api.paths()) == 3
    assert [one["type"] for one in json.loads(run("waiting", "-o", "json").stdout)] == ["approval"] * 2 + ["boolean"]


def test_gates_of_a_workflow_that_may_not_be_read_have_the_names_of_their_types(api: Api) -> None:
    api.routes["GET /api/v1/executions/flytesnacks/development"] = {"executions": [rows.execution("RUNNING")]}
    api.routes[SIGNALS] = {"signals": [signal_row("go", {"simple": "BOOLEAN"})]}
    api.routes[WORKFLOW] = httpx.Response(403, json={"code": 7, "message": "no"})
    assert run("waiting").stdout.startswith("f1  wf.main  waits for go (boolean: true or false), ")


def test_a_signal_with_a_space_is_quoted_in_the_command(api: Api) -> None:
    api.routes["GET /api/v1/executions/flytesnacks/development"] = {"executions": [rows.execution("RUNNING")]}
    api.routes[SIGNALS] = {"signals": [signal_row("looks right", {"simple": "STRING"})]}
    assert "flyteadmin signal f1 'looks right' VALUE" in run("waiting").stdout
    assert "flyteadmin signal f1 'looks right' VALUE" in run("signal", "f1", "looks right").stderr


def test_nothing_waits(api: Api) -> None:
    api.routes["GET /api/v1/executions/p/d"] = {"executions": [], "token": ""}
    rows.serve_projects(api, p=("d",))
    assert run("waiting", "-p", "p", "-d", "d").stdout == "nothing in p/d waits for a person\n"


def test_an_unknown_project_has_nothing_that_waits(api: Api) -> None:
    api.routes["GET /api/v1/executions/nope/development"] = {"executions": [], "token": ""}
    rows.serve_projects(api, p=("d",))
    done = run("waiting", "-p", "nope")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "the project nope is unknown; there are p" in done.stderr


def test_a_server_that_takes_a_connection_and_does_not_answer(api: Api) -> None:
    timeouts = []

    def answer(request: httpx.Request) -> Any:
        timeouts.append(request.extensions["timeout"]["read"])
        raise httpx.ReadTimeout("timed out")

    api.routes["GET /api/v1/executions/flytesnacks/development"] = answer
    done = run("waiting")
    assert done.exit_code == 1
    assert "it takes connections but does not answer, so it is stopped or too busy: see its log" in done.stderr
    assert timeouts == [10.0]
