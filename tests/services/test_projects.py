"""Projects and domains through their functions, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.admin import common_pb2, project_pb2

from app import errors
from app.database import schema
from app.services import projects, version
from tests.support.builders import a_project, pages, refusal

Bench = Callable[..., Any]
Project = project_pb2.Project


async def get(b: Any, id: str = "p") -> project_pb2.Project:
    found: project_pb2.Project = await b.call(projects.get_project, project_pb2.ProjectGetRequest(id=id))
    return found


async def ids(b: Any, **request: Any) -> list[str]:
    answer = await b.call(projects.list_projects, project_pb2.ProjectListRequest(**request))
    return [project.id for project in answer.projects]


class TestRegisterProject:
    def test_reads_back_with_labels_and_domains(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            labels = common_pb2.Labels(values={"team": "a"})
            request = a_project(description="d", labels=labels, state=Project.SYSTEM_GENERATED)
            await b.call(projects.register_project, request)
            expected = request.project
            for name in ("development", "staging", "production"):
                expected.domains.add(id=name, name=name)
            assert await get(b) == expected

        bench(scenario)

    def test_absent_and_empty_labels_stay_apart(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            await b.call(projects.register_project, a_project("q", labels=common_pb2.Labels()))
            assert not (await get(b)).HasField("labels")
            assert (await get(b, "q")).HasField("labels")

        bench(scenario)

    def test_the_same_id_again_also_archived_and_at_once(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            made = await asyncio.gather(
                *(b.call(projects.register_project, a_project()) for _ in range(5)), return_exceptions=True
            )
            refused = [error for error in made if isinstance(error, errors.AlreadyExists)]
            assert len(refused) == 4
            assert refused[0].message == (
                'value with matching already exists (duplicate key value violates unique constraint "projects_pkey")'
            )
            await b.call(projects.update_project, Project(id="p", state=Project.ARCHIVED))
            await refusal(b, projects.register_project, a_project(), errors.AlreadyExists)

        bench(scenario)

    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            (project_pb2.ProjectRegisterRequest(), "missing project"),
            (project_pb2.ProjectRegisterRequest(project=Project(id="p")), "missing project_name"),
            (project_pb2.ProjectRegisterRequest(project=Project(name="p")), "missing project_id"),
            (a_project("P"), "invalid project id [P]: [a lowercase RFC 1123 label must"),
            (a_project("x" * 65), "invalid project id ["),
            (a_project("a.b"), "invalid project id [a.b]: [must not contain dots]"),
            (
                a_project(f"{'x' * 63}.b"),
                f"invalid project id [{'x' * 63}.b]: [must be no more than 63 characters must not contain dots]",
            ),
            (a_project("a..b"), "invalid project id [a..b]: [a lowercase RFC 1123 label must"),
            (a_project(description="d" * 301), "project_description cannot exceed 300 characters"),
            (a_project(domains=[project_pb2.Domain(id="d")]), "Domains are currently only set system wide."),
            (a_project(labels=common_pb2.Labels(values={"a b": ""})), "invalid label key [a b]: ["),
        ],
    )
    def test_what_is_refused(self, bench: Bench, request_: Any, message: str) -> None:
        async def scenario(b: Any) -> None:
            error = await refusal(b, projects.register_project, request_)
            assert error.message.startswith(message)

        bench(scenario)

    def test_name_length_in_bytes(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            request = a_project()
            request.project.name = "é" * 33
            error = await refusal(b, projects.register_project, request)
            assert error.message == "project_name cannot exceed 64 characters"

        bench(scenario)


class TestUpdateProject:
    def test_changes_what_is_given(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            labels = common_pb2.Labels(values={"a": "1"})
            await b.call(projects.register_project, a_project(description="d", labels=labels))
            await b.call(projects.update_project, Project(id="p", description="e"))
            changed = await get(b)
            assert (changed.name, changed.description, dict(changed.labels.values)) == ("p", "e", {"a": "1"})
            await b.call(projects.update_project, Project(id="p", name="n", labels=common_pb2.Labels()))
            changed = await get(b)
            assert (changed.name, changed.description, dict(changed.labels.values)) == ("n", "e", {})

        bench(scenario)

    def test_state_is_always_written(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            await b.call(projects.update_project, Project(id="p", state=Project.ARCHIVED))
            assert (await get(b)).state == Project.ARCHIVED
            await b.call(projects.update_project, Project(id="p", name="n"))
            assert (await get(b)).state == Project.ACTIVE

        bench(scenario)

    def test_without_id_nothing_is_touched(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project())
            error = await refusal(b, projects.update_project, Project(name="n"))
            assert error.message == "missing project_id"
            assert (await get(b)).name == "p"

        bench(scenario)

    def test_a_project_that_is_not_there(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            bad = Project(id="none", description="d" * 301)
            error = await refusal(b, projects.update_project, bad, errors.NotFound)
            assert error.message == "project [none] not found"

        bench(scenario)


class TestListProjects:
    def test_archived_ones_appear_only_with_a_filter(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            for id, state in (("c", Project.ACTIVE), ("a", Project.ARCHIVED), ("b", Project.SYSTEM_ARCHIVED)):
                await b.call(projects.register_project, a_project(id, state=state))
            assert await ids(b) == ["b", "c"]
            assert await ids(b, filters="ne(name,zzz)") == ["a", "b", "c"]
            assert await ids(b, filters="eq(state,1)") == ["a"]
            sort = common_pb2.Sort(key="identifier", direction=common_pb2.Sort.DESCENDING)
            assert await ids(b, sort_by=sort) == ["c", "b"]

        bench(scenario)

    def test_pages_hold_everything_once(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            for number in range(7):
                await b.call(projects.register_project, a_project(f"p{number}"))
            found = await pages(b, projects.list_projects, project_pb2.ProjectListRequest(limit=3), "projects")
            assert [[project.id for project in page] for page in found] == [
                ["p0", "p1", "p2"],
                ["p3", "p4", "p5"],
                ["p6"],
            ]
            assert await ids(b, limit=2, token="5") == ["p5", "p6"]
            assert await ids(b, limit=2**32 - 1) == [f"p{number}" for number in range(7)]

        bench(scenario)

    def test_no_limit_and_no_rows_give_no_token(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            assert await b.call(projects.list_projects, project_pb2.ProjectListRequest()) == project_pb2.Projects()

        bench(scenario)

    def test_bad_token(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            error = await refusal(b, projects.list_projects, project_pb2.ProjectListRequest(token="x"))
            assert error.message == "invalid pagination token x for ListProjects"

        bench(scenario)


class TestSeed:
    def test_makes_what_is_missing_and_leaves_the_rest(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await b.call(projects.register_project, a_project("b", description="mine"))
            async with b.context() as ctx:
                assert await projects.seed(ctx.db, ["a", "b"]) == ("a",)
                assert await projects.seed(ctx.db, ["a", "b"]) == ()
            async with b.context() as ctx:
                rows = await ctx.db.find_all(schema.Project, columns=("identifier", "name", "description", "labels"))
            assert sorted(tuple(row) for row in rows) == [("a", "a", "a description", None), ("b", "b", "mine", None)]

        bench(scenario)


class TestReads:
    def test_missing_project_and_missing_id(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            request = project_pb2.ProjectGetRequest(id="none")
            error = await refusal(b, projects.get_project, request, errors.NotFound)
            assert error.message == "project [none] not found"
            error = await refusal(b, projects.get_project, project_pb2.ProjectGetRequest())
            assert error.message == "missing project_id"

        bench(scenario)

    def test_domains_and_version(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            answer = await b.call(projects.get_domains, project_pb2.GetDomainRequest())
            assert [(domain.id, domain.name) for domain in answer.domains] == [("b", "B"), ("a", "A")]
            found = await b.call(version.get_version, None)
            assert found.control_plane_version.Version.startswith("v")

        bench(scenario, domains=[{"id": "b", "name": "B"}, {"id": "a", "name": "A"}])
