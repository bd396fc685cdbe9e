"""A person who is signed in with a real browser, and pages of other sites in the same browser.

Skipped where no Chromium is installed (Debian: apt-get install chromium), and where 127.0.0.2 is no loopback address.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import oidc_provider_mock
import pytest
from playwright.sync_api import Page

from tests.support.browser import browsing, cookies, skip_without_chromium, tab
from tests.support.servers import Running, serving
from tests.support.sign_in import configuration, free_port

# Libraries of the provider warn of their own future.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

# Ways in which a page can send a request to another site; `api` is the server, `project(id)` a body.
ATTACKS = """
(async () => {
  const api = "API", project = id => JSON.stringify({project: {id, name: id}});
  const seen = {};
  const post = async (name, options) => {
    try {
      const reply = await fetch(api + "/api/v1/projects",
        {method: "POST", credentials: "include", body: project(name), ...options});
      seen[name] = reply.type === "opaque" ? "opaque" : reply.status;
    } catch (error) { seen[name] = "blocked"; }
  };
  await post("no-cors", {mode: "no-cors"});
  await post("no-cors-form", {mode: "no-cors", headers: {"content-type": "application/x-www-form-urlencoded"}});
  await post("no-body", {mode: "no-cors", body: undefined});
  await post("json", {headers: {"content-type": "application/json"}});
  navigator.sendBeacon(api + "/api/v1/projects", project("beacon"));
  document.body.innerHTML = `<iframe name=frame></iframe>
    <form target=frame method=POST enctype=text/plain action="${api}/api/v1/projects"><input></form>`;
  document.querySelector("input").name = project("form").slice(0, -1) + ',"x":"';
  document.querySelector("input").value = '"}';
  const loaded = new Promise(done => { document.querySelector("iframe").onload = done; setTimeout(done, 5000); });
  document.querySelector("form").submit();
  await loaded;
  return JSON.stringify(seen);
})()
"""

# Browsers send Sec-Fetch-Site to localhost and over TLS only, so other servers cannot refuse this.
LOGOUT = """
new Promise(done => {
  const image = new Image();
  image.onload = image.onerror = done;
  image.src = "API/logout";
  setTimeout(done, 5000);
})
"""


@contextmanager
def another_site(name: str = "page.example") -> Iterator[str]:
    """An empty page at another name."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>another site</title><body></body>")

        def log_message(self, format: str, *args: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.2", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{name}:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def signed_in(folder: Path, name: str = "localhost", **more: Any) -> Iterator[tuple[Page, Running, str]]:
    """A browser that has signed in at a server, and the server's address."""
    skip_without_chromium()
    port = free_port()
    url = f"http://{name}:{port}"
    alice = oidc_provider_mock.User(sub="alice", claims={"email": "alice@example.com", "email_verified": True})
    with oidc_provider_mock.run_server_in_thread(user_claims=[alice], require_nonce=True) as provider:
        issuer = f"http://localhost:{provider.server_port}"
        scopes = ("openid", "email")
        path = configuration(folder / "server", url, issuer, client_secret="secret", scopes=scopes, **more)
        with (
            serving(folder / "home", "--config", str(path), "--port", str(port)) as server,
            browsing() as browser,
            tab(browser) as page,
        ):
            page.goto(f"{url}/login?redirect_url=/healthcheck")
            page.fill("[name=sub]", "alice")
            page.click("[type=submit]")
            page.wait_for_url(f"{url}/healthcheck")
            yield page, server, url


def call(page: Page, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Send a request of the page that is open to its own server."""
    options: dict[str, Any] = {"method": method, "headers": {"accept": "application/json"}}
    if body is not None:
        options |= {"body": json.dumps(body)}
        options["headers"]["content-type"] = "application/json"
    script = f"fetch({json.dumps(path)}, {json.dumps(options)}).then(async r => [r.status, await r.text()])"
    status, text = page.evaluate(script)
    return status, json.loads(text) if text else None


def projects(page: Page, url: str) -> set[str]:
    page.goto(f"{url}/healthcheck")
    status, found = call(page, "GET", "/api/v1/projects")
    assert status == 200, found
    return {one["id"] for one in found["projects"]}


def attacked(page: Page, url: str, other: str) -> dict[str, Any]:
    page.goto(other)
    found: dict[str, Any] = json.loads(page.evaluate(ATTACKS.replace("API", url)))
    return found


def test_a_person_works_and_signs_out(tmp_path: Path) -> None:
    with signed_in(tmp_path) as (page, _, url), another_site() as other:
        cookie = cookies(page.context)["flyte_session"]
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"], cookie["secure"]) == (True, "Lax", "/", False)
        assert page.evaluate("document.cookie") == ""
        assert set(cookies(page.context)) & {"flyte_csrf_state", "flyte_redirect_location"} == set()
        status, _ = call(page, "POST", "/api/v1/projects", {"project": {"id": "own", "name": "own"}})
        assert status == 200
        seen = attacked(page, url, other)
        assert seen == {"no-cors": "opaque", "no-cors-form": "opaque", "no-body": "opaque", "json": "blocked"}
        page.evaluate(LOGOUT.replace("API", url))
        assert projects(page, url) == {"flytesnacks", "own"}
        # A link on another site: the session ends only after the person agrees.
        page.goto(other)
        page.evaluate(f"location.href = '{url}/logout'")
        page.get_by_text("Sign out?").first.wait_for()
        assert "flyte_session" in cookies(page.context)
        page.click("a")
        page.wait_for_url("**/oauth2/end_session**")
        assert "flyte_session" not in cookies(page.context)
        page.goto(f"{url}/healthcheck")
        assert call(page, "GET", "/api/v1/projects")[0] == 401


def test_cookies_that_a_sibling_domain_sends_change_nothing(tmp_path: Path) -> None:
    """Pages of the same site send SameSite=Lax cookies. Every origin is allowed, so only the cookie's check is left."""
    more = {"server": {"security": {"allowedOrigins": ["*"]}}}
    with (
        signed_in(tmp_path, "flyte.site.example", **more) as (page, server, url),
        another_site("evil.site.example") as other,
    ):
        seen = attacked(page, url, other)
        assert {seen["no-cors"], seen["no-cors-form"], seen["no-body"]} == {"opaque"}
        # Requests with a body are refused for its type before.
        assert "cross_site_request_refused" in server.printed
        assert projects(page, url) == {"flytesnacks"}
        status, _ = call(page, "POST", "/api/v1/projects", {"project": {"id": "own", "name": "own"}})
        assert status == 200
