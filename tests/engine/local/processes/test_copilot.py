"""Raw containers get their inputs as files and give their outputs as files, as with Flyte's copilot beside them."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from flyteidl.core import literals_pb2, tasks_pb2, types_pb2
from google.protobuf import json_format

from app.engine.local.processes import copilot
from app.engine.local.processes.forkserver import layout
from app.engine.local.processes.runner import TaskRunner
from app.engine.local.processes.task_attempt import Failed, StartFailed, Succeeded
from tests.engine.conftest import Bench, failure_of, literal, outcome_of, run, with_runner

Benches = Callable[..., Bench]


def a_blob(path: Path | str, *, multipart: bool = False) -> literals_pb2.Literal:
    result = literals_pb2.Literal()
    result.scalar.blob.uri = str(path)
    kind = types_pb2.BlobType.MULTIPART if multipart else types_pb2.BlobType.SINGLE
    result.scalar.blob.metadata.type.dimensionality = kind
    return result


def a_raw(
    text: str, *, inputs: tuple[str, ...] = (), outputs: dict[str, Any] | None = None, form: int = 0
) -> tasks_pb2.TaskTemplate:
    """A raw container that runs a line of shell between /in and /out."""
    task = tasks_pb2.TaskTemplate(type="raw-container")
    task.container.command.extend(["/bin/sh", "-c", text])
    config = task.container.data_config
    config.enabled, config.input_path, config.output_path = True, "/in", "/out"
    config.format = form  # type: ignore[assignment]
    for name in inputs:
        task.interface.inputs.variables[name].type.simple = types_pb2.STRING
    for name, kind in (outputs or {}).items():
        if isinstance(kind, types_pb2.LiteralType):
            task.interface.outputs.variables[name].type.CopyFrom(kind)
        else:
            task.interface.outputs.variables[name].type.simple = kind
    return task


def blob_type() -> types_pb2.LiteralType:
    return types_pb2.LiteralType(blob=types_pb2.BlobType())


def test_a_task_of_flytekit_with_text_numbers_and_files(bench: Benches, tmp_path: Path) -> None:
    made = bench()
    (tmp_path / "given").write_text("content")
    attempt = made.attempt("shell", {"word": "hey", "number": 4, "file": a_blob(tmp_path / "given")})
    outcome = outcome_of(made, attempt)
    assert isinstance(outcome, Succeeded), outcome
    assert outcome.outputs.literals["text"] == literal("hey-4")
    assert outcome.outputs.literals["length"] == literal(7)
    copied = outcome.outputs.literals["copy"].scalar.blob
    assert copied.uri == f"{attempt.raw_output_prefix}/copy"
    assert Path(copied.uri).read_text() == "content"
    assert copied.metadata.type.dimensionality == types_pb2.BlobType.SINGLE


def test_the_primary_container_of_a_pod(bench: Benches) -> None:
    made = bench()
    task = tasks_pb2.TaskTemplate(type="raw-container", config={"primary_container_name": "main"})
    containers = [
        {"name": "side", "command": ["false"]},
        {
            "name": "main",
            "command": ["/bin/sh", "-c", 'cp "$FROM" /var/outputs/y'],
            "env": [{"name": "FROM", "value": "/var/inputs/x"}],
        },
    ]
    json_format.ParseDict({"containers": containers}, task.k8s_pod.pod_spec)
    config = task.k8s_pod.data_config
    config.enabled, config.input_path, config.output_path = True, "/var/inputs", "/var/outputs"
    task.interface.inputs.variables["x"].type.simple = types_pb2.INTEGER
    task.interface.outputs.variables["y"].type.simple = types_pb2.INTEGER
    outcome = outcome_of(made, made.attempt(task, {"x": 12}))
    assert isinstance(outcome, Succeeded), outcome
    assert outcome.outputs.literals["y"] == literal(12)


def test_every_kind_of_input_has_its_file(bench: Benches, tmp_path: Path) -> None:
    made = bench()
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").write_text("deep")
    union, generic, binary, error = (literals_pb2.Literal() for _ in range(4))
    union.scalar.union.value.CopyFrom(literal("inside"))
    json_format.ParseDict({"a": [1, 2.5]}, generic.scalar.generic)
    binary.scalar.binary.value = b"\x81"
    error.scalar.error.message = "oops"
    offloaded = literals_pb2.Literal()
    large = Path(made.blobs.base) / "large.pb"
    large.parent.mkdir(parents=True, exist_ok=True)
    large.write_bytes(literal([7]).SerializeToString())
    offloaded.offloaded_metadata.uri = str(large)
    inputs = {
        "text": "a\nb",
        "whole": 3,
        "real": 2.5,
        "yes": True,
        "none": None,
        "list": [1, ["x"]],
        "map": {"k": 5},
        "union": union,
        "generic": generic,
        "binary": binary,
        "error": error,
        "dir": a_blob(folder, multipart=True),
        "offloaded": offloaded,
    }
    keep = tmp_path / "kept"
    task = a_raw(f"cp -r /in {keep}", inputs=tuple(inputs))
    assert isinstance(outcome_of(made, made.attempt(task, inputs)), Succeeded)
    found = {str(path.relative_to(keep)): path.read_bytes() for path in keep.rglob("*") if path.is_file()}
    values = json.loads(found.pop("inputs.json"))
    literals = literals_pb2.LiteralMap.FromString(found.pop("inputs.pb"))
    assert found == {
        "text": b"a\nb",
        "whole": b"3",
        "real": b"2.5",
        "yes": b"true",
        "none": b"null",
        "list/0": b"1",
        "list/1/0": b"x",
        "map/k": b"5",
        "union": b"inside",
        "generic": b'{"a": [1, 2.5]}',
        "binary": b"\x81",
        "error": b"oops",
        "dir/deep/file": b"deep",
        "offloaded/0": b"7",
    }
    assert (values["list"], values["map"], values["yes"], values["none"]) == ([1, ["x"]], {"k": 5}, True, None)
    assert literals.literals["dir"].scalar.blob.uri == values["dir"]
    assert literals.literals["offloaded"] == literal([7])


@pytest.mark.parametrize(
    ("form", "name", "load"),
    [
        (tasks_pb2.DataLoadingConfig.JSON, "inputs.json", json.loads),
        (tasks_pb2.DataLoadingConfig.YAML, "inputs.yaml", yaml.safe_load),
        (tasks_pb2.DataLoadingConfig.PROTO, "inputs.pb", None),
    ],
)
def test_the_values_come_in_the_format_that_was_asked_for(
    bench: Benches, tmp_path: Path, form: int, name: str, load: Callable[[str], Any] | None
) -> None:
    made = bench()
    task = a_raw(f"ls /in | sort > {tmp_path}/names; cp /in/{name} {tmp_path}/values", inputs=("x",), form=form)
    assert isinstance(outcome_of(made, made.attempt(task, {"x": "v"})), Succeeded)
    assert (tmp_path / "names").read_text().split() == sorted({name, "inputs.pb", "x"})
    if load is not None:
        assert load((tmp_path / "values").read_text()) == {"x": "v"}


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a web server with one file."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "file").write_text("from the web")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_file_of_the_web(bench: Benches, web: str) -> None:
    made = bench()
    task = a_raw("cp /in/f /out/o", inputs=("f",), outputs={"o": types_pb2.STRING})
    outcome = outcome_of(made, made.attempt(task, {"f": a_blob(f"{web}/file")}))
    assert isinstance(outcome, Succeeded), outcome
    assert outcome.outputs.literals["o"] == literal("from the web")


@pytest.mark.parametrize(
    "inputs",
    [
        *({"f": a_blob("/nowhere/file")}, {"f": {"../../escape": 1}}, {"f": a_blob("s3://elsewhere/key")}),
        *({"f": a_blob("/dev/zero")}, {"f": a_blob("file:///dev/tty")}, {"f": a_blob("/dev/fd", multipart=True)}),
    ],
    ids=["missing file", "a key that is a path", "a store of others", "a device", "another", "a directory of pipes"],
)
def test_inputs_that_cannot_be_files_are_refused_by_name(bench: Benches, inputs: dict[str, Any]) -> None:
    made = bench()
    attempt = made.attempt(a_raw("true", inputs=("f",)), inputs)

    async def main(runner: TaskRunner) -> None:
        prepared = await runner.prepare(attempt)
        with pytest.raises(StartFailed, match="cannot be laid out as files: "):
            await runner.start(prepared)
        assert await runner.adopt(attempt) is None

    with_runner(made, main)


def test_a_directory_and_a_file_with_an_extension_are_outputs(bench: Benches) -> None:
    made = bench()
    text = "mkdir -p /out/d/copilot; echo 1 > /out/d/one; echo 2 > /out/d/copilot/two; echo 3 > /out/f.csv"
    outcome = outcome_of(made, made.attempt(a_raw(text, outputs={"d": blob_type(), "f": blob_type()})))
    assert isinstance(outcome, Succeeded), outcome
    directory, file = (outcome.outputs.literals[name].scalar.blob for name in "df")
    assert directory.metadata.type.dimensionality == types_pb2.BlobType.MULTIPART
    assert sorted(str(path.relative_to(directory.uri)) for path in Path(directory.uri).rglob("*")) == [
        "copilot",
        "copilot/two",
        "one",
    ]
    assert Path(file.uri).read_text() == "3\n"


def test_a_link_to_another_directory_of_the_output_is_followed(bench: Benches) -> None:
    made = bench()
    text = "mkdir -p /out/d/run3; echo 3 > /out/d/run3/loss; ln -s run3 /out/d/latest"
    outcome = outcome_of(made, made.attempt(a_raw(text, outputs={"d": blob_type()})))
    assert isinstance(outcome, Succeeded), outcome
    uri = Path(outcome.outputs.literals["d"].scalar.blob.uri)
    assert [(uri / name / "loss").read_text() for name in ("run3", "latest")] == ["3\n", "3\n"]


def test_a_bucket_gets_the_files_behind_a_link_too(tmp_path: Path) -> None:
    folder = tmp_path / layout.COPILOT / "outputs" / "d"
    (folder / "run3").mkdir(parents=True)
    (folder / "run3" / "loss").touch()
    (folder / "latest").symlink_to("run3")
    found = [str(file.relative_to(folder)) for file in copilot._files_below(folder, folder.parent)]
    assert found == ["latest/loss", "run3/loss"]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("echo 'no way' > /out/_ERROR", types_pb2.INTEGER, "User Error: no way\n"),
        ("mkdir /out/_ERROR", types_pb2.INTEGER, "error file is a directory"),
        ("true", types_pb2.INTEGER, "file not found at path ["),
        ("mkfifo /out/o", types_pb2.INTEGER, "path ["),
        ("mkfifo /out/_ERROR", types_pb2.INTEGER, "path ["),
        ("ln -s /dev/zero /out/o", blob_type(), "path ["),
        ("ln -s /etc/passwd /out/o", blob_type(), "path ["),
        ("ln -s o /out/o", blob_type(), "file not found at path ["),
        ("mkdir /out/o; mkfifo /out/o/pipe", blob_type(), "path ["),
        ("mkdir /out/o; ln -s /etc /out/o/etc", blob_type(), "path ["),
        ("mkdir /out/o; ln -s . /out/o/loop", blob_type(), "path ["),
        ("mkdir -p /out/o/a /out/o/b; ln -s ../b /out/o/a/b; ln -s ../a /out/o/b/a", blob_type(), "path ["),
        ("rmdir /out; ln -s /etc /out; touch /out/hostname", blob_type(), "file not found at path ["),
        ("echo x > /out/o", types_pb2.INTEGER, "output [o]: failed to parse integer value [x]"),
        ("mkdir /out/o", types_pb2.INTEGER, "expected file for type [INTEGER], found dir at path ["),
        ("head -c 2000 /dev/zero > /out/o", types_pb2.STRING, "maximum allowed filesize is [1024], but found [2000]"),
        (
            "true",
            types_pb2.LiteralType(collection_type=types_pb2.LiteralType(simple=types_pb2.INTEGER)),
            "currently CoPilot uploader does not support [collection_type] of output [o], system error",
        ),
    ],
)
def test_wrong_outputs_are_reported(bench: Benches, text: str, kind: Any, message: str) -> None:
    made = bench()
    failed = failure_of(made, made.attempt(a_raw(text, outputs={"o": kind})))
    assert (failed.error.code, failed.error.kind, failed.retryable) == ("OutputUploadFailed", 0, True)
    assert failed.error.message.startswith(message)


def test_a_container_that_fails_uploads_nothing(bench: Benches) -> None:
    made = bench()
    attempt = made.attempt(a_raw("echo 1 > /out/o; exit 5", outputs={"o": types_pb2.INTEGER}))
    failed = failure_of(made, attempt)
    assert "exit code (5)" in failed.error.message
    assert not Path(attempt.output_prefix).exists()


def test_outputs_of_a_container_that_ended_while_no_server_ran(bench: Benches) -> None:
    made = bench()
    attempt = made.attempt(a_raw("echo 6 > /out/o", outputs={"o": types_pb2.INTEGER}))

    async def first(runner: TaskRunner) -> None:
        await runner.start(await runner.prepare(attempt))

    async def second(runner: TaskRunner) -> None:
        running = await runner.adopt(attempt)
        assert running is not None
        outcome = await runner.wait(running)
        assert isinstance(outcome, Succeeded), outcome
        assert outcome.outputs.literals["o"] == literal(6)

    with_runner(made, first)
    with_runner(made, second)


@pytest.mark.parametrize(
    ("kind", "text", "field", "value"),
    [
        (types_pb2.INTEGER, " -5\n", "integer", -5),
        (types_pb2.FLOAT, "1e3", "float_value", 1000.0),
        (types_pb2.BOOLEAN, "T", "boolean", True),
        (types_pb2.STRING, " text \n", "string_value", "text"),
    ],
)
def test_simple_values(kind: Any, text: str, field: str, value: Any) -> None:
    assert getattr(copilot.parse_simple(kind, text).scalar.primitive, field) == value


def test_other_simple_values() -> None:
    duration = copilot.parse_simple(types_pb2.DURATION, "1m0.5s").scalar.primitive.duration
    assert (duration.seconds, duration.nanos) == (60, 500_000_000)
    moment = copilot.parse_simple(types_pb2.DATETIME, "2024-01-02T03:04:05Z").scalar.primitive.datetime
    assert moment.ToJsonString() == "2024-01-02T03:04:05Z"
    assert copilot.parse_simple(types_pb2.STRUCT, '{"a": 1}').scalar.generic["a"] == 1
    assert copilot.parse_simple(types_pb2.NONE, "").scalar.HasField("none_type")
    assert copilot.parse_simple(types_pb2.ERROR, "e").scalar.error.message == "e"
    binary = copilot.parse_simple(types_pb2.BINARY, "b").scalar.binary
    assert (binary.value, binary.tag) == (b"b", "msgpack")


def test_paths_are_replaced_where_they_are_paths() -> None:
    config = tasks_pb2.DataLoadingConfig(enabled=True, input_path="/var/in", output_path="/var/in/out/")
    argv, variables = copilot.relocate(
        Path("/a"), config, ("/var/in/x", "--o=/var/in/out/y", "/var/inputs", "/var/in"), {"V": "/var/in:/var/in/out"}
    )
    assert argv == ("/a/copilot/inputs/x", "--o=/a/copilot/outputs/y", "/var/inputs", "/a/copilot/inputs")
    assert variables == {"V": "/a/copilot/inputs:/a/copilot/outputs"}


def test_the_paths_that_flyte_uses_when_none_is_given() -> None:
    config = tasks_pb2.DataLoadingConfig(enabled=True)
    argv, _ = copilot.relocate(Path("/a"), config, ("/var/flyte/inputs/x", "/var/flyte/outputs"), {})
    assert argv == ("/a/copilot/inputs/x", "/a/copilot/outputs")


def test_a_template_in_a_file_for_a_command_that_asks_for_it(bench: Benches, tmp_path: Path) -> None:
    made = bench()
    task = tasks_pb2.TaskTemplate(type="shim")
    task.id.name = "shim"
    task.container.args.extend(["/bin/cp", "{{.taskTemplatePath}}", str(tmp_path / "copy")])

    async def main(runner: TaskRunner) -> None:
        outcome = await run(runner, made.attempt(task))
        assert not isinstance(outcome, Failed), outcome

    with_runner(made, main)
    assert tasks_pb2.TaskTemplate.FromString((tmp_path / "copy").read_bytes()) == task
