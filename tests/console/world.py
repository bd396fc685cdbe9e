"""A server with executions of every kind, for tests of the console and for people who write its pages.

`python -m tests.console.world --port 31080` starts one and keeps it. Tests use it instead of one of their own where
FLYTEADMIN_TEST_CONSOLE names its home, which the command prints.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engine import environment
from tests.engine.conftest import FLOWS
from tests.engine.graphs.remote import Remote
from tests.support.browser import beside_playwright
from tests.support.servers import serving

PROJECT, DOMAIN = "flytesnacks", "development"
SCOPE = f"/console/projects/{PROJECT}/domains/{DOMAIN}"
MARKUP = "<img src=x onerror=\"document.title='attacked'\"><script>document.title='attacked'</script>"
# Names and versions that people use and that addresses have to escape.
ODD_NAMES = ("odd.a/b+c d", "odd.größe.日本語", f"odd.{MARKUP}", "odd.50%25?x=1#y", 'odd."quoted"')
ODD_VERSION = "r/1+2:3 4==%2F"

_WORKFLOWS = {
    "shown": (),
    "graphs": ("nested", "choices", "failing", "failing_for_now", "gated", "parent", "cleaned", "late"),
    "dynamics": ("sample", "summed"),
    "maps": ("doubled",),
    "caches": ("two",),
    "eagers": ("counted_workflow",),
    "data": ("decks", "checkpoints"),
}


@dataclass
class World:
    """A server and its executions by the names of scenarios."""

    remote: Remote
    names: dict[str, str] = field(default_factory=dict)

    @property
    def web(self) -> str:
        """Return the address of the server, without a slash at its end."""
        return self.remote.web

    def execution(self, scenario: str) -> str:
        """Return the path of an execution's page."""
        return f"{SCOPE}/executions/{self.names[scenario]}"

    def launch(self, scenario: str, plan: str, inputs: dict[str, Any] | None = None, **spec: Any) -> str:
        """Launch a launch plan and keep its execution's name under a scenario."""
        self.names[scenario] = self.remote.launch(plan, inputs, **spec)
        return self.names[scenario]


@contextmanager
def server(home: Path, *arguments: str, small: bool = False) -> Iterator[World]:
    """Yield a server with the local engine whose executions have ended, but those that wait or run for ever.

    Args:
        home: The folder of the server's data.
        *arguments: Further arguments of `flyteadmin serve`.
        small: Whether a few executions suffice, which takes a quarter of the time.
    """
    tasks = _tasks()
    variables = {
        "FLYTEADMIN_ENGINE": "local",
        "FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT": str(tasks),
        "FLYTEADMIN__ENGINE__LOCAL__PYTHON_PATH": str(FLOWS),
        "FLYTEADMIN__ENGINE__LOCAL__GRACE_SECONDS": "2",
    }
    with serving(home, *arguments, variables=variables) as running:
        world = World(Remote(running.web, home, tasks / "bin" / "python"))
        try:
            (_fill_few if small else _fill)(world, home)
            yield world
        finally:
            # The server leaves running tasks alone when it stops.
            if name := world.names.get("long_nap"):
                world.remote.terminate(name, "the tests have ended")
            world.remote.close()


def running_at(home: Path) -> World:
    """Return the world of a server that somebody else started."""
    kept = json.loads((home / "world.json").read_text())
    return World(Remote(kept["web"], home, _tasks() / "bin" / "python"), kept["names"])


def _tasks() -> Path:
    """Return the environment of tasks."""
    return beside_playwright(environment.path)


def _fill(world: World, home: Path) -> None:
    remote = world.remote
    groups = [("--", module, *names) for module, names in _WORKFLOWS.items()]
    remote.script("register.py", *itertools.chain.from_iterable(groups))
    _odd_names(remote)
    for plan in ("shown.nightly", "shown.often"):
        remote.call("PUT", f"/launch_plans/{PROJECT}/{DOMAIN}/{plan}/v1", {"state": "ACTIVE"})
    _launch(world, home / "files")
    waiting = {"gated", "long_nap"}
    for scenario, name in world.names.items():
        if scenario not in waiting:
            remote.wait(name)
    remote.signals(world.names["gated"], 2)
    world.names["relaunched"] = remote.again("relaunch", world.names["nested"])
    world.names["recovered"] = remote.again("recover", world.names["failing"])
    world.launch("cached again", "caches.two", {"path": str(home / "files" / "cached"), "x": 3})
    for scenario in ("relaunched", "recovered", "cached again"):
        remote.wait(world.names[scenario])
    _hostile_log_link(world)
    (home / "world.json").write_text(json.dumps({"web": world.web, "names": world.names}))


def _fill_few(world: World, home: Path) -> None:
    """Run what tests/console/test_smoke.py looks at."""
    world.remote.script("register.py", "--", "shown", "--", "graphs", "nested", "failing")
    world.launch("long_nap", "shown.long_nap")
    world.launch("failing", "failing", {"message": f"the shape of the data is wrong {MARKUP}"})
    world.launch("nested", "nested", {"x": 3})
    for scenario in ("failing", "nested"):
        world.remote.wait(world.names[scenario])
    _hostile_log_link(world)


def _launch(world: World, files: Path) -> None:
    files.mkdir(exist_ok=True)
    launch = world.launch
    launch("aborted", "shown.long_nap")
    launch("long_nap", "shown.long_nap")
    launch("gated", "gated", {"x": 1})
    launch("every_type", "shown.every_type", labels={"values": {"team": "vision"}}, tags=["exp1"])
    launch("hostile", "shown.hostile", tags=[MARKUP])
    launch("hostile_failure", "shown.hostile_failure")
    launch("own_image", "shown.own_image")
    launch("some_fail", "shown.some_fail")
    launch("most_fail", "shown.most_fail")
    launch("talking", "shown.talking", {"lines": 200, "seconds": 0.2})
    launch("nested", "nested", {"x": 3})
    for x in (1, 5, 50, 5000):
        launch(f"choices {x}", "choices", {"x": x})
    launch("failing", "failing", {"message": "the shape of the data is wrong"})
    launch("failing_for_now", "failing_for_now", {"message": "once more"})
    launch("cleaned", "cleaned", {"path": str(files / "cleaned")})
    launch("late", "late", {"seconds": 60.0})
    launch("parent", "parent", {"x": 2})
    launch("dynamic", "dynamics.sample", {"x": 3})
    launch("dynamic_summed", "dynamics.summed", {"n": 3})
    launch("map", "maps.doubled", {"n": 12})
    launch("cached", "caches.two", {"path": str(files / "cached"), "x": 3})
    launch("eager", "eagers.counted", {"x": 2})
    launch("decks", "data.decks", {"title": "A deck"})
    launch("checkpoints", "data.checkpoints")
    world.names["task"] = world.remote.launch_task("graphs.double", {"x": 4})
    world.remote.terminate(world.names["aborted"], f"not wanted {MARKUP}")


def _odd_names(remote: Remote) -> None:
    """Register tasks whose names and version an address has to escape."""
    for name in ODD_NAMES:
        scope = {"project": PROJECT, "domain": DOMAIN, "name": name, "version": ODD_VERSION}
        template = {
            "id": {"resource_type": "TASK", **scope},
            "type": "python-task",
            "metadata": {"runtime": {"type": "FLYTE_SDK", "version": MARKUP, "flavor": "python"}},
            "interface": {"inputs": {"variables": {}}, "outputs": {"variables": {}}},
            "container": {"image": MARKUP, "args": ["sh", "-c", MARKUP]},
        }
        remote.call("POST", "/tasks", {"id": {"resource_type": "TASK", **scope}, "spec": {"template": template}})


def _hostile_log_link(world: World) -> None:
    """Add links to a running attempt, as another engine would report them."""
    remote, name = world.remote, world.names["long_nap"]
    scope = f"{PROJECT}/{DOMAIN}/{name}"
    remote.until(lambda: bool(remote.attempts(name, "n0")), "the attempt")
    row = remote.call("GET", f"/task_executions/{scope}/n0?limit=1")["task_executions"][0]
    event = {
        "task_id": row["id"]["task_id"],
        "parent_node_execution_id": row["id"]["node_execution_id"],
        "retry_attempt": 0,
        "phase": "RUNNING",
        "phase_version": 1000,
        "occurred_at": row["closure"]["updated_at"],
        "logs": [
            {"name": MARKUP, "uri": "javascript:document.title='attacked'"},
            {"name": "data", "uri": "data:text/html,<script>opener.document.title='attacked'</script>"},
            {"name": "elsewhere", "uri": "https://logs.example/view?a=1&b=<2>"},
        ],
        "reasons": [{"occurred_at": row["closure"]["updated_at"], "reason": MARKUP}],
    }
    remote.call("POST", "/events/tasks", {"request_id": "hostile", "event": event})


def main() -> None:
    """Start a server and keep it until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", default="31080")
    port = parser.parse_args().port
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        os.environ.pop("FLYTEADMIN_TEST_CONSOLE", None)
        print("starting the server, registering and running workflows: about a minute", flush=True)  # noqa: T201
        with server(home, "--port", port) as world:
            print(f"{world.web}/console\nFLYTEADMIN_TEST_CONSOLE={home}", flush=True)  # noqa: T201
            for scenario in world.names:
                print(f"  {scenario:18} {world.web}{world.execution(scenario)}", flush=True)  # noqa: T201
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()


if __name__ == "__main__":
    main()
