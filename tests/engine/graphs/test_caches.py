"""What is computed once is taken over by others: never a stale answer, and never computed twice where one may do it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engine.graphs.conftest import Plane
from tests.engine.graphs.remote import Remote
from tests.support.servers import run

DATASET = "flyte_task-caches.doubled"


@dataclass
class Caches:
    """A control plane that knows the workflows of flows/caches.py. folder: for the files that their tasks write."""

    remote: Remote
    home: Path
    url: str
    folder: Path

    def launch(self, plan: str, **inputs: Any) -> str:
        return self.remote.launch(f"caches.{plan}", inputs)

    def outcome(self, plan: str, *, spec: dict[str, Any] | None = None, **inputs: Any) -> tuple[Any, str]:
        """The only output of an execution, and the cache status of its first node."""
        name = self.remote.launch(f"caches.{plan}", inputs, **(spec or {}))
        return self.remote.outputs(name).get("o0"), status(self.remote, name)

    def command(self, *arguments: str) -> str:
        """What a command prints; it has to succeed."""
        done = run(self.home, "cache", *arguments, FLYTEADMIN_DATABASE_URL=self.url)
        assert done.returncode == 0, done
        return done.stdout


def marks(remote: Remote, name: str, node: str = "n0") -> Any:
    """What a node's row says of its cache entry."""
    return (remote.nodes(name)[node].get("task_node_metadata") or {}).get("catalog_key")


def status(remote: Remote, name: str, node: str = "n0") -> str:
    """Parity: a status counts only beside a key."""
    metadata = remote.nodes(name)[node].get("task_node_metadata") or {}
    return str(metadata.get("cache_status")) if metadata.get("catalog_key") else ""


@pytest.fixture(scope="session", params=("sqlite", pytest.param("postgresql", marks=pytest.mark.campaign)))
def caches(
    request: pytest.FixtureRequest,
    plane: Plane,
    empty_database: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Caches]:
    folder = tmp_path_factory.mktemp("caches")
    home, url = folder / "home", empty_database(request.param)
    with plane(home, url) as (_, remote):
        remote.script("register.py", "caches")
        yield Caches(remote, home, url, folder)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file in which the tasks of one test leave their lines."""
    return tmp_path / "lines"


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def test_the_second_execution_takes_over_what_the_first_one_computed(caches: Caches, path: Path) -> None:
    remote = caches.remote
    first = caches.launch("one", path=str(path), x=3)
    assert remote.outputs(first) == {"o0": 6}
    assert status(remote, first) == "CACHE_POPULATED"
    assert not marks(remote, first).get("source_task_execution")

    second = caches.launch("one", path=str(path), x=3)
    assert remote.outputs(second) == {"o0": 6}
    assert lines(path) == ["3"]
    node = remote.nodes(second)["n0"]
    assert (node["phase"], node["started_at"], status(remote, second)) == ("SUCCEEDED", None, "CACHE_HIT")
    assert f"/{second}/" in node["output_uri"]
    assert remote.attempts(second, "n0") == []
    assert remote.node_data(second, "n0") == ({"path": str(path), "x": 3}, {"o0": 6})
    made, taken = marks(remote, first), marks(remote, second)
    assert taken["artifact_tag"] == made["artifact_tag"]
    assert (taken["dataset_id"], taken["dataset_id"]["name"]) == (made["dataset_id"], DATASET)
    source = taken["source_task_execution"]
    assert source["node_execution_id"]["execution_id"]["name"] == first
    assert source["task_id"] == {**source["task_id"], "name": "caches.doubled", "version": "v1"}

    assert caches.outcome("one", path=str(path), x=3, spec={"overwrite_cache": True}) == (6, "CACHE_POPULATED")
    assert lines(path) == ["3", "3"]
    assert caches.outcome("one", path=str(path), x=4) == (8, "CACHE_POPULATED")
    assert caches.outcome("one", path=str(path), x=3) == (6, "CACHE_HIT")
    assert lines(path) == ["3", "3", "4"]

    task = ("--task", "caches.doubled", "--cache-version", "1")
    assert made["artifact_tag"]["name"] in caches.command("list", *task)
    assert caches.command("delete", *task).startswith("deleted ")
    assert caches.command("list", *task) == ""
    assert remote.node_data(first, "n0")[1] == {"o0": 6}
    assert caches.outcome("one", path=str(path), x=3) == (6, "CACHE_POPULATED")
    assert lines(path) == ["3", "3", "4", "3"]


@pytest.mark.campaign
class TestWhatCounts:
    def test_outputs_that_were_taken_over_lead_to_others(self, caches: Caches, path: Path) -> None:
        remote = caches.remote
        names = [caches.launch("two", path=str(path), x=1)]
        assert remote.outputs(names[0]) == {"o0": 4}
        names.append(caches.launch("two", path=str(path), x=1))
        assert remote.outputs(names[1]) == {"o0": 4}
        assert lines(path) == ["1", "2"]
        found = [[status(remote, name, node) for node in ("n0", "n1")] for name in names]
        assert found == [["CACHE_POPULATED"] * 2, ["CACHE_HIT"] * 2]

    def test_the_node_may_name_another_version_or_none(self, caches: Caches, path: Path) -> None:
        values = {"path": str(path), "x": 3}
        assert caches.outcome("one", **values) == (6, "CACHE_POPULATED")
        assert caches.outcome("newer", **values) == (6, "CACHE_POPULATED")
        assert caches.outcome("newer", **values) == (6, "CACHE_HIT")
        assert caches.outcome("uncached", **values) == (6, "")
        assert caches.outcome("one", **values) == (6, "CACHE_HIT")
        assert lines(path) == ["3", "3", "3"]

    def test_ignored_inputs_do_not_count(self, caches: Caches, path: Path) -> None:
        assert caches.outcome("noisy", path=str(path), x=1, noise=10) == (11, "CACHE_POPULATED")
        assert caches.outcome("noisy", path=str(path), x=1, noise=20) == (11, "CACHE_HIT")
        assert caches.outcome("noisy", path=str(path), x=2, noise=20) == (22, "CACHE_POPULATED")
        assert lines(path) == ["10", "20"]

    def test_values_count_by_the_hash_that_they_have(self, caches: Caches, path: Path) -> None:
        remote = caches.remote
        for word, output, wanted in (
            ("Ab", "AbAb", "CACHE_POPULATED"),
            ("aB", "AbAb", "CACHE_HIT"),
            ("c", "cc", "CACHE_POPULATED"),
        ):
            name = caches.launch("hashed", path=str(path), word=word)
            assert (remote.outputs(name), status(remote, name, "n1")) == ({"o0": output}, wanted)
        assert lines(path) == ["Ab", "c"]

    def test_files_are_taken_over_as_references(self, caches: Caches, path: Path) -> None:
        values = {"path": str(path), "text": "a text"}
        assert caches.outcome("through_a_file", **values) == ("a text", "CACHE_POPULATED")
        assert caches.outcome("through_a_file", **values) == ("a text", "CACHE_HIT")
        assert lines(path) == ["a", "text"]

    def test_nothing_is_cached_of_a_task_without_outputs(self, caches: Caches, path: Path) -> None:
        for _ in range(2):
            assert caches.outcome("without_outputs", path=str(path)) == (None, "")
        assert lines(path) == ["noted", "noted"]


@pytest.mark.campaign
class TestOverwriting:
    def test_what_is_there_gets_new_data_and_keeps_its_id(self, caches: Caches, path: Path) -> None:
        remote = caches.remote
        names = [caches.launch("noisy", path=str(path), x=1, noise=1)]
        assert remote.outputs(names[0]) == {"o0": 2}
        more = {"overwrite_cache": True}
        names.append(remote.launch("caches.noisy", {"path": str(path), "x": 1, "noise": 2}, **more))
        assert remote.outputs(names[1]) == {"o0": 3}
        names.append(caches.launch("noisy", path=str(path), x=1, noise=3))
        assert remote.outputs(names[2]) == {"o0": 3}
        keys = [marks(remote, name) for name in names]
        assert len({key["artifact_tag"]["artifact_id"] for key in keys}) == 1
        sources = [key.get("source_task_execution") or {} for key in keys]
        named = [one.get("node_execution_id", {}).get("execution_id", {}).get("name") for one in sources]
        assert named == [None, names[1], names[1]]

    def test_children_overwrite_where_their_parents_do(self, caches: Caches, path: Path) -> None:
        values, more = {"path": str(path), "x": 5}, {"overwrite_cache": True}
        for spec in ({}, {}, more):
            name = caches.remote.launch("caches.parent", values, **spec)
            assert caches.remote.outputs(name) == {"o0": 10}
        assert lines(path) == ["5", "5"]

    def test_a_launch_plan_may_overwrite(self, caches: Caches, path: Path) -> None:
        for _ in range(2):
            assert caches.outcome("always_new", path=str(path), x=3) == (6, "CACHE_POPULATED")
        assert caches.outcome("one", path=str(path), x=3) == (6, "CACHE_HIT")
        assert lines(path) == ["3", "3"]

    def test_a_relaunch_takes_over(self, caches: Caches, path: Path) -> None:
        remote = caches.remote
        first = caches.launch("one", path=str(path), x=6)
        remote.outputs(first)
        again = remote.again("relaunch", first)
        assert (remote.outputs(again), status(remote, again)) == ({"o0": 12}, "CACHE_HIT")


@pytest.mark.campaign
class TestNeverStale:
    def entry(self, caches: Caches, path: Path) -> Path:
        """An entry; the file with its outputs."""
        name = caches.launch("one", path=str(path), x=3)
        assert caches.remote.outputs(name) == {"o0": 6}
        return Path(caches.remote.nodes(name)["n0"]["output_uri"])

    def test_outputs_that_are_gone_are_computed_again(self, caches: Caches, path: Path) -> None:
        self.entry(caches, path).unlink()
        assert caches.outcome("one", path=str(path), x=3) == (6, "CACHE_POPULATED")
        assert caches.outcome("one", path=str(path), x=3) == (6, "CACHE_HIT")
        assert lines(path) == ["3", "3"]

    @pytest.mark.parametrize("content", [b"", b"\xff\xff", b"other"])
    def test_outputs_that_were_replaced_are_computed_again(self, caches: Caches, path: Path, content: bytes) -> None:
        file = self.entry(caches, path)
        other = caches.launch("one", path=str(path), x=4)
        assert caches.remote.outputs(other) == {"o0": 8}
        if content == b"other":
            content = Path(caches.remote.nodes(other)["n0"]["output_uri"]).read_bytes()
        file.chmod(0o644)
        file.write_bytes(content)
        assert caches.outcome("one", path=str(path), x=3) == (6, "CACHE_POPULATED")
        assert lines(path) == ["3", "4", "3"]


@pytest.mark.campaign
class TestSerializing:
    def test_of_several_at_once_one_computes(self, caches: Caches, path: Path) -> None:
        remote = caches.remote
        names = [caches.launch("serialized", path=str(path), seconds=3.0) for _ in range(4)]
        remote.until(lambda: len(lines(path)) == 1, "the first line")
        time.sleep(1.0)
        waiting = [remote.nodes(name)["n0"]["phase"] for name in names]
        assert sorted(waiting) == ["QUEUED"] * 3 + ["RUNNING"]
        assert [remote.outputs(name) for name in names] == [{"o0": 3.0}] * 4
        assert lines(path) == ["began", "ended"]
        assert sorted(status(remote, name) for name in names) == ["CACHE_HIT"] * 3 + ["CACHE_POPULATED"]

    def test_one_that_fails_leaves_it_to_the_next(self, caches: Caches, path: Path, tmp_path: Path) -> None:
        remote, flag = caches.remote, tmp_path / "flag"
        values = {"path": str(path), "flag": str(flag), "seconds": 2.0}
        names = [caches.launch("serialized_failing", **values)]
        remote.until(lambda: lines(path) == ["began"], "the first line")
        names.append(caches.launch("serialized_failing", **values))
        assert remote.wait(names[0])["phase"] == "FAILED"
        flag.touch()
        assert remote.outputs(names[1]) == {"o0": str(flag)}
        assert lines(path) == ["began", "began"]
        assert status(remote, names[1]) == "CACHE_POPULATED"

    def test_one_that_is_terminated_leaves_it_to_the_next(self, caches: Caches, path: Path) -> None:
        remote = caches.remote
        first = caches.launch("serialized", path=str(path), seconds=61.5)
        remote.until(lambda: lines(path) == ["began"], "the first line")
        second = caches.launch("serialized", path=str(path), seconds=61.5)
        remote.until(lambda: remote.phases(second).get("n0") == "QUEUED", "the second one")
        remote.terminate(first, "enough")
        assert remote.wait(first)["phase"] == "ABORTED"
        remote.until(lambda: lines(path) == ["began", "began"], "the second line")
        assert remote.phases(second)["n0"] == "RUNNING"
        remote.terminate(second, "enough")
        assert remote.wait(second)["phase"] == "ABORTED"

    def test_one_that_waits_can_be_terminated(self, caches: Caches, path: Path) -> None:
        remote = caches.remote
        first = caches.launch("serialized", path=str(path), seconds=5.0)
        remote.until(lambda: lines(path) == ["began"], "the first line")
        second = caches.launch("serialized", path=str(path), seconds=5.0)
        remote.until(lambda: remote.phases(second).get("n0") == "QUEUED", "the second one")
        remote.terminate(second, "enough")
        assert remote.wait(second)["phase"] == "ABORTED"
        assert remote.phases(second)["n0"] == "ABORTED"
        assert remote.outputs(first) == {"o0": 5.0}

    def test_overwriting_waits_for_nobody(self, caches: Caches, path: Path) -> None:
        remote = caches.remote
        first = caches.launch("serialized", path=str(path), seconds=90.0)
        remote.until(lambda: lines(path) == ["began"], "the first line")
        second = remote.launch("caches.serialized", {"path": str(path), "seconds": 90.0}, overwrite_cache=True)
        remote.until(lambda: lines(path) == ["began", "began"], "the second one beside the first one")
        path.with_name(f"{path.name}.go").touch()
        assert remote.outputs(first) == remote.outputs(second) == {"o0": 90.0}


@pytest.mark.campaign
def test_recovered_nodes_keep_their_marks(caches: Caches, path: Path, tmp_path: Path) -> None:
    remote, flag = caches.remote, tmp_path / "flag"
    names = [caches.launch("half", path=str(path), x=1, flag=str(flag))]
    assert remote.wait(names[0])["phase"] == "FAILED"
    flag.touch()
    names.append(remote.again("recover", names[0]))
    assert remote.outputs(names[1]) == {"o0": "2"}
    assert remote.phases(names[1])["n0"] == "RECOVERED"
    assert marks(remote, names[1]) == marks(remote, names[0])
    assert status(remote, names[1]) == "CACHE_POPULATED"
    assert lines(path) == ["1"]
