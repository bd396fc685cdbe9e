"""Counts and durations of every RPC, under the names that upstream's dashboards read.

A CallMetrics is a flat row of numbers for each RPC. The serving process writes the memory, and the process with the
metrics listener reads it. So recording a call is four additions, and no two processes write the same numbers.
Source: flyteadmin/pkg/rpc/adminservice/metrics.go and util/metrics.go.
"""

from __future__ import annotations

import math
import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

CODES = (
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
)
# The names of targets of the outbox (app/background/outbox/targets.py).
TARGETS = ("mail", "webhook", "queue", "external_events", "cloud_events")
_OF_TARGET = {
    "available": "1 unless the receiver cannot be reached",
    "delivered": "messages delivered since the start",
    "failed": "messages that could not be delivered, since the start",
    "retried": "attempts that will be repeated, since the start",
    "waiting": "messages that wait, counted up to 10,000",
    "oldest_seconds": "age of the oldest waiting message",
}
# Every gauge of a background service (app/runtime/lifecycle.py) by service and name, with its help text.
GAUGES = {
    ("assistants", "healthy"): "1 while the MCP endpoint and the REST adapter work",
    ("change_listener", "healthy"): "1 while the service runs",
    ("change_listener", "listening"): "1 while notices of other processes arrive; PostgreSQL only",
    ("cluster_resources", "healthy"): "1 unless the last run could not apply an object",
    ("cluster_resources", "failed"): "objects that the last run could not apply",
    ("descriptor_watch", "healthy"): "1 while the process has descriptors left",
    ("grant_cleaning", "healthy"): "1 while expired codes and tokens can be deleted from the database",
    ("identity_provider", "healthy"): "1 while the identity provider's documents can be read",
    ("kubernetes_engine", "healthy"): "1 while the engine reaches the database",
    ("kubernetes_engine", "working"): "launch records that the engine works on",
    ("kubernetes_engine", "unknown_objects"): "objects of executions that the database does not have",
    ("local_engine", "healthy"): "1 while the engine reaches the database and renews its leases",
    ("local_engine", "executions"): "executions that the engine holds in memory",
    ("local_engine", "connector_tasks"): "tasks that services (connectors) run",
    ("local_engine", "connector_calls"): "calls to services since the start of the process",
    ("local_engine", "connector_failed_calls"): "failed calls to services since the start of the process",
    ("local_engine", "connector_services_down"): "services whose last answer to ListAgents was an error",
    ("metrics_listener", "healthy"): "1 while the listener works",
    ("notification_queue", "healthy"): "1 while the queue of e-mails can be read",
    ("outbox", "healthy"): "1 while the outbox reaches the database",
    **{("outbox", f"{name}_{what}"): f"{name}: {text}" for name in TARGETS for what, text in _OF_TARGET.items()},
    ("revoked_clients", "healthy"): "1 while the list of revoked clients can be read from the database",
    ("scheduler", "healthy"): "1 while the scheduler reaches the database",
    ("scheduler", "leading"): "1 in the process that fires schedules",
    ("scheduler", "schedules"): "active schedules that have a following slot",
    ("scheduler", "never"): "active schedules that never fire",
    ("scheduler", "waiting"): "slots that are due and not launched yet",
    ("scheduler", "failing"): "active schedules whose last slot could not be launched",
    ("scheduler", "paused"): "schedules that are paused",
    ("scheduler", "clock_jumps"): "jumps of the machine's clock by more than a minute, since the start",
    ("scheduler", "lateness_seconds"): "time between the newest launched slot and its launch",
    ("session_expiry", "healthy"): "1 unless expired sessions cannot be deleted",
    ("task_environment", "healthy"): "1 unless the environment of tasks cannot be made",
}
# Every histogram of a background service by service and name: its help text and the upper bounds of its buckets.
HISTOGRAMS = {
    ("scheduler", "slot_lateness_seconds"): (
        "time between a slot and its launch",
        (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0, 86400.0),
    ),
}
QUANTILES = (0.5, 0.9, 0.99)
RECENT_CALLS = 256

_SUM = len(CODES)
_NEXT = _SUM + 1
_RECENT = _NEXT + 1
_ROW = _RECENT + RECENT_CALLS

# Endpoint by RPC, where upstream's name is not the RPC's name in snake_case.
_ENDPOINTS = {
    "ListTasks": "list_task",
    "ListWorkflows": "list_workflow",
    "ListLaunchPlans": "list_launch_plan",
    "ListExecutions": "list_execution",
    "ListNodeExecutions": "list_node_execution",
    "ListNodeExecutionsForTask": "list_children_node_executions",
    "ListTaskExecutions": "list_task_execution",
    "ListDescriptionEntities": "list_description_entity",
    "ListMatchableAttributes": "list_matchable_resource_attrs",
    "GetDomains": "get_domain",
    "CreateWorkflowEvent": "create_execution_event",
    "CreateNodeEvent": "create_node_execution_event",
    "CreateTaskEvent": "create_task_execution_event",
    "GetOrCreateSignal": "create_signal",
}


class Histogram:
    """Counts values by buckets since the start of the process; a service returns `numbers` among its gauges.

    Args:
        service: The service.
        name: A name that HISTOGRAMS has for the service.
    """

    def __init__(self, service: str, name: str) -> None:
        self._name, self._bounds = name, HISTOGRAMS[service, name][1]
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def numbers(self) -> dict[str, float]:
        """Return the sum and the count of each bucket, by the names in shared memory."""
        names = _bucket_names(self._name, self._bounds)
        return {f"{self._name}_sum": self._sum, **dict(zip(names, map(float, self._counts), strict=True))}


def _bucket_names(name: str, bounds: Sequence[float]) -> list[str]:
    """Return the names of the buckets in shared memory, the one without an upper bound last."""
    return [f"{name}_bucket_{bound:g}" for bound in (*bounds, math.inf)]


# All numbers of services in shared memory: gauges, and the sums and buckets of histograms.
_NUMBERS = (
    *GAUGES,
    *(
        (service, number)
        for (service, name), (_, bounds) in HISTOGRAMS.items()
        for number in (f"{name}_sum", *_bucket_names(name, bounds))
    ),
)


class CallMetrics:
    """The counts and durations that one process has recorded, by RPC, and the gauges of its services.

    Args:
        names: The RPCs, the same in every process.
        numbers: Shared memory of size(names) doubles; None for memory of this process alone.
    """

    def __init__(self, names: Sequence[str], numbers: memoryview[float] | None = None) -> None:
        if numbers is None:
            self._numbers = memoryview(array("d", bytes(8 * self.size(names)))).cast("B").cast("d")
        else:
            self._numbers = numbers
        self._rows = {name: place * _ROW for place, name in enumerate(names)}
        self._gauges = {gauge: len(names) * _ROW + place for place, gauge in enumerate(_NUMBERS)}
        if numbers is None:
            self.clear_gauges()

    @staticmethod
    def size(names: Sequence[str]) -> int:
        """Return how many doubles the metrics of these RPCs need."""
        return len(names) * _ROW + len(_NUMBERS)

    def set_gauges(self, values: Mapping[tuple[str, str], float]) -> None:
        """Store the gauges of the process's services, by service and name."""
        for gauge, value in values.items():
            self._numbers[self._gauges[gauge]] = value

    def clear_gauges(self) -> None:
        """Unset the gauges: of this process when its services stop, of a worker when the supervisor sees its end."""
        for place in self._gauges.values():
            self._numbers[place] = math.nan

    def gauges(self) -> dict[tuple[str, str], float]:
        """Return the gauges that are set, by service and name."""
        found = {gauge: self._numbers[place] for gauge, place in self._gauges.items()}
        return {gauge: value for gauge, value in found.items() if not math.isnan(value)}

    def record(self, name: str, code: int, seconds: float) -> None:
        """Record a call that ended with this gRPC code (0 to 16)."""
        numbers, row, milliseconds = self._numbers, self._rows[name], seconds * 1000
        numbers[row + code] += 1
        numbers[row + _SUM] += milliseconds
        calls = int(numbers[row + _NEXT])
        numbers[row + _RECENT + calls % RECENT_CALLS] = milliseconds
        numbers[row + _NEXT] = calls + 1

    def codes(self, name: str) -> list[int]:
        """Return the number of calls by gRPC code."""
        row = self._rows[name]
        return [int(number) for number in self._numbers[row : row + len(CODES)]]

    def milliseconds(self, name: str) -> float:
        """Return the sum of the durations of all calls."""
        return float(self._numbers[self._rows[name] + _SUM])

    def recent(self, name: str) -> list[float]:
        """Return the durations of the last RECENT_CALLS calls in milliseconds, in no particular order."""
        row = self._rows[name]
        kept = min(int(self._numbers[row + _NEXT]), RECENT_CALLS)
        return list(self._numbers[row + _RECENT : row + _RECENT + kept])


def rpcs() -> tuple[tuple[str, str], ...]:
    """Return service and name of all RPCs, in the order of the proto files."""
    from flyteidl.datacatalog import datacatalog_pb2
    from flyteidl.service import admin_pb2, auth_pb2, dataproxy_pb2, identity_pb2, signal_pb2

    return tuple(
        (service.full_name, method.name)
        for module in (admin_pb2, auth_pb2, dataproxy_pb2, identity_pb2, signal_pb2, datacatalog_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    )


def endpoint(service: str, name: str) -> str:
    """Return the metric name of an RPC: admin:get_task for ("flyteidl.service.AdminService", "GetTask")."""
    part = service.rpartition(".")[2].removesuffix("Service").lower()
    snake = _ENDPOINTS.get(name) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    # Upstream shortens the attributes of projects, domains and workflows, and of nothing else.
    return f"{part}:{re.sub('_attributes$', '_attrs', snake)}"


def exposition(all_counts: Sequence[CallMetrics], rpcs: Sequence[tuple[str, str]], *, scope: str) -> str:
    """Return the sums of the counters and durations of all processes in Prometheus' text format.

    prometheus-client cannot write them: it adds `_total` to the names of counters, which upstream's names do not have,
    and its summaries have no quantiles. Its counters would also cost several µs for each call.

    Args:
        all_counts: The metrics of all processes.
        rpcs: Pairs of service and name.
        scope: The beginning of every name, such as `flyte:`.
    """
    return "\n".join(line for service, name in rpcs for line in _lines(all_counts, service, name, scope)) + "\n"


def service_exposition(gauges: Iterable[Mapping[tuple[str, str], float]], *, scope: str) -> str:
    """Return the numbers of background services, summed over all processes, in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry, total = CollectorRegistry(), Counter[tuple[str, str]]()
    for some in gauges:
        for gauge, value in some.items():
            total[gauge] += value  # type: ignore[assignment]  # typeshed has counters of integers only.
    for service, name in total:
        if (service, name) not in GAUGES:
            continue
        made = Gauge(f"{scope}admin:{service}:{name}", GAUGES[service, name], registry=registry)
        made.set(total[service, name])
    lines = [line for (service, name) in HISTOGRAMS for line in _histogram(service, name, total, scope)]
    return generate_latest(registry).decode() + "".join(f"{line}\n" for line in lines)


def _histogram(service: str, name: str, total: Mapping[tuple[str, str], float], scope: str) -> Iterator[str]:
    """Yield the lines of a histogram; none where no process counts it."""
    if (service, f"{name}_sum") not in total:
        return
    shown, (text, bounds) = f"{scope}admin:{service}:{name}", HISTOGRAMS[service, name]
    yield f"# HELP {shown} {text}"
    yield f"# TYPE {shown} histogram"
    counted = 0
    for bound, number in zip((*bounds, math.inf), _bucket_names(name, bounds), strict=True):
        counted += int(total[service, number])
        upper = "+Inf" if bound == math.inf else f"{bound:g}"
        yield f'{shown}_bucket{{le="{upper}"}} {counted}'
    yield f"{shown}_sum {total[service, f'{name}_sum']:.6f}"
    yield f"{shown}_count {counted}"


def _lines(all_counts: Sequence[CallMetrics], service: str, name: str, scope: str) -> Iterator[str]:
    prefix = f"{scope}admin:{endpoint(service, name)}"
    codes = [sum(numbers) for numbers in zip(*(counts.codes(name) for counts in all_counts), strict=True)]
    yield from _counter(f"{prefix}:success", "successful responses", codes[0])
    yield from _counter(f"{prefix}:errors", "errors returned", sum(codes[1:]))
    for word, count in zip(CODES, codes, strict=True):
        yield from _counter(f"{prefix}:codes:{word}", f"responses with {word}", count)
    duration = f"{prefix}:duration_ms"
    yield f"# HELP {duration} response time in milliseconds"
    yield f"# TYPE {duration} summary"
    # Deviates: the quantiles are of the last calls of each process, upstream's of the last ten minutes.
    recent = sorted(value for counts in all_counts for value in counts.recent(name))
    for quantile in QUANTILES:
        value = f"{recent[min(int(quantile * len(recent)), len(recent) - 1)]:.6g}" if recent else "NaN"
        yield f'{duration}{{quantile="{quantile}"}} {value}'
    yield f"{duration}_sum {sum(counts.milliseconds(name) for counts in all_counts):.6f}"
    yield f"{duration}_count {sum(codes)}"


def _counter(name: str, counted: str, count: int) -> Iterator[str]:
    yield f"# HELP {name} count of {counted}"
    yield f"# TYPE {name} counter"
    yield f"{name} {count}"
