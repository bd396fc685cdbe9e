"""The OpenAPI document of the own routes names each of them, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from app.api.pages import own_document
from app.api.rest.router import RpcRoute
from app.main import create_app
from app.settings import Settings

pytestmark = pytest.mark.heavy

# Redirects, files and pages for browsers are no API. The first is the document of upstream's routes.
NO_API = ("/api/v1/openapi",)


def app_of(tmp_path: Path) -> Any:
    return create_app(Settings.model_validate({"home": tmp_path}))


def test_it_is_a_valid_document_of_all_own_routes(tmp_path: Path) -> None:
    app = app_of(tmp_path)
    found = {
        (verb.lower(), route.path)
        for route in app.routes
        if not isinstance(route, RpcRoute) and route.path.startswith("/api/v1/") and route.path not in NO_API
        for verb in route.methods
        if verb != "HEAD"
    }
    document = own_document.document()
    validate(document)
    assert {(verb, path) for path, verbs in document["paths"].items() for verb in verbs} == found


def test_it_is_served(tmp_path: Path) -> None:
    reply = TestClient(app_of(tmp_path), base_url="http://localhost").get(own_document.PATH)
    assert reply.status_code == 200
    assert reply.json() == own_document.document()
