"""A web page in a real browser against a running server: the kinds of requests that pages can send, and DNS rebinding.

Skipped where no Chromium is installed (Debian: apt-get install chromium), and where 127.0.0.2 is no loopback address.
"""

from __future__ import annotations

import json
import queue
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.support.servers import Running, serving

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    "--host-resolver-rules=MAP *.example 127.0.0.2, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.2",
)
# A page sends what it saw to its own server.
SCRIPT = """
<!doctype html><body><script>
const seen = {}, api = "http://localhost:PORT";
const project = id => JSON.stringify({project: {id, name: id}});
const call = async (name, url, options) => {
  try {
    const reply = await fetch(url, options);
    seen[name] = reply.type === "opaque" ? "opaque" : `${reply.status} ${await reply.text()}`;
  } catch (error) { seen[name] = "blocked"; }
};
const post = (name, options) =>
  call(name, api + "/api/v1/projects", {method: "POST", body: project(name), ...options});
const form = () => new Promise(done => {
  document.body.innerHTML = `<iframe name=frame></iframe>
    <form target=frame method=POST enctype=text/plain action="${api}/api/v1/projects"><input></form>`;
  // A form of text/plain sends name=value, which makes {"project": ..., "x": "="}.
  document.querySelector("input").name = project("form").slice(0, -1) + ',"x":"';
  document.querySelector("input").value = '"}';
  document.querySelector("iframe").onload = done;
  document.querySelector("form").submit();
  setTimeout(done, 5000);
});
(async () => { WAYS; await fetch("/seen", {method: "POST", body: JSON.stringify(seen)}); })();
</script>
"""
ATTACKS = """
  await post("no-cors", {mode: "no-cors"});
  await post("no-cors-form", {mode: "no-cors", headers: {"content-type": "application/x-www-form-urlencoded"}});
  await post("blob", {mode: "no-cors", body: new Blob([project("blob")])});
  await post("json", {headers: {"content-type": "application/json"}});
  await post("text", {headers: {"content-type": "text/plain"}});
  navigator.sendBeacon(api + "/api/v1/projects", project("beacon"));
  await form();
  await call("read", api + "/api/v1/projects", {});
"""
REBOUND = """
  await fetch("/rebind", {method: "POST"});
  await call("read", "/api/v1/projects", {});
  await call("write", "/api/v1/projects",
    {method: "POST", headers: {"content-type": "application/json"}, body: project("rebound")});
  await fetch("/back", {method: "POST"});
"""


class Page:
    """The server of a page, at 127.0.0.2 and the port of the server under test.

    After POST /rebind each connection is passed on to that server, until POST /back: for the browser, the name of the
    page leads to another address now.
    """

    def __init__(self, port: int, html: str) -> None:
        page = self
        self.port = port
        self.rebound = False
        self.seen: queue.Queue[dict[str, str]] = queue.Queue()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._serve()

            def do_POST(self) -> None:
                self._serve()

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.path == "/back":
                    page.rebound = False
                if page.rebound:
                    self._pass_on(body)
                    return
                if self.path == "/rebind":
                    page.rebound = True
                if self.path == "/seen":
                    page.seen.put(json.loads(body))
                self._answer(200, html.encode() if self.path == "/" else b"", "text/html")

            def _pass_on(self, body: bytes) -> None:
                reply = httpx.request(
                    self.command,
                    f"http://127.0.0.1:{port}{self.path}",
                    headers=list(self.headers.items()),
                    content=body,
                )
                self._answer(reply.status_code, reply.content, reply.headers["content-type"])

            def _answer(self, status: int, content: bytes, content_type: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.2", port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    if CHROMIUM is None or sys.platform != "linux":
        pytest.skip("NO CHROMIUM on this machine: web pages in a real browser are NOT TESTED")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables = {"FLYTEADMIN__SERVER__SECURITY__ALLOWEDORIGINS": f"http://console.example:{port}"}
    home = tmp_path_factory.mktemp("browsed") / "home"
    with serving(home, "--port", str(port), variables=variables) as running:
        yield running


@contextmanager
def browsing(folder: Path, address: str) -> Iterator[None]:
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder}", address]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def seen(server: Running, folder: Path, ways: str, name: str) -> dict[str, str]:
    """What a page at http://name sees of the server."""
    port = int(server.web.rpartition(":")[2])
    page = Page(port, SCRIPT.replace("PORT", str(port)).replace("WAYS", ways))
    try:
        with browsing(folder, f"http://{name}:{port}/"):
            return page.seen.get(timeout=60)
    finally:
        page.close()


def projects(server: Running) -> set[str]:
    return {one["id"] for one in httpx.get(f"{server.web}/api/v1/projects").json()["projects"]}


def test_a_page_of_another_site_changes_and_reads_nothing(server: Running, tmp_path: Path) -> None:
    found = seen(server, tmp_path, ATTACKS, "page.example")
    assert projects(server) == {"flytesnacks"}
    opaque = {"no-cors", "no-cors-form", "blob"}
    assert found == {way: "opaque" if way in opaque else "blocked" for way in (*opaque, "json", "text", "read")}


def test_a_name_that_is_made_to_lead_here(server: Running, tmp_path: Path) -> None:
    found = seen(server, tmp_path, REBOUND, "page.example")
    assert projects(server) == {"flytesnacks"}
    assert found["read"].startswith("421 ")
    assert found["write"].startswith("421 ")
    assert "server.security.allowedHosts" in found["read"]


def test_a_page_of_a_configured_origin(server: Running, tmp_path: Path) -> None:
    ways = 'await post("json", {headers: {"content-type": "application/json"}}); await post("text", {});'
    found = seen(server, tmp_path, ways + 'await call("read", api + "/api/v1/projects", {});', "console.example")
    assert found["json"] == "200 {}"
    assert found["text"] == "blocked"
    assert '"json"' in found["read"]
    assert projects(server) == {"flytesnacks", "json"}
