"""The API's description agrees with itself: descriptors = tags = document = routers = functions."""

import asyncio
import inspect
import math
import random
import re
import typing
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import openapi_spec_validator
import orjson
import pytest
from flyteidl.admin.common_pb2 import Sort
from google.protobuf.message import Message
from starlette.applications import Starlette

from app.api.pages import docs
from app.api.routers import ALL
from app.runtime.context import Context
from app.runtime.rows import Rpc, unimplemented
from app.wire.codecs import CAMEL_TYPE
from app.wire.page import Page
from app.wire.render import to_json
from app.wire.schemas import DESCRIPTIONS, name_of
from openapi.bindings import SERVICES, bindings_of, tags
from openapi.document import fields_of, shape
from openapi.generate import ROUTERS, generated

DOCUMENT: dict[str, Any] = orjson.loads(docs.openapi_bytes())
CAMEL: dict[str, Any] = orjson.loads(docs.camel_bytes())
OPERATIONS: list[tuple[str, str, dict[str, Any]]] = [
    (verb, path, operation) for path, verbs in DOCUMENT["paths"].items() for verb, operation in verbs.items()
]

# Operation ids and tags that clients of the published document know; they never change.
PUBLISHED = {
    "Projects": "ListProjects RegisterProject UpdateProject",
    "Tasks": "CreateTask ListTasks ListTasksByName GetTask ListTaskIds",
    "Workflows": "CreateWorkflow ListWorkflows ListWorkflowsByName GetWorkflow ListWorkflowIds",
    "LaunchPlans": "CreateLaunchPlan ListLaunchPlans ListLaunchPlansByName GetLaunchPlan UpdateLaunchPlan"
    " ListActiveLaunchPlans GetActiveLaunchPlan ListLaunchPlanIds",
    "Executions": "CreateExecution RelaunchExecution RecoverExecution ListExecutions GetExecution TerminateExecution"
    " GetExecutionMetrics",
    "NodeExecutions": "ListNodeExecutions",
    "TaskExecutions": "ListTaskExecutions",
    "Events": "CreateWorkflowEvent CreateNodeEvent CreateTaskEvent",
    "DataProxy": "GetExecutionData",
    "MatchableAttributes": "ListMatchableAttributes GetProjectAttributes UpdateProjectAttributes"
    " GetProjectDomainAttributes UpdateProjectDomainAttributes GetWorkflowAttributes UpdateWorkflowAttributes",
    "NamedEntities": "ListNamedEntities GetNamedEntity UpdateNamedEntity",
    "Version": "GetVersion",
}

# RPCs whose function is still to come. The list only shrinks.
UNIMPLEMENTED: set[str] = set()


@pytest.mark.slow
@pytest.mark.smoke
def test_generated_files_are_what_the_generator_makes_now() -> None:
    texts = generated()
    stale = [path.name for path, text in texts.items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run `make generate`"
    assert {path for path in texts if path.parent == ROUTERS} == set(ROUTERS.glob("*.py"))


def test_every_rpc_of_flyteidl_has_one_row_with_its_bindings() -> None:
    declared = {
        (service.full_name, rpc.name): (rpc.input_type.full_name, rpc.output_type.full_name, bindings_of(rpc))
        for service in SERVICES
        for rpc in service.methods
    }
    served = {
        (rpc.service, rpc.name): (
            rpc.request.DESCRIPTOR.full_name,
            rpc.response.DESCRIPTOR.full_name,
            [(binding.verb, binding.template, binding.body) for binding in rpc.bindings],
        )
        for rpc in ALL
    }
    assert served == declared
    assert len(ALL) == len(served) == 76
    assert sum(len(rpc.bindings) for rpc in ALL) == 69
    of_datacatalog = {rpc.name for rpc in ALL if rpc.service == "datacatalog.DataCatalog"}
    assert {rpc.name for rpc in ALL if not rpc.bindings} == {"GetOrCreateSignal", *of_datacatalog}


def test_rows_write_where_their_verb_says_so() -> None:
    of_datacatalog = {"GetDataset", "ListDatasets", "GetArtifact", "ListArtifacts"}
    assert {rpc.name for rpc in ALL if not rpc.writes} == of_datacatalog | {
        rpc.name for rpc in ALL if any(binding.verb == "GET" for binding in rpc.bindings)
    }


def test_document_has_every_binding_once() -> None:
    documented = [
        (operation["x-flyte-rpc"], verb.upper(), operation["x-flyte-template"]) for verb, _, operation in OPERATIONS
    ]
    bound = [(f"{rpc.service}/{rpc.name}", binding.verb, binding.template) for rpc in ALL for binding in rpc.bindings]
    assert sorted(documented) == sorted(bound)
    assert all(shape(path) == shape(operation["x-flyte-template"]) for _, path, operation in OPERATIONS)
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(ids)) == len(ids) == 69


def test_no_two_operations_match_the_same_request() -> None:
    def collide(one: str, other: str) -> bool:
        pairs = list(zip(shape(one).split("/"), shape(other).split("/"), strict=False))
        return one.count("/") == other.count("/") and all(a == b or "{}" in (a, b) for a, b in pairs)

    bound = [(binding.verb, binding.template) for rpc in ALL for binding in rpc.bindings]
    assert [
        pair for pair in combinations(bound, 2) if pair[0][0] == pair[1][0] and collide(pair[0][1], pair[1][1])
    ] == []


def test_published_operation_ids_and_tags_stay() -> None:
    found = {operation["operationId"]: operation["tags"] for _, _, operation in OPERATIONS}
    assert {name: found.get(name) for names in PUBLISHED.values() for name in names.split()} == {
        name: [tag] for tag, names in PUBLISHED.items() for name in names.split()
    }
    # Upstream has no REST form of DataCatalog.
    documented = [tag for tag in tags() if tag != "DataCatalog"]
    assert [tag["name"] for tag in DOCUMENT["tags"]] == documented
    assert {operation["tags"][0] for _, _, operation in OPERATIONS} == set(documented)
    assert set(documented) - set(PUBLISHED) == {"DescriptionEntities", "Signals", "Identity", "AuthMetadata"}


@pytest.mark.parametrize(("verb", "path", "operation"), OPERATIONS, ids=[one[2]["operationId"] for one in OPERATIONS])
def test_parameters_are_those_of_the_path_and_the_message(verb: str, path: str, operation: dict[str, Any]) -> None:
    parameters = operation.get("parameters", [])
    keys = [(parameter["in"], parameter["name"]) for parameter in parameters]
    assert len(set(keys)) == len(keys)
    in_path = [name for place, name in keys if place == "path"]
    assert in_path == re.findall(r"\{([a-z][a-z0-9_]*)\}", path)
    assert len(in_path) == len(fields_of(path))
    assert ("requestBody" in operation) == (verb != "get")
    assert verb == "get" or all(place == "path" for place, _ in keys)


def test_list_operations_can_be_paged_filtered_and_sorted() -> None:
    lists = {
        operation["operationId"]: {parameter["name"] for parameter in operation["parameters"]}
        for _, _, operation in OPERATIONS
        if any(parameter["name"] == "token" for parameter in operation.get("parameters", []))
    }
    assert len(lists) == 19
    # Active launch plans are the one list without filters.
    assert [name for name, names in lists.items() if not {"limit", "token", "filters"} <= names] == [
        "ListActiveLaunchPlans"
    ]
    assert all({"sort_by.key", "sort_by.direction"} <= names for names in lists.values())


@pytest.mark.parametrize("rpc", [rpc for rpc in ALL if rpc.function is not unimplemented], ids=lambda rpc: rpc.name)
def test_functions_take_and_give_the_messages_of_their_rpc(rpc: Rpc) -> None:
    hints = typing.get_type_hints(rpc.function)
    context, request = inspect.signature(rpc.function).parameters
    assert context == "ctx"
    assert hints["ctx"] is Context
    assert hints[request] is rpc.request
    given = hints["return"]
    # A page may be given as its rows.
    assert (typing.get_args(given)[0] if typing.get_origin(given) is Page else given) is rpc.response


def test_unimplemented_rpcs_are_known() -> None:
    assert {rpc.name for rpc in ALL if rpc.function is unimplemented} == UNIMPLEMENTED


@pytest.mark.slow
def test_both_documents_are_valid() -> None:
    swagger = orjson.loads(docs.swagger_bytes())
    assert list(openapi_spec_validator.OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []
    assert list(openapi_spec_validator.OpenAPIV2SpecValidator(swagger).iter_errors()) == []


def test_every_description_is_of_something() -> None:
    known: dict[str, Any] = {}

    def walk(message: Any) -> None:
        if name_of(message) not in known:
            known[name_of(message)] = message
            for field in message.fields:
                if field.message_type:
                    walk(field.message_type)

    for service in SERVICES:
        for rpc in service.methods:
            walk(rpc.input_type)
            walk(rpc.output_type)
    fields = {f"{name}.{field.name}" for name, message in known.items() for field in message.fields}
    assert set(DESCRIPTIONS["fields"]) <= fields
    assert set(DESCRIPTIONS["names"]) <= {field.rpartition(".")[2] for field in fields}
    assert set(DESCRIPTIONS["messages"]) <= {*known, "google.rpc.Status"}
    assert set(DESCRIPTIONS["operations"]) <= {operation["operationId"] for _, _, operation in OPERATIONS}


def fill(message: Message, chance: random.Random, depth: int) -> None:
    """Set about half of the message's fields to something, down to a depth; the rest stays unset."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.5 or (field.containing_oneof and message.WhichOneof(field.containing_oneof.name)):
            continue
        target = getattr(message, field.name)
        if field.message_type and field.message_type.GetOptions().map_entry:
            value = field.message_type.fields_by_name["value"]
            if value.message_type and depth > 0:
                fill(target["a key"], chance, depth - 1)
            elif not value.message_type:
                target["a key"] = scalar(value, chance)
        elif field.is_repeated:
            for _ in range(chance.randrange(3) if depth > 0 else 0):
                if field.message_type:
                    fill(target.add(), chance, depth - 1)
                else:
                    target.append(scalar(field, chance))
        elif field.message_type and field.message_type.full_name == "google.protobuf.Timestamp":
            target.FromNanoseconds(chance.randrange(2**62))
        elif field.message_type and field.message_type.full_name == "google.protobuf.Duration":
            target.FromNanoseconds(chance.randrange(-(2**62), 2**62))
        elif field.message_type and field.message_type.full_name == "google.protobuf.Struct":
            target.update({"a": [1, None, {"b": "c"}]})
        elif field.message_type and field.message_type.full_name == "google.protobuf.Any":
            target.Pack(Sort(key="name"))
        elif field.message_type and depth > 0:
            target.SetInParent()
            fill(target, chance, depth - 1)
        elif not field.message_type:
            setattr(message, field.name, scalar(field, chance))


def scalar(field: Any, chance: random.Random) -> Any:
    """A value of a scalar field, the ends of its range among them."""
    if field.enum_type:
        return chance.choice(field.enum_type.values).number
    choices: dict[int, list[Any]] = {
        field.CPPTYPE_BOOL: [False, True],
        field.CPPTYPE_INT32: [-(2**31), 0, 2**31 - 1],
        field.CPPTYPE_UINT32: [0, 1, 2**32 - 1],
        field.CPPTYPE_INT64: [-(2**63), 0, 2**63 - 1],
        field.CPPTYPE_UINT64: [0, 2**64 - 1],
        field.CPPTYPE_DOUBLE: [0.0, -1.5, 1e300, math.nan, math.inf, -math.inf],
        field.CPPTYPE_FLOAT: [0.0, -1.5, math.nan],
        field.CPPTYPE_STRING: [b"\x00\xff", b""] if field.type == field.TYPE_BYTES else ["", "text", "\u2603"],
    }
    return chance.choice(choices[field.cpp_type])


MESSAGES = sorted({message for rpc in ALL if rpc.bindings for message in (rpc.request, rpc.response)}, key=str)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.DESCRIPTOR.full_name)
def test_schemas_accept_whatever_the_server_renders(message: type[Message]) -> None:
    name = name_of(message.DESCRIPTOR)
    if name not in DOCUMENT["components"]["schemas"]:
        assert issubclass(message, tuple(rpc.request for rpc in ALL if any(b.verb == "GET" for b in rpc.bindings)))
        return
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    chance = random.Random(name)
    for _ in range(30):
        filled = message()
        fill(filled, chance, depth=6)
        errors = list(validator.iter_errors(orjson.loads(to_json(filled, camel=False))))
        assert errors == []


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.DESCRIPTOR.full_name)
def test_camel_schemas_accept_what_the_server_renders_by_default(message: type[Message]) -> None:
    name = name_of(message.DESCRIPTOR)
    if name not in CAMEL["components"]["schemas"]:
        return
    schema = {"$ref": f"#/components/schemas/{name}", "components": CAMEL["components"]}
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    chance = random.Random(name)
    for _ in range(10):
        filled = message()
        fill(filled, chance, depth=6)
        assert list(validator.iter_errors(orjson.loads(to_json(filled, camel=True)))) == []


def ask(path: str, verb: str = "GET", accept: str = "*/*") -> httpx.Response:
    """The answer of the documentation's routes alone."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=docs.routes()))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(verb, path, headers={"Accept": accept})

    return asyncio.run(send())


@pytest.mark.parametrize(
    ("accept", "document"),
    [
        ("application/json", DOCUMENT),
        ("*/*", CAMEL),
        ("application/json, */*", CAMEL),
        ("application/json; names=camel", CAMEL),
    ],
)
def test_openapi_document_has_the_names_of_answers_to_its_accept(accept: str, document: dict[str, Any]) -> None:
    answer = ask("/openapi.json", accept=accept)
    assert (answer.headers["content-type"], answer.headers["vary"]) == ("application/json", "Accept")
    assert answer.json() == document
    assert answer.json()["openapi"].startswith("3.1")


@pytest.mark.slow
def test_camel_document_differs_in_names_and_media_types_only() -> None:
    openapi_spec_validator.validate(CAMEL)
    body = CAMEL["paths"]["/api/v1/executions"]["post"]["requestBody"]["content"]
    assert list(body) == [CAMEL_TYPE]
    assert body[CAMEL_TYPE]["example"]["spec"]["launchPlan"]["resourceType"] == "LAUNCH_PLAN"
    # Keys of maps are no names of fields.
    assert body[CAMEL_TYPE]["example"]["spec"]["labels"] == {"values": {"asked-by": "somebody"}}
    schemas = CAMEL["components"]["schemas"]
    assert "startedAt" in schemas["admin.ExecutionClosure"]["properties"]
    assert not [name for schema in schemas.values() for name in schema.get("properties", ()) if "_" in name]
    assert "snake_case names of this document" not in CAMEL["info"]["description"]
    for verbs in CAMEL["paths"].values():
        for operation in verbs.values():
            assert "application/json" not in operation["responses"]["200"]["content"]


def test_definitions_of_swagger_2_have_upstreams_names() -> None:
    swagger = orjson.loads(docs.swagger_bytes())
    names = set(swagger["definitions"])
    lines = (Path(__file__).parent / "swagger-definitions.txt").read_text(encoding="utf-8").splitlines()
    upstream = {name for name in lines if name and not name.startswith("#")}
    assert len(upstream) == 299
    # The further ones belong to services that upstream's document leaves out.
    assert upstream <= names
    assert {name for name in names - upstream if not name.startswith(("service", "adminSignal", "coreSignal"))} == set()
    body = swagger["definitions"]["AdminServiceUpdateNamedEntityBody"]["properties"]
    assert list(body) == ["id", "metadata"]
    assert list(body["id"]["properties"]) == ["org"]
    references = set(re.findall(r'"#/definitions/([^"]+)"', docs.swagger_bytes().decode()))
    assert references <= names


def test_swagger_ui_needs_nothing_from_elsewhere() -> None:
    page = ask("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "openapi.json" in page.text
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    local = [address for address in addresses if not address.startswith("data:")]
    assert len(local) == 2
    for address in local:
        assert "//" not in address
        assert (ask(f"/{address}")).status_code == 200


@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_swagger_2_form_is_served_as_upstream_serves_it(verb: str) -> None:
    answer = ask("/api/v1/openapi", verb)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    swagger = answer.json()
    assert swagger["swagger"] == "2.0"
    assert swagger["info"] == {"title": "flyteidl/service/admin.proto", "version": "version not set"}
    operations = {
        operation["operationId"]: path for path, verbs in swagger["paths"].items() for operation in verbs.values()
    }
    assert len(operations) == 69
    assert operations["AdminService_CreateTask"] == "/api/v1/tasks"
    assert operations["AdminService_ListTasks"] == "/api/v1/tasks/{id.project}/{id.domain}/{id.name}"
    assert operations["AdminService_ListTasks2"] == "/api/v1/tasks/{id.project}/{id.domain}"
