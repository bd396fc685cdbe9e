"""The engine and a real API server of Kubernetes: objects that it accepts, outages, refusals, and cluster resources."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.engine.kubernetes import calls, engine
from app.engine.kubernetes.clusters import ClusterApis
from app.engine.kubernetes.resources.sync import ResourceSync, Summary
from app.engine.port import NoEngine
from app.runtime.dispatch import Server
from app.services import executions
from app.services.phases import Workflow
from tests.conftest import bench
from tests.engine.kubernetes.test_engine import execution, has_phase, placed, running, terminate, until
from tests.kubernetes.control_plane import ROOT, TOKEN, USER_TOKEN, ControlPlane, control_plane
from tests.kubernetes.run import HERE, replay
from tests.services.test_executions import a_launch, prepare
from tests.support.certificates import write_pair

__all__ = ["bench"]

pytestmark = pytest.mark.campaign

Scenario = Callable[..., Any]
MANIFESTS = ROOT / "deploy" / "kubernetes"
NAMESPACE = "p-development"
WORKFLOWS = f"/apis/flyte.lyft.com/v1alpha1/namespaces/{NAMESPACE}/flyteworkflows"
# The groups of recorded cases whose objects upstream's API server took.
GROUPS = ("launch", "config", "task", "again", "offload")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("kubernetes")) as found:
        yield found


@pytest.fixture
def empty(plane: ControlPlane) -> ControlPlane:
    """The control plane with the namespace of the tests, without FlyteWorkflows."""
    plane.namespace(NAMESPACE)
    for document in plane.workflows(NAMESPACE):
        remove_by_force(plane, document["metadata"]["name"])
    return plane


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(calls, "_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(calls, "_PAUSE_SECONDS_MAX", 0.5)


def remove_by_force(plane: ControlPlane, name: str) -> None:
    """Remove an object with its finalizer, as `kubectl patch` and `kubectl delete` do together."""
    plane.call(
        "PATCH", f"{WORKFLOWS}/{name}", {"metadata": {"finalizers": None}}, content_type="application/merge-patch+json"
    )
    plane.call("DELETE", f"{WORKFLOWS}/{name}")


def settings(plane: ControlPlane, *, token: str = "", **kubernetes: Any) -> dict[str, Any]:
    kubeconfig = plane.kubeconfig(token) if token else plane.kubeconfig()
    section = {"grace_seconds": 0.1, "reconcile_seconds": 3600.0, "first_try_ms": 20_000, **kubernetes}
    return {
        "engine": {"kind": "kubernetes", "kubernetes": section},
        "server": {"kube_config": kubeconfig},
        "scheduler": {"enabled": False},
    }


class TestManifests:
    @pytest.mark.parametrize("file", sorted(path.name for path in MANIFESTS.glob("*.yaml")))
    def test_the_api_server_accepts_them_without_an_unknown_field(self, plane: ControlPlane, file: str) -> None:
        plane.namespace("flyte")
        for document in yaml.safe_load_all((MANIFESTS / file).read_text()):
            plane.apply_document(document, dry_run=True)

    def test_the_account_of_the_manifest_may_do_the_work(
        self, bench: Scenario, empty: ControlPlane, tmp_path: Path
    ) -> None:
        documents = empty.apply(MANIFESTS / "flyteadmin.yaml")
        path = "/api/v1/namespaces/flyte/serviceaccounts/flyteadmin/token"
        status, answer = empty.call("POST", path, {"spec": {"expirationSeconds": 600}})
        assert status == 201, answer
        for name, text in found(documents, "flyteadmin-templates")["data"].items():
            (tmp_path / name).write_text(text)
        configuration = yaml.safe_load(found(documents, "flyteadmin", "ConfigMap")["data"]["flyteadmin.yaml"])
        section = {"template_path": str(tmp_path), "custom_data": configuration["cluster_resources"]["customData"]}

        async def scenario(b: Any) -> None:
            await prepare(b)
            server = Server(b.settings, b.database, b.blobs, NoEngine())
            clusters = ClusterApis(b.settings)
            try:
                for _ in range(2):
                    summary = await ResourceSync(server, clusters).run()
                    assert summary.errors == []
            finally:
                await clusters.close()
            async with running(b) as engine:
                await b.call(executions.create_execution, a_launch())
                await until(lambda: placed(b))
                await engine._reconciler.compare()
                assert await has_phase(b, "e1", Workflow.UNDEFINED)
                await terminate(b, "e1")
                assert empty.workflows(NAMESPACE)[0]["metadata"]["deletionTimestamp"]

        chosen = settings(empty, token=answer["status"]["token"])
        bench(scenario, **chosen, cluster_resources=section)


def found(documents: list[dict[str, Any]], name: str, kind: str = "ConfigMap") -> dict[str, Any]:
    """Return the document of a kind and a name."""
    return next(one for one in documents if one["kind"] == kind and one["metadata"]["name"] == name)


def test_the_objects_of_all_recorded_launches_are_accepted(
    plane: ControlPlane, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    only = [argument for group in GROUPS for argument in ("--only", group)]
    done = replay(tmp_path / "home", ["--upstream", plane.address, "--wait", "30", *only, str(HERE / "cases")])
    said = capfd.readouterr().out
    assert done.returncode == 0, said
    assert int(said.strip().splitlines()[-1].split()[0]) > 50, said


class TestLaunches:
    def test_an_object_is_made_and_deleted(self, bench: Scenario, empty: ControlPlane) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            async with running(b):
                await b.call(executions.create_execution, a_launch())
                await until(lambda: placed(b))
                (document,) = empty.workflows(NAMESPACE)
                assert document["metadata"]["name"] == "e1"
                await terminate(b, "e1")
                # The finalizer keeps it for FlytePropeller, which does not run here.
                (document,) = empty.workflows(NAMESPACE)
                assert document["metadata"]["deletionTimestamp"]
                remove_by_force(empty, "e1")
                await until(lambda: has_phase(b, "e1", Workflow.ABORTED))

        bench(scenario, **settings(empty))

    def test_launches_during_an_outage_are_placed_after_it(self, bench: Scenario, empty: ControlPlane) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            async with running(b):
                empty.stop_server()
                try:
                    for number in range(5):
                        await b.call(executions.create_execution, a_launch(f"e{number}"))
                        assert await has_phase(b, f"e{number}", Workflow.UNDEFINED)
                finally:
                    empty.start_server()
                await until(lambda: len(empty.workflows(NAMESPACE)) == 5)
            for number in range(5):
                assert await has_phase(b, f"e{number}", Workflow.UNDEFINED)

        bench(scenario, **settings(empty))

    def test_two_servers_place_each_launch_once(self, bench: Scenario, empty: ControlPlane) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            async with running(b), running(b):
                for number in range(20):
                    await b.call(executions.create_execution, a_launch(f"e{number}"))
                await until(lambda: len(empty.workflows(NAMESPACE)) == 20)
            for document in empty.workflows(NAMESPACE):
                assert document["metadata"]["generation"] == 1

        bench(scenario, **settings(empty))

    def test_an_execution_whose_object_was_removed_by_force_ends(self, bench: Scenario, empty: ControlPlane) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            async with running(b) as found:
                for name in ("e1", "e2"):
                    await b.call(executions.create_execution, a_launch(name))
                await until(lambda: len(empty.workflows(NAMESPACE)) == 2)
                await until(lambda: placed(b))
                remove_by_force(empty, "e1")
                # Younger executions than the grace may not have their object yet.
                await until(lambda: compared(b, found))
            assert (await execution(b, "e1")).closure.error.message == "execution lost by its cluster"
            assert await has_phase(b, "e2", Workflow.UNDEFINED)

        async def compared(b: Any, found: Any) -> bool:
            await found._reconciler.compare()
            return await has_phase(b, "e1", Workflow.FAILED)

        bench(scenario, **settings(empty))


class TestRefusals:
    """The API server's own refusals: those for good end the execution, the others are repeated."""

    def fails(self, bench: Scenario, name: str, message: str, **chosen: Any) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            async with running(b):
                await b.call(executions.create_execution, a_launch(name))
                await until(lambda: has_phase(b, name, Workflow.FAILED))
            error = (await execution(b, name)).closure.error
            assert error.message.startswith("failed to create workflow in propeller ")
            assert message in error.message

        bench(scenario, **chosen)

    def is_repeated(self, bench: Scenario, plane: ControlPlane, end: Callable[[], None], chosen: Any) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            async with running(b):
                await b.call(executions.create_execution, a_launch())
                assert await has_phase(b, "e1", Workflow.UNDEFINED)
                assert not await placed(b)
                end()
                await until(lambda: placed(b))

        bench(scenario, **chosen)

    def test_a_user_without_rights(self, bench: Scenario, empty: ControlPlane) -> None:
        message = (
            f'cannot create resource "flyteworkflows" in API group "flyte.lyft.com" in the namespace "{NAMESPACE}"'
        )
        self.fails(bench, "e1", message, **settings(empty, token=USER_TOKEN))

    def test_a_token_that_is_not_valid(self, bench: Scenario, empty: ControlPlane) -> None:
        self.fails(bench, "e1", "Unauthorized", **settings(empty, token="expired", launch_retry_seconds=0.5))

    def test_a_name_that_kubernetes_refuses(self, bench: Scenario, empty: ControlPlane) -> None:
        self.fails(bench, "E1", 'metadata.name: Invalid value: "E1"', **settings(empty))

    def test_a_namespace_that_is_missing(self, bench: Scenario, empty: ControlPlane) -> None:
        chosen = {**settings(empty), "namespace_mapping": {"template": "gone-{{ project }}"}}
        self.fails(bench, "e1", 'namespaces "gone-p" not found', **chosen)

    def test_a_namespace_that_follows(self, bench: Scenario, empty: ControlPlane, tmp_path: Path) -> None:
        name = f"later-{tmp_path.name[-40:].replace('_', '-').strip('-')}".lower()
        chosen = {
            **settings(empty),
            "namespace_mapping": {"template": name},
            "cluster_resources": {"template_path": str(tmp_path)},
        }
        self.is_repeated(bench, empty, lambda: empty.namespace(name), chosen)

    def test_a_namespace_that_is_being_deleted_and_made_again(
        self, bench: Scenario, empty: ControlPlane, tmp_path: Path
    ) -> None:
        chosen = {
            **settings(empty),
            "namespace_mapping": {"template": "again-{{ project }}"},
            "cluster_resources": {"template_path": str(tmp_path)},
        }
        empty.namespace("again-p")
        empty.delete_namespace("again-p")

        def make_again() -> None:
            empty.remove_namespace("again-p")
            empty.namespace("again-p")

        self.is_repeated(bench, empty, make_again, chosen)

    def test_a_token_that_expired_is_read_again(self, bench: Scenario, empty: ControlPlane, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text("expired\n")
        chosen = settings(empty)
        chosen["server"]["kube_config"] = empty.kubeconfig(name="file", tokenFile=str(file))
        self.is_repeated(bench, empty, lambda: void(file.write_text(f"{TOKEN}\n")), chosen)

    def test_a_client_certificate_that_expired_is_read_again(
        self, bench: Scenario, empty: ControlPlane, tmp_path: Path
    ) -> None:
        user = {"client-certificate": str(tmp_path / "client.pem"), "client-key": str(tmp_path / "client-key.pem")}
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "certified"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "certified"}],
        }
        empty.apply_document(binding)
        write_pair(tmp_path, empty.clients.issue("certified", client=True, days=-0.5), "client")
        chosen = settings(empty)
        chosen["server"]["kube_config"] = empty.kubeconfig(name="certificate", **user)
        self.is_repeated(
            bench, empty, lambda: void(write_pair(tmp_path, empty.clients.issue("certified", client=True), "client")),
            chosen,
        )  # fmt: skip

    def test_an_exceeded_quota(self, bench: Scenario, empty: ControlPlane) -> None:
        path = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas"
        hard = {"count/flyteworkflows.flyte.lyft.com": "0"}
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": hard}}
        empty.call("POST", path, quota)
        # kube-controller-manager, which counts, does not run here.
        status = {"status": {"hard": hard, "used": hard}}
        code, found = empty.call("PATCH", f"{path}/none/status", status, content_type="application/merge-patch+json")
        assert code == 200, found
        try:
            self.is_repeated(bench, empty, lambda: void(empty.call("DELETE", f"{path}/none")), settings(empty))
        finally:
            empty.call("DELETE", f"{path}/none")


def void(_: Any) -> None:
    """Drop a result."""


class TestClusterResources:
    TEMPLATES: Mapping[str, str] = {
        "aa_namespace.yaml": "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {{ namespace }}\n",
        "ab_quota.yaml": (
            "apiVersion: v1\nkind: ResourceQuota\nmetadata:\n  name: project-quota\n  namespace: {{ namespace }}\n"
            "spec:\n  hard:\n    limits.cpu: {{ projectQuotaCpu }}\n    limits.memory: {{ projectQuotaMemory }}\n"
        ),
        "ac_account.yaml": (
            "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: default\n  namespace: {{ namespace }}\n"
            "  annotations:\n    a: b\n"
        ),
        "ad_role.yaml": (
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: r\n"
            "rules:\n- apiGroups: ['']\n  resources: [pods]\n  verbs: [get]\n"
        ),
    }
    QUOTA = "/api/v1/namespaces/{}/resourcequotas/project-quota"

    def chosen(self, plane: ControlPlane, folder: Path) -> dict[str, Any]:
        for name, text in self.TEMPLATES.items():
            (folder / name).write_text(text)
        data = {"projectQuotaCpu": {"value": "4"}, "projectQuotaMemory": {"value": "1000Mi"}}
        section = {"template_path": str(folder), "template_data": data}
        return {**settings(plane), "cluster_resources": section}

    async def sync(self, b: Any) -> Summary:
        server = Server(b.settings, b.database, b.blobs, NoEngine())
        clusters = ClusterApis(b.settings)
        try:
            return await ResourceSync(server, clusters).run()
        finally:
            await clusters.close()

    def versions(self, plane: ControlPlane) -> dict[str, str]:
        found = {}
        for path in ("/api/v1/namespaces", "/api/v1/resourcequotas", "/api/v1/serviceaccounts",
                     "/apis/rbac.authorization.k8s.io/v1/roles"):  # fmt: skip
            _, answer = plane.call("GET", path)
            for item in answer["items"]:
                metadata = item["metadata"]
                found[f"{path} {metadata.get('namespace')} {metadata['name']}"] = metadata["resourceVersion"]
        return found

    def test_a_second_run_changes_no_resource_version(
        self, bench: Scenario, plane: ControlPlane, tmp_path: Path
    ) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            first = await self.sync(b)
            assert first.errors == []
            before = self.versions(plane)
            second = await self.sync(b)
            assert (second.created, second.changed, second.errors) == (0, 0, [])
            assert second.unchanged >= 12
            assert self.versions(plane) == before

        bench(scenario, **self.chosen(plane, tmp_path))

    def test_a_field_that_leaves_a_template_leaves_the_object(
        self, bench: Scenario, plane: ControlPlane, tmp_path: Path
    ) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            await self.sync(b)
            template = self.TEMPLATES["ab_quota.yaml"].replace("    limits.memory: {{ projectQuotaMemory }}\n", "")
            (tmp_path / "ab_quota.yaml").write_text(template)
            summary = await self.sync(b)
            assert (summary.changed > 0, summary.errors) == (True, [])
            _, quota = plane.call("GET", self.QUOTA.format(NAMESPACE))
            assert quota["spec"]["hard"] == {"limits.cpu": "4"}

        bench(scenario, **self.chosen(plane, tmp_path))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a: [", "no YAML"),
            ("apiVersion: nowhere.org/v1\nkind: Thing\nmetadata: {name: x}\n", 'no matches for kind "Thing"'),
            ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: No_Name}\n", "a lowercase RFC 1123 subdomain"),
        ],
    )
    def test_a_bad_template_stops_no_other(
        self, bench: Scenario, plane: ControlPlane, tmp_path: Path, text: str, message: str
    ) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            (tmp_path / "ab_bad.yaml").write_text(text)
            summary = await self.sync(b)
            assert summary.errors
            assert all("[ab_bad.yaml]" in error for error in summary.errors), summary.errors
            assert all(message in error for error in summary.errors), summary.errors
            assert plane.call("GET", self.QUOTA.format(NAMESPACE))[0] == 200

        bench(scenario, **self.chosen(plane, tmp_path))
