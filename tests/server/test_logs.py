"""Log lines: one JSON object each away from a terminal, with what is bound, without secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from app.server import logs
from app.settings import Settings


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def written(capsys: pytest.CaptureFixture[str], **logger: Any) -> list[str]:
    """The lines of some log calls."""
    logs.set_up(Settings.model_validate({"logger": logger}))
    log = structlog.get_logger("tests")
    with structlog.contextvars.bound_contextvars(request_id="a-1"):
        log.info("started", api_token="hunter2", url="postgresql://u:hunter2@h/d", nested={"n": 1})
        logging.getLogger("library").warning("careful with %s", "this")
        try:
            hidden = "hunter2"
            raise ValueError(len(hidden))
        except ValueError:
            log.exception("failed")
    return capsys.readouterr().err.splitlines()


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    started, careful, failed = map(json.loads, written(capsys))
    assert started["event"] == "started"
    assert started["api_token"] == "********"
    assert started["url"] == "postgresql://u:********@h/d"
    assert started["nested"] == {"n": 1}
    assert (careful["event"], careful["level"]) == ("careful with this", "warning")
    assert "ValueError: 7" in failed["exception"]
    assert all(line["request_id"] == "a-1" and line["time"].endswith("Z") for line in (started, careful, failed))


def test_readable_lines_show_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(written(capsys, formatter={"type": "text"}))
    assert "started" in text
    assert "request_id=a-1" in text
    assert "ValueError: 7" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(("logger", "lines"), [({"level": 3}, 2), ({"level": 2}, 1), ({"mute": True}, 0)])
def test_levels_count_as_upstreams(capsys: pytest.CaptureFixture[str], logger: dict[str, Any], lines: int) -> None:
    assert len(written(capsys, **logger)) == lines
