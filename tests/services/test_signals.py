"""Signals through their functions, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.admin import common_pb2, signal_pb2
from flyteidl.core import identifier_pb2, literals_pb2, types_pb2

from app import errors
from app.engine.port import NoEngine
from app.services import signals

Bench = Callable[..., Any]

INTEGER = types_pb2.LiteralType(simple=types_pb2.INTEGER)
STRING = types_pb2.LiteralType(simple=types_pb2.STRING)
NONE = types_pb2.LiteralType(simple=types_pb2.NONE)
OPTIONAL = types_pb2.LiteralType(union_type=types_pb2.UnionType(variants=[INTEGER, NONE]))
COLOUR = types_pb2.LiteralType(enum_type=types_pb2.EnumType(values=["red", "blue"]))
LIST = types_pb2.LiteralType(collection_type=INTEGER)


def run_id(name: str = "e1") -> identifier_pb2.WorkflowExecutionIdentifier:
    return identifier_pb2.WorkflowExecutionIdentifier(project="p", domain="development", name=name)


def signal_id(name: str = "s1", run: str = "e1") -> identifier_pb2.SignalIdentifier:
    return identifier_pb2.SignalIdentifier(signal_id=name, execution_id=run_id(run))


def wanted(name: str = "s1", kind: types_pb2.LiteralType = INTEGER, run: str = "e1") -> Any:
    return signal_pb2.SignalGetOrCreateRequest(id=signal_id(name, run), type=kind)


def number(value: int) -> literals_pb2.Literal:
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(integer=value)))


def string(value: str) -> literals_pb2.Literal:
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(string_value=value)))


NOTHING = literals_pb2.Literal(scalar=literals_pb2.Scalar(none_type=literals_pb2.Void()))


class Listener(NoEngine):
    """An engine that records its notifications."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def signalled(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        self.heard.append(execution.name)


class TestGetOrCreateSignal:
    def test_makes_it_once_and_gives_the_value_that_was_set(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            expected = signal_pb2.Signal(id=signal_id(), type=INTEGER)
            assert await b.call(signals.get_or_create_signal, wanted()) == expected
            assert await b.call(signals.get_or_create_signal, wanted()) == expected
            await b.call(signals.set_signal, signal_pb2.SignalSetRequest(id=signal_id(), value=number(42)))
            expected.value.CopyFrom(number(42))
            assert await b.call(signals.get_or_create_signal, wanted()) == expected

        bench(scenario)

    def test_another_type_is_refused(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(signals.get_or_create_signal, wanted())
            with pytest.raises(errors.AlreadyExists) as caught:
                await b.call(signals.get_or_create_signal, wanted(kind=STRING))
            assert caught.value.message == (
                'value with matching already exists (duplicate key value violates unique constraint "signals_pkey")'
            )

        bench(scenario)

    def test_many_at_once_make_one(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            made = await asyncio.gather(*(b.call(signals.get_or_create_signal, wanted()) for _ in range(10)))
            assert all(signal == made[0] for signal in made)
            request = signal_pb2.SignalListRequest(workflow_execution_id=run_id(), limit=10)
            assert len((await b.call(signals.list_signals, request)).signals) == 1

        bench(scenario)

    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            (signal_pb2.SignalGetOrCreateRequest(type=INTEGER), "missing id"),
            (
                signal_pb2.SignalGetOrCreateRequest(id=identifier_pb2.SignalIdentifier(signal_id="s")),
                "missing execution_id",
            ),
            (wanted(name=""), "missing signal_id"),
            (wanted(run=""), "missing name"),
            (signal_pb2.SignalGetOrCreateRequest(id=signal_id()), "missing type"),
        ],
    )
    def test_what_is_missing(self, bench: Bench, request_: Any, message: str) -> None:
        async def scenario(b: Any) -> None:
            with pytest.raises(errors.InvalidArgument, match=f"^{message}$"):
                await b.call(signals.get_or_create_signal, request_)

        bench(scenario)


class TestSetSignal:
    @pytest.mark.parametrize(
        ("kind", "value", "fits"),
        [
            (INTEGER, number(1), True),
            (INTEGER, string("1"), False),
            (INTEGER, NOTHING, False),
            (OPTIONAL, number(1), True),
            (OPTIONAL, NOTHING, True),
            (OPTIONAL, string("1"), False),
            (COLOUR, string("red"), True),
            (COLOUR, number(1), False),
            (LIST, literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=[number(1)])), True),
            (LIST, literals_pb2.Literal(collection=literals_pb2.LiteralCollection()), True),
            (LIST, number(1), False),
            (types_pb2.LiteralType(), number(1), False),
        ],
    )
    def test_a_value_has_to_fit_the_type(
        self, bench: Bench, kind: types_pb2.LiteralType, value: literals_pb2.Literal, fits: bool
    ) -> None:
        async def scenario(b: Any) -> None:
            await b.call(signals.get_or_create_signal, wanted(kind=kind))
            request = signal_pb2.SignalSetRequest(id=signal_id(), value=value)
            if fits:
                assert await b.call(signals.set_signal, request) == signal_pb2.SignalSetResponse()
            else:
                with pytest.raises(errors.InvalidArgument, match="is not castable to existing signal type"):
                    await b.call(signals.set_signal, request)
            stored = await b.call(signals.get_or_create_signal, wanted(kind=kind))
            assert stored.HasField("value") == fits
            assert not fits or stored.value == value

        bench(scenario)

    def test_the_engine_hears_of_it_after_the_commit(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            b.engine = Listener()
            await b.call(signals.get_or_create_signal, wanted(run="e7"))

            async def set_signal(ctx: Any, request: Any) -> Any:
                response = await signals.set_signal(ctx, request)
                assert b.engine.heard == []
                return response

            await b.call(set_signal, signal_pb2.SignalSetRequest(id=signal_id(run="e7"), value=number(1)))
            assert b.engine.heard == ["e7"]
            request = signal_pb2.SignalSetRequest(id=signal_id(run="e7"), value=string("x"))
            with pytest.raises(errors.InvalidArgument):
                await b.call(signals.set_signal, request)
            assert b.engine.heard == ["e7"]

        bench(scenario)

    def test_only_its_own_execution_is_touched(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            for run in ("e1", "e2"):
                await b.call(signals.get_or_create_signal, wanted(run=run))
            await b.call(signals.set_signal, signal_pb2.SignalSetRequest(id=signal_id(), value=number(5)))
            other = await b.call(signals.get_or_create_signal, wanted(run="e2"))
            assert not other.HasField("value")

        bench(scenario)

    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            (signal_pb2.SignalSetRequest(), "missing id"),
            (signal_pb2.SignalSetRequest(id=signal_id()), "missing value"),
            (
                signal_pb2.SignalSetRequest(id=signal_id("s9"), value=number(1)),
                "failed to validate that signal [{{p development e1} s9}] exists, err: [signal does not exist]",
            ),
            (
                signal_pb2.SignalSetRequest(id=signal_id(), value=string("a")),
                'requested signal value [scalar:{primitive:{string_value:"a"}}] is not castable to existing signal '
                "type [[8 1]]",
            ),
            (
                signal_pb2.SignalSetRequest(id=signal_id(), value=literals_pb2.Literal()),
                "Failed to validate literal type for [] with err: got unknown literal type: [<nil>].\nSuggested "
                "solution: Please update all your Flyte deployment images to the latest version and try again",
            ),
        ],
    )
    def test_what_is_wrong_is_said_in_upstreams_words(self, bench: Bench, request_: Any, message: str) -> None:
        async def scenario(b: Any) -> None:
            await b.call(signals.get_or_create_signal, wanted())
            with pytest.raises(errors.InvalidArgument) as caught:
                await b.call(signals.set_signal, request_)
            assert caught.value.message == message

        bench(scenario)


class TestListSignals:
    def test_pages_in_order_of_their_making(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            for name in ("a", "b", "c"):
                await b.call(signals.get_or_create_signal, wanted(name))
            await b.call(signals.get_or_create_signal, wanted("d", run="other"))
            names, token = [], ""
            while True:
                request = signal_pb2.SignalListRequest(
                    workflow_execution_id=run_id(),
                    limit=2,
                    token=token,
                    sort_by=common_pb2.Sort(key="created_at", direction=common_pb2.Sort.ASCENDING),
                )
                page = await b.call(signals.list_signals, request)
                names += [signal.id.signal_id for signal in page.signals]
                token = page.token
                if not token:
                    break
            assert names == ["a", "b", "c"]

        bench(scenario)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"limit": 0}, "invalid value for limit"),
            ({"workflow_execution_id": run_id("")}, "missing execution_id"),
            ({"token": "x"}, "invalid pagination token x for ListSignals"),
            ({"filters": "eq(colour,x)"}, "'s.colour' is invalid filter"),
            ({"filters": "eq(task.name,x)"}, "'t' entity is not allowed in filters"),
            ({"sort_by": common_pb2.Sort(key="x")}, "invalid sort key 'x'"),
        ],
    )
    def test_what_is_wrong(self, bench: Bench, changes: dict[str, Any], message: str) -> None:
        async def scenario(b: Any) -> None:
            request = signal_pb2.SignalListRequest(**{"workflow_execution_id": run_id(), "limit": 10, **changes})
            with pytest.raises(errors.InvalidArgument) as caught:
                await b.call(signals.list_signals, request)
            assert caught.value.message == message

        bench(scenario)

    def test_filters(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            for name in ("a", "b"):
                await b.call(signals.get_or_create_signal, wanted(name))
            request = signal_pb2.SignalListRequest(workflow_execution_id=run_id(), limit=10, filters="eq(signal_id,b)")
            page = await b.call(signals.list_signals, request)
            assert [signal.id.signal_id for signal in page.signals] == ["b"]

        bench(scenario)
