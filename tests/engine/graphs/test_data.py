"""What tasks give to one another and to clients: every type, through files, containers, large values and defaults."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import literals_pb2
from google.protobuf import json_format

from tests.engine.conftest import literal
from tests.engine.graphs.remote import DOMAIN, PROJECT, VERSION, Remote

pytestmark = pytest.mark.campaign

Launched = Callable[[str], dict[str, str]]


@pytest.fixture(scope="session")
def launched(remote: Remote) -> Launched:
    """Registers the workflows of a module and launches its cases, once; the names of their executions."""
    known: dict[str, dict[str, str]] = {}

    def launch(module: str) -> dict[str, str]:
        if module == "frames":
            needs_pandas(remote)
        if module not in known:
            remote.script("register.py", module)
            known[module] = remote.script("cases.py", "launch", module)
        return known[module]

    return launch


def needs_pandas(remote: Remote) -> None:
    """The environment that tests make has it; one that was named may not."""
    found = subprocess.run([str(remote.python), "-c", "import pandas, pyarrow"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip("the environment of tasks that was named has no pandas")


@pytest.mark.parametrize("module", ["data", "frames"])
def test_outputs_are_those_of_a_local_run_whatever_their_type(remote: Remote, launched: Launched, module: str) -> None:
    names = launched(module)
    for case, name in names.items():
        assert remote.wait(name)["phase"] == "SUCCEEDED", (case, remote.execution(name))
    compared = remote.script("cases.py", "compare", module, json.dumps(names))
    assert set(compared) == set(names)
    for case, (phases, seen, expected) in compared.items():
        assert phases == remote.phases(names[case]), case
        assert set(phases.values()) == {"SUCCEEDED"}, case
        assert seen == expected, case


def test_an_echo_leaves_no_trace_of_a_process(remote: Remote, launched: Launched) -> None:
    name = launched("data")["echo"]
    remote.wait(name)
    echoes = [node for node in remote.nodes(name) if remote.attempts(name, node) and is_echo(remote, name, node)]
    assert len(echoes) == 2
    for node in echoes:
        (attempt,) = remote.attempts(name, node)
        assert (attempt["phase"], attempt["started_at"], attempt["logs"]) == ("SUCCEEDED", None, [])
        assert remote.nodes(name)[node]["started_at"] is None


def is_echo(remote: Remote, name: str, node: str) -> bool:
    return bool(remote.attempts(name, node)[0]["task_type"] == "echo")


def test_an_echo_of_two_inputs_is_refused(remote: Remote) -> None:
    simple = {"type": {"simple": "INTEGER"}}
    interface = {
        "inputs": {"variables": {"a": simple, "b": simple}},
        "outputs": {"variables": {"o0": simple, "o1": simple}},
    }
    name = run_task(remote, "echo of two", {"type": "echo", "interface": interface}, {"a": 1, "b": 2})
    error = remote.wait(name)["error"]
    assert (error["kind"], error["code"]) == ("USER", "FailedToBuildResource")
    assert "does not currently support more than one input" in error["message"]


def test_decks_can_be_read(remote: Remote, launched: Launched) -> None:
    name = launched("data")["decks"]
    remote.wait(name)
    assert remote.nodes(name)["n0"]["deck_uri"].endswith("/n0/data/0/deck.html")
    assert "<b>hello</b>" in deck_of(remote, name, "n0")
    # A task that says it makes none names none.
    assert remote.nodes(launched("data")["echo"])["n0"]["deck_uri"] == ""


def test_the_deck_of_a_failure_can_be_read(remote: Remote) -> None:
    name = remote.launch("failing_with_deck", {"message": "boom"})
    assert remote.wait(name)["phase"] == "FAILED"
    assert "<html" in deck_of(remote, name, "n0")


@pytest.mark.parametrize(
    ("plan", "terminated", "shown"),
    [
        ("showing", True, {"n0": "n0/data/0"}),
        ("showing_dynamic", True, {"n0": "n0/data/0", "n0-0-dn0": "n0/data/0/dn0/0"}),
        ("showing_beside_a_failure", False, {"n0": "n0/data/0"}),
        ("showing_late", False, {"n0": "n0/data/1"}),
    ],
)
def test_a_deck_that_a_task_published_outlives_its_end(
    remote: Remote, tmp_path: Path, plan: str, terminated: bool, shown: dict[str, str]
) -> None:
    path = tmp_path / "published"
    name = remote.launch(plan, {"path": str(path)})
    if terminated:
        published = "published\n" * len(shown)
        remote.until(lambda: path.exists() and path.read_text() == published, "decks")
        remote.terminate(name, "seen enough")
    assert remote.wait(name)["phase"] == ("ABORTED" if terminated else "FAILED")
    for node, folder in shown.items():
        parent = node.partition("-")[0] if "-" in node else ""
        assert remote.nodes(name, parent)[node]["deck_uri"].endswith(f"/{name}/{folder}/deck.html")
        assert "<b>seen</b>" in deck_of(remote, name, node)


def test_a_deck_that_is_not_there_is_not_named(remote: Remote, tmp_path: Path) -> None:
    name = remote.launch("long_with_deck", {"path": str(tmp_path / "begun")})
    remote.until((tmp_path / "begun").exists, "the task")
    remote.terminate(name, "seen nothing")
    assert remote.wait(name)["phase"] == "ABORTED"
    assert remote.nodes(name)["n0"]["deck_uri"] == ""


def deck_of(remote: Remote, name: str, node: str) -> str:
    """The page behind the address that the data proxy gives for a node's deck."""
    execution = {"project": PROJECT, "domain": DOMAIN, "name": name}
    body = {"artifact_type": "ARTIFACT_TYPE_DECK", "node_execution_id": {"node_id": node, "execution_id": execution}}
    (url,) = remote.call("POST", "/dataproxy/artifact_link", body)["pre_signed_urls"]["signed_url"]
    answer = remote.text(url)
    assert answer.status_code == 200
    return answer.text


def test_an_attempt_goes_on_from_the_checkpoint_of_the_one_before(remote: Remote, launched: Launched) -> None:
    launched("data")
    name = remote.launch("data.checkpoints")
    assert remote.outputs(name) == {"o0": 3}
    recoverable = ("FAILED", "USER:Recoverable")
    assert remote.tried(name, "n0") == [recoverable, recoverable, ("SUCCEEDED", "")]


def test_variables_of_the_execution_beat_those_of_the_task(remote: Remote, launched: Launched) -> None:
    launched("data")
    asked = ["OWN", "BOTH", "GIVEN", "FLYTE_INTERNAL_EXECUTION_ID", "FLYTE_ATTEMPT_NUMBER", "FLYTE_INTERNAL_TASK_NAME"]
    given = {"values": [{"key": "BOTH", "value": "of the execution"}, {"key": "GIVEN", "value": "a=b"}]}
    name = remote.launch("data.environment", {"names": asked}, envs=given)
    assert remote.wait(name)["phase"] == "SUCCEEDED"
    seen = remote.call("GET", f"/data/executions/{PROJECT}/{DOMAIN}/{name}")["full_outputs"]["literals"]["o0"]
    values = {key: one["scalar"]["primitive"]["string_value"] for key, one in seen["map"]["literals"].items()}
    assert values == dict(
        zip(asked, ["of the task", "of the execution", "a=b", name, "0", "data.variables"], strict=True)
    )


def test_a_task_of_another_workflow_may_be_referred_to(remote: Remote, launched: Launched) -> None:
    launched("data")
    name = remote.launch("data.reference", {"word": "referred"})
    assert remote.outputs(name) == {"o0": "referred"}


def test_a_container_that_knows_nothing_of_flyte(remote: Remote, launched: Launched) -> None:
    launched("data")
    name = remote.launch("data.sorting", {"text": "b\na\nc\n"})
    assert remote.wait(name)["phase"] == "SUCCEEDED"
    outputs = remote.call("GET", f"/data/executions/{PROJECT}/{DOMAIN}/{name}")["full_outputs"]["literals"]
    assert outputs["o0"]["scalar"]["primitive"] == {"string_value": "c\nb\na\n"}
    assert outputs["o1"]["scalar"]["primitive"] == {"integer": "4"}
    assert {key: one["scalar"]["primitive"] for key, one in outputs["o2"]["map"]["literals"].items()} == {
        "1": {"string_value": "1\n"},
        "2": {"string_value": "2\n"},
    }


def test_outputs_larger_than_the_limit_are_named(remote: Remote, launched: Launched) -> None:
    launched("data")
    # Each is too small to be offloaded.
    name = remote.launch("data.too_large", {"size": 4_000_000})
    error = remote.wait(name)["error"]
    assert error["code"] == "OutputSizeExceeded"
    assert "max allowed [10485760] bytes (storage.limits.maxDownloadMBs)" in error["message"]


def test_literals_that_lie_elsewhere_are_passed_on_and_looked_into(
    remote: Remote, launched: Launched, tmp_path: Path
) -> None:
    launched("data")
    table, number = stored(remote, "table", {"a": [4, 5]}), stored(remote, "number", 6)
    integers = {"collection_type": {"simple": "INTEGER"}}
    inputs = {
        "table": offloaded(table, {"map_value_type": integers}),
        "number": offloaded(number, {"simple": "INTEGER"}),
    }
    name = start(remote, "data.parts", inputs)
    outputs = remote.wait(name), remote.call("GET", f"/data/executions/{PROJECT}/{DOMAIN}/{name}")["full_outputs"]
    assert outputs[0]["phase"] == "SUCCEEDED", outputs[0]
    literals = outputs[1]["literals"]
    assert literals["o0"]["scalar"]["primitive"] == {"integer": "10"}
    assert literals["o1"]["scalar"]["primitive"] == {"integer": "9"}
    # A data call returns the value itself; the outputs hold the address.
    assert literals["o2"]["scalar"]["primitive"] == {"integer": "6"}
    kept = Path(outputs[0]["outputs"]["uri"].removeprefix("file://")).read_bytes()
    assert literals_pb2.LiteralMap.FromString(kept).literals["o2"].offloaded_metadata.uri == number


def test_a_literal_that_is_lost_is_named(remote: Remote, launched: Launched) -> None:
    launched("data")
    gone = f"{remote.home}/storage/gone"
    integers = {"collection_type": {"simple": "INTEGER"}}
    inputs = {"table": offloaded(gone, {"map_value_type": integers}), "number": offloaded(gone, {"simple": "INTEGER"})}
    name = start(remote, "data.parts", inputs)
    error = remote.wait(name)["error"]
    assert (error["kind"], error["code"]) == ("SYSTEM", "BindingResolutionFailure")
    assert f"the offloaded literal at [{gone}] cannot be read" in error["message"]


def stored(remote: Remote, name: str, value: Any) -> str:
    """Put a literal into a file of the store, as flytekit does with large ones; where it lies."""
    path = remote.home / "storage" / "offloaded" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(literal(value).SerializeToString())
    return str(path)


def offloaded(uri: str, kind: Any) -> Any:
    return {"offloaded_metadata": {"uri": uri, "size_bytes": 1, "inferred_type": kind}}


def start(remote: Remote, plan: str, literals: Any) -> str:
    """Launch a plan with literals as JSON."""
    reference = {"resource_type": "LAUNCH_PLAN", "project": PROJECT, "domain": DOMAIN, "version": VERSION, "name": plan}
    body = {
        "project": PROJECT,
        "domain": DOMAIN,
        "spec": {"launch_plan": reference},
        "inputs": {"literals": literals},
    }
    return str(remote.call("POST", "/executions", body)["id"]["name"])


def run_task(remote: Remote, name: str, template: Any, inputs: dict[str, Any] | None = None) -> str:
    """Register a task and run it by itself."""
    template = {"interface": {"inputs": {}, "outputs": {}}, **template}
    id = {"resource_type": "TASK", "project": PROJECT, "domain": DOMAIN, "name": name, "version": VERSION}
    metadata = {"runtime": {"type": "OTHER", "version": "1", "flavor": "none"}}
    remote.call("POST", "/tasks", {"id": id, "spec": {"template": {"id": id, "metadata": metadata, **template}}})
    literals = {key: json_format.MessageToDict(literal(value)) for key, value in (inputs or {}).items()}
    body = {"project": PROJECT, "domain": DOMAIN, "spec": {"launch_plan": id}, "inputs": {"literals": literals}}
    return str(remote.call("POST", "/executions", body)["id"]["name"])


def test_a_pod_runs_its_primary_container(remote: Remote) -> None:
    script = 'test "$GREETING" = hello && test "$0" = raw'
    primary = {
        "name": "main",
        "image": "x",
        "command": ["/bin/sh", "-c", script, "raw"],
        "env": [{"name": "GREETING", "value": "hello"}],
    }
    spec = {"containers": [{"name": "sidecar", "image": "y", "command": ["no-such-command"]}, primary]}
    template = {"type": "sidecar", "k8s_pod": {"pod_spec": spec}, "config": {"primary_container_name": "main"}}
    name = run_task(remote, "a pod", template)
    closure = remote.wait(name)
    assert closure["phase"] == "SUCCEEDED", closure


def test_a_type_that_has_no_command_is_named(remote: Remote) -> None:
    name = run_task(remote, "a query", {"type": "bigquery_query_job_task", "sql": {"statement": "select 1"}})
    error = remote.wait(name)["error"]
    assert (error["kind"], error["code"]) == ("USER", "FailedToBuildResource")
    assert error["message"].startswith("could not build resource for task: [BadTaskSpecification] ")
    assert "[bigquery_query_job_task]" in error["message"]
    ((node, closure),) = [one for one in remote.nodes(name).items() if one[0] not in ("start-node", "end-node")]
    assert (closure["phase"], closure["started_at"]) == ("FAILED", None)
    assert remote.tried(name, node) == [("FAILED", "FailedToBuildResource")]


def test_two_distributions_of_one_package_are_kept_apart(remote: Remote, tmp_path: Path) -> None:
    """A user's own package may be called app; two versions of it, registered from two folders, run side by side."""
    names = {}
    for number in (11, 22):
        package = tmp_path / f"source{number}" / "app"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"ANSWER = {number}\n")
        (package / "wf.py").write_text(
            "import os, time\nfrom flytekit import task, workflow\nfrom app import ANSWER\n\n\n"
            "@task\ndef tell() -> str:\n    time.sleep(1)\n    return f'{ANSWER} {os.getcwd()}'\n\n\n"
            "@workflow\ndef main() -> str:\n    return tell()\n"
        )
        command = [str(remote.python.parent / "pyflyte"), "--config", str(remote.home / "config.yaml"), "register"]
        command += ["-p", PROJECT, "-d", DOMAIN, "--version", f"fast{number}"]
        # Its default is a directory of flytekit's images.
        command += ["--destination-dir", "/root", "app"]
        done = subprocess.run(command, cwd=package.parent, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        reference = {"resource_type": "LAUNCH_PLAN", "project": PROJECT, "domain": DOMAIN, "name": "app.wf.main"}
        body = {
            "project": PROJECT,
            "domain": DOMAIN,
            "spec": {"launch_plan": {**reference, "version": f"fast{number}"}},
        }
        names[number] = str(remote.call("POST", "/executions", body)["id"]["name"])
    told = {number: str(remote.outputs(name)["o0"]).split(" ", 1) for number, name in names.items()}
    assert {number: answer for number, (answer, _) in told.items()} == {11: "11", 22: "22"}
    assert len({folder for _, folder in told.values()}) == 2
