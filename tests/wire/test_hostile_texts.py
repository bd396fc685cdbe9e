"""Every expression and parser that a client's text meets takes time linear in its length."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.admin import common_pb2, execution_pb2, launch_plan_pb2

import app
from app.errors import FlyteError, InvalidArgument
from app.query import filters
from app.services import checks
from app.settings.limits import Limits
from app.wire import bind, cron, decode, flyte_url
from app.wire.go import goparse, quantity

# A first length, which linear parsers read in a few ms, and how much longer four times the length may take.
LENGTH = 2_000
SLOWER_MAX = 10.0
SECONDS_MIN = 0.02
# Endings that no expression accepts, so that one that can backtrack does.
END = "\n!"
ALPHABET = (
    "1",
    "a",
    "_",
    " ",
    "\t",
    "/",
    "\\",
    '"',
    '" ',
    "[",
    "]",
    "(",
    ",",
    "(,x",
    "{{",
    "{{.Inputs.",
    "{{ ",
    "%",
    "-",
)
ALPHABET += (
    "1.",
    ".",
    "1s",
    "1ns",
    "1h",
    "0",
    "0.0",
    "e1",
    "1e",
    "E",
    "a.",
    "a/",
    "a-",
    "=",
    "://",
    "://a:",
    "a,",
    "\\u",
)
# Not met by a client's text: settings, and names of our own RPCs and documents.
# Modules in a folder taskside run in the environment of tasks, where flytekit is.
OWN = ("app.settings", "app.runtime.metrics", "app.mcp.adapter", "app.cli.main")


def seconds(parse: Callable[[Any], Any], text: Any) -> float:
    started = time.process_time()
    with contextlib.suppress(ValueError, FlyteError):
        parse(text)
    return time.process_time() - started


def is_linear(parse: Callable[[Any], Any], unit: Any, end: Any = END) -> bool:
    """Whether four times the length takes about four times as long; the least of three runs counts."""
    for _ in range(3):
        short = seconds(parse, unit * (LENGTH // len(unit)) + end)
        # What takes a second for so little is quadratic at least, and is not tried with more.
        if short > 0.5:
            continue
        long = seconds(parse, unit * (4 * LENGTH // len(unit)) + end)
        if long < max(SECONDS_MIN, SLOWER_MAX * short):
            return True
    return False


def patterns() -> dict[str, re.Pattern[Any]]:
    """Return the expressions of all modules by module and name, also those that are kept as text."""
    found: dict[str, re.Pattern[Any]] = {}
    for module in pkgutil.walk_packages(app.__path__, "app."):
        if not module.name.startswith(OWN) and not module.name.endswith("__main__") and ".taskside." not in module.name:
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, re.Pattern):
                    found[f"{module.name}.{name}"] = value
    for name in ("_NAME", "_VALUE", "_LABEL", "_SUBDOMAIN"):
        found[f"app.services.checks.{name}"] = re.compile(getattr(checks, name))
    return found


PATTERNS = patterns()
# Bounded by their callers, which look at the length first: app/wire/go/quantity.py.
BOUNDED = {"app.wire.go.quantity._QUANTITY"}


# Those that look for places in a text; the others match it as a whole.
SEARCHING = {
    "app.api.rest.route_tree._UNCLEAN",
    "app.blobs.object_names._ESCAPED",
    "app.compiler.binding_checks._VARIABLE",
    "app.engine.local.processes.commands._input_value",
    "app.engine.local.processes.commands._namespace",
    "app.engine.local.processes.commands._variable",
    "app.services.dataproxy._BROKEN_ESCAPE",
    "app.services.dataproxy._CONTROL",
    "app.wire.bind._BROKEN_ESCAPE",
    "app.wire.decode._KEY_END",
    "app.wire.go.gojson._ESCAPE",
    "app.wire.go.gojson._MARK",
    "app.wire.go.gojson._SURROGATES",
    "app.wire.go.gojson._TOKEN",
}


@pytest.mark.parametrize("name", sorted(set(PATTERNS) - BOUNDED))
def test_every_expression(name: str) -> None:
    pattern = PATTERNS[name]
    way = pattern.search if name in SEARCHING else pattern.fullmatch
    binary = isinstance(pattern.pattern, bytes)
    bad = [unit for unit in ALPHABET if not is_linear(lambda text: way(text.encode() if binary else text), unit)]
    assert bad == []


def test_the_searching_expressions_are_there() -> None:
    assert set(PATTERNS) >= SEARCHING


def parse_filters(text: str) -> Any:
    unlimited = Limits(filters_characters_max=10**9, filters_max=10**9, filter_values_max=10**9)
    return filters.parse(text, limits=unlimited, own="execution", joinable=("workflow",))


PARSERS: dict[str, Callable[[str], Any]] = {
    "filters": parse_filters,
    "filter of a field": lambda text: parse_filters(f"eq(phase,{text})"),
    "filter of a duration": lambda text: parse_filters(f"gt(duration,{text})"),
    "filter of a time": lambda text: parse_filters(f"gt(created_at,{text})"),
    "filter of a number": lambda text: parse_filters(f"eq(state,{text})"),
    "go duration": goparse.parse_go_duration,
    "json duration": goparse.parse_json_duration,
    "float": lambda text: goparse.parse_float(text, 64),
    "integer": lambda text: goparse.parse_int(text, 64),
    "time": goparse.parse_rfc3339,
    "base64": goparse.parse_base64,
    "quote": goparse.go_quote,
    "quantity": quantity.Quantity.parse,
    "cron": cron.parse_cron,
    "every": lambda text: cron.parse_cron(f"@every {text}"),
    "cron field": lambda text: cron.parse_cron(f"{text} * * * *"),
    "flyte url": lambda text: flyte_url.parse(f"flyte://v1/{text}"),
    "path": lambda text: bind.path_segments(b"/" + text.encode()),
    "query": lambda text: bind.query_pairs(text.encode()),
    "query key": lambda text: bind.put_query(common_pb2.ResourceListRequest(), [(text, ["1"])], frozenset()),
    "indexed key": lambda text: bind.put_query(common_pb2.ResourceListRequest(), [(text + "]", ["1"])], frozenset()),
    "labels": lambda text: checks.check_labels({text: text}),
    "json": lambda text: decode.from_json(execution_pb2.ExecutionCreateRequest, text.encode(), strict=True),
    "json text": lambda text: decode.from_json(
        execution_pb2.ExecutionCreateRequest, f'{{"name":"{text}"'.encode(), strict=True
    ),
    "json number": lambda text: decode.from_json(
        execution_pb2.ExecutionCreateRequest, f'{{"spec":{{"max_parallelism":"{text}"}}}}'.encode(), strict=False
    ),
}


@pytest.mark.parametrize("name", PARSERS)
def test_every_parser(name: str) -> None:
    for end in (END, ""):
        assert [unit for unit in ALPHABET if not is_linear(PARSERS[name], unit, end)] == []


def test_a_number_of_more_digits_than_python_reads_is_refused() -> None:
    digits = "9" * 5_000
    for parse in ("go duration", "integer", "quantity", "filter of a number", "cron field", "every", "json number"):
        with pytest.raises((ValueError, FlyteError)) as caught:
            PARSERS[parse](digits)
        assert "set_int_max_str_digits" not in str(caught.value)


def test_messages_inside_any_are_read_a_few_times_at_most() -> None:
    """Each is read ahead to its end, so that nesting would multiply the work."""
    body = '{"@type": "type.googleapis.com/google.protobuf.Empty"}'
    for _ in range(decode.protojson.ANYS_MAX):
        body = f'{{"@type": "type.googleapis.com/google.rpc.Status", "details": [{body}]}}'
    text = f'{{"spec": {{"entity_metadata": {{"launch_conditions": {body}}}}}}}'.encode()
    with pytest.raises(InvalidArgument, match="exceeded max recursion depth"):
        decode.from_json(launch_plan_pb2.LaunchPlanCreateRequest, text, strict=False)
