"""What describes the API to people and generators: /openapi.json, /docs (Swagger UI) and /api/v1/openapi (Swagger 2).

The document is generated (openapi/generate.py). Its names of fields are those that its own `Accept` gets from the API:
lowerCamelCase, or snake_case, as in the repository, for `application/json` alone.
"""

import asyncio
from functools import cache
from pathlib import Path

import fastapi_offline
import orjson
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from app import bundled
from app.api.pages.camel_document import camel_document
from app.api.pages.swagger import swagger

SWAGGER_PATH = "/api/v1/openapi"
DOCUMENT = bundled.path("openapi/flyte.json")
# The package carries Swagger UI's files, so that /docs works where there is no way to a CDN.
ASSETS = Path(fastapi_offline.__file__).parent / "static"


@cache
def openapi_bytes() -> bytes:
    """The OpenAPI 3.1 document."""
    return DOCUMENT.read_bytes()


@cache
def camel_bytes() -> bytes:
    """Return the OpenAPI 3.1 document with lowerCamelCase names, made when it is first asked for."""
    return orjson.dumps(camel_document(orjson.loads(openapi_bytes())))


@cache
def swagger_bytes() -> bytes:
    """The Swagger 2 form, made when it is first asked for."""
    return orjson.dumps(swagger(orjson.loads(openapi_bytes())))


async def openapi_document(request: Request) -> Response:
    """GET /openapi.json."""
    snake = request.headers.get("accept") == "application/json"
    # Made by a thread: the first call takes 50 ms, in which other requests go on.
    body = openapi_bytes() if snake else await asyncio.to_thread(camel_bytes)
    return Response(body, media_type="application/json", headers={"vary": "Accept"})


async def swagger_document(request: Request) -> Response:
    """/api/v1/openapi with any verb."""
    # Parity: upstream's handler looks at no verb and leaves the type to the sniffer, which says text
    # (GetHandler of flyteidl's openapi, mounted in newHTTPServer).
    content = await asyncio.to_thread(swagger_bytes)
    return Response(content, media_type="text/plain; charset=utf-8")


async def docs_page(request: Request) -> HTMLResponse:
    """GET /docs. The addresses are relative, so the page works behind a proxy that adds a prefix."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Flyte Admin API",
        swagger_js_url="docs/assets/swagger-ui-bundle.js",
        swagger_css_url="docs/assets/swagger-ui.css",
        swagger_favicon_url="data:,",
        # Close to seventy operations: a list of closed tags is an overview, and models are shown where they are used.
        swagger_ui_parameters={"docExpansion": "none", "defaultModelsExpandDepth": -1, "filter": True},
    )
    # In a frame of another site, its user could be led to click on "Execute".
    page.headers["content-security-policy"] = "frame-ancestors 'self'"
    return page


def routes() -> list[BaseRoute]:
    """The routes of this module."""
    return [
        Route("/openapi.json", openapi_document, methods=["GET"]),
        Route("/docs", docs_page, methods=["GET"]),
        Mount("/docs/assets", StaticFiles(directory=ASSETS)),
        Route(SWAGGER_PATH, swagger_document, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
    ]
