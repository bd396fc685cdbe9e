"""The pages of environments: the list, the output of an installer, and an unknown id."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from tests.api.pages.own_replies import check
from tests.engine.local.processes.environments.test_store import recorded


def test_the_list_and_the_log_have_the_documented_form_and_no_password(tmp_path: Path) -> None:
    recorded(tmp_path, "a" * 16, days=1, size_bytes=5)
    recorded(tmp_path, "b" * 16, state="making")
    (tmp_path / "envs" / f"{'a' * 16}.log").write_text("from https://me:geheim123@packages.example.com/simple\n")
    client = TestClient(create_app(Settings.model_validate({"home": tmp_path})), base_url="http://localhost")
    listed = client.get("/api/v1/environments")
    check("get", "/api/v1/environments", listed)
    found = {one["id"][0]: one for one in listed.json()["environments"]}
    assert (found["a"]["state"], found["a"]["size_bytes"], found["a"]["requirements"]) == ("ready", 5, ["six"])
    # Nobody holds its lock.
    assert found["b"]["state"] == "failed"
    log = client.get(f"/api/v1/environments/{'a' * 16}/log")
    check("get", f"/api/v1/environments/{'a' * 16}/log", log)
    assert "packages.example.com" in log.json()["log"]
    assert "geheim123" not in log.text


@pytest.mark.parametrize("id", ["c" * 16, "..", "default"])
def test_an_unknown_id_is_not_found(tmp_path: Path, id: str) -> None:
    client = TestClient(create_app(Settings.model_validate({"home": tmp_path})), base_url="http://localhost")
    assert client.get(f"/api/v1/environments/{id}/log").status_code == 404
