"""The all_counts of calls and what they look like to Prometheus."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from app.api import routers
from app.runtime import metrics

LIST = ("flyteidl.service.AdminService", "ListProjects")
NAMES = [name for _, name in metrics.rpcs()]


def test_every_rpc_that_is_served_is_counted() -> None:
    assert set(metrics.rpcs()) == {(rpc.service, rpc.name) for rpc in routers.ALL}


calls = st.lists(st.tuples(st.integers(0, 16), st.floats(0, 10)), max_size=400)


def samples(text: str) -> dict[tuple[str, str], float]:
    """(name, quantile) -> value, of everything that Prometheus reads in a text."""
    return {
        (sample.name.removesuffix("_total"), sample.labels.get("quantile", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@given(st.lists(calls, min_size=1, max_size=3))
def test_books_of_several_processes_add_up(recorded: list[list[tuple[int, float]]]) -> None:
    all_counts = []
    for some in recorded:
        all_counts.append(metrics.CallMetrics(NAMES))
        for code, seconds in some:
            all_counts[-1].record(LIST[1], code, seconds)
    found = samples(metrics.exposition(all_counts, [LIST], scope="flyte:"))
    prefix = "flyte:admin:admin:list_projects"
    every = [call for some in recorded for call in some]
    assert found[f"{prefix}:success", ""] == sum(code == 0 for code, _ in every)
    assert found[f"{prefix}:errors", ""] == sum(code != 0 for code, _ in every)
    for number, word in enumerate(metrics.CODES):
        assert found[f"{prefix}:codes:{word}", ""] == sum(code == number for code, _ in every)
    assert found[f"{prefix}:duration_ms_count", ""] == len(every)
    assert found[f"{prefix}:duration_ms_sum", ""] == pytest.approx(1000 * sum(s for _, s in every), abs=1e-3)
    recent = [seconds * 1000 for some in recorded for _, seconds in some[-metrics.RECENT_CALLS :]]
    if recent:
        quantiles = [found[f"{prefix}:duration_ms", str(quantile)] for quantile in metrics.QUANTILES]
        assert quantiles == sorted(quantiles)
        # Quantiles are written with six digits.
        assert min(recent) * (1 - 1e-5) <= quantiles[0] <= quantiles[-1] <= max(recent) * (1 + 1e-5)


def test_a_book_keeps_to_its_own_row() -> None:
    counts = metrics.CallMetrics(NAMES)
    counts.record("GetTask", 5, 0.001)
    assert [name for name in NAMES if any(counts.codes(name))] == ["GetTask"]


def test_every_rpc_has_a_name_of_its_own() -> None:
    names = [metrics.endpoint(*rpc) for rpc in metrics.rpcs()]
    assert len(names) == len(set(names)) == 76


@pytest.mark.parametrize(
    ("service", "name", "expected"),
    [
        ("AdminService", "CreateExecution", "admin:create_execution"),
        ("AdminService", "ListExecutions", "admin:list_execution"),
        ("AdminService", "CreateWorkflowEvent", "admin:create_execution_event"),
        ("AdminService", "ListNodeExecutionsForTask", "admin:list_children_node_executions"),
        ("AdminService", "UpdateProjectDomainAttributes", "admin:update_project_domain_attrs"),
        ("AdminService", "ListMatchableAttributes", "admin:list_matchable_resource_attrs"),
        ("AdminService", "ListProjects", "admin:list_projects"),
        ("SignalService", "GetOrCreateSignal", "signal:create_signal"),
        ("DataProxyService", "CreateUploadLocation", "dataproxy:create_upload_location"),
    ],
)
def test_endpoints_have_upstreams_names(service: str, name: str, expected: str) -> None:
    assert metrics.endpoint(f"flyteidl.service.{service}", name) == expected


def test_histograms_of_services_add_up_over_processes() -> None:
    processes = []
    for values in ((0.05, 0.1, 0.3), (7, 100_000)):
        histogram, numbers = metrics.Histogram("scheduler", "slot_lateness_seconds"), metrics.CallMetrics(NAMES)
        for value in values:
            histogram.observe(value)
        numbers.set_gauges({("scheduler", name): number for name, number in histogram.numbers().items()})
        processes.append(numbers.gauges())
    text = metrics.service_exposition(processes, scope="flyte:")
    [family] = [one for one in text_string_to_metric_families(text) if one.type == "histogram"]
    found = {sample.labels.get("le", sample.name.rpartition("_")[2]): sample.value for sample in family.samples}
    assert family.name == "flyte:admin:scheduler:slot_lateness_seconds"
    assert [found[le] for le in ("0.1", "0.25", "0.5", "5", "10", "86400", "+Inf")] == [2, 2, 3, 3, 4, 4, 5]
    assert (found["count"], found["sum"]) == (5, pytest.approx(100_007.45))
    assert "slot_lateness_seconds_bucket_" not in text
