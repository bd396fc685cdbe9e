"""Limits of the rows that a list or a computation reads, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flyteidl.admin import execution_pb2, node_execution_pb2, project_pb2

from app import errors
from app.services import events, executions, node_executions, projects
from app.services.phases import Node, Task
from tests.services.test_events import launch, node_event, run_id, task_event
from tests.support.builders import a_project, refusal

Scenario = Callable[..., Any]


async def nodes(b: Any, count: int) -> None:
    for number in range(count):
        await b.call(events.create_node_event, node_event(f"n{number}", Node.QUEUED, number))


class TestListRowsMax:
    def test_a_page_has_at_most_rows_max_and_a_token(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            await nodes(b, 5)
            for limit, sizes in ((10_000, [3, 2]), (4, [3, 2]), (2, [2, 2, 1])):
                ask = node_execution_pb2.NodeExecutionListRequest(workflow_execution_id=run_id(), limit=limit)
                found, pages = [], []
                while not pages or ask.token:
                    page = await b.call(node_executions.list_node_executions, ask)
                    pages.append(len(page.node_executions))
                    found += [node.id.node_id for node in page.node_executions]
                    ask.token = page.token
                assert (pages, sorted(found)) == (sizes, [f"n{number}" for number in range(5)]), limit

        bench(scenario, limits={"list_rows_max": 3})

    def test_limit_zero_means_rows_max(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            for number in range(5):
                await b.call(projects.register_project, a_project(f"p{number}"))
            first = await b.call(projects.list_projects, project_pb2.ProjectListRequest())
            rest = await b.call(projects.list_projects, project_pb2.ProjectListRequest(token=first.token))
            assert [len(page.projects) for page in (first, rest)] == [3, 2]
            assert (bool(first.token), rest.token) == (True, "")
            assert len({project.id for page in (first, rest) for project in page.projects}) == 5

        bench(scenario, limits={"list_rows_max": 3})


class TestMetricsRowsMax:
    def test_metrics_of_more_nodes_are_refused(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            ask = execution_pb2.WorkflowExecutionGetMetricsRequest(id=run_id(), depth=-1)
            await launch(b)
            await nodes(b, 2)
            await b.call(executions.get_execution_metrics, ask)
            await b.call(events.create_node_event, node_event("n2", Node.QUEUED, 2))
            refused = await refusal(b, executions.get_execution_metrics, ask, errors.ResourceExhausted)
            assert refused.message == (
                "execution e1 has more than 2 rows in node_executions, "
                "the most that metrics are computed of (limits.metricsRowsMax)"
            )

        bench(scenario, limits={"metrics_rows_max": 2})

    def test_metrics_of_more_attempts_are_refused(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            ask = execution_pb2.WorkflowExecutionGetMetricsRequest(id=run_id(), depth=-1)
            await launch(b)
            await nodes(b, 1)
            for attempt in range(2):
                await b.call(events.create_task_event, task_event("n0", Task.FAILED, attempt, attempt=attempt))
            await b.call(executions.get_execution_metrics, ask)
            await b.call(events.create_task_event, task_event("n0", Task.FAILED, 2, attempt=2))
            refused = await refusal(b, executions.get_execution_metrics, ask, errors.ResourceExhausted)
            assert "has more than 2 rows in task_executions" in refused.message

        bench(scenario, limits={"metrics_rows_max": 2})
