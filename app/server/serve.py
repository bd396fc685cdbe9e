"""Serve requests from one process, or from several workers under a supervisor, until a signal ends the server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial

from app.runtime import metrics
from app.runtime.lifecycle import Service, Services
from app.server import listeners, web_server
from app.server.metrics_listener import MetricsListener
from app.server.reload import SettingsSource
from app.server.start_interrupt import StartInterrupt
from app.server.startup import Progress, Started
from app.server.supervisor import Supervisor


def serve(
    started: Started,
    source: SettingsSource,
    progress: Progress,
    announce: Callable[[], None],
    interrupt: StartInterrupt,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        started: The sockets, the lock and the settings.
        source: Reads the settings again on SIGHUP.
        progress: Where the progress of background services is printed.
        announce: Called once when requests are served.
        interrupt: Receives SIGINT until requests are served.

    Raises:
        BadSetting: The server cannot start; its message is one line of advice.
    """
    settings = started.settings
    sockets = {"rest": started.rest, "grpc": started.grpc, **started.assistants}
    if settings.server.http == "httptools":
        # HTTP/1.1 carries no gRPC: each process has a server of grpcio, which binds the port itself.
        sockets.pop("grpc").close()
    served = threading.Event()

    def ready() -> None:
        announce()
        served.set()

    run: Callable[[], None]
    if settings.server.workers == 1:
        all_counts = [metrics.CallMetrics([name for _, name in metrics.rpcs()])]
        serving = web_server.Serving(settings, source, [*sockets.values()], all_counts[0], ready)
        run = partial(web_server.run, serving)
    else:
        supervisor = Supervisor(settings, source, [*sockets.values()], ready)
        all_counts, run = supervisor.call_metrics(), supervisor.run
    listeners.listen({**sockets, "metrics": started.metrics})
    scope = settings.flyteadmin.metrics_scope

    def exposition() -> str:
        gauges = [services.gauges(), *(counts.gauges() for counts in all_counts)]
        calls = metrics.exposition(all_counts, metrics.rpcs(), scope=scope)
        return calls + metrics.service_exposition(gauges, scope=scope)

    members: list[Service] = [MetricsListener(started.metrics, settings, exposition)]
    if settings.engine.kind == "local":
        from app.server.task_environment import TaskEnvironmentMaker

        members.append(TaskEnvironmentMaker(settings, progress, served))
    services = Services(members)
    asyncio.run(services.start())
    try:
        interrupt.check()
        run()
    finally:
        web_server.end_in_time()
        asyncio.run(services.stop())
        started.lock.release()
    progress.line("stopped")
