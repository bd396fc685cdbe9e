"""Processes that only place launches, for tests that kill them: DATABASE_URL HOME KUBECONFIG.

The program imports everything once. For each line of its input it forks a process that places, and prints its number
once the engine has started; at the end of its input it ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from app.blobs import Blobs
from app.database.connect import database_of
from app.engine.kubernetes.engine import KubernetesEngine
from app.engine.port import NoEngine
from app.runtime.dispatch import Server
from app.settings import Settings


async def place(url: str, home: str, kubeconfig: str) -> None:
    settings = Settings.model_validate(
        {
            "home": Path(home),
            "database": {"url": url},
            "engine": {"kind": "kubernetes"},
            "server": {"kube_config": kubeconfig},
        }
    )
    server = Server(settings, database_of(settings, serves=True), Blobs(settings), NoEngine())
    await server.database.open()
    engine = KubernetesEngine(server)
    await engine.start()
    sys.stdout.write(f"{os.getpid()}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main(url: str, home: str, kubeconfig: str) -> None:
    # Killed processes are removed by the system.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin.readline():
        if os.fork() == 0:
            asyncio.run(place(url, home, kubeconfig))


if __name__ == "__main__":
    main(*sys.argv[1:])
