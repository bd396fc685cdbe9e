"""What upstream's gateway refused by itself in the recorded conversations is refused here in the same words."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from app.api.rest.router import RestRouter, routes_of
from app.api.routers import ALL
from tests.api.asgi import ask
from tests.api.edge import server_of

CASES = Path(__file__).parents[2] / "conformance" / "cases"
# What only the gateway says. The first two are routing; the last is said of a message's size.
REFUSAL = re.compile(
    r"Not Found$|Method Not Allowed$|proto: (?!timestamp)|invalid character|unexpected EOF|parsing field|"
    r"too many values|type mismatch, parameter|invalid semicolon|grpc: received message larger"
)
VARIABLE = re.compile(r"\$\{([a-z0-9]+)(?::(\d+))?\}")


def recorded() -> Iterator[tuple[str, dict[str, Any], int, dict[str, Any]]]:
    """Yield name, request, status and body of each refusal."""
    for path in sorted(CASES.glob("*.yaml")):
        case = yaml.load(path.read_text(), yaml.CSafeLoader)
        for step in case["steps"]:
            expect = step.get("expect", {})
            body = expect.get("json") or expect.get("proto", {}).get("json")
            if "request" in step and isinstance(body, dict) and REFUSAL.match(str(body.get("message", ""))):
                yield f"{path.stem}: {step['id']}", step["request"], expect["status"], body


def filled(value: Any) -> Any:
    """With variables as the recording has them: project names of 15 letters, and padding."""
    if isinstance(value, str):
        return VARIABLE.sub(lambda match: "x" * int(match.group(2) or 0) or "conf-abcdefghij", value)
    if isinstance(value, dict):
        return {name: filled(item) for name, item in value.items()}
    return [filled(item) for item in value] if isinstance(value, list) else value


def body_of(request: dict[str, Any]) -> bytes | None:
    if "json" in request:
        return json.dumps(request["json"]).encode()
    if "base64" in request:
        return base64.b64decode(request["base64"])
    return request["text"].encode() if "text" in request else None


@pytest.mark.slow
@pytest.mark.smoke
def test_refusals(tmp_path: Path) -> None:
    """One test for all: to find them takes 2 s, which each process of pytest would need to name them."""
    found, wrong = list(recorded()), []
    with asyncio.Runner() as runner:
        # The database is not opened, so a request that got as far as a function would fail otherwise than expected.
        app = RestRouter(server_of(tmp_path), routes_of(ALL))
        for name, request, status, expected in found:
            try:
                check(app, runner, filled(request), status, expected)
            except AssertionError as error:
                wrong.append(f"{name}: {error}")
    assert not wrong, "\n".join(wrong)
    assert len(found) >= 60


def check(
    app: RestRouter, runner: asyncio.Runner, request: dict[str, Any], status: int, expected: dict[str, Any]
) -> None:
    body = body_of(request)
    headers = {"Accept": "application/json"}
    if body is not None:
        headers["Content-Type"] = "application/octet-stream" if "base64" in request else "application/json"
    headers |= request.get("headers", {})
    query = request.get("query", "")
    if not isinstance(query, str):
        query = urlencode([(name, value) for name, value in query])
    target = request["path"] + ("?" + query if query else "")
    binary = headers.get("Accept") == "application/octet-stream"
    said = runner.run(
        ask(
            app,
            request["method"],
            target,
            {n: v for n, v in {**headers, "Accept": "application/json"}.items() if v},
            body,
        )
    )
    assert said.status == status
    assert said.json["code"] == expected["code"]
    assert said.json["message"] == " ".join(filled(expected["message"]).split())
    if binary:
        again = runner.run(ask(app, request["method"], target, {n: v for n, v in headers.items() if v}, body))
        assert (again.status, again.headers["content-type"]) == (status, "application/octet-stream")
