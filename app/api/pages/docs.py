"""Descriptions of the API: /openapi.json, /docs (Swagger UI) and /api/v1/openapi (Swagger 2).

openapi/generate.py generates the document with snake_case names. A request for it with `Accept: application/json`
gets these names, any other request lowerCamelCase: the same names that the API uses in replies to such a request.
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
# fastapi_offline contains Swagger UI's files, so that /docs works without internet access.
ASSETS = Path(fastapi_offline.__file__).parent / "static"


@cache
def openapi_bytes() -> bytes:
    """Return the OpenAPI 3.1 document with snake_case names."""
    return DOCUMENT.read_bytes()


@cache
def camel_bytes() -> bytes:
    """Return the OpenAPI 3.1 document with lowerCamelCase names, converted at the first request."""
    return orjson.dumps(camel_document(orjson.loads(openapi_bytes())))


@cache
def swagger_bytes() -> bytes:
    """Return the document as Swagger 2, converted at the first request."""
    return orjson.dumps(swagger(orjson.loads(openapi_bytes())))


async def openapi_document(request: Request) -> Response:
    """Serve GET /openapi.json."""
    snake = request.headers.get("accept") == "application/json"
    # In a thread, because the first call takes 50 ms.
    body = openapi_bytes() if snake else await asyncio.to_thread(camel_bytes)
    return Response(body, media_type="application/json", headers={"vary": "Accept"})


async def swagger_document(request: Request) -> Response:
    """Serve /api/v1/openapi with any verb."""
    # Parity: upstream's handler ignores the verb, and net/http detects the content type as text
    # (GetHandler of flyteidl's openapi, mounted in newHTTPServer).
    content = await asyncio.to_thread(swagger_bytes)
    return Response(content, media_type="text/plain; charset=utf-8")


async def docs_page(request: Request) -> HTMLResponse:
    """Serve GET /docs. Its links are relative, so that the page works behind a proxy that adds a prefix."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Flyte Admin API",
        swagger_js_url="docs/assets/swagger-ui-bundle.js",
        swagger_css_url="docs/assets/swagger-ui.css",
        swagger_favicon_url="data:,",
        # With close to seventy operations, a list of closed tags is an overview. Models are shown where they are used.
        swagger_ui_parameters={"docExpansion": "none", "defaultModelsExpandDepth": -1, "filter": True},
    )
    # A page of another site that frames this one could lead its user to click on "Execute".
    page.headers["content-security-policy"] = "frame-ancestors 'self'"
    return page


def routes() -> list[BaseRoute]:
    """Return the routes of this module."""
    return [
        Route("/openapi.json", openapi_document, methods=["GET"]),
        Route("/docs", docs_page, methods=["GET"]),
        Mount("/docs/assets", StaticFiles(directory=ASSETS)),
        Route(SWAGGER_PATH, swagger_document, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
    ]
