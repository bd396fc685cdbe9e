"""The composition root: the only place that makes the database, the store, the engine and the application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from app import db
from app.api import docs
from app.api.call import Server
from app.blobs import Blobs
from app.engine.port import Engine, NoEngine

if TYPE_CHECKING:
    from app.metrics import Book
    from app.settings import Settings


def database_of(settings: Settings) -> db.Database:
    """The database of these settings, not opened yet; a process gets its share of the connections."""
    return db.connect(
        settings.database_url,
        connections_max=max(1, settings.database.max_open_connections // settings.server.workers),
        busy_timeout_seconds=settings.limits.database_wait_seconds_max,
        statement_timeout_seconds=settings.limits.database_statement_seconds_max,
    )


def create_app(settings: Settings, *, metrics: Book | None = None, engine_here: bool = True) -> FastAPI:
    """The application of one process: REST and gRPC by content type, documentation, health.

    shape:  metrics: where calls are counted; engine_here: whether this process runs the engine
    errors: BadSetting where the store cannot be used; the lifespan raises UNAVAILABLE without a database
    """
    server = Server(
        settings=settings,
        database=database_of(settings),
        blobs=Blobs(settings),
        engine=_engine(settings) if engine_here else NoEngine(),
        metrics=metrics,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await server.database.open()
        try:
            await server.engine.start()
            try:
                yield
            finally:
                await server.engine.stop()
        finally:
            await server.database.close()

    # FastAPI's own documents would describe no message; app/api/docs.py serves the generated ones.
    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    app.router.routes.extend(docs.routes())
    return app


def _engine(settings: Settings) -> Engine:
    return NoEngine()
