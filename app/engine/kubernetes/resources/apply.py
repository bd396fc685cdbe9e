"""Apply one object to a cluster: created where it is absent, else changed by a server-side apply.

The API server compares the object with the live one, so an object that is as it should be stays untouched, and a field
that the template no longer has is removed.
Deviates: upstream computes patches itself. Fields that leave a template then stay, and numbers are patched each time.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from app.engine.kubernetes.api import FIELD_MANAGER, ApiError, ClusterApi
from app.engine.kubernetes.resources.templates import BadTemplate

Outcome = Literal["created", "changed", "unchanged"]

_APPLY = "application/apply-patch+yaml"
_JSON_PATCH = "application/json-patch+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """How the API names a kind of objects."""

    plural: str
    namespaced: bool


class Kinds:
    """The kinds of one cluster. Each API version is asked for once.

    Args:
        api: The cluster's API.
    """

    def __init__(self, api: ClusterApi) -> None:
        self._api = api
        self._known: dict[str, asyncio.Task[dict[str, Kind]]] = {}

    async def of(self, version: str, kind: str) -> Kind:
        """Return a kind.

        Raises:
            BadTemplate: The cluster does not have it.
            ApiError: The cluster does not answer.
        """
        if version not in self._known:
            self._known[version] = asyncio.create_task(self._read(version))
        found = (await asyncio.shield(self._known[version])).get(kind)
        if found is None:
            raise BadTemplate(f'no matches for kind "{kind}" in version "{version}"')
        return found

    async def _read(self, version: str) -> dict[str, Kind]:
        path = f"/apis/{version}" if "/" in version else f"/api/{version}"
        try:
            answer = await self._api.call("GET", path)
        except ApiError as error:
            if error.status == 404:
                return {}
            raise
        return {
            resource["kind"]: Kind(resource["name"], bool(resource["namespaced"]))
            for resource in answer.get("resources", ())
            if "/" not in resource["name"]
        }


@dataclass(frozen=True, slots=True)
class Applied:
    """The result for an object: the outcome, the object before (None where it was absent) and after."""

    outcome: Outcome
    before: Mapping[str, Any] | None
    after: Mapping[str, Any]


async def apply(
    api: ClusterApi, kinds: Kinds, document: Mapping[str, Any], namespace: str, *, dry_run: bool
) -> Applied:
    """Apply an object.

    Args:
        api: The cluster.
        kinds: The kinds of the cluster.
        document: The object.
        namespace: The namespace of an object whose kind has one.
        dry_run: Ask the API server what would change, without a change.

    Raises:
        ApiError: The API server refused the object, or did not answer.
        BadTemplate: The cluster does not have the kind, or the object names another namespace.
    """
    version = document["apiVersion"]
    kind = await kinds.of(version, document["kind"])
    path = f"/apis/{version}" if "/" in version else f"/api/{version}"
    if kind.namespaced:
        own = document["metadata"].get("namespace")
        if own not in (None, "", namespace):
            raise BadTemplate(f"metadata.namespace is {own}, but the object belongs to {namespace}")
        path += f"/namespaces/{namespace}"
    path += f"/{kind.plural}"
    query = {"fieldManager": FIELD_MANAGER} | ({"dryRun": "All"} if dry_run else {})
    name = f"{path}/{document['metadata']['name']}"
    live = await _live(api, name)
    body = orjson.dumps(document)
    if live is None:
        try:
            return Applied("created", None, await api.call("POST", path, body, query=query))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            # Another server has created the object since `_live` looked for it.
            live = await _live(api, name) or {}
    created = _created_fields(live)
    if created is not None and not dry_run:
        if await _is_as_created(api, path, document, live, created):
            return Applied("unchanged", live, live)
        await _own_created_fields(api, name, live)
    after = await api.call("PATCH", name, body, query={**query, "force": "true"}, content_type=_APPLY)
    return Applied("unchanged" if _content(live) == _content(after) else "changed", live, after)


async def _live(api: ClusterApi, path: str) -> dict[str, Any] | None:
    try:
        return await api.call("GET", path)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def _is_own(entry: Mapping[str, Any], operation: str) -> bool:
    return (
        entry.get("manager") == FIELD_MANAGER and entry.get("operation") == operation and not entry.get("subresource")
    )


def _created_fields(document: Mapping[str, Any]) -> Any:
    """Return the fields that this server set when it created an object; None once it has applied the object."""
    managers = document.get("metadata", {}).get("managedFields") or []
    if any(_is_own(entry, "Apply") for entry in managers):
        return None
    return next((entry.get("fieldsV1") for entry in managers if _is_own(entry, "Update")), None)


async def _is_as_created(
    api: ClusterApi, path: str, document: Mapping[str, Any], live: Mapping[str, Any], created: Any
) -> bool:
    """Return whether an object that was created, and never applied, still is what the template makes of it.

    An apply would record the new owner of its fields, and so change each object once without need. Two dry runs decide:
    the apply, which changes no content, and a creation under another name, which sets the same fields.
    """
    query = {"fieldManager": FIELD_MANAGER, "dryRun": "All"}
    name = f"{path}/{document['metadata']['name']}"
    body = orjson.dumps(document)
    applied = await api.call("PATCH", name, body, query={**query, "force": "true"}, content_type=_APPLY)
    if _content(applied) != _content(live):
        return False
    other = {**document, "metadata": {**document["metadata"], "name": f"{FIELD_MANAGER}-{secrets.token_hex(8)}"}}
    try:
        made = await api.call("POST", path, orjson.dumps(other), query=query)
    except ApiError:
        # A quota may be used up. Then the object is applied, which needs no room.
        return False
    return bool(_created_fields(made) == created)


async def _own_created_fields(api: ClusterApi, path: str, live: Mapping[str, Any]) -> None:
    """Turn the fields that this server created into fields that it applies, so that they go with the template."""
    managers = live["metadata"]["managedFields"]
    changed = [{**entry, "operation": "Apply"} if _is_own(entry, "Update") else entry for entry in managers]
    patch = [
        {"op": "replace", "path": "/metadata/managedFields", "value": changed},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
    ]
    await api.call("PATCH", path, orjson.dumps(patch), content_type=_JSON_PATCH)


def _content(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without what changes with each request."""
    metadata = {
        key: value
        for key, value in document.get("metadata", {}).items()
        if key not in ("managedFields", "resourceVersion", "generation")
    }
    return {**document, "metadata": metadata}
