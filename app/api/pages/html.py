"""Pages of this server's own: sign-in errors, the end of a session, the approval of a device.

They have no scripts and load nothing, and no page of another site may show them in a frame.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;color:#1b1b1f;background:#f6f5fa;margin:0}"
    "main{max-width:34rem;margin:12vh auto;padding:2rem;background:#fff;border:1px solid #ddd9e6;border-radius:8px}"
    "h1{font-size:1.3rem;margin-top:0}p{overflow-wrap:anywhere}"
    "button,input{font:inherit;padding:.5rem 1rem;border:1px solid #7652a2;border-radius:6px}"
    "button{background:#7652a2;color:#fff}a{color:#7652a2}.reason{color:#55515f}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_CONTENT_SECURITY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
NO_STORE = {"cache-control": "no-store"}
HEADERS = {
    **NO_STORE,
    # With no-referrer browsers send the Origin null with a form, which app/api/http/origins.py refuses.
    "referrer-policy": "same-origin",
    "content-security-policy": _CONTENT_SECURITY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def wants_html(request: Request) -> bool:
    """Return whether a browser shows the reply to a person."""
    return "text/html" in request.headers.get("accept", "")


def page(
    title: str, *parts: str, status: int = 200, head: str = "", headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    """Return a page.

    Args:
        title: Its title and heading, as text.
        parts: Its content, as HTML; see `paragraph` and `link`.
        status: The HTTP status.
        head: Further elements of the head, as HTML.
        headers: Further headers.
    """
    body = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{head}<style>{_STYLE}</style></head>'
        f"<body><main><h1>{escape(title)}</h1>{''.join(parts)}</main></body></html>\n"
    )
    return HTMLResponse(body, status, headers={**HEADERS, **(headers or {})})


def paragraph(text: str, *, reason: bool = False) -> str:
    """Return a paragraph of text; a reason is shown in grey."""
    return f"<p{' class=reason' if reason else ''}>{escape(text)}</p>"


def link(address: str, text: str) -> str:
    """Return a paragraph with a link."""
    return f'<p><a href="{escape(address)}">{escape(text)}</a></p>'


def button(action: str, text: str) -> str:
    """Return a form without fields whose button sends a POST request."""
    return f'<form method="post" action="{escape(action)}"><button>{escape(text)}</button></form>'


def refresh(address: str) -> str:
    """Return the element of a head by which a page leads on to an address at once."""
    return f'<meta http-equiv="refresh" content="0;url={escape(address)}">'
