"""Real clients against a server with TLS and authentication, and tasks that call it back (`make test-auth`).

Each test runs flytekit as a user does. The local engine runs the workflows of clients/calling_back.py, so that an
execution that has succeeded also shows that its task was let in.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import httpx
import jwt
import pytest

from tests.auth.deployment import (
    DOMAIN,
    FOLDER,
    PROJECT,
    RUN_SECONDS_MAX,
    SERVICE,
    SERVICE_SECRET,
    Deployment,
    deployed,
)

# A fixture that is asked for by name.
from tests.engine.conftest import environment  # noqa: F401
from tests.support.servers import COMMAND

pytestmark = pytest.mark.campaign

ENDS = ("SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT")
ROOT = Path(__file__).parents[2]
GRPCURL = ROOT / ".cache" / "clients" / "grpcurl"
ALICE = "alice"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, environment: Path) -> Iterator[Deployment]:  # noqa: F811
    with deployed(tmp_path_factory.mktemp("deployment"), environment) as made:
        yield made


def execution(http: httpx.Client, name: str) -> Any:
    """The execution, once it has ended."""
    path, deadline = f"/api/v1/executions/{PROJECT}/{DOMAIN}/{name}", time.monotonic() + RUN_SECONDS_MAX
    while True:
        answer = http.get(path)
        assert answer.status_code == 200, answer.text
        if answer.json()["closure"]["phase"] in ENDS or time.monotonic() > deadline:
            return answer.json()
        time.sleep(0.5)


def output(http: httpx.Client, name: str) -> Any:
    """The output o0 of an execution that succeeded."""
    ended = execution(http, name)
    assert ended["closure"]["phase"] == "SUCCEEDED", ended["closure"]
    data = http.get(f"/api/v1/data/executions/{PROJECT}/{DOMAIN}/{name}").json()
    primitive = data["full_outputs"]["literals"]["o0"]["scalar"]["primitive"]
    return primitive.get("string_value") or int(primitive["integer"])


def launched(printed: str) -> str:
    """The name of the execution in the address that pyflyte prints."""
    found = re.search(rf"/projects/{PROJECT}/domains/{DOMAIN}/executions/(\w+)", printed)
    assert found, printed
    return found[1]


def secret_config(deployment: Deployment) -> Path:
    file = deployment.folder / "robot.secret"
    file.write_text(SERVICE_SECRET)
    return deployment.config(
        "service", authType="ClientSecret", clientId=SERVICE, clientSecretLocation=str(file), scopes=["all"]
    )


@pytest.fixture(scope="module")
def robot(deployment: Deployment) -> Iterator[httpx.Client]:
    with deployment.http(deployment.service_token()) as http:
        yield http


def test_a_person_signs_in_with_a_browser(deployment: Deployment, robot: httpx.Client) -> None:
    printed = deployment.run(deployment.launch(deployment.config("person", authType="Pkce"), "calls_back"))
    name = launched(printed)
    assert output(robot, name) == ALICE
    assert execution(robot, name)["spec"]["metadata"]["principal"] == ALICE


def test_a_person_without_a_browser_uses_the_device_flow(deployment: Deployment, robot: httpx.Client) -> None:
    command = deployment.launch(deployment.config("headless", authType="DeviceFlow"), "calls_back")
    with subprocess.Popen(
        command,
        env={**deployment.variables(), "PYTHONUNBUFFERED": "1"},
        cwd=deployment.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as client:
        printed = ""
        try:
            assert client.stdout is not None
            for line in client.stdout:
                printed += line
                address = re.search(r"navigate in a browser to the following URL: \S*?(https://[^\s\x1b]+)", line)
                if address:
                    elsewhere = [sys.executable, str(FOLDER / "browser.py"), str(deployment.authority), address[1]]
                    subprocess.run(elsewhere, check=True, timeout=60)
            assert client.wait(RUN_SECONDS_MAX) == 0, printed
        finally:
            client.kill()
    name = launched(printed)
    assert output(robot, name) == ALICE
    assert execution(robot, name)["spec"]["metadata"]["principal"] == ALICE


def test_a_service_uses_its_secret(deployment: Deployment, robot: httpx.Client) -> None:
    name = launched(deployment.run(deployment.launch(secret_config(deployment), "calls_back")))
    assert output(robot, name) == SERVICE
    ended = execution(robot, name)
    assert ended["spec"]["metadata"]["principal"] == SERVICE
    assert ended["spec"]["security_context"]["run_as"]["execution_identity"] == SERVICE


def test_an_eager_task_launches_executions_of_its_launcher(deployment: Deployment, robot: httpx.Client) -> None:
    config = deployment.config("eager", authType="Pkce")
    name = launched(deployment.run(deployment.launch(config, "eagerly", "--x", "4")))
    assert output(robot, name) == 8
    filters = f"value_in(execution_tag.key,eager-exec)+value_in(execution_tag.value,{name})"
    found = robot.get(f"/api/v1/executions/{PROJECT}/{DOMAIN}", params={"limit": 10, "filters": filters}).json()
    (child,) = found["executions"]
    assert child["spec"]["metadata"]["principal"] == ALICE
    assert child["spec"]["security_context"]["run_as"]["execution_identity"] == ALICE


def test_a_task_may_not_do_what_its_launcher_may(deployment: Deployment, robot: httpx.Client) -> None:
    name = launched(deployment.run(deployment.launch(secret_config(deployment), "oversteps")))
    answers = str(output(robot, name)).splitlines()
    assert "allowed" not in answers
    assert sum("PERMISSION_DENIED" in line for line in answers) >= 2, answers
    assert robot.get("/api/v1/projects/stolen").status_code == 404


def test_the_token_of_a_task_opens_nothing_after_its_end(deployment: Deployment, robot: httpx.Client) -> None:
    name = launched(deployment.run(deployment.launch(secret_config(deployment), "leaks")))
    token = str(output(robot, name))
    assert jwt.decode(token, options={"verify_signature": False})["execution"] == name
    with deployment.http(token) as http:
        answer = http.get("/api/v1/version")
    assert answer.status_code == 401
    assert "has ended" in answer.text
    kept = [path for path in deployment.home.rglob("*") if path.is_file() and "store" not in path.parts]
    assert not [path for path in kept if token.encode() in path.read_bytes() and path.suffix not in (".pb", ".db")]
    assert token not in deployment.server.printed


def test_a_wrong_secret_is_an_error_of_the_client(deployment: Deployment) -> None:
    file = deployment.folder / "wrong.secret"
    file.write_text("wrong")
    config = deployment.config("wrong", authType="ClientSecret", clientId=SERVICE, clientSecretLocation=str(file))
    done = subprocess.run(
        deployment.launch(config, "calls_back"),
        env=deployment.variables(),
        cwd=deployment.folder,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS_MAX,
        check=False,
    )
    assert done.returncode != 0
    assert "invalid_client" in done.stdout + done.stderr


def test_a_command_of_the_user_prints_the_token(deployment: Deployment, robot: httpx.Client) -> None:
    file = deployment.folder / "token"
    file.write_text(deployment.service_token())
    config = deployment.config("command", authType="ExternalCommand", command=["cat", str(file)])
    name = launched(deployment.run(deployment.launch(config, "calls_back")))
    assert output(robot, name) == SERVICE


@pytest.mark.skipif(not GRPCURL.exists(), reason="make test-auth builds grpcurl")
def test_grpcurl(deployment: Deployment) -> None:
    def grpcurl(*arguments: str) -> subprocess.CompletedProcess[str]:
        flags = ["-cacert", str(deployment.authority)]
        command = [str(GRPCURL), *flags, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    method = "flyteidl.service.AdminService/GetVersion"
    listed = grpcurl(deployment.endpoint, "list")
    assert "flyteidl.service.AdminService" in listed.stdout.splitlines(), listed.stderr
    refused = grpcurl(deployment.endpoint, method)
    assert "Unauthenticated" in refused.stderr
    token = deployment.service_token()
    for header in ("authorization", "flyte-authorization"):
        answer = grpcurl("-H", f"{header}: Bearer {token}", deployment.endpoint, method)
        assert "controlPlaneVersion" in answer.stdout, answer.stderr


def test_curl(deployment: Deployment) -> None:
    """The commands of docs/authentication.md."""
    curl = [shutil.which("curl") or "curl", "-sS", "--fail-with-body", "--cacert", str(deployment.authority)]
    # With -u, curl sends the secret as it is; RFC 6749 wants it encoded.
    credentials = ["-u", f"{SERVICE}:{quote_plus(SERVICE_SECRET)}"]
    credentials += ["-d", "grant_type=client_credentials", "-d", "scope=all"]

    def run(*arguments: str) -> str:
        done = subprocess.run([*curl, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    token = re.findall(r'"access_token" ?: ?"([^"]+)"', run(*credentials, f"{deployment.url}/oauth2/token"))[0]
    assert SERVICE in run("-H", f"Authorization: Bearer {token}", f"{deployment.url}/me")


@pytest.mark.parametrize(("way", "who"), [("Pkce", ALICE), ("ClientSecret", SERVICE)])
def test_our_commands_sign_in_as_pyflyte_does_and_hand_it_the_token(
    deployment: Deployment, tmp_path: Path, way: str, who: str
) -> None:
    """`flyteadmin run` with a home of its own, then a command that finds the stored token."""
    config = secret_config(deployment) if way == "ClientSecret" else deployment.config("ours", authType=way)
    variables = {
        **deployment.variables(),
        "FLYTECTL_CONFIG": str(config),
        "FLYTEADMIN_HOME": str(tmp_path),
        "FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT": str(deployment.programs.parent),
        "PYTHONPATH": str(ROOT),
    }

    def ours(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, *arguments]
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=240, check=False)

    done = ours("run", "-o", "json", str(FOLDER / "calling_back.py"), "calls_back")
    assert done.returncode == 0, done
    assert json.loads(done.stdout.splitlines()[-1])["outputs"]["o0"] == who
    listed = ours("get", "-o", "json", "--limit", "1")
    assert json.loads(listed.stdout)[0]["phase"] == "SUCCEEDED"
    assert "sign in with a browser" not in listed.stderr
    logs = ours("logs", json.loads(listed.stdout)[0]["name"])
    assert (logs.returncode, logs.stderr) == (0, "")
