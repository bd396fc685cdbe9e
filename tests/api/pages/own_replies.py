"""Compare replies of the own routes with their models."""

from __future__ import annotations

import re

import httpx

from app.api.pages import own_document, own_models


def check(verb: str, path: str, reply: httpx.Response) -> None:
    """Fail where a reply does not have the form that the OpenAPI document gives it. A path of no operation has none."""
    if not reply.headers["content-type"].startswith("application/json"):
        # No route has this path.
        return
    for one in own_document.OPERATIONS:
        if one.verb == verb.lower() and re.fullmatch(re.sub(r"{\w+}", "[^/]+", one.path), path):
            model = one.reply if reply.is_success else own_models.Error
            model.model_validate_json(reply.content)
            return
