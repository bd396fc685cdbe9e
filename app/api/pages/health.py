"""The addresses that orchestrators probe: /healthz/live and /healthz/ready.

Upstream's /healthcheck stays beside them (app/api/rest/router.py): 200 while the process answers.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from app.runtime.health import Health


def routes(health: Health) -> list[BaseRoute]:
    """Return the routes of this module."""

    async def live(request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(request: Request) -> Response:
        failing, degraded = await health.failing(), sorted(health.degraded())
        # Only names: the reasons hold addresses, and anybody may ask.
        more = {"degraded": degraded} if degraded else {}
        return JSONResponse({"ready": not failing, "failing": list(failing), **more}, 503 if failing else 200)

    return [Route("/healthz/live", live), Route("/healthz/ready", ready)]
