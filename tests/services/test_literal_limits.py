"""Literals that are too large to be read back are refused where they enter, with an error that names the setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.admin import execution_pb2, signal_pb2
from flyteidl.core import literals_pb2

from app.services import dataproxy, events, executions, launch_plans, node_executions, offloading, signals
from app.services.literal_limits import check
from app.services.phases import Node, Task, Workflow
from app.settings import Settings
from app.settings.load import load
from tests.services.test_events import launch, node_event, run_id, task_event, workflow_event
from tests.services.test_executions import a_launch, prepare
from tests.services.test_signals import STRING, signal_id, string, wanted
from tests.support.builders import a_launch_plan, refusal, register

Scenario = Callable[..., Any]
LIMITS = {"storage": {"limits": {"max_download_mbs": 1}}}
LIMIT = 2**20
TOLD = "more than the limit of 1048576; pass large values as files"
SETTING = "raise storage.limits.maxDownloadMBs, which is 1"


def literals(size: int, name: str = "o") -> literals_pb2.LiteralMap:
    """A map of exactly so many bytes."""
    value = string("x")
    found = literals_pb2.LiteralMap(literals={name: value})
    while found.ByteSize() != size:
        given = len(value.scalar.primitive.string_value) + size - found.ByteSize()
        value = string("x" * given)
        found = literals_pb2.LiteralMap(literals={name: value})
    return found


def test_the_default_is_ten_and_with_a_file_two(tmp_path: Any) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("server:\n  httpPort: 8080\n")
    assert load((), environ={}).settings.storage.limits.max_download_mbs == 10
    assert load((file,), environ={}).settings.storage.limits.max_download_mbs == 2


def test_zero_is_no_limit() -> None:
    check(Settings.model_validate({"storage": {"limits": {"max_download_mbs": 0}}}), "inputs", literals(LIMIT * 3))


@pytest.mark.parametrize("excess", [0, 1])
def test_inputs_of_a_launch(bench: Scenario, excess: int) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        request = a_launch()
        # The number is the same, and the literal as large as wanted.
        literal = request.inputs.literals["a"]
        literal.hash = "h" * (LIMIT // 2)
        while (lacking := LIMIT + excess - request.inputs.ByteSize()) != 0:
            literal.hash = "h" * (len(literal.hash) + lacking)
        if not excess:
            await b.call(executions.create_execution, request)
            await b.call(executions.relaunch_execution, execution_pb2.ExecutionRelaunchRequest(id=run_id()))
            asked = execution_pb2.WorkflowExecutionGetDataRequest(id=run_id())
            data = await b.call(executions.get_execution_data, asked)
            assert data.full_inputs == request.inputs
            assert not data.inputs.url
            return
        error = await refusal(b, executions.create_execution, request)
        assert error.message.startswith("inputs have ")
        assert TOLD in error.message
        assert error.message.endswith(SETTING)

    bench(scenario, **LIMITS)


def test_fixed_inputs_of_a_launch_plan(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await register(b, workflow=True)
        request = a_launch_plan()
        request.spec.fixed_inputs.literals["a"].scalar.primitive.integer = 1
        request.spec.fixed_inputs.literals["a"].hash = "h" * LIMIT
        error = await refusal(b, launch_plans.create_launch_plan, request)
        assert error.message.startswith("fixed_inputs have ")
        assert error.message.endswith(SETTING)

    bench(scenario, **LIMITS)


def test_the_value_of_a_signal(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await b.call(signals.get_or_create_signal, wanted(kind=STRING))
        request = signal_pb2.SignalSetRequest(id=signal_id(), value=string("x" * LIMIT))
        error = await refusal(b, signals.set_signal, request)
        assert error.message.startswith("values have ")
        assert error.message.endswith(SETTING)
        request.value.CopyFrom(string("x" * (LIMIT - 100)))
        await b.call(signals.set_signal, request)

    bench(scenario, **LIMITS)


@pytest.mark.parametrize("what", ["inputs", "outputs"])
def test_what_events_carry(bench: Scenario, what: str) -> None:
    async def scenario(b: Any) -> None:
        await launch(b)
        await b.call(events.create_node_event, node_event("n0", Node.RUNNING, 1))
        made = [
            (task_event("n0", Task.SUCCEEDED, 2), events.create_task_event),
            (node_event("n1", Node.SUCCEEDED, 2), events.create_node_event),
        ]
        if what == "outputs":
            made.append((workflow_event(Workflow.SUCCEEDED, 3), events.create_workflow_event))
        for request, function in made:
            data = request.event.input_data if what == "inputs" else request.event.output_data
            data.CopyFrom(literals(LIMIT + 1))
            error = await refusal(b, function, request)
            assert error.message.startswith(f"{what} have {LIMIT + 1} bytes, more than the limit of {LIMIT}; ")
            data.CopyFrom(literals(LIMIT))
            await b.call(function, request)
        url = f"flyte://v1/p/development/e1/n1/{what[0]}"
        found = await b.call(dataproxy.get_data, dataproxy.dataproxy_pb2.GetDataRequest(flyte_url=url))
        assert found.literal_map == literals(LIMIT)

    bench(scenario, **LIMITS)


class TestOffloading:
    def test_the_largest_literals_are_stored_apart_until_the_rest_fits(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            values = literals_pb2.LiteralMap()
            for name, size in (("a", 400_000), ("b", 700_000), ("c", 10_000)):
                values.literals[name].CopyFrom(string(name * size))
            slim = await offloading.offload(b.settings, b.blobs, b.blobs.uri("d"), values)
            reference = slim.literals["b"].offloaded_metadata
            assert (slim.literals["a"], slim.literals["c"]) == (values.literals["a"], values.literals["c"])
            assert reference.size_bytes == values.literals["b"].ByteSize()
            assert reference.inferred_type == STRING
            assert slim.literals["b"].hash
            assert await offloading.read_offloaded_map(b.settings, b.blobs, slim) == values
            other = await offloading.offload(b.settings, b.blobs, b.blobs.uri("e"), values)
            assert offloading.equal_values(slim, other)
            other.literals["b"].hash = "another"
            assert not offloading.equal_values(slim, other)

        bench(scenario, **LIMITS)

    def test_what_fits_and_what_is_switched_off_stays(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            for values in (literals(LIMIT), literals(LIMIT * 2)):
                off = b.settings.engine.local.offloaded_literal_mbs_max == 0
                if off or values.ByteSize() <= LIMIT:
                    assert await offloading.offload(b.settings, b.blobs, b.blobs.uri("d"), values) is values

        bench(scenario, **LIMITS)
        bench(scenario, **LIMITS, engine={"local": {"offloaded_literal_mbs_max": 0}})

    def test_references_are_replaced_at_any_depth(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            uri = b.blobs.uri("one.pb")
            await b.blobs.write(uri, string("one").SerializeToString())
            reference = literals_pb2.Literal()
            reference.offloaded_metadata.uri = uri
            values = literals_pb2.LiteralMap(literals={"a": reference})
            values.literals["b"].collection.literals.extend([reference, string("two")])
            values.literals["c"].map.literals["k"].collection.literals.append(reference)
            await offloading.replace_references(b.settings, b.blobs, values)
            assert values.literals["a"] == string("one")
            assert list(values.literals["b"].collection.literals) == [string("one"), string("two")]
            assert values.literals["c"].map.literals["k"].collection.literals[0] == string("one")

        bench(scenario, **LIMITS)

    @pytest.mark.parametrize(
        ("limit", "local", "expected"),
        [
            (10, {}, {"_F_L_MIN_SIZE_MB": "5", "_F_L_MAX_SIZE_MB": "100"}),
            (1, {}, {"_F_L_MIN_SIZE_MB": "1", "_F_L_MAX_SIZE_MB": "100"}),
            (10, {"offloaded_literal_mbs_min": 2}, {"_F_L_MIN_SIZE_MB": "2", "_F_L_MAX_SIZE_MB": "100"}),
            (10, {"offloaded_literal_mbs_max": 0}, {}),
            (0, {}, {}),
        ],
    )
    def test_what_flytekit_is_told(self, limit: int, local: Any, expected: dict[str, str]) -> None:
        settings = Settings.model_validate(
            {"storage": {"limits": {"max_download_mbs": limit}}, "engine": {"local": local}}
        )
        assert offloading.environment_variables(settings) == expected

    def test_data_is_answered_with_the_literals_as_far_as_they_fit(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            values = literals_pb2.LiteralMap()
            for name, size in (("a", 600_000), ("b", 600_000), ("c", 10)):
                values.literals[name].CopyFrom(string(name * size))
            slim = literals_pb2.LiteralMap()
            for name in values.literals:
                uri = b.blobs.uri(f"{name}.pb")
                await b.blobs.write(uri, values.literals[name].SerializeToString())
                slim.literals[name].offloaded_metadata.uri = uri
                slim.literals[name].offloaded_metadata.size_bytes = values.literals[name].ByteSize()
            slim.literals["d"].offloaded_metadata.uri = b.blobs.uri("gone")
            ended = node_event("n0", Node.SUCCEEDED, 1)
            ended.event.output_data.CopyFrom(slim)
            await b.call(events.create_node_event, ended)
            request = node_executions.node_execution_pb2.NodeExecutionGetDataRequest(id=ended.event.id)
            outputs = (await b.call(node_executions.get_node_execution_data, request)).full_outputs.literals
            url = "flyte://v1/p/development/e1/n0/o"
            asked = await b.call(dataproxy.get_data, dataproxy.dataproxy_pb2.GetDataRequest(flyte_url=url))
            assert asked.literal_map.literals["a"] == values.literals["a"]
            assert outputs["a"] == values.literals["a"]
            assert outputs["b"] == slim.literals["b"]
            assert outputs["c"] == values.literals["c"]
            assert outputs["d"] == slim.literals["d"]

        bench(scenario, **LIMITS)
