"""Commands are rendered as FlytePropeller renders them, and tasks that cannot run are refused with a reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import identifier_pb2, literals_pb2, tasks_pb2, types_pb2
from google.protobuf import json_format

from app.engine.local.processes import commands
from app.engine.local.processes.pool.spec import temporary_link
from app.engine.local.processes.task_attempt import CannotBuild, TaskAttempt
from app.engine.local.processes.variables import passed_variables, task_variables
from tests.engine.conftest import literal, literal_map


def a_run(task: tasks_pb2.TaskTemplate | None = None, **more: Any) -> TaskAttempt:
    """An attempt with recognizable paths."""
    fields: dict[str, Any] = {
        "execution": identifier_pb2.WorkflowExecutionIdentifier(project="p", domain="d", name="ex1"),
        "workflow_name": "w",
        "task": task or tasks_pb2.TaskTemplate(),
        "node_unique_id": "n0",
        "attempt": 0,
        "generated_name": "9ex1-n0-0",
        "directory": Path("/attempt"),
        "input_uri": "/m/n0/data/inputs.pb",
        "output_prefix": "/m/n0/data/0",
        "raw_output_prefix": "/raw/47/ex1-n0-0",
        "checkpoint_prefix": "/raw/47/ex1-n0-0/_flytecheckpoints",
        "namespace": "p-d",
        **more,
    }
    return TaskAttempt(**fields)


def render(*command: str, inputs: dict[str, Any] | None = None, **more: Any) -> tuple[str, ...]:
    return commands.render(command, a_run(**more), literal_map(inputs or {}))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{.input}}", "/m/n0/data/inputs.pb"),
        ("{{ .Input }}", "/m/n0/data/inputs.pb"),
        ("{{$INPUT}}", "/m/n0/data/inputs.pb"),
        ("{{.inputPrefix}}", "/m/n0/data"),
        ("{{.outputPrefix}}", "/m/n0/data/0"),
        ("{{.rawOutputDataPrefix}}", "/raw/47/ex1-n0-0"),
        ("{{.checkpointOutputPrefix}}", "/raw/47/ex1-n0-0/_flytecheckpoints"),
        ("{{.prevCheckpointPrefix}}", '""'),
        ("{{.perRetryUniqueKey}}", "aex1_n0_0"),
        ("{{.taskTemplatePath}}", "/m/n0/data/task.pb"),
        ("{{.namespace}}", "p-d"),
        ("--a={{.input}}:{{.outputPrefix}}", "--a=/m/n0/data/inputs.pb:/m/n0/data/0"),
        ("{{.unknown}}", "{{.unknown}}"),
        ("{{input}}", "{{input}}"),
        ("", ""),
    ],
)
def test_variables(template: str, expected: str) -> None:
    assert render(template) == (expected,)


def test_the_checkpoint_of_the_attempt_before() -> None:
    assert render("{{.prevCheckpointPrefix}}", prev_checkpoint="/raw/x") == ("/raw/x",)


def test_a_prefix_of_a_user_may_hold_the_namespace() -> None:
    assert render("{{.rawOutputDataPrefix}}", raw_output_prefix="/raw/{{.namespace}}/x") == ("/raw/p-d/x",)


def _primitive(**value: Any) -> literals_pb2.Literal:
    result = literals_pb2.Literal()
    for name, content in value.items():
        if name == "datetime":
            result.scalar.primitive.datetime.FromDatetime(content)
        elif name == "duration":
            result.scalar.primitive.duration.FromTimedelta(content)
        else:
            result.scalar.blob.uri = content
    return result


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, "7"),
        (0.25, "0.25"),
        (True, "true"),
        (False, "false"),
        ("a b", "a b"),
        ([1, 2, 3], "[1,2,3]"),
        ([["a"], []], "[[a],[]]"),
        (_primitive(datetime=datetime(2024, 1, 2, 3, 4, 5, 600000, tzinfo=UTC)), "2024-01-02T03:04:05.6Z"),
        (_primitive(duration=timedelta(seconds=90, microseconds=5)), "seconds:90 nanos:5000"),
        (_primitive(uri="/data/file"), "/data/file"),
    ],
)
def test_values_of_inputs(value: Any, expected: str) -> None:
    assert render("<{{ .Inputs.x }}>", inputs={"x": value}) == (f"<{expected}>",)


def test_values_of_inputs_are_not_rendered_again() -> None:
    assert render("{{.inputs.x}}", inputs={"x": "{{.inputs.y}}", "y": 1}) == ("{{.inputs.y}}",)


def test_without_inputs_their_variables_stay() -> None:
    assert render("{{.inputs.x}}") == ("{{.inputs.x}}",)


def test_one_error_names_all_missing_inputs() -> None:
    union = literals_pb2.Literal()
    union.scalar.union.value.CopyFrom(literal(1))
    with pytest.raises(CannotBuild) as raised:
        render("{{.inputs.m}} {{.inputs.gone}} {{.inputs.u}}", inputs={"m": {"a": 1}, "u": union})
    assert raised.value.error.message == (
        "could not build resource for task: "
        "0: input template [{{.inputs.m}}]: failed to bind a value to inputName [m]: "
        "received an unexpected primitive type [*core.Literal_Map]\r\n"
        "1: input template [{{.inputs.gone}}]: requested input is not found [gone]\r\n"
        "2: input template [{{.inputs.u}}]: failed to bind a value to inputName [u]: "
        "received an unexpected scalar type [*core.Scalar_Union]\r\n"
    )


def test_a_command_shows_whether_it_uses_inputs_or_template() -> None:
    assert commands.uses_inputs(("x", "a{{ .inputs.y }}"))
    assert not commands.uses_inputs(("{{.input}}", "{{.inputPrefix}}"))
    assert commands.uses_template(("--", "{{.taskTemplatePath}}"))
    assert not commands.uses_template(("{{.input}}",))


def a_pod(config: dict[str, str], spec: dict[str, Any]) -> tasks_pb2.TaskTemplate:
    task = tasks_pb2.TaskTemplate(type="sidecar", config=config)
    json_format.ParseDict(spec, task.k8s_pod.pod_spec)
    return task


def test_a_pod_runs_its_primary_container() -> None:
    spec = {
        "containers": [
            {"name": "other", "command": ["no"]},
            {
                "name": "main",
                "command": ["python"],
                "args": ["-c", 1],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {}}}],
            },
        ]
    }
    container = commands.container_of(a_pod({"primary_container_name": "main"}, spec), "pod")
    assert (container.name, container.command[:2], dict(container.env)) == ("main", ("python", "-c"), {"A": "1"})


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (tasks_pb2.TaskTemplate(type="snowflake"), "task type [snowflake] of task [] has no container"),
        (a_pod({}, {"containers": []}), "config missing [primary_container_name] key in [map[]]"),
        (a_pod({"primary_container_name": "m"}, {"containers": [{"name": "x"}]}), "primary container [m] not defined"),
        (a_pod({"primary_container_name": "m"}, {}), "primary container [m] not defined"),
    ],
)
def test_a_task_that_cannot_run_is_refused_with_its_reason(task: tasks_pb2.TaskTemplate, reason: str) -> None:
    with pytest.raises(CannotBuild) as raised:
        commands.container_of(task, "pod")
    assert raised.value.error.code == "FailedToBuildResource"
    assert raised.value.error.message.startswith("could not build resource for task: [BadTaskSpecification] ")
    assert reason in raised.value.error.message


def an_echo(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> tasks_pb2.TaskTemplate:
    task = tasks_pb2.TaskTemplate(type="echo")
    for names, variables in ((inputs, task.interface.inputs), (outputs, task.interface.outputs)):
        for name in names:
            variables.variables[name].type.simple = types_pb2.INTEGER
    return task


def test_an_echo_returns_its_input_under_the_name_of_its_output() -> None:
    assert commands.echo(an_echo(("a",), ("o0",)), literal_map({"a": 5})) == literal_map({"o0": 5})
    assert not commands.echo(an_echo((), ()), literal_map({})).literals


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [
        (("a", "b"), ("x", "y"), "does not currently support more than one input variable"),
        (("a",), (), "the number of input [1] and output [0] variables does not match"),
    ],
)
def test_an_echo_of_more_is_refused(inputs: tuple[str, ...], outputs: tuple[str, ...], reason: str) -> None:
    with pytest.raises(CannotBuild, match=reason.replace("[", r"\[")):
        commands.echo(an_echo(inputs, outputs), literal_map(dict.fromkeys(inputs, 1)))


class TestVariables:
    def variables(self, monkeypatch: pytest.MonkeyPatch, task: tasks_pb2.TaskTemplate, **more: Any) -> dict[str, str]:
        for name in ("OURS", "SHARED_ONE"):
            monkeypatch.setenv(name, "server")
        return task_variables(
            a_run(task, **more),
            commands.container_of(task, "pod"),
            programs=Path("/env/bin"),
            passed=passed_variables(("SHARED_*", "PATH")),
            python_path="/src",
            defaults={"_F_L_MIN_SIZE_MB": "5"},
        )

    def container(self, **env: str) -> tasks_pb2.TaskTemplate:
        task = tasks_pb2.TaskTemplate(type="python-task")
        task.id.CopyFrom(identifier_pb2.Identifier(project="tp", domain="td", name="tn", version="tv"))
        task.container.args.append("x")
        for name, value in env.items():
            task.container.env.add(key=name, value=value)
        return task

    def test_only_listed_variables_of_the_server_are_passed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        variables = self.variables(monkeypatch, self.container())
        assert "OURS" not in variables
        assert variables["SHARED_ONE"] == "server"
        assert variables["PATH"].startswith("/env/bin:")
        assert variables["PYTHONPATH"] == "/src"
        assert variables["TMPDIR"] == str(temporary_link(Path("/attempt")))

    def test_the_engine_sets_execution_and_task(self, monkeypatch: pytest.MonkeyPatch) -> None:
        variables = self.variables(monkeypatch, self.container(), attempt=2)
        told = {name: value for name, value in variables.items() if name.startswith("FLYTE_")}
        assert told == {
            "FLYTE_INTERNAL_EXECUTION_WORKFLOW": "p:d:w",
            "FLYTE_INTERNAL_EXECUTION_ID": "ex1",
            "FLYTE_INTERNAL_EXECUTION_PROJECT": "p",
            "FLYTE_INTERNAL_EXECUTION_DOMAIN": "d",
            "FLYTE_ATTEMPT_NUMBER": "2",
            "FLYTE_INTERNAL_TASK_PROJECT": "tp",
            "FLYTE_INTERNAL_TASK_DOMAIN": "td",
            "FLYTE_INTERNAL_TASK_NAME": "tn",
            "FLYTE_INTERNAL_TASK_VERSION": "tv",
        }

    def test_later_sources_win(self, monkeypatch: pytest.MonkeyPatch) -> None:
        task = self.container(
            A="container", B="container", C="container", TMPDIR="/mine", FLYTE_ATTEMPT_NUMBER="container"
        )
        variables = self.variables(
            monkeypatch,
            task,
            envs={"B": "execution", "C": "execution", "FLYTE_K8S_ARRAY_INDEX": "execution"},
            array_index=3,
            platform={"C": "platform"},
        )
        assert [variables[name] for name in "ABC"] == ["container", "execution", "platform"]
        assert (variables["TMPDIR"], variables["FLYTE_ATTEMPT_NUMBER"]) == ("/mine", "0")
        assert variables["BATCH_JOB_ARRAY_INDEX_VAR_NAME"] == "FLYTE_K8S_ARRAY_INDEX"
        assert variables["FLYTE_K8S_ARRAY_INDEX"] == "3"

    def test_a_link_needs_a_console_and_a_task_that_asks_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        task = self.container()
        assert "FLYTE_EXECUTION_URL" not in self.variables(monkeypatch, task, console_url="http://c/console")
        task.config["link_type"] = "x"
        assert "FLYTE_EXECUTION_URL" not in self.variables(monkeypatch, task)
        url = self.variables(monkeypatch, task, console_url="http://c/console/")["FLYTE_EXECUTION_URL"]
        assert url == "http://c/console/projects/p/domains/d/executions/ex1/nodeId/n0/nodes"


@pytest.mark.parametrize(
    ("given", "used"),
    [("/root", "."), ("/", "."), ("~/code", "."), ("../up", "."), (".", "."), ("src", "src")],
)
def test_code_is_unpacked_in_the_working_directory_only(given: str, used: str) -> None:
    before, after = ("pyflyte-fast-execute", "--additional-distribution", "/x.tar.gz"), ("--", "pyflyte-execute")
    argv = (*before, "--dest-dir", given, *after, "--dest-dir", "/root")
    assert commands.unpacked_here(argv) == (*before, "--dest-dir", used, *after, "--dest-dir", "/root")


def test_other_commands_are_unchanged() -> None:
    for argv in (("cp", "--dest-dir", "/root", "--", "x"), ("pyflyte-fast-execute", "--", "x"), ("pyflyte-execute",)):
        assert commands.unpacked_here(argv) == argv
