"""Launch, relaunch, recover, archive, terminate and list executions, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from flyteidl.admin import (
    common_pb2,
    execution_pb2,
    launch_plan_pb2,
    matchable_resource_pb2,
    project_attributes_pb2,
    workflow_attributes_pb2,
)
from flyteidl.core import identifier_pb2

from app import errors
from app.database import schema
from app.services import events, executions, launch_plans, matchable_attributes
from app.services import execution_config as config
from app.services.executions.launch import launch as launch_child
from app.services.phases import Workflow
from app.settings import Settings
from tests.services.test_events import get, run_id, workflow_event
from tests.support.builders import a_launch_plan, an_id, refusal, register

Scenario = Callable[..., Any]


async def prepare(b: Any, plan: launch_plan_pb2.LaunchPlanCreateRequest | None = None) -> None:
    await register(b, workflow=True)
    await b.call(launch_plans.create_launch_plan, plan or a_launch_plan())


def a_launch(name: str = "e1", *, a: int = 1, task: bool = False) -> execution_pb2.ExecutionCreateRequest:
    """A launch of lp with a, or of the task inc with x."""
    request = execution_pb2.ExecutionCreateRequest(project="p", domain="development", name=name)
    kind, what = (identifier_pb2.TASK, "inc") if task else (identifier_pb2.LAUNCH_PLAN, "lp")
    request.spec.launch_plan.CopyFrom(an_id(kind, what))
    request.inputs.literals["x" if task else "a"].scalar.primitive.integer = a
    return request


async def inputs_of(b: Any, name: str) -> dict[str, int]:
    request = execution_pb2.WorkflowExecutionGetDataRequest(id=run_id(name))
    data = await b.call(executions.get_execution_data, request)
    return {key: value.scalar.primitive.integer for key, value in data.full_inputs.literals.items()}


async def names(b: Any, **fields: Any) -> list[str]:
    request = common_pb2.ResourceListRequest(limit=100, **fields)
    request.id.project, request.id.domain = "p", "development"
    found = await b.call(executions.list_executions, request)
    return [one.id.name for one in found.executions]


class TestCreate:
    def test_what_is_stored_is_what_was_asked_for(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            request = a_launch()
            request.spec.labels.values["team"] = "blue"
            request.spec.tags.append("t")
            await b.call(executions.create_execution, request, principal="me")
            found = await get(b)
            assert found.spec.metadata.principal == "me"
            assert found.spec.max_parallelism == 25
            assert found.spec.metadata.system_metadata.namespace == "p-development"
            assert found.closure.workflow_id == an_id(identifier_pb2.WORKFLOW, "wf")
            assert found.closure.phase == Workflow.UNDEFINED
            assert await inputs_of(b, "e1") == {"a": 1}

        bench(scenario)

    def test_a_generated_name_has_twenty_characters(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            made = await b.call(executions.create_execution, a_launch(""))
            assert len(made.id.name) == 20
            assert made.id.name[0] == "a"
            assert set(made.id.name[1:]) <= set("bcdfghjklmnpqrstvwxz2456789")

        bench(scenario)

    def test_a_taken_name_changes_nothing_of_the_first(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            await b.call(executions.create_execution, a_launch(a=11))
            error = await refusal(b, executions.create_execution, a_launch(a=22), errors.AlreadyExists)
            assert 'unique constraint "executions_pkey"' in error.message
            assert await inputs_of(b, "e1") == {"a": 11}

        bench(scenario)

    def test_of_two_launches_at_once_under_one_name_one_wins_whole(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            calls = [b.call(executions.create_execution, a_launch(a=a)) for a in range(1, 9)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            lost = [r for r in results if isinstance(r, errors.AlreadyExists)]
            assert len(lost) == 7
            winner = next(a for a, r in enumerate(results, 1) if not isinstance(r, BaseException))
            assert await inputs_of(b, "e1") == {"a": winner}

        bench(scenario)

    def test_a_refused_launch_leaves_nothing(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            request = a_launch()
            request.inputs.literals["b"].scalar.primitive.integer = 1
            assert (await refusal(b, executions.create_execution, request)).message == "invalid input b"
            async with b.context() as ctx:
                for model in (schema.Execution, schema.ExecutionTag, schema.Launch):
                    assert await ctx.db.count(model, execution_name="e1") == 0

        bench(scenario)

    def test_row_and_launch_record_are_one(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            await b.call(executions.create_execution, a_launch())
            async with b.context() as ctx:
                assert await ctx.db.count(schema.Launch, execution_name="e1") == 1

        bench(scenario)

    def test_a_reference_without_a_type_means_a_launch_plan(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            request = a_launch()
            request.spec.launch_plan.ClearField("resource_type")
            await b.call(executions.create_execution, request)
            assert (await get(b)).spec.launch_plan.resource_type == identifier_pb2.LAUNCH_PLAN

        bench(scenario)

    def test_inputs_in_the_spec_count_where_there_are_no_others(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            request = a_launch(a=5)
            request.spec.inputs.CopyFrom(request.inputs)
            request.ClearField("inputs")
            await b.call(executions.create_execution, request)
            assert await inputs_of(b, "e1") == {"a": 5}
            assert (await get(b)).spec.inputs.literals["a"].scalar.primitive.integer == 5

        bench(scenario)

    def test_a_tag_named_twice_is_one(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            request = a_launch()
            request.spec.tags.extend(["t", "t", "u"])
            await b.call(executions.create_execution, request)
            assert await names(b, filters="value_in(admin_tag.name,t;u)") == ["e1"]

        bench(scenario)

    def test_a_single_task_is_wrapped_once(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            for name in ("t1", "t2"):
                await b.call(executions.create_execution, a_launch(name, task=True))
            found = await get(b, "t2")
            assert found.spec.launch_plan.resource_type == identifier_pb2.TASK
            assert found.closure.workflow_id.name == ".flytegen.inc"
            async with b.context() as ctx:
                assert await ctx.db.count(schema.Workflow, name=".flytegen.inc") == 1
            assert await names(b, filters="eq(task.name,inc)") == ["t1", "t2"]

        bench(scenario)

    def test_the_first_launches_of_a_task_at_once_all_succeed(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            launches = [a_launch(f"t{n}", task=True) for n in range(8)]
            for n, launch in enumerate(launches):
                # The roles that the generated launch plan has from the first launch must not affect other launches.
                launch.spec.security_context.run_as.k8s_service_account = f"account{n}"
            await asyncio.gather(*(b.call(executions.create_execution, launch) for launch in launches))
            assert len(await names(b, filters="eq(task.name,inc)")) == 8
            async with b.context() as ctx:
                assert await ctx.db.count(schema.LaunchPlan, name=".flytegen.inc") == 1

        bench(scenario)


class TestConcurrencyPolicy:
    @pytest.mark.parametrize("most", [1, 3])
    def test_launches_at_once_never_pass_the_limit(self, bench: Scenario, most: int) -> None:
        async def scenario(b: Any) -> None:
            plan = a_launch_plan()
            plan.spec.concurrency_policy.max = most
            plan.spec.concurrency_policy.behavior = launch_plan_pb2.CONCURRENCY_LIMIT_BEHAVIOR_SKIP
            await prepare(b, plan)
            calls = [b.call(executions.create_execution, a_launch(f"e{n}")) for n in range(8)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            refused = [r for r in results if isinstance(r, errors.AlreadyExists)]
            assert len(refused) == 8 - most
            assert refused[0].message == f"concurrency limit ({most}) reached for launch plan lp; skipping execution"

        bench(scenario)

    def test_versions_of_one_launch_plan_share_the_limit(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            launches = []
            for n in range(8):
                plan = a_launch_plan(version=f"c{n}")
                plan.spec.concurrency_policy.max = 1
                plan.spec.concurrency_policy.behavior = launch_plan_pb2.CONCURRENCY_LIMIT_BEHAVIOR_SKIP
                await b.call(launch_plans.create_launch_plan, plan)
                launches.append(a_launch(f"e{n}"))
                launches[-1].spec.launch_plan.version = f"c{n}"
            calls = [b.call(executions.create_execution, launch) for launch in launches]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert sum(isinstance(r, errors.AlreadyExists) for r in results) == 7

        bench(scenario)


class TestAgain:
    def test_relaunch_and_recover_keep_the_spec(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            request = a_launch(a=9)
            request.spec.annotations.values["k"] = "v"
            request.spec.overwrite_cache = True
            await b.call(executions.create_execution, request)
            again = execution_pb2.ExecutionRelaunchRequest(id=run_id(), name="r1")
            await b.call(executions.relaunch_execution, again)
            recover = execution_pb2.ExecutionRecoverRequest(id=run_id(), name="r2")
            await b.call(executions.recover_execution, recover)
            relaunched, recovered = await get(b, "r1"), await get(b, "r2")
            modes = execution_pb2.ExecutionMetadata
            assert (relaunched.spec.metadata.mode, recovered.spec.metadata.mode) == (modes.RELAUNCH, modes.RECOVERED)
            assert (relaunched.spec.overwrite_cache, recovered.spec.overwrite_cache) == (False, True)
            for one in (relaunched, recovered):
                assert one.spec.metadata.reference_execution == run_id()
                assert one.spec.annotations.values["k"] == "v"
                assert await inputs_of(b, one.id.name) == {"a": 9}

        bench(scenario)

    def test_of_nobody_is_not_found(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            request = execution_pb2.ExecutionRelaunchRequest(id=run_id("nobody"))
            await refusal(b, executions.relaunch_execution, request, errors.NotFound)

        bench(scenario)


class TestListAndUpdate:
    def test_archived_ones_are_hidden_unless_they_are_asked_for(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            for name in ("e1", "e2"):
                await b.call(executions.create_execution, a_launch(name))
            update = execution_pb2.ExecutionUpdateRequest(id=run_id("e2"), state=execution_pb2.EXECUTION_ARCHIVED)
            await b.call(executions.update_execution, update)
            assert await names(b) == ["e1"]
            assert await names(b, filters="eq(state,1)") == ["e2"]
            assert await names(b, filters="eq(launch_plan.state,0)") == ["e1"]

        bench(scenario)

    def test_filters_join_what_they_name(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            for name in ("e1", "e2"):
                await b.call(executions.create_execution, a_launch(name))
            await b.call(events.create_workflow_event, workflow_event(Workflow.RUNNING, 1))
            assert await names(b, filters="eq(phase,RUNNING)+eq(workflow.name,wf)") == ["e1"]
            assert await names(b, filters="contains(launch_plan.name,p)") == ["e1", "e2"]
            assert await names(b, filters="eq(launch_plan.version,none)") == []

        bench(scenario)

    def test_a_finished_execution_cannot_be_terminated(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            await b.call(executions.create_execution, a_launch())
            await b.call(events.create_workflow_event, workflow_event(Workflow.SUCCEEDED, 1))
            request = execution_pb2.ExecutionTerminateRequest(id=run_id(), cause="late")
            error = await refusal(b, executions.terminate_execution, request, errors.FailedPrecondition)
            assert error.details[0].already_in_terminal_state.current_phase == "SUCCEEDED"

        bench(scenario)


def _spec(**fields: Any) -> execution_pb2.ExecutionSpec:
    return execution_pb2.ExecutionSpec(**fields)


class TestConfiguration:
    """Which source wins, field by field (spec §5.5)."""

    def test_the_first_source_that_provides_a_field_wins(self) -> None:
        plan = launch_plan_pb2.LaunchPlanSpec(max_parallelism=3, overwrite_cache=True)
        plan.labels.values["from"] = "plan"
        spec = _spec()
        spec.interruptible.value = False
        plan.interruptible.value = True
        attribute = config.Config(max_parallelism=9)
        attribute.annotations.values["from"] = "attribute"
        merged = config.resolve(spec, plan, [attribute], Settings(), principal="me")
        assert merged.max_parallelism == 3
        assert merged.overwrite_cache
        assert merged.interruptible.value is False
        assert (merged.labels.values["from"], merged.annotations.values["from"]) == ("plan", "attribute")
        assert merged.security_context.run_as.execution_identity == "me"

    def test_the_deprecated_role_fields_count_last(self) -> None:
        plan = launch_plan_pb2.LaunchPlanSpec(role="old")
        assert config.resolve(_spec(), plan, [], Settings(), principal="").security_context.run_as.iam_role == "old"
        plan.auth.assumable_iam_role = "auth"
        assert config.resolve(_spec(), plan, [], Settings(), principal="").security_context.run_as.iam_role == "auth"
        plan.auth_role.assumable_iam_role = "auth_role"
        spec = _spec()
        assert config.resolve(spec, plan, [], Settings(), principal="").security_context.run_as.iam_role == "auth_role"
        spec.auth_role.assumable_iam_role = "request"
        assert config.resolve(spec, plan, [], Settings(), principal="").security_context.run_as.iam_role == "request"
        plan.security_context.run_as.iam_role = "context"
        assert config.resolve(spec, plan, [], Settings(), principal="").security_context.run_as.iam_role == "context"

    def test_a_context_of_secrets_alone_is_no_context(self) -> None:
        spec = _spec()
        spec.security_context.secrets.add(group="g", key="k")
        assert not config.resolve(spec, None, [], Settings(), principal="").security_context.secrets

    def test_a_child_takes_from_its_parent_what_its_own_sources_do_not_say(self) -> None:
        above = config.Config(max_parallelism=25, overwrite_cache=True)
        above.security_context.run_as.k8s_service_account = "parent"
        above.raw_output_data_config.output_location_prefix = "s3://parent"
        above.interruptible.value = True
        for key in ("a", "b"):
            above.labels.values[key] = above.annotations.values[key] = "parent"
            above.envs.values.add(key=key, value="parent")
        spec = _spec()
        config.inherit(spec, above, (launch_plan_pb2.LaunchPlanSpec(),))
        inherited = config.Config()
        config.merge(inherited, spec)
        assert inherited == above
        plan = launch_plan_pb2.LaunchPlanSpec(max_parallelism=1)
        plan.security_context.run_as.k8s_service_account = "plan"
        plan.interruptible.value = False
        plan.raw_output_data_config.output_location_prefix = "s3://plan"
        for key in ("b", "c"):
            plan.labels.values[key] = plan.annotations.values[key] = "plan"
            plan.envs.values.add(key=key, value="plan")
        spec = _spec()
        config.inherit(spec, above, (plan, config.Config(max_parallelism=9)))
        both = {"a": "parent", "b": "plan", "c": "plan"}
        assert dict(spec.labels.values) == dict(spec.annotations.values) == both
        assert {pair.key: pair.value for pair in spec.envs.values} == both
        assert (spec.max_parallelism, spec.interruptible.value, spec.overwrite_cache) == (1, False, True)
        assert spec.raw_output_data_config.output_location_prefix == "s3://plan"
        assert spec.security_context.run_as.k8s_service_account == "parent"

    def test_attributes_of_its_workflow_come_before_the_parent(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            update = workflow_attributes_pb2.WorkflowAttributesUpdateRequest()
            update.attributes.project, update.attributes.domain, update.attributes.workflow = "p", "development", "wf"
            update.attributes.matching_attributes.workflow_execution_config.max_parallelism = 4
            above = config.Config(max_parallelism=25)
            await b.call(partial(launch_child, parent_config=above), a_launch())
            await b.call(matchable_attributes.update_workflow_attributes, update)
            await b.call(partial(launch_child, parent_config=above), a_launch("e2"))
            assert [(await get(b, name)).spec.max_parallelism for name in ("e1", "e2")] == [25, 4]

        bench(scenario)

    def test_attributes_of_the_project_reach_the_execution(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            request = matchable_resource_pb2.WorkflowExecutionConfig(max_parallelism=4)
            update = project_attributes_pb2.ProjectAttributesUpdateRequest()
            update.attributes.project = "p"
            update.attributes.matching_attributes.workflow_execution_config.CopyFrom(request)
            await b.call(matchable_attributes.update_project_attributes, update)
            await b.call(executions.create_execution, a_launch())
            assert (await get(b)).spec.max_parallelism == 4

        bench(scenario)
