"""The table of RPCs: complete, and its places are those of the request message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flyteidl.datacatalog import datacatalog_pb2
from flyteidl.service import admin_pb2, auth_pb2, dataproxy_pb2, identity_pb2, signal_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from app import errors
from app.api import routers
from app.auth.object_places import EVERYWHERE, ObjectPlaces
from app.auth.roles import Need, Role
from app.auth.rpc_roles import RULES, needs_of, place_of
from app.auth.task_access import TASK_RPCS
from app.blobs import Blobs
from app.settings import Settings

SERVICES = [
    service
    for module in (admin_pb2, auth_pb2, datacatalog_pb2, dataproxy_pb2, identity_pb2, signal_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
]
BY_NAME = {rpc.name: rpc for rpc in routers.ALL}
# These name no place, or several projects.
WITHOUT_PLACE = {
    "GetVersion",
    "UserInfo",
    "GetOAuth2Metadata",
    "GetPublicClientConfig",
    "GetDomains",
    "ListProjects",
    "ListMatchableAttributes",
    "ListDatasets",
}
NAMES = {"CreateDownloadLocation": ("native_url", "{base}/p/d/x/y"), "GetData": ("flyte_url", "flyte://v1/p/d/e/n0/i")}


@pytest.fixture
def objects(tmp_path: Path) -> ObjectPlaces:
    settings = Settings(home=tmp_path, domains=({"id": "d", "name": "d"}, {"id": "e", "name": "e"}))
    return ObjectPlaces(settings, Blobs(settings))


def test_the_table_has_every_rpc_of_the_descriptors() -> None:
    names = {method.name for service in SERVICES for method in service.methods}
    assert len(names) > 60
    assert set(RULES) == names


def test_tasks_may_call_rpcs_of_the_table() -> None:
    assert set(RULES) >= TASK_RPCS
    events = {name for name in RULES if name.endswith("Event")}
    assert not TASK_RPCS & (events | {name for name in RULES if "Attributes" in name} | {"RegisterProject"})


def fill(message: Message, depth: int = 0) -> None:
    """Set every project to p, every domain to d, and every message on the way to them."""
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated or depth > 5:
            continue
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            if (
                field.message_type.full_name.startswith(("flyteidl.", "datacatalog."))
                and field.containing_oneof is None
            ):
                fill(getattr(message, field.name), depth + 1)
                getattr(message, field.name).SetInParent()
        elif field.name in ("project", "domain"):
            setattr(message, field.name, field.name[0])


@pytest.mark.parametrize("name", sorted(set(RULES) - WITHOUT_PLACE))
def test_a_place_comes_from_the_request(name: str, objects: ObjectPlaces, tmp_path: Path) -> None:
    request: Any = BY_NAME[name].request()
    fill(request)
    if name in NAMES:
        field, text = NAMES[name]
        setattr(request, field, text.format(base=f"{tmp_path}/storage"))
    if name in ("CreateDownloadLink",):
        request.node_execution_id.execution_id.project, request.node_execution_id.execution_id.domain = "p", "d"
    if name in ("GetProject", "UpdateProject"):
        request.id = "p"
    if name == "RegisterProject":
        request.project.id = "p"
    found = list(needs_of(name, request, objects))
    assert found
    assert {need.project for need in found} == {"p"}
    assert {need.domain for need in found} <= {"d", "*", None}
    assert place_of(name, request)


@pytest.mark.parametrize("name", sorted(set(RULES) - WITHOUT_PLACE - {"GetData", "ListLaunchPlanIds"}))
def test_an_empty_request_needs_a_role_everywhere(name: str, objects: ObjectPlaces) -> None:
    found = list(needs_of(name, BY_NAME[name].request(), objects))
    assert {need.project for need in found} <= {"", "*"}
    assert found


@pytest.mark.parametrize("name", sorted(name for name in RULES if BY_NAME[name].writes))
def test_a_call_that_writes_needs_more_than_view(name: str, objects: ObjectPlaces) -> None:
    if name == "CreateDownloadLink":  # It is a POST that reads.
        return
    assert max(need.role for need in needs_of(name, BY_NAME[name].request(), objects)) > Role.VIEW


def test_an_rpc_that_the_table_lacks_is_for_administrators(objects: ObjectPlaces) -> None:
    assert list(needs_of("Unknown", None, objects)) == [Need(Role.ADMIN, "*", "*")]


@pytest.mark.parametrize("url", ["", "flyte://", "flyte://v1/p/d", "flyte://v1/p/../e/n/i", "flyte://v2/p/d/e/n/i"])
def test_a_malformed_flyte_url_is_refused(url: str, objects: ObjectPlaces) -> None:
    request = BY_NAME["GetData"].request(flyte_url=url)
    with pytest.raises(errors.InvalidArgument):
        list(needs_of("GetData", request, objects))
    assert place_of("GetData", request) == ""


@pytest.mark.parametrize(
    ("key", "places"),
    [
        ("p/d/file", {("p", "d")}),
        ("metadata/p/d/name/0a/inputs", {("p", "d")}),
        ("metadata/propeller/p/d/name/n0/data/0/outputs.pb", {("p", "d")}),
        ("metadata/admin/p/d/wf/v1", {("p", "d")}),
        ("raw/p/d/aa/x/file", {("p", "d")}),
        # A project has the name of a folder: both readings count.
        ("metadata/propeller/d/e/name/inputs", {("propeller", "d"), ("d", "e")}),
        ("raw/d/e/x/y", {("raw", "d"), ("d", "e")}),
        # No project: unknown folders, no object behind the domain, an unknown domain, steps that lead elsewhere.
        ("raw/aa/x", None),
        ("p/d", None),
        ("metadata/p/d", None),
        ("p/unknown/file", None),
        ("p/D/file", None),
        ("metadata/propeller/p-d-name/n0/outputs.pb", None),
        ("p/d/%2e%2e/%2e%2e/q/d/secret", {("p", "d"), ("q", "d")}),
        ("p/d/..%2f..%2fq/d/secret", {("p", "d"), ("q", "d")}),
        ("p%2Fd%2Ffile", None),
        ("p/d/a%20b", {("p", "d")}),
    ],
)
def test_the_place_of_an_object(
    key: str, places: set[tuple[str, str]] | None, objects: ObjectPlaces, tmp_path: Path
) -> None:
    assert set(objects.of_uri(f"{tmp_path}/storage/{key}")) == (places or set(EVERYWHERE))


@pytest.mark.parametrize(
    "uri", ["", "/etc/passwd", "s3://other/p/d/x", "p/d/x", "{base}", "{base}/../p/d/x", "{base}x/p/d/x"]
)
def test_an_object_elsewhere_belongs_to_no_project(uri: str, objects: ObjectPlaces, tmp_path: Path) -> None:
    assert objects.of_uri(uri.format(base=f"{tmp_path}/storage")) == EVERYWHERE
