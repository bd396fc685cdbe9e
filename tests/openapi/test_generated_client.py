"""A client that openapi-python-client makes of the document drives a real server through the document's examples."""

import importlib
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from app.api.pages.docs import DOCUMENT
from tests.support.servers import Running, serving

pytestmark = pytest.mark.slow

BODIES: dict[str, Any] = json.loads(DOCUMENT.with_name("examples.json").read_text(encoding="utf-8"))["bodies"]
PLACE = {"project": "flytesnacks", "domain": "development"}


@contextmanager
def generated(folder: Path, name: str, *document: str) -> Iterator[str]:
    """Generate an importable package and give its name; a warning of the generator is a failure."""
    subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", *document),
            *("--meta", "none", "--output-path", str(folder / name), "--fail-on-warning"),
        ],
        # The generator formats what it makes with the ruff that it finds, and warns where it finds none.
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        check=True,
        capture_output=True,
    )
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    yield name
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of the package that is generated from the document in the repository."""
    with generated(tmp_path_factory.mktemp("client"), "generated_flyte_client", "--path", str(DOCUMENT)) as name:
        yield name


Call = Callable[..., Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of its own, with nothing in it."""
    with serving(tmp_path_factory.mktemp("home")) as running:
        yield running


def instants(value: Any) -> Any:
    """The value with times as datetimes, because the client writes UTC as +00:00 and the server as Z."""
    if isinstance(value, dict):
        return {key: instants(one) for key, one in value.items()}
    if isinstance(value, list):
        return [instants(one) for one in value]
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT.*", value):
        return datetime.fromisoformat(value)
    return value


@pytest.fixture
def call(package: str, server: Running) -> Iterator[Call]:
    """Calls an operation by its id with typed models; asserts the status and gives the parsed answer."""
    modules: dict[str, Any] = {}
    for found in pkgutil.walk_packages(importlib.import_module(f"{package}.api").__path__, f"{package}.api."):
        if not found.ispkg:
            modules[found.name.rpartition(".")[2].replace("_", "")] = importlib.import_module(found.name)
    assert len(modules) == 69

    # httpx asks for */* by itself, which means lowerCamelCase names to the server.
    with importlib.import_module(package).Client(
        base_url=server.web, headers={"Accept": "application/json"}, raise_on_unexpected_status=True
    ) as client:

        def run(operation_id: str, *, status: int = 200, body: Any = None, **parameters: Any) -> Any:
            module = modules[operation_id.lower()]
            if body is not None:
                kind = inspect.signature(module.sync_detailed).parameters["body"].annotation
                model = kind if isinstance(kind, type) else typing.get_args(kind)[0]
                parameters["body"] = model.from_dict(body)
            answer = module.sync_detailed(client=client, **parameters)
            assert answer.status_code == status, answer.content
            # What the client kept of the answer is all that the server sent.
            assert instants(answer.parsed.to_dict()) == instants(json.loads(answer.content))
            return answer.parsed

        yield run


def test_registering_and_running_the_examples(call: Call) -> None:
    for operation_id in ("CreateTask", "CreateWorkflow", "CreateLaunchPlan"):
        call(operation_id, body=BODIES[operation_id])
    task = call("GetTask", **PLACE, name="example.double", version="v1")
    assert task.closure.compiled_task.template.container.args[0] == "pyflyte-execute"
    workflow = call("GetWorkflow", **PLACE, name="example.main", version="v1")
    assert [node.id for node in workflow.closure.compiled_workflow.primary.template.nodes] == [
        "start-node",
        "end-node",
        "n0",
    ]
    call("UpdateLaunchPlan", **PLACE, name="example.hourly", version="v1", body=BODIES["UpdateLaunchPlan"])
    assert call("GetActiveLaunchPlan", **PLACE, name="example.hourly").id.version == "v1"

    assert call("CreateExecution", body=BODIES["CreateExecution"]).id.name == "example1"
    for operation_id in ("CreateWorkflowEvent", "CreateNodeEvent", "CreateTaskEvent"):
        call(operation_id, body=BODIES[operation_id])
    execution = call("GetExecution", **PLACE, name="example1")
    assert execution.closure.phase == "RUNNING"
    assert execution.closure.started_at.year == 2030
    data = call("GetExecutionData", **PLACE, name="example1")
    assert data.full_inputs.literals["x"].scalar.primitive.integer == "3"
    nodes = call("ListNodeExecutions", **PLACE, name="example1", limit=10)
    assert [node.id.node_id for node in nodes.node_executions] == ["n0"]
    attempts = call("ListTaskExecutions", **PLACE, name="example1", node_id="n0", limit=10)
    assert [attempt.id.retry_attempt for attempt in attempts.task_executions] == [0]

    call("TerminateExecution", **PLACE, name="example1", body=BODIES["TerminateExecution"])
    assert call("RelaunchExecution", body=BODIES["RelaunchExecution"]).id.name == "example2"
    call("RecoverExecution", body=BODIES["RecoverExecution"])
    call("UpdateExecution", **PLACE, name="example2", body=BODIES["UpdateExecution"])
    listed = call("ListExecutions", **PLACE, limit=100, filters="value_in(phase,ABORTING;UNDEFINED;QUEUED)")
    assert {one.id.name for one in listed.executions} >= {"example1", "example3"}
    assert "example2" not in {one.id.name for one in listed.executions}


def test_pages_of_projects(call: Call) -> None:
    call("RegisterProject", body=BODIES["RegisterProject"])
    call("UpdateProject", id="astronomy", body=BODIES["UpdateProject"])
    names, token = [], ""
    while True:
        page = call("ListProjects", limit=1, token=token, sort_by_key="identifier")
        names += [project.id for project in page.projects]
        token = page.token
        if not token:
            break
    assert names == sorted(names, reverse=True)
    assert {"astronomy", "flytesnacks"} <= set(names)
    assert call("GetProject", id="astronomy").description == BODIES["UpdateProject"]["description"]


@pytest.mark.parametrize(
    ("scope", "place"),
    [
        ("Project", {"project": "flytesnacks"}),
        ("ProjectDomain", PLACE),
        ("Workflow", {**PLACE, "workflow": "example.main"}),
    ],
)
def test_overrides_by_the_examples(call: Call, package: str, scope: str, place: dict[str, str]) -> None:
    kind = BODIES[f"Delete{scope}Attributes"]["resource_type"]
    enumeration = importlib.import_module(f"{package}.models.admin_matchable_resource").AdminMatchableResource
    call(f"Update{scope}Attributes", **place, body=BODIES[f"Update{scope}Attributes"])
    found = call(f"Get{scope}Attributes", **place, resource_type=enumeration(kind))
    assert found.attributes.matching_attributes is not None
    call(f"Delete{scope}Attributes", **place, body=BODIES[f"Delete{scope}Attributes"])


def test_errors_are_models_too(call: Call) -> None:
    error = call("GetProject", id="nowhere", status=404)
    assert (error.code, error.message, error.details) == (5, "project [nowhere] not found", [])
    assert call("ListTasks", **PLACE, status=400).message == "invalid value for limit"
    assert call("SetSignal", body=BODIES["SetSignal"], status=400).code == 3


def test_uploads_and_names_by_the_examples(call: Call, package: str) -> None:
    upload = call("CreateUploadLocation", body=BODIES["CreateUploadLocation"])
    assert upload.signed_url.startswith("http")
    assert upload.native_url.endswith("/code.tar.gz")
    kind = importlib.import_module(f"{package}.models.core_resource_type").CoreResourceType
    call("CreateTask", body=json.loads(json.dumps(BODIES["CreateTask"]).replace("example.double", "example.named")))
    place = {**PLACE, "resource_type": kind.TASK, "name": "example.named"}
    call("UpdateNamedEntity", **place, body=BODIES["UpdateNamedEntity"])
    assert call("GetNamedEntity", **place).metadata.description == "Doubles numbers"


def test_a_client_of_the_served_document_reads_the_names_that_it_gets(server: Running, tmp_path: Path) -> None:
    """The generator and httpx send `Accept: */*`, so document and answers have lowerCamelCase names."""
    with generated(tmp_path, "generated_camel_client", "--url", f"{server.web}/openapi.json") as name:
        models = importlib.import_module(f"{name}.models")
        asked = models.ServiceCreateUploadLocationRequest(**PLACE, filename="f", filename_root="root")
        with importlib.import_module(name).Client(base_url=server.web, raise_on_unexpected_status=True) as client:
            version = importlib.import_module(f"{name}.api.version.get_version").sync(client=client)
            operation = importlib.import_module(f"{name}.api.data_proxy.create_upload_location")
            upload = operation.sync(client=client, body=asked)
        assert version.control_plane_version.version.startswith("v")
        assert upload.native_url.endswith("/root/f")
