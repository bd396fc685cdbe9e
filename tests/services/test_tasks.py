"""Tasks through their functions, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.admin import common_pb2, matchable_resource_pb2, project_domain_attributes_pb2, task_pb2
from flyteidl.core import identifier_pb2, tasks_pb2
from google.protobuf.json_format import ParseDict

from app import errors
from app.database import schema
from app.services import description_entities, matchable_attributes, projects, tasks
from tests.support.builders import a_name, a_project, a_task, an_id, pages, refusal, register

Bench = Callable[..., Any]
Resources = tasks_pb2.Resources
LIMITS = {"limits": {"cpu": "2", "memory": "1Gi", "gpu": "1"}}


def get(name: str = "inc", version: str = "v1", kind: int = identifier_pb2.TASK) -> common_pb2.ObjectGetRequest:
    return common_pb2.ObjectGetRequest(id=an_id(kind, name, version))


def asking(*, own_id: bool = True, requests: Any = (), limits: Any = ()) -> task_pb2.TaskCreateRequest:
    """A task that asks for resources, given as (name, quantity)."""
    request = a_task()
    template = request.spec.template
    if own_id:
        template.id.CopyFrom(an_id(identifier_pb2.TASK, "mine"))
    for name, value in requests:
        template.container.resources.requests.add(name=Resources.ResourceName.Value(name), value=value)
    for name, value in limits:
        template.container.resources.limits.add(name=Resources.ResourceName.Value(name), value=value)
    return request


def a_pod(spec: dict[str, Any]) -> task_pb2.TaskCreateRequest:
    request = a_task()
    ParseDict(spec, request.spec.template.k8s_pod.pod_spec)
    return request


class TestCreateTask:
    def test_reads_back_under_the_id_of_the_request(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            request = a_task()
            request.spec.template.id.CopyFrom(an_id(identifier_pb2.WORKFLOW, "other", "v9"))
            request.spec.description.short_description = "short"
            await b.call(tasks.create_task, request)
            found = await b.call(tasks.get_task, get())
            template = request.spec.template
            template.id.CopyFrom(request.id)
            assert found.id == request.id
            assert found.closure.compiled_task.template == template
            assert found.short_description == "short"
            async with b.context() as ctx:
                row = await ctx.db.find(schema.Task, name="inc")
            assert (row.type, row.short_description) == ("python-task", "short")
            assert row.created_at == row.updated_at == found.closure.created_at.ToDatetime(row.created_at.tzinfo)

        bench(scenario)

    def test_the_same_again_is_identical_whatever_its_description(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            request = a_task()
            request.spec.description.short_description = "late"
            error = await refusal(b, tasks.create_task, request, errors.AlreadyExists)
            assert error.message == "task with identical structure already exists"
            assert (await b.call(tasks.get_task, get())).short_description == ""
            lookup = description_entities.get_description_entity
            await refusal(b, lookup, get(), errors.NotFound)

        bench(scenario)

    def test_another_template_tells_what_differs(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            error = await refusal(b, tasks.create_task, a_task(args=("walk",)))
            assert error.message == (
                "inc task with different structure already exists. (Please register a new version of the task):\n"
                "/template/Target/Container/args/0:\n\t- run \n\t+ walk"
            )

        bench(scenario)

    def test_a_difference_of_any_size_fits_into_a_message(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            await b.call(tasks.create_task, a_task(args=("a" * 100_000,)))
            error = await refusal(b, tasks.create_task, a_task(args=("é" * 100_000,)))
            assert len(error.message.encode()) <= 4096

        bench(scenario)

    def test_many_at_once_leave_one_and_tell_the_others(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            requests = [a_task(args=(str(number % 2),)) for number in range(10)]
            for request in requests:
                request.spec.description.short_description = request.spec.template.container.args[0]
            done = await asyncio.gather(
                *(b.call(tasks.create_task, request) for request in requests), return_exceptions=True
            )
            assert sum(isinstance(one, task_pb2.TaskCreateResponse) for one in done) == 1
            identical = [str(one) for one in done if isinstance(one, errors.AlreadyExists)]
            different = [str(one) for one in done if isinstance(one, errors.InvalidArgument)]
            assert set(identical) == {"task with identical structure already exists"}
            assert (len(identical), len(different)) == (4, 5)
            stored = await b.call(tasks.get_task, get())
            described = await b.call(description_entities.get_description_entity, get())
            winner = stored.closure.compiled_task.template.container.args[0]
            assert described.short_description == stored.short_description == winner

        bench(scenario)

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda r: r.ClearField("id"), "missing id"),
            (lambda r: r.id.ClearField("version"), "missing version"),
            (lambda r: setattr(r.id, "project", "none"), "failed to validate that project [none] and domain"),
            (lambda r: r.ClearField("spec"), "missing spec"),
            (lambda r: r.spec.ClearField("template"), "missing spec"),
            (lambda r: r.spec.template.ClearField("type"), "missing type"),
            (lambda r: r.spec.template.ClearField("metadata"), "missing metadata"),
            (lambda r: r.spec.template.metadata.runtime.SetInParent(), "missing runtime version"),
            (lambda r: r.spec.template.ClearField("interface"), "missing typed interface"),
            (lambda r: r.spec.template.container.ClearField("image"), "missing image"),
            (lambda r: r.spec.template.k8s_pod.SetInParent(), "invalid TaskSpecification, pod tasks should"),
            (
                lambda r: r.spec.template.container.ClearField("args"),
                "task failed compilation with Collected Errors: 1\n\tError 0: Code: ValueRequired, Node Id: container, "
                "Description: Value required [command].\n",
            ),
            (lambda r: setattr(r.id, "name", "a\0b"), 'invalid byte sequence for encoding "UTF8": 0x00'),
        ],
    )
    def test_what_is_refused(self, bench: Bench, spoil: Any, message: str) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            request = a_task()
            spoil(request)
            assert (await refusal(b, tasks.create_task, request)).message.startswith(message)

        bench(scenario)

    def test_a_name_that_no_index_holds(self, bench: Bench) -> None:
        # Only PostgreSQL has such a bound; what it refuses is the client's mistake there.
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            noise = "".join(chr(0x4E00 + (number * 7919) % 20000) for number in range(3000))
            if b.url.startswith("postgresql"):
                assert "index row" in (await refusal(b, tasks.create_task, a_task(noise))).message
            else:
                await b.call(tasks.create_task, a_task(noise))
                assert (await b.call(tasks.get_task, get(noise))).id.name == noise

        bench(scenario)


class TestWhitelist:
    @pytest.mark.parametrize(
        ("scopes", "allowed"),
        [
            ([], True),
            ([{"project": ""}], True),
            ([{"project": "p"}], True),
            ([{"project": "p", "domain": "development"}], True),
            ([{"project": "q"}, {"project": "p", "domain": "development"}], True),
            ([{"project": "p", "domain": "staging"}], False),
            ([{"project": "q"}], False),
        ],
    )
    def test_scopes(self, bench: Bench, scopes: Any, allowed: bool) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            if allowed:
                await b.call(tasks.create_task, a_task())
            else:
                error = await refusal(b, tasks.create_task, a_task())
                assert error.message == "task type must be whitelisted before use"

        bench(scenario, task_type_whitelist={"python-task": scopes})


class TestResources:
    @pytest.mark.parametrize(
        ("requests", "limits", "message"),
        [
            ([("CPU", "2")], [("CPU", "2")], ""),
            ([("CPU", "1500m")], [("CPU", "1100m")], ""),
            ([], [("CPU", "64")], ""),
            ([("STORAGE", "99Ti")], [], ""),
            ([("EPHEMERAL_STORAGE", "99Ti")], [], ""),
            ([("GPU", "0.9995")], [], ""),
            ([("CPU", "3")], [], "Requested CPU default [3] is greater than current limit set"),
            ([("CPU", "2001m")], [], "Requested CPU default [2001m] is greater than current limit set"),
            ([("CPU", "1")], [("CPU", "3")], "Requested CPU limit [3] is greater than current limit set"),
            (
                [("MEMORY", "2Ki")],
                [("MEMORY", "1Ki")],
                "Requested MEMORY default [2Ki] is greater than the limit [1Ki]",
            ),
            ([("GPU", "2")], [("GPU", "2")], "Requested GPU default [2] is greater than current limit set"),
            (
                [("GPU", "1")],
                [("GPU", "0")],
                "For extended resource 'gpu' the default value must equal the limit value",
            ),
            ([("GPU", "500m")], [], "gpu for [resource_type:TASK"),
            ([("CPU", "1"), ("CPU", "1")], [], "can't specify CPU limit for task [resource_type:TASK"),
            ([("CPU", "lots")], [], "Parsing of CPU request failed for value lots - reason  quantities must match"),
            ([("STORAGE", "much")], [], "task failed compilation with"),
        ],
    )
    def test_of_containers(self, bench: Bench, requests: Any, limits: Any, message: str) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            request = asking(requests=requests, limits=limits)
            if message:
                assert (await refusal(b, tasks.create_task, request)).message.startswith(message)
            else:
                await b.call(tasks.create_task, request)

        bench(scenario, task_resources=LIMITS)

    def test_the_template_s_own_id_is_told(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            request = asking(own_id=False, requests=[("GPU", "500m")])
            error = await refusal(b, tasks.create_task, request)
            assert error.message == "gpu for [<nil>] must be a whole number, got: 500m instead"

        bench(scenario)

    def test_an_attribute_replaces_the_configuration_as_a_whole(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            attributes = matchable_resource_pb2.MatchingAttributes()
            attributes.task_resource_attributes.limits.cpu = "500m"
            attributes.task_resource_attributes.limits.memory = "nonsense"
            attributes.task_resource_attributes.limits.gpu = "0"
            update = project_domain_attributes_pb2.ProjectDomainAttributesUpdateRequest(
                attributes=project_domain_attributes_pb2.ProjectDomainAttributes(
                    project="p", domain="development", matching_attributes=attributes
                )
            )
            await b.call(matchable_attributes.update_project_domain_attributes, update)
            error = await refusal(b, tasks.create_task, asking(requests=[("CPU", "2")]))
            assert "platform configuration [500m]" in error.message
            await b.call(tasks.create_task, asking(requests=[("MEMORY", "9Ti"), ("GPU", "9"), ("CPU", "1")]))

        bench(scenario, task_resources=LIMITS)

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ({}, ""),
            ({"containers": None}, ""),
            ({"containers": [{"name": "a", "resources": None}], "unknown": 1}, ""),
            ({"containers": [{"name": "a", "resources": {"requests": {"nvidia.com/gpu": "9"}}}]}, ""),
            ({"containers": [{"name": "a", "resources": {"requests": {"cpu": 1}}}]}, ""),
            (
                {"containers": [{"name": "a", "resources": {"requests": {"cpu": 3}}}]},
                "Requested CPU default [3] is greater than current limit",
            ),
            (
                {"containers": [{"name": "a"}, {"name": "b", "resources": {"requests": {"memory": "2Gi"}}}]},
                "Requested MEMORY default [2Gi] is greater than current limit",
            ),
            ({"initContainers": [{"resources": {"requests": {"cpu": "9"}}}]}, ""),
            ({"containers": "a"}, "json: cannot unmarshal string into Go struct field PodSpec.containers of type"),
            ({"containers": [7]}, "json: cannot unmarshal number into Go struct field PodSpec.containers of type"),
            ({"containers": [{"resources": []}]}, "json: cannot unmarshal array into Go struct field"),
            ({"containers": [{"resources": {"limits": {"cpu": True}}}]}, "json: cannot unmarshal bool into"),
            ({"containers": [{"resources": {"limits": {"cpu": "x"}}}]}, "quantities must match the regular"),
            ({"containers": [{"name": "A_b"}]}, "task failed compilation with Collected Errors: 1"),
        ],
    )
    def test_of_pods(self, bench: Bench, spec: Any, message: str) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            if message:
                assert (await refusal(b, tasks.create_task, a_pod(spec))).message.startswith(message)
            else:
                await b.call(tasks.create_task, a_pod(spec))

        bench(scenario, task_resources=LIMITS)


class TestGetTask:
    def test_any_resource_type_but_no_missing_part(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            found = await b.call(tasks.get_task, get(kind=identifier_pb2.WORKFLOW))
            assert found.id.resource_type == identifier_pb2.TASK
            # Deviates from upstream, which answers each of these with whatever task it finds.
            assert (await refusal(b, tasks.get_task, common_pb2.ObjectGetRequest())).message == "missing id"
            for part in ("project", "domain", "name", "version"):
                request = get()
                request.id.ClearField(part)
                assert (await refusal(b, tasks.get_task, request)).message == f"missing {part}"

        bench(scenario)

    def test_a_version_that_is_not_there(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await register(b)
            error = await refusal(b, tasks.get_task, get(version="v2"), errors.NotFound)
            assert error.message == (
                'missing entity of type TASK with identifier project:"p" domain:"development" name:"inc" version:"v2"'
            )

        bench(scenario)


class TestLists:
    async def _fill(self, b: Any) -> None:
        await b.call(projects.register_project, a_project())
        for name, version in (("a", "v1"), ("b", "v1"), ("a", "v2"), ("c", "v1"), ("a", "v3")):
            await b.call(tasks.create_task, a_task(name, version))

    def test_versions_in_stable_pages(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await self._fill(b)
            request = common_pb2.ResourceListRequest(id=a_name(""), limit=2)
            found = await pages(b, tasks.list_tasks, request, "tasks")
            flat = [(task.id.name, task.id.version) for page in found for task in page]
            assert flat == [("a", "v1"), ("b", "v1"), ("a", "v2"), ("c", "v1"), ("a", "v3")]
            request = common_pb2.ResourceListRequest(id=a_name("a"), limit=9, filters="ne(version,v2)")
            answer = await b.call(tasks.list_tasks, request)
            assert [task.id.version for task in answer.tasks] == ["v1", "v3"]
            assert answer.tasks[0].closure.compiled_task.template.container.image

        bench(scenario)

    def test_names_once_each_in_pages(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await self._fill(b)
            request = common_pb2.NamedEntityIdentifierListRequest(
                project="p", domain="development", limit=2, filters="eq(name,ignored)"
            )
            found = await pages(b, tasks.list_task_ids, request, "entities")
            assert [[one.name for one in page] for page in found] == [["a", "b"], ["c"]]
            request = common_pb2.NamedEntityIdentifierListRequest(project="p", domain="development", limit=2)
            request.sort_by.key = "name"
            found = await pages(b, tasks.list_task_ids, request, "entities")
            assert [[one.name for one in page] for page in found] == [["c", "b"], ["a"]]

        bench(scenario)

    def test_what_is_refused(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            name, where = a_name(""), {"project": "p", "domain": "development"}
            Versions, Names = common_pb2.ResourceListRequest, common_pb2.NamedEntityIdentifierListRequest
            for function, request, message in (
                (tasks.list_tasks, Versions(limit=1), "missing id"),
                (tasks.list_tasks, Versions(id=a_name("", project=""), limit=1), "missing project"),
                (tasks.list_tasks, Versions(id=a_name("", domain=""), limit=1), "missing domain"),
                (tasks.list_tasks, Versions(id=name), "invalid value for limit"),
                (tasks.list_tasks, Versions(id=name, limit=1, token="x"), "invalid pagination token x for ListTasks"),
                (tasks.list_task_ids, Names(domain="d", limit=1), "missing project"),
                (tasks.list_task_ids, Names(project="p", limit=1), "missing domain"),
                (tasks.list_task_ids, Names(**where), "invalid value for limit"),
                (
                    tasks.list_task_ids,
                    Names(**where, limit=1, sort_by=common_pb2.Sort(key="created_at")),
                    "invalid sort key 'created_at'",
                ),
                (
                    tasks.list_task_ids,
                    Names(**where, limit=1, token="k.bad"),
                    "invalid pagination token k.bad for ListUniqueTaskIdentifiers",
                ),
            ):
                assert (await refusal(b, function, request)).message == message

        bench(scenario)
