"""Real control planes that run the workflows of flows/graphs.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.engine.conftest import FLOWS
from tests.engine.graphs.remote import Remote
from tests.support.servers import Running, serving

Plane = Callable[..., AbstractContextManager[tuple[Running, Remote]]]


@pytest.fixture(scope="session")
def plane(environment: Path) -> Plane:
    """Starts a server with the local engine on a home and a database; with a client of it."""

    @contextmanager
    def started(home: Path, url: str = "", *arguments: str, **more: str) -> Iterator[tuple[Running, Remote]]:
        variables = {
            "FLYTEADMIN_ENGINE": "local",
            "FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT": str(environment),
            "FLYTEADMIN__ENGINE__LOCAL__PYTHON_PATH": str(FLOWS),
            "FLYTEADMIN__ENGINE__LOCAL__GRACE_SECONDS": "5",
            **({"FLYTEADMIN_DATABASE_URL": url} if url else {}),
            **more,
        }
        with serving(home, *arguments, variables=variables) as server:
            client = Remote(server.web, home, environment / "bin" / "python")
            try:
                yield server, client
            finally:
                client.close()

    return started


@pytest.fixture(scope="session", params=("sqlite", "postgresql"))
def remote(
    request: pytest.FixtureRequest,
    plane: Plane,
    empty_database: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Remote]:
    """A client of a control plane on each kind of database that knows the workflows of flows/graphs.py."""
    home = tmp_path_factory.mktemp("planes") / request.param
    with plane(home, empty_database(request.param)) as (_, client):
        client.script("register.py", "graphs")
        yield client


class Started:
    """Executions by the names of their scenarios. folder: for the files that their tasks write."""

    def __init__(self, remote: Remote, folder: Path) -> None:
        self.remote = remote
        self.folder = folder
        self.names: dict[str, str] = {}

    def launch(self, scenario: str, plan: str, **inputs: object) -> None:
        self.names[scenario] = self.remote.launch(plan, inputs)

    def path(self, name: str) -> str:
        """A file for tasks, named in their inputs."""
        return str(self.folder / name)

    def lines(self, name: str) -> list[str]:
        """What tasks left in a file."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


def failure(started: Started, scenario: str) -> tuple[str, str, str]:
    """Kind, code and message of the error that an execution ended with."""
    error = started.remote.error(started.names[scenario])
    return error["kind"], error["code"], error["message"]


def check_synchronized(started: Started) -> None:
    """FlyteRemote finds in each execution what the rows say."""
    for name in started.names.values():
        started.remote.wait(name)
    synced = started.remote.script("synced.py", *started.names.values())
    for scenario, name in started.names.items():
        seen, closure = synced[name], started.remote.execution(name)["closure"]
        assert seen["phase"] == closure["phase"], scenario
        assert seen["nodes"] == started.remote.phases(name), scenario
        if closure["phase"] == "SUCCEEDED":
            assert seen["outputs"] == started.remote.outputs(name), scenario


@pytest.fixture(scope="session")
def started(remote: Remote, tmp_path_factory: pytest.TempPathFactory) -> Started:
    """The executions that need nothing from outside, all at once, so that they run while others are looked at."""
    scenarios = Started(remote, tmp_path_factory.mktemp("files"))
    scenarios.launch("late", "late", seconds=60.0)
    scenarios.launch("late_again", "late_again", seconds=60.0)
    scenarios.names["late_task"] = remote.launch_task("graphs.too_slow", {"seconds": 60.0})
    scenarios.launch("in_time_at_last", "in_time_at_last", path=scenarios.path("in time"))
    scenarios.launch("late_sub_workflow", "late_sub_workflow", path=scenarios.path("late"))
    scenarios.launch("late_plan", "late_plan", path=scenarios.path("late"))
    scenarios.launch("impatient", "impatient")
    scenarios.launch("killed", "killed", x=1)
    scenarios.launch("nested", "nested", x=3)
    for x in (1, 5, 50, 500, 5000):
        scenarios.launch(f"choices {x}", "choices", x=x)
    scenarios.launch("choice_that_waits", "choice_that_waits", path=scenarios.path("waits"), x=1)
    scenarios.launch("failing", "failing", message="boom")
    scenarios.launch("failing_with_deck", "failing_with_deck", message="boom")
    scenarios.launch("failing_for_now", "failing_for_now", message="boom")
    scenarios.launch("fails_in_the_end", "fails_in_the_end", path=scenarios.path("in the end"))
    scenarios.launch("fails_at_once", "fails_at_once", path=scenarios.path("at once"))
    scenarios.launch("cleaned", "cleaned", path=scenarios.path("cleaned"))
    scenarios.launch("not_cleaned", "not_cleaned", path=scenarios.path("cleaned"))
    scenarios.launch("cleaned_inside", "cleaned_inside", path=scenarios.path("inside"))
    scenarios.launch("parent", "parent", x=2)
    scenarios.launch("parent_of_failing", "parent_of_failing", message="boom")
    scenarios.launch("neither", "with_nothing", x=-1)
    scenarios.launch("one", "with_nothing", x=1)
    scenarios.launch("both", "with_nothing", x=1, given=0)
    scenarios.launch("limited", "wide", path=scenarios.path("wide"), seconds=0.5)
    return scenarios
