"""Workflows through their functions, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import common_pb2, workflow_pb2
from flyteidl.core import identifier_pb2

from app import errors
from app.database import schema
from app.services import description_entities, launch_plans, projects, tasks, workflows
from tests.support.builders import a_launch_plan, a_name, a_project, a_task, a_workflow, an_id, pages, refusal, register

Bench = Callable[..., Any]
WORKFLOW = identifier_pb2.WORKFLOW


def get(name: str = "wf", version: str = "v1", kind: int = WORKFLOW) -> common_pb2.ObjectGetRequest:
    return common_pb2.ObjectGetRequest(id=an_id(kind, name, version))


def reason(error: errors.FlyteError) -> tuple[str, str]:
    """Return the kind of failure in the only detail, and the version."""
    (detail,) = error.details
    assert isinstance(detail, workflow_pb2.CreateWorkflowFailureReason)
    kind = detail.WhichOneof("reason")
    assert kind is not None
    return kind, getattr(detail, kind).id.version


def stored_closure(row: Any) -> workflow_pb2.WorkflowClosure:
    """The object that a row names."""
    return workflow_pb2.WorkflowClosure.FromString(Path(row.remote_closure_identifier).read_bytes())


def spoil(row: Any, content: bytes | None) -> None:
    """Replace or remove the object that a row names."""
    path = Path(row.remote_closure_identifier)
    path.unlink()
    if content is not None:
        path.write_bytes(content)


class TestCreateWorkflow:
    def test_reads_back_compiled(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            request = a_workflow(nodes=2)
            request.spec.template.id.name = "other"
            request.spec.description.short_description = "short"
            await b.call(workflows.create_workflow, request)
            found = await b.call(workflows.get_workflow, get())
            compiled = found.closure.compiled_workflow
            assert (found.id, found.short_description) == (request.id, "short")
            assert compiled.primary.template.id == request.id
            assert [node.id for node in compiled.primary.template.nodes] == ["start-node", "end-node", "n0", "n1"]
            assert [task.template.id.name for task in compiled.tasks] == ["inc"]
            async with b.context() as ctx:
                row = await ctx.db.find(schema.Workflow, name="wf")
            assert row.typed_interface == request.spec.template.interface.SerializeToString(deterministic=True)
            assert row.created_at == row.updated_at == found.closure.created_at.ToDatetime(row.created_at.tzinfo)

        bench(scenario)

    def test_identical_and_different_carry_the_reason(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b, workflow=True)
            error = await refusal(b, workflows.create_workflow, a_workflow(), errors.AlreadyExists)
            assert error.message == "workflow with identical structure already exists"
            assert reason(error) == ("exists_identical_structure", "v1")
            error = await refusal(b, workflows.create_workflow, a_workflow(nodes=2))
            first, _, rest = error.message.partition("\n")
            assert first == (
                "wf workflow with different structure already exists. (Please register a new version of the workflow):"
            )
            # Deviates from upstream, whose message lists the whole new workflow as different.
            assert "/primary/template/outputs/0/binding/Value/Promise/node_id:\n\t- n0 \n\t+ n1" in rest
            assert "/primary/template/id" not in rest
            assert reason(error) == ("exists_different_structure", "v1")

        bench(scenario)

    def test_many_at_once_never_mix_a_row_with_the_closure_of_another(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            requests = [a_workflow(nodes=1 + number % 3) for number in range(9)]
            for request in requests:
                request.spec.description.short_description = str(len(request.spec.template.nodes))
            done = await asyncio.gather(
                *(b.call(workflows.create_workflow, request) for request in requests), return_exceptions=True
            )
            assert sum(isinstance(one, workflow_pb2.WorkflowCreateResponse) for one in done) == 1
            identical = [one for one in done if isinstance(one, errors.AlreadyExists)]
            different = [one for one in done if isinstance(one, errors.InvalidArgument)]
            assert (len(identical), len(different)) == (2, 6)
            found = await b.call(workflows.get_workflow, get())
            winner = len(found.closure.compiled_workflow.primary.template.nodes) - 2
            assert found.short_description == str(winner)
            error = await refusal(b, workflows.create_workflow, a_workflow(nodes=winner), errors.AlreadyExists)
            assert reason(error)[0] == "exists_identical_structure"

        bench(scenario)

    def test_versions_that_look_like_paths_keep_closures_of_their_own(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            versions = ["v", "v#a", "v?a", "../wf/v", "v/../v", "v/.", "%76", "~76", ".", "..", " v", "v" * 400]
            for number, version in enumerate(versions):
                request = a_workflow(version=version)
                request.spec.template.nodes[0].metadata.name = str(number)
                await b.call(workflows.create_workflow, request)
            for number, version in enumerate(versions):
                found = await b.call(workflows.get_workflow, get(version=version))
                nodes = found.closure.compiled_workflow.primary.template.nodes
                assert nodes[2].metadata.name == str(number)

        bench(scenario)

    def test_the_object_lies_below_the_configured_prefix(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b, workflow=True)
            async with b.context() as ctx:
                row = await ctx.db.find(schema.Workflow, name="wf")
            assert Path(row.remote_closure_identifier).parent == Path(b.blobs.base, "x", "y", "p", "development", "wf")
            assert Path(row.remote_closure_identifier).name == f"v1.{row.digest.hex()[:32]}"
            closure = stored_closure(row)
            assert closure.created_at.ToDatetime(row.created_at.tzinfo) == row.created_at

        bench(scenario, flyteadmin={"metadata_storage_prefix": ["x", "y"]})

    def test_a_refused_registration_leaves_no_description(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            request = a_workflow()
            request.id.name = "a\0b"
            request.spec.description.SetInParent()
            error = await refusal(b, workflows.create_workflow, request)
            assert error.message == 'invalid byte sequence for encoding "UTF8": 0x00'
            async with b.context() as ctx:
                assert await ctx.db.count(schema.DescriptionEntity) == 0

        bench(scenario)

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda r: r.ClearField("id"), "missing id"),
            (lambda r: setattr(r.id, "resource_type", 1), "unexpected resource type task for identifier"),
            (lambda r: setattr(r.id, "domain", "moon"), "domain [moon] is unrecognized by system"),
            (lambda r: r.spec.ClearField("template"), "missing spec"),
            (lambda r: r.spec.sub_workflows.add(), "with err: failed to get workflow requirements with err Collected"),
            (
                lambda r: r.spec.template.nodes[0].task_node.reference_id.ClearField("version"),
                'with err: missing entity of type TASK with identifier project:"p" domain:"development" name:"inc"',
            ),
            (
                lambda r: setattr(r.spec.template.nodes[0].task_node.reference_id, "resource_type", WORKFLOW),
                "Code: TaskReferenceNotFound, Node Id: start-node",
            ),
            (
                lambda r: r.spec.template.nodes[0].workflow_node.launchplan_ref.CopyFrom(an_id(3, "none")),
                "with err: missing entity of type LAUNCH_PLAN with identifier "
                'project:"p" domain:"development" name:"none" version:"v1"',
            ),
            (lambda r: r.spec.template.ClearField("nodes"), "Code: NoNodesFound"),
            (lambda r: r.spec.template.nodes[0].ClearField("inputs"), "Code: ParameterNotBound, Node Id: n0"),
        ],
    )
    def test_what_is_refused(self, bench: Bench, spoil: Any, message: str) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            request = a_workflow()
            spoil(request)
            assert message in (await refusal(b, workflows.create_workflow, request)).message

        bench(scenario)

    def test_limits_of_nodes_and_bytes(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            await b.call(workflows.create_workflow, a_workflow(nodes=3))
            error = await refusal(b, workflows.create_workflow, a_workflow("big", nodes=4))
            assert error.message == (
                'number of nodes in workflow [resource_type:WORKFLOW project:"p" domain:"development" name:"big" '
                'version:"v1"] exceeds limit (4 > 3)'
            )
            wide = a_workflow("wide")
            wide.spec.template.nodes[0].metadata.name = "n" * 5000
            error = await refusal(b, workflows.create_workflow, wide)
            assert error.message == "Workflow closure size exceeds max limit [4Ki]"

        bench(scenario, registration={"max_workflow_nodes": 3, "workflow_size_limit": "4Ki"})

    def test_a_launch_plan_node_uses_what_is_registered(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b, workflow=True)
            await b.call(launch_plans.create_launch_plan, a_launch_plan())
            outer = a_workflow("outer")
            node = outer.spec.template.nodes[0]
            node.workflow_node.launchplan_ref.CopyFrom(an_id(identifier_pb2.LAUNCH_PLAN, "lp"))
            node.inputs[0].var = "a"
            outer.spec.template.outputs[0].binding.promise.var = "r"
            await b.call(workflows.create_workflow, outer)

        bench(scenario)

    def test_what_is_large_can_be_read_again(self, bench: Bench) -> None:
        # More than storage.limits.maxGetMBs allows for data: a workflow that can be registered can be read.
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            await b.call(tasks.create_task, a_task(args=("x" * 3_000_000,)))
            await b.call(workflows.create_workflow, a_workflow())
            found = await b.call(workflows.get_workflow, get())
            assert len(found.closure.compiled_workflow.tasks[0].template.container.args[0]) == 3_000_000

        bench(scenario, storage={"limits": {"max_download_mbs": 2}})


class TestGetWorkflow:
    def test_resource_type_is_filled_in_and_checked(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b, workflow=True)
            assert (await b.call(workflows.get_workflow, get(kind=0))).id.resource_type == WORKFLOW
            error = await refusal(b, workflows.get_workflow, get(kind=1))
            assert error.message.endswith("expected workflow instead")
            assert (await refusal(b, workflows.get_workflow, common_pb2.ObjectGetRequest())).message == "missing id"
            error = await refusal(b, workflows.get_workflow, get(version="v2"), errors.NotFound)
            assert error.message == (
                "missing entity of type WORKFLOW with identifier "
                'project:"p" domain:"development" name:"wf" version:"v2"'
            )

        bench(scenario)

    @pytest.mark.parametrize("content", [None, b"\xff\xff\xff"])
    def test_a_closure_that_cannot_be_read(self, bench: Bench, content: bytes | None) -> None:
        async def scenario(b: Any) -> None:
            await register(b, workflow=True)
            async with b.context() as ctx:
                row = await ctx.db.find(schema.Workflow, name="wf")
            spoil(row, content)
            error = await refusal(b, workflows.get_workflow, get(), errors.Internal)
            uri = row.remote_closure_identifier
            assert error.message.startswith(f"Unable to read WorkflowClosure from location {uri} : ")
            # Lists never read closures.
            request = common_pb2.ResourceListRequest(id=a_name(""), limit=5)
            assert len((await b.call(workflows.list_workflows, request)).workflows) == 1

        bench(scenario)


class TestLists:
    def test_items_have_the_interface_as_it_was_submitted_and_nothing_else(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            plain = a_workflow("plain")
            plain.spec.template.ClearField("interface")
            plain.spec.template.ClearField("outputs")
            plain.spec.template.nodes[0].inputs[0].binding.scalar.primitive.integer = 1
            described = a_workflow("wf")
            described.spec.description.short_description = "short"
            for request in (plain, described):
                await b.call(workflows.create_workflow, request)
            request = common_pb2.ResourceListRequest(id=a_name(""), limit=5)
            first, second = (await b.call(workflows.list_workflows, request)).workflows
            assert first.closure.compiled_workflow.primary.template.HasField("interface")
            assert first.closure.compiled_workflow.primary.template.ByteSize() == 2
            template = second.closure.compiled_workflow.primary.template
            assert template.interface == described.spec.template.interface
            assert (second.id, second.short_description) == (described.id, "short")
            template.ClearField("interface")
            assert template.ByteSize() == 0
            assert second.closure.HasField("created_at")

        bench(scenario)

    def test_pages_and_names(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            for name, version in (("a", "v1"), ("b", "v1"), ("a", "v2"), ("c", "v1"), ("c", "v2")):
                await b.call(workflows.create_workflow, a_workflow(name, version))
            for key in ("", "id", "created_at", "name", "version", "short_description"):
                request = common_pb2.ResourceListRequest(id=a_name(""), limit=2)
                if key:
                    request.sort_by.key = key
                found = await pages(b, workflows.list_workflows, request, "workflows")
                versions = {(one.id.name, one.id.version) for page in found for one in page}
                assert ([len(page) for page in found], len(versions)) == ([2, 2, 1], 5), key
            names = common_pb2.NamedEntityIdentifierListRequest(project="p", domain="development", limit=2)
            found = await pages(b, workflows.list_workflow_ids, names, "entities")
            assert [[one.name for one in page] for page in found] == [["a", "b"], ["c"]]

        bench(scenario)

    def test_what_is_refused(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            request = common_pb2.ResourceListRequest(id=a_name(""), limit=1, token="x")
            error = await refusal(b, workflows.list_workflows, request)
            assert error.message == "invalid pagination token x for ListWorkflows"
            names = common_pb2.NamedEntityIdentifierListRequest(project="p", domain="d", limit=1, token="x")
            error = await refusal(b, workflows.list_workflow_ids, names)
            assert error.message == "invalid pagination token x for ListWorkflowIdentifiers"

        bench(scenario)


class TestDescription:
    def test_is_stored_with_the_workflow(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            request = a_workflow()
            request.spec.description.long_description.value = "long"
            await b.call(workflows.create_workflow, request)
            found = await b.call(description_entities.get_description_entity, get())
            assert (found.id, found.long_description.value) == (request.id, "long")

        bench(scenario)
