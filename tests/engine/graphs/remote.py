"""A client of a running control plane, as the tests of the engine need it: REST with JSON, and FlyteRemote."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from google.protobuf import json_format

from app.system import system
from tests.engine.conftest import FLOWS, literal_map

PROJECT, DOMAIN, VERSION = "flytesnacks", "development", "v1"
ENDS = ("SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT")
# The portable twin starts an interpreter for each task: 10 s on a busy machine, and one after the other.
WAIT_SECONDS_MAX = 900 if system.is_portable else 300
_SCOPE = f"{PROJECT}/{DOMAIN}"


class Remote:
    """One control plane. python: of the environment of tasks, where flytekit is."""

    def __init__(self, web: str, home: Path, python: Path) -> None:
        self.web = web
        self.home = home
        self.python = python
        self._http = httpx.Client(base_url=web, timeout=120, headers={"accept": "application/json"})

    def close(self) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request to REST; its answer. A read whose worker died under it is asked again."""
        try:
            answer = self._http.request(method, f"/api/v1{path}", json=body)
        except httpx.TransportError:
            if method != "GET":
                raise
            answer = self._http.request(method, f"/api/v1{path}", json=body)
        assert answer.status_code == 200, (method, path, answer.text)
        return answer.json()

    def text(self, path: str, **headers: str) -> httpx.Response:
        """Whatever GET answers."""
        return self._http.get(path, headers=headers)

    def launch(self, plan: str, inputs: dict[str, Any] | None = None, *, version: str = VERSION, **spec: Any) -> str:
        """Start a launch plan of flows/graphs.py, or <module>.<plan>; the execution's name."""
        return self._launch("LAUNCH_PLAN", plan if "." in plan else f"graphs.{plan}", version, inputs or {}, spec)

    def launch_task(self, task: str, inputs: dict[str, Any]) -> str:
        """Start a single task; the execution's name."""
        return self._launch("TASK", task, VERSION, inputs, {})

    def _launch(self, kind: str, name: str, version: str, inputs: dict[str, Any], spec: dict[str, Any]) -> str:
        literals = json_format.MessageToDict(literal_map(inputs), preserving_proto_field_name=True)
        reference = {"resource_type": kind, "project": PROJECT, "domain": DOMAIN, "version": version}
        body = {
            "project": PROJECT,
            "domain": DOMAIN,
            "spec": {"launch_plan": {**reference, "name": name}, **spec},
            "inputs": literals,
        }
        return str(self.call("POST", "/executions", body)["id"]["name"])

    def again(self, verb: str, name: str) -> str:
        """Relaunch or recover an execution; the new one's name."""
        body = {"id": {"project": PROJECT, "domain": DOMAIN, "name": name}}
        return str(self.call("POST", f"/executions/{verb}", body)["id"]["name"])

    def terminate(self, name: str, cause: str) -> None:
        self.call("DELETE", f"/executions/{_SCOPE}/{name}", {"cause": cause})

    def set_signal(self, name: str, signal_id: str, value: Any) -> None:
        execution = {"project": PROJECT, "domain": DOMAIN, "name": name}
        literal = json_format.MessageToDict(literal_map({"v": value}), preserving_proto_field_name=True)["literals"][
            "v"
        ]
        body = {"id": {"signal_id": signal_id, "execution_id": execution}, "value": literal}
        self.call("POST", "/signals", body)

    def signals(self, name: str, count: int) -> Any:
        """The signals of an execution, once so many gates have asked for one."""
        path = f"/signals/{_SCOPE}/{name}?limit=100"
        self.until(lambda: len(self.call("GET", path)["signals"]) == count, "the signals")
        return self.call("GET", path)["signals"]

    def execution(self, name: str) -> Any:
        return self.call("GET", f"/executions/{_SCOPE}/{name}")

    def wait(self, name: str) -> Any:
        """The closure of an execution once it has ended."""
        self.until(lambda: self.execution(name)["closure"]["phase"] in ENDS, f"the end of {name}")
        return self.execution(name)["closure"]

    def error(self, name: str) -> Any:
        """The error that an execution ended with, which has to fail."""
        closure = self.wait(name)
        assert closure["phase"] == "FAILED", closure
        return closure["error"]

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not holds():
            assert time.monotonic() < deadline, f"waited too long for {what}"
            time.sleep(0.1)

    def outputs(self, name: str) -> dict[str, Any]:
        """The plain values that an execution put out, which has to succeed."""
        closure = self.wait(name)
        assert closure["phase"] == "SUCCEEDED", closure
        return self._values(self.call("GET", f"/data/executions/{_SCOPE}/{name}")["full_outputs"])

    def node_data(self, name: str, node: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The inputs and outputs of a node."""
        data = self.call("GET", f"/data/node_executions/{_SCOPE}/{name}/{node}")
        return self._values(data["full_inputs"]), self._values(data["full_outputs"])

    @staticmethod
    def _values(literals: Any) -> dict[str, Any]:
        return {key: _value(literal) for key, literal in literals["literals"].items()}

    def nodes(self, name: str, parent: str = "") -> dict[str, Any]:
        """Closures of the nodes of an execution, or of those inside one node, with the metadata in `metadata`."""
        query = f"?limit=1000&unique_parent_id={parent}" if parent else "?limit=1000"
        rows = self.call("GET", f"/node_executions/{_SCOPE}/{name}{query}")["node_executions"]
        return {row["id"]["node_id"]: {**row["closure"], "metadata": row["metadata"]} for row in rows}

    def phases(self, name: str, parent: str = "") -> dict[str, str]:
        """The phases of the nodes of an execution at all depths, by unique id."""
        found = {}
        for node, closure in self.nodes(name, parent).items():
            found[node] = closure["phase"]
            if node not in ("start-node", "end-node"):
                found |= self.phases(name, node)
        return found

    def attempts(self, name: str, node: str) -> list[Any]:
        """Closures of the attempts of a node, in order."""
        rows = self.call("GET", f"/task_executions/{_SCOPE}/{name}/{node}?limit=100")["task_executions"]
        return [row["closure"] for row in sorted(rows, key=lambda row: int(row["id"]["retry_attempt"]))]

    def tried(self, name: str, node: str) -> list[tuple[str, str]]:
        """Phase and error code of each attempt of a node."""
        return [(one["phase"], (one.get("error") or {}).get("code", "")) for one in self.attempts(name, node)]

    def script(self, program: str, *arguments: str) -> Any:
        """Run a script of flows/ with the Python of the tasks' environment; what it printed last, as JSON."""
        command = [str(self.python), str(FLOWS / program), str(self.home / "config.yaml"), *arguments]
        done = subprocess.run(command, cwd=FLOWS, capture_output=True, text=True, timeout=WAIT_SECONDS_MAX, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        # flytekit warns on stdout too, so a script that prints nothing may still end with words.
        last = done.stdout.strip().rpartition("\n")[2]
        return json.loads(last) if last.startswith(("{", "[")) else None


def _value(literal: Any) -> Any:
    """The plain value of a literal: a primitive, None, or a list of these."""
    if "collection" in literal:
        return [_value(element) for element in literal["collection"]["literals"]]
    scalar = literal["scalar"]
    if "union" in scalar:
        return _value(scalar["union"]["value"])
    if "none_type" in scalar:
        return None
    kind, value = next(iter(scalar["primitive"].items()))
    return int(value) if kind == "integer" else value
