"""The Kubernetes engine against an API whose failures the test decides, on both databases."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import execution_pb2

from app import errors
from app.database import schema
from app.engine.kubernetes import calls, engine, reconcile
from app.engine.kubernetes.engine import KubernetesEngine
from app.engine.port import NoEngine
from app.runtime.dispatch import Server
from app.services import executions
from app.services.phases import Workflow
from app.settings.platform import NamespaceMapping
from tests.services.test_events import run_id
from tests.services.test_executions import a_launch, prepare
from tests.support.kubernetes_api import FakeCluster, failure, fake_cluster

pytestmark = pytest.mark.heavy

OBJECT = "/apis/flyte.lyft.com/v1alpha1/namespaces/p-development/flyteworkflows/{}"
WAIT_SECONDS_MAX = 20.0
Scenario = Callable[..., Any]


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with fake_cluster() as found:
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(calls, "_PAUSE_SECONDS", 0.02)


def settings(cluster: FakeCluster, folder: Path, **kubernetes: Any) -> dict[str, Any]:
    section = {"grace_seconds": 0.1, "reconcile_seconds": 3600.0, "first_try_ms": 20_000, **kubernetes}
    return {
        "engine": {"kind": "kubernetes", "kubernetes": section},
        "server": {"kube_config": cluster.kubeconfig(folder)},
        "scheduler": {"enabled": False},
    }


@asynccontextmanager
async def running(b: Any) -> AsyncIterator[KubernetesEngine]:
    server = Server(b.settings, b.database, b.blobs, b.engine)
    found = KubernetesEngine(server)
    server.engine = b.engine = found
    await found.start()
    try:
        yield found
    finally:
        await found.stop()


async def execution(b: Any, name: str) -> execution_pb2.Execution:
    return await b.call(executions.get_execution, execution_pb2.WorkflowExecutionGetRequest(id=run_id(name)))


async def until(holds: Callable[[], Any], seconds: float = WAIT_SECONDS_MAX) -> None:
    async with asyncio.timeout(seconds):
        while True:
            found = holds()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


async def has_phase(b: Any, name: str, phase: Any) -> bool:
    return bool((await execution(b, name)).closure.phase == phase)


async def terminate(b: Any, name: str) -> None:
    await b.call(
        executions.terminate_execution, execution_pb2.ExecutionTerminateRequest(id=run_id(name), cause="enough")
    )


async def launches(b: Any) -> int:
    async with b.context() as ctx:
        return await ctx.db.find(schema.Launch, columns=("id",), execution_name="e1") is not None


async def placed(b: Any) -> bool:
    async with b.context() as ctx:
        row = await ctx.db.find(schema.Launch, columns=("placed_at",), execution_name="e1")
    return bool(row is not None and row.placed_at is not None)


def test_a_launch_becomes_an_object(bench: Scenario, cluster: FakeCluster, tmp_path: Path) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        async with running(b):
            await b.call(executions.create_execution, a_launch())
            await until(lambda: cluster.created)
        assert cluster.created == [OBJECT.format("e1")]
        document = cluster.objects[OBJECT.format("e1")]
        assert document["executionId"] == {"project": "p", "domain": "development", "name": "e1"}
        assert document["metadata"]["labels"]["shard-key"] == "3"

    bench(scenario, **settings(cluster, tmp_path))


@pytest.mark.parametrize("fault", ["drop", failure(500, "", "busy"), failure(429, "TooManyRequests", "later")])
def test_a_failure_that_passes_is_followed_by_another_call(
    bench: Scenario, cluster: FakeCluster, tmp_path: Path, fault: Any
) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        answers = iter([fault, fault, None])
        cluster.fault = lambda method, path: next(answers, None) if method == "POST" else None
        async with running(b):
            await b.call(executions.create_execution, a_launch())
            await until(lambda: cluster.created)
        assert cluster.created == [OBJECT.format("e1")]
        assert await has_phase(b, "e1", Workflow.UNDEFINED)

    bench(scenario, **settings(cluster, tmp_path))


@pytest.mark.slow
def test_a_call_is_repeated_as_retry_after_asks(bench: Scenario, cluster: FakeCluster, tmp_path: Path) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        times: list[float] = []

        def throttle(method: str, path: str) -> Any:
            if method != "POST":
                return None
            times.append(time.monotonic())
            return failure(429, "TooManyRequests", "later") if len(times) == 1 else None

        cluster.fault, cluster.retry_after = throttle, "1"
        async with running(b):
            await b.call(executions.create_execution, a_launch())
            await until(lambda: placed(b))
        assert len(times) == 2
        # Without the header it would be 0.02 s.
        assert times[1] - times[0] >= 0.9

    bench(scenario, **settings(cluster, tmp_path))


@pytest.mark.parametrize("answer", ["drop", (201, [])])
def test_an_object_whose_answer_was_lost_is_found_again(
    bench: Scenario, cluster: FakeCluster, tmp_path: Path, answer: Any
) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        cluster.after, answers = True, iter([answer])
        cluster.fault = lambda method, path: next(answers, None) if method == "POST" else None
        async with running(b):
            await b.call(executions.create_execution, a_launch())

            await until(lambda: placed(b))
        assert cluster.created == [OBJECT.format("e1")]

    bench(scenario, **settings(cluster, tmp_path))


@pytest.mark.parametrize("task", [False, True])
def test_a_refusal_for_good_ends_the_execution(
    bench: Scenario, cluster: FakeCluster, tmp_path: Path, task: bool
) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        cluster.fault = lambda method, path: failure(403, "Forbidden", "may not") if method == "POST" else None
        async with running(b):
            if task:
                with pytest.raises(errors.Internal, match="failed to create workflow in propeller may not"):
                    await b.call(executions.create_execution, a_launch(task=True))
            else:
                await b.call(executions.create_execution, a_launch())
            await until(lambda: has_phase(b, "e1", Workflow.FAILED))
        error = (await execution(b, "e1")).closure.error
        assert error.message == "failed to create workflow in propeller may not"
        assert not await launches(b)

    bench(scenario, **settings(cluster, tmp_path))


def test_a_refusal_is_reported_also_where_the_poll_came_first(
    bench: Scenario, cluster: FakeCluster, tmp_path: Path
) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        cluster.fault = lambda method, path: failure(403, "Forbidden", "may not") if method == "POST" else None
        async with running(b) as found:
            await b.call(executions.create_execution, a_launch())
            await until(lambda: has_phase(b, "e1", Workflow.FAILED))
            first_try = found.launched(run_id("e1"), wait=True)
            assert first_try is not None
            with pytest.raises(errors.Internal, match="failed to create workflow in propeller may not"):
                await first_try

    bench(scenario, **settings(cluster, tmp_path))


def test_a_launch_that_fails_all_the_time_ends(bench: Scenario, cluster: FakeCluster, tmp_path: Path) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        cluster.fault = lambda method, path: "drop" if method == "POST" else None
        async with running(b):
            await b.call(executions.create_execution, a_launch())
            await until(lambda: has_phase(b, "e1", Workflow.FAILED))
        assert (await execution(b, "e1")).closure.error.message.endswith(": EOF")

    bench(scenario, **settings(cluster, tmp_path, launch_retry_seconds=0.2))


def test_a_launch_while_the_cluster_is_away_is_placed_by_the_next_engine(
    bench: Scenario, cluster: FakeCluster, tmp_path: Path
) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        cluster.fault = lambda method, path: failure(503, "", "away")
        async with running(b):
            await b.call(executions.create_execution, a_launch())
            await until(lambda: launches(b))
        assert cluster.created == []
        cluster.fault = lambda method, path: None
        async with running(b):
            await until(lambda: cluster.created)
        assert cluster.created == [OBJECT.format("e1")]

    bench(scenario, **settings(cluster, tmp_path))


def test_two_engines_place_each_launch_once(bench: Scenario, cluster: FakeCluster, tmp_path: Path) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        async with running(b), running(b):
            for number in range(20):
                await b.call(executions.create_execution, a_launch(f"e{number}"))
            await until(lambda: len(cluster.created) >= 20)
            await asyncio.sleep(0.3)
        assert sorted(cluster.created) == sorted(OBJECT.format(f"e{number}") for number in range(20))

    bench(scenario, **settings(cluster, tmp_path))


def existing(**more: Any) -> dict[str, Any]:
    return {"kind": "FlyteWorkflow", "metadata": {"name": "e1", "namespace": "p-development", **more}}


@pytest.mark.parametrize(
    "document",
    [
        {**existing(), "executionId": {"project": "p", "domain": "production", "name": "e1"}},
        existing(labels={"project": "another"}),
    ],
)
def test_an_object_of_another_execution_ends_the_launch(
    bench: Scenario, cluster: FakeCluster, tmp_path: Path, document: dict[str, Any]
) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        cluster.objects[OBJECT.format("e1")] = document
        async with running(b):
            await b.call(executions.create_execution, a_launch())
            await until(lambda: has_phase(b, "e1", Workflow.FAILED))
        assert (await execution(b, "e1")).closure.error.message.endswith("/e1 already exists")

    bench(scenario, **settings(cluster, tmp_path))


@pytest.mark.parametrize(
    "document",
    [
        existing(deletionTimestamp="2026-01-01T00:00:00Z"),
        existing(labels={"termination-status": "terminated", "project": "p"}),
    ],
)
def test_an_ended_object_of_the_same_name_is_waited_for(
    bench: Scenario, cluster: FakeCluster, tmp_path: Path, document: dict[str, Any]
) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        cluster.objects[OBJECT.format("e1")] = document
        async with running(b):
            await b.call(executions.create_execution, a_launch())
            await asyncio.sleep(0.1)
            assert await has_phase(b, "e1", Workflow.UNDEFINED)
            assert not await placed(b)
            del cluster.objects[OBJECT.format("e1")]
            await until(lambda: placed(b))

    bench(scenario, **settings(cluster, tmp_path))


def two_clusters(clusters: Sequence[FakeCluster], folder: Path, **kubernetes: Any) -> dict[str, Any]:
    """Return the settings for the clusters c0 and c1; a label of the same name chooses one."""
    for name in ("token", "authority"):
        (folder / name).write_text("")
    auth = {"token_path": str(folder / "token"), "cert_path": str(folder / "authority")}
    configs = [
        {"name": f"c{number}", "endpoint": one.address, "auth": auth, "enabled": True}
        for number, one in enumerate(clusters)
    ]
    labels = {f"c{number}": [{"id": f"c{number}", "weight": 1.0}] for number in range(len(clusters))}
    return {**settings(clusters[0], folder, **kubernetes), "server": {}} | {
        "clusters": {"cluster_configs": configs, "label_cluster_map": labels}
    }


def labelled(name: str, label: str) -> execution_pb2.ExecutionCreateRequest:
    request = a_launch(name)
    request.spec.execution_cluster_label.value = label
    return request


def test_a_cluster_that_does_not_answer_delays_no_other(bench: Scenario, cluster: FakeCluster, tmp_path: Path) -> None:
    released = threading.Event()

    def hang(method: str, path: str) -> None:
        assert released.wait(WAIT_SECONDS_MAX)

    with fake_cluster() as healthy:

        async def both(b: Any) -> None:
            await prepare(b)
            cluster.fault = hang
            try:
                async with running(b):
                    # More than the engine works on at once, for the cluster that hangs.
                    for number in range(10):
                        await b.call(executions.create_execution, labelled(f"h{number}", "c0"))
                    for number in range(5):
                        await b.call(executions.create_execution, labelled(f"e{number}", "c1"))
                    await until(lambda: len(healthy.created) == 5)
                    assert cluster.created == []
                    released.set()
                    await until(lambda: len(cluster.created) == 10)
            finally:
                released.set()

        bench(both, **two_clusters((cluster, healthy), tmp_path, requests_max=2))


def test_a_launch_of_a_cluster_that_is_not_configured_any_more_ends(
    bench: Scenario, cluster: FakeCluster, tmp_path: Path
) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        await b.call(executions.create_execution, a_launch())
        async with b.context() as ctx:
            await ctx.db.update(schema.Execution, {"execution_name": "e1"}, cluster="c9")
        async with running(b):
            await until(lambda: has_phase(b, "e1", Workflow.FAILED))
        message = (await execution(b, "e1")).closure.error.message
        assert message == "failed to create workflow in propeller remote target c9 is not supported"

    bench(scenario, **settings(cluster, tmp_path, launch_retry_seconds=0.0))


def test_without_an_enabled_cluster_a_launch_fails(bench: Scenario, cluster: FakeCluster, tmp_path: Path) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        await b.call(executions.create_execution, a_launch())
        error = (await execution(b, "e1")).closure.error
        assert "no cluster of clusters.clusterConfigs is enabled" in error.message

    chosen = two_clusters((cluster,), tmp_path)
    chosen["clusters"]["cluster_configs"][0]["enabled"] = False
    bench(scenario, **chosen)


class TestAborts:
    def test_the_object_is_deleted_and_the_execution_ends(
        self, bench: Scenario, cluster: FakeCluster, tmp_path: Path
    ) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            async with running(b):
                await b.call(executions.create_execution, a_launch())
                await until(lambda: cluster.created)
                await terminate(b, "e1")
                assert cluster.deleted == [OBJECT.format("e1")]
                assert await has_phase(b, "e1", Workflow.ABORTING)
                # FlytePropeller, which would send ABORTED, does not run here.
                await until(lambda: has_phase(b, "e1", Workflow.ABORTED))
            assert (await execution(b, "e1")).closure.abort_metadata.cause == "enough"
            assert not await launches(b)

        bench(scenario, **settings(cluster, tmp_path))

    def test_an_execution_that_was_never_placed_ends_without_an_object(
        self, bench: Scenario, cluster: FakeCluster, tmp_path: Path
    ) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            b.engine = type(b.engine)()
            await b.call(executions.create_execution, a_launch())
            await terminate(b, "e1")
            async with running(b):
                await until(lambda: has_phase(b, "e1", Workflow.ABORTED))
            assert cluster.created == []

        bench(scenario, **settings(cluster, tmp_path))

    def test_an_object_that_a_killed_process_created_without_a_record_is_deleted(
        self, bench: Scenario, cluster: FakeCluster, tmp_path: Path
    ) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            await b.call(executions.create_execution, a_launch())
            cluster.objects[OBJECT.format("e1")] = {"metadata": {"name": "e1"}}
            await terminate(b, "e1")
            async with running(b):
                await until(lambda: has_phase(b, "e1", Workflow.ABORTED))
            assert cluster.objects == {}

        bench(scenario, **settings(cluster, tmp_path))

    def test_a_later_object_of_the_same_name_is_not_deleted(
        self, bench: Scenario, cluster: FakeCluster, tmp_path: Path
    ) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            async with running(b):
                await b.call(executions.create_execution, a_launch())
                await until(lambda: placed(b))
                cluster.objects[OBJECT.format("e1")]["metadata"]["uid"] = "another"
                await terminate(b, "e1")
                await until(lambda: has_phase(b, "e1", Workflow.ABORTED))
            assert cluster.deleted == []

        bench(scenario, **settings(cluster, tmp_path))

    def test_an_abort_by_another_process_during_the_creation_is_not_lost(
        self, bench: Scenario, cluster: FakeCluster, tmp_path: Path
    ) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            created, answer = threading.Event(), threading.Event()

            def hold(method: str, path: str) -> None:
                if method == "POST":
                    created.set()
                    assert answer.wait(WAIT_SECONDS_MAX)

            cluster.fault = hold
            async with running(b):
                await b.call(executions.create_execution, a_launch())
                await until(created.is_set)
                # Another process has no work on the execution that it could repeat.
                b.engine = NoEngine()
                await terminate(b, "e1")
                answer.set()
                await until(lambda: cluster.deleted)

        bench(scenario, **settings(cluster, tmp_path))

    def test_a_refused_deletion_is_an_error_and_is_repeated(
        self, bench: Scenario, cluster: FakeCluster, tmp_path: Path
    ) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            async with running(b):
                await b.call(executions.create_execution, a_launch())
                await until(lambda: cluster.created)
                cluster.fault = lambda method, path: (
                    failure(403, "Forbidden", "may not") if method == "DELETE" else None
                )
                with pytest.raises(errors.Internal, match=r"failed to terminate execution: .* with err may not"):
                    await terminate(b, "e1")
                cluster.fault = lambda method, path: None
                await until(lambda: cluster.deleted)

        bench(scenario, **settings(cluster, tmp_path))

    @pytest.mark.slow
    def test_a_throttled_deletion_is_no_error_and_is_repeated(
        self, bench: Scenario, cluster: FakeCluster, tmp_path: Path
    ) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            async with running(b):
                await b.call(executions.create_execution, a_launch())
                await until(lambda: placed(b))
                answers = iter([failure(429, "TooManyRequests", "later")])
                cluster.fault = lambda method, path: next(answers, None) if method == "DELETE" else None
                cluster.retry_after = "1"
                await terminate(b, "e1")
                assert cluster.deleted == []
                await until(lambda: cluster.deleted)

        bench(scenario, **settings(cluster, tmp_path))


class TestReconcile:
    def test_an_execution_whose_object_was_deleted_by_force_ends(
        self, bench: Scenario, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reconcile, "_ROWS", 2)

        async def scenario(b: Any) -> None:
            await prepare(b)
            async with running(b) as found:
                for number in range(5):
                    await b.call(executions.create_execution, a_launch(f"e{number}"))
                await until(lambda: len(cluster.created) == 5)
                await asyncio.sleep(0.3)
                del cluster.objects[OBJECT.format("e1")]
                await found._reconciler.compare()
            assert (await execution(b, "e1")).closure.error.message == "execution lost by its cluster"
            assert await has_phase(b, "e1", Workflow.FAILED)
            for number in (0, 2, 3, 4):
                assert await has_phase(b, f"e{number}", Workflow.UNDEFINED)

        bench(scenario, **settings(cluster, tmp_path))

    def test_an_execution_keeps_the_namespace_of_its_launch(
        self, bench: Scenario, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            async with running(b):
                await b.call(executions.create_execution, a_launch())
                await until(lambda: placed(b))
            # An operator changes the setting, and starts the server again.
            monkeypatch.setattr(NamespaceMapping, "of", lambda self, project, domain: f"other-{project}")
            await asyncio.sleep(0.2)
            async with running(b) as found:
                await found._reconciler.compare()
            monkeypatch.undo()
            assert await has_phase(b, "e1", Workflow.UNDEFINED)

        bench(scenario, **settings(cluster, tmp_path))

    @pytest.mark.parametrize("delete", [False, True])
    def test_an_object_without_an_execution_is_reported(
        self, bench: Scenario, cluster: FakeCluster, tmp_path: Path, delete: bool
    ) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            path = OBJECT.format("stray")
            labels = {"project": "p", "domain": "development", "execution-id": "stray"}
            metadata = {"name": "stray", "namespace": "p-development", "labels": labels}
            cluster.objects[path] = {"metadata": {**metadata, "creationTimestamp": "2026-01-01T00:00:00Z"}}
            async with running(b) as found:
                await found._reconciler.compare()
                assert found.metrics()["unknown_objects"] == 1
            assert (path in cluster.objects) is not delete

        bench(scenario, **settings(cluster, tmp_path, delete_unknown_objects=delete))
