"""A server whose every string is markup: replies are changed on their way to the page, requests back to what is real.

No API stores markup as the name of an execution, a domain or a node. Another server may, and a page must not trust one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Page, Route

# What each string ends with. It has no "/", so it stays in one segment of an address.
TAIL = "<img src=x onerror=document.title='attacked'>"
# Enums, instants, durations and numbers keep their meaning.
_MEANS_SOMETHING = re.compile(r"[A-Z][A-Z0-9_]*|\d{4}-\d\d-\d\dT.*|-?[\d.]+s?|")
# Cursors, contents of bytes, and addresses that the page opens.
_NO_TEXT = ("token", "value", "tag", "signed_url", "native_url")
# Fields that are maps: their keys are strings of users.
_MAPS = ("literals", "variables", "parameters", "values", "upstream", "downstream", "attributes", "fields")
# The tail as it is written in an address, where some characters are escaped.
_WRITTEN = re.compile("".join(f"(?:{re.escape(one)}|%{ord(one):02X}{'|[+]' if one == ' ' else ''})" for one in TAIL))


def marked(value: Any, field: str = "") -> Any:
    """Return a reply with markup at the end of its strings."""
    if isinstance(value, dict):
        end = TAIL if field in _MAPS else ""
        return {key + end: marked(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [marked(one, "" if isinstance(one, dict) else field) for one in value]
    if not isinstance(value, str) or field in _NO_TEXT or _MEANS_SOMETHING.fullmatch(value):
        return value
    return value + TAIL


@contextmanager
def marked_replies(page: Page) -> Iterator[None]:
    """Change every reply of the API that the page gets within the block."""

    def answer(route: Route) -> None:
        body = route.request.post_data
        reply = route.fetch(url=_WRITTEN.sub("", route.request.url), post_data=_WRITTEN.sub("", body) if body else None)
        if "json" in reply.headers.get("content-type", ""):
            route.fulfill(response=reply, body=json.dumps(marked(reply.json())))
        else:
            route.fulfill(response=reply)

    page.route("**/api/v1/**", answer)
    yield
    page.unroute_all(behavior="wait")
