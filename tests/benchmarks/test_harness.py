"""The benchmark's own arithmetic, what it sends, and the form of its results; one route from end to end."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import common_pb2, event_pb2, execution_pb2, task_pb2, workflow_pb2
from google.protobuf import json_format
from typer.testing import CliRunner

from benchmarks import measure, messages, plot, results
from benchmarks.__main__ import app
from benchmarks.clients import Load
from benchmarks.measure import Pair, Run
from benchmarks.routes import ROUTES, UNIQUE, Route

ROUTE = Route("GET /tasks/p/d/n/v", 0.5, 0.8, ("/",))


def pair(per_second: float, unit: float, *, errors: int = 0) -> Pair:
    """Two seconds of the server next to two of the unit; each request takes 100 µs of each kind of process."""

    def run(rate: float, errors: int) -> Run:
        requests = int(rate * 2)
        cpu_seconds = requests * 100e-6
        problem = "refused" if errors else ""
        return Run(Load(requests, errors, 2.0, 1.0, 9.0, cpu_seconds, problem), cpu_seconds, cpu_seconds)

    return Pair(run(per_second, errors), run(unit, 0))


def result(*ratios: float) -> dict[str, Any]:
    """A result with as many routes."""
    rows = [
        measure.figures(Route(f"GET /{number} <&>", 0.5, 0.8, ("/",)), "sqlite", [pair(1000 * ratio, 1000)])
        for number, ratio in enumerate(ratios)
    ]
    return {**results.head(seconds=2.0), "routes": rows}


class TestFigures:
    def test_the_ratio_is_the_median_of_the_pairs_and_not_the_ratio_of_the_medians(self) -> None:
        runs = [pair(100, 1000), pair(900, 1000), pair(300, 100)]
        row = measure.figures(ROUTE, "postgresql", runs)
        assert row["ratio"] == 0.9
        assert (row["requests_per_second"], row["unit_per_second"]) == (300, 1000)

    def test_cpu_time_is_told_per_request(self) -> None:
        row = measure.figures(ROUTE, "postgresql", [pair(500, 1000)])
        assert row["cpu_us_per_request"] == row["database_cpu_us_per_request"] == 100
        assert row["ratio_by_cpu"] == 1.0
        assert (row["ratio"], row["met"]) == (0.5, False)

    @pytest.mark.parametrize(("per_second", "errors", "met"), [(800, 0, True), (799, 0, False), (5000, 1, False)])
    def test_a_target_is_met_when_it_is_reached_without_an_error(
        self, per_second: float, errors: int, met: bool
    ) -> None:
        row = measure.figures(ROUTE, "postgresql", [pair(per_second, 1000, errors=errors)])
        assert row["met"] is met
        said = results.cells(row)[-1]
        assert said == ("1 ERRORS refused" if errors else "met" if met else "not met")


@pytest.mark.slow
class TestResults:
    def test_what_is_written_reads_back_and_names_no_machine(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import socket

        monkeypatch.setattr(results, "FOLDER", tmp_path)
        written = result(0.9)
        path = results.write(written)
        assert path.name == f"{written['at'][:10]}-{written['commit']}.json"
        assert results.read(path) == json.loads(json.dumps(written))
        assert socket.gethostname() not in path.read_text()
        assert {"python", "psycopg", "uvicorn"} <= written["versions"].keys()

    def test_another_format_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "old.json"
        path.write_text('{"format": 0}')
        with pytest.raises(ValueError, match="has format 0"):
            results.read(path)

    def test_compare_divides_the_second_by_the_first(self, tmp_path: Path) -> None:
        for name, ratios in (("a", (0.4, 0.5)), ("b", (0.8,))):
            (tmp_path / name).write_text(json.dumps(result(*ratios)))
        done = CliRunner().invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b")])
        assert done.exit_code == 0, done.output
        (row,) = [line for line in done.output.splitlines() if "GET /" in line]
        assert row.split()[4:7] == ["0.40", "0.80", "2.00"]

    def test_compare_reads_what_was_measured_of_lists_too(self, tmp_path: Path) -> None:
        for name, big_ms in (("a", 8.0), ("b", 4.0)):
            case = {"case": "tasks of a name", "small_ms": 4.0, "big_ms": big_ms, "ratio": big_ms / 4}
            scale = [{"database": "sqlite", "cases": [case]}]
            (tmp_path / name).write_text(json.dumps({**results.head(rounds=1), "scale": scale}))
        done = CliRunner().invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b")])
        assert done.exit_code == 0, done.output
        *_, titles, row = done.output.splitlines()
        assert titles.split()[2:] == [text for key in ("ratio", "small", "big") for text in (key, "A", key, "B", "B/A")]
        assert row.split()[-9:] == ["2.00", "1.00", "0.50", "4.00", "4.00", "1.00", "8.00", "4.00", "0.50"]

    def test_the_plot_has_a_bar_as_long_as_the_ratio_for_each_route(self) -> None:
        drawn = ElementTree.fromstring(plot.svg(result(0.4, 0.8)))
        bars = [r for r in drawn.iter("{http://www.w3.org/2000/svg}rect") if len(r)]
        shorter, longer = (float(bar.attrib["width"]) for bar in bars)
        assert longer == pytest.approx(2 * shorter, rel=0.01)


class TestRoutes:
    def test_every_route_sends_messages_of_its_rpc(self) -> None:
        kinds = {
            "POST /tasks": task_pb2.TaskCreateRequest,
            "POST /workflows": workflow_pb2.WorkflowCreateRequest,
            "POST /executions": execution_pb2.ExecutionCreateRequest,
            "gRPC GetExecution": execution_pb2.WorkflowExecutionGetRequest,
            "gRPC GetWorkflow": common_pb2.ObjectGetRequest,
            "gRPC CreateNodeEvent": event_pb2.NodeExecutionEventRequest,
        }
        for route in ROUTES:
            if route.body:
                json_format.Parse(route.body, kinds[route.name]())
            assert all(isinstance(request, kinds[route.name]) for request in route.requests)
        assert {route.name for route in ROUTES if route.body or route.requests} == kinds.keys()
        new = ("POST /tasks", "POST /workflows", "gRPC CreateNodeEvent")
        assert all(UNIQUE in (r.body or str(r.requests[0])) for r in ROUTES if r.name in new)
        for script in ("wrk.lua", "grpcload/main.go"):
            assert UNIQUE in (Path(measure.__file__).parent / script).read_text()

    def test_messages_have_the_sizes_that_the_figures_of_go_were_taken_with(self) -> None:
        task = messages.task("pipelines.training.step_0", "v0").spec.template.ByteSize()
        assert 550 <= task <= 700


@pytest.mark.slow
@pytest.mark.campaign
def test_a_route_from_end_to_end(tmp_path: Path) -> None:
    if shutil.which("wrk") is None:
        pytest.skip("no wrk on this machine")
    arguments = ["run", "--route", "GET /tasks", "--seconds", "1", "--pairs", "1"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rows = [line for line in done.output.splitlines() if line.startswith("GET /tasks")]
    assert len(rows) == 2, done.output
    assert "ERRORS" not in done.output
    assert "written" not in done.output
