"""A process that only places launches, for tests that kill it: DATABASE_URL HOME KUBECONFIG."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from app.blobs import Blobs
from app.database.connect import database_of
from app.engine.kubernetes.engine import KubernetesEngine
from app.engine.port import NoEngine
from app.runtime.dispatch import Server
from app.settings import Settings


async def main(url: str, home: str, kubeconfig: str) -> None:
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
    sys.stdout.write("started\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
