"""The unit that all figures are divided by: one prepared select by primary key through the usual Python stack.

Served by uvicorn with uvloop, httptools and two workers: a Starlette route, psycopg's pool of async connections in
autocommit mode, binary results; it answers the 0.6 kB column `closure` of a task as it is stored.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

URL_VARIABLE = "FLYTEADMIN_BENCHMARK_DATABASE_URL"
CONNECTIONS_MAX = 10
SELECT = "SELECT closure FROM tasks WHERE project = %s AND domain = %s AND name = %s AND version = %s"


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        os.environ[URL_VARIABLE], open=False, min_size=1, max_size=CONNECTIONS_MAX, kwargs={"autocommit": True}
    )
    async with pool:
        yield {"pool": pool}


async def _task(request: Request) -> Response:
    path = request.path_params
    key = (path["project"], path["domain"], path["name"], path["version"])
    async with request.state.pool.connection() as connection:
        cursor = connection.cursor(binary=True)
        await cursor.execute(SELECT, key, prepare=True)
        row = await cursor.fetchone()
    return Response(row[0], media_type="application/octet-stream") if row else Response(status_code=404)


app = Starlette(routes=[Route("/tasks/{project}/{domain}/{name}/{version}", _task)], lifespan=_lifespan)
