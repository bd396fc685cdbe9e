"""The console's routes, in process: start page, files, redirects, headers, and that built files and manifest agree."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.api.pages import console
from app.blobs import Blobs
from app.main import FlyteAdmin, create_app
from app.settings import load
from tests.api.asgi import Answer, ask

BASE = "/console/projects/flytesnacks/domains/development"


def app_of(home: Path, flags: dict[str, Any] | None = None) -> FlyteAdmin:
    return create_app(load(flags={"home": home, "engine.kind": "none", **(flags or {})}, environ={}).settings)


@pytest.fixture
def app(tmp_path: Path) -> FlyteAdmin:
    return app_of(tmp_path)


def get(app: Any, target: str, headers: dict[str, str] | None = None, verb: str = "GET", **scope: Any) -> Answer:
    given = {"host": "localhost", "accept": "text/html", **(headers or {})}
    return asyncio.run(ask(app, verb, target, given, scope=scope))


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as `make console` makes it."""
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(
        '<meta name="flyte-root" content="" /><meta name="flyte-sign-in" content="" />'
        '<script type="module" src="./assets/app-1.js"></script>'
        '<link rel="stylesheet" href="./assets/index-1.css">'
    )
    for name, text in {"app-1.js": "run()", "index-1.css": "a{}", "secret.txt": "no"}.items():
        (folder / "assets" / name).write_text(text)
        (folder / "assets" / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    monkeypatch.setattr(console, "STATIC", folder)
    return folder


@pytest.mark.parametrize(
    "path",
    [
        "/console",
        "/console/",
        "/console/nowhere",
        f"{BASE}/executions/a9f",
        f"{BASE}/executions/a9f?tab=graph",
        f"{BASE}/task/m.t/version/v1/2+3:4==",
        f"{BASE}/task/m.t/version/v1%2F2%2B3",
        f"{BASE}/tasks/%C3%BC%20x",
        f"{BASE}/task/m.t/version/a//b/./c",
    ],
)
def test_every_address_shows_the_start_page(built: Path, tmp_path: Path, path: str) -> None:
    answer = get(app_of(tmp_path), path)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["cache-control"] == "no-cache"
    assert b'src="/console/assets/app-1.js"' in answer.body
    assert b'href="/console/assets/index-1.css"' in answer.body


def test_the_policy_allows_this_server_alone(built: Path, tmp_path: Path) -> None:
    policy = get(app_of(tmp_path), "/console").headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == "'self'"
    assert rules["require-trusted-types-for"] == "'script'"
    assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in policy
    assert "*" not in policy


def test_the_policy_names_the_bucket_and_configured_origins(built: Path, tmp_path: Path) -> None:
    bucket = {"endpoint": "http://minio:9000", "access_key": "k", "secret_key": "s", "auth_type": "accesskey"}
    flags = {f"storage.connection.{name}": value for name, value in bucket.items()}
    more = {"console.content_origins": ["https://more.example.com"]}
    app = app_of(tmp_path, {"storage.type": "s3", "storage.container": "data", **flags, **more})
    policy = get(app, "/console").headers["content-security-policy"]
    for rule in ("frame-src", "connect-src"):
        assert f"{rule} 'self' https://more.example.com http://minio:9000;" in policy


def test_a_known_start_page_is_not_sent_again(built: Path, tmp_path: Path) -> None:
    app = app_of(tmp_path)
    tag = get(app, "/console").headers["etag"]
    answer = get(app, f"{BASE}/tasks", {"if-none-match": f'"other", {tag}'})
    assert (answer.status, answer.body) == (304, b"")
    assert get(app, "/console", {"if-none-match": '"other"'}).status == 200


def test_files_are_kept_for_ever_and_compressed_where_accepted(built: Path, tmp_path: Path) -> None:
    app = app_of(tmp_path)
    plain = get(app, "/console/assets/app-1.js")
    assert (plain.status, plain.body) == (200, b"run()")
    assert plain.headers["content-type"].startswith("text/javascript")
    assert "immutable" in plain.headers["cache-control"]
    packed = get(app, "/console/assets/app-1.js", {"accept-encoding": "br, gzip;q=0.8"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == b"run()"
    assert packed.headers["vary"] == "Accept-Encoding"
    refused = get(app, "/console/assets/app-1.js", {"accept-encoding": "gzip;q=0"})
    assert "content-encoding" not in refused.headers
    head = get(app, "/console/assets/index-1.css", verb="HEAD")
    assert (head.status, head.body) == (200, b"")


@pytest.mark.parametrize("name", ["none.js", "secret.txt", "app-1.js.gz", "..%2Findex.html", "%2e%2e%2fmanifest.json"])
def test_other_files_are_not_served(built: Path, tmp_path: Path, name: str) -> None:
    assert get(app_of(tmp_path), f"/console/assets/{name}").status == 404


@pytest.mark.parametrize(
    ("removed", "path"), [("assets/app-1.js.gz", "/console/assets/app-1.js"), ("index.html", "/console")]
)
def test_a_file_that_a_build_removes_while_it_is_served_is_absent(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: str, path: str
) -> None:
    """The file is removed between the look for it and its reading."""
    app = app_of(tmp_path)
    read_bytes, read_text = Path.read_bytes, Path.read_text

    def reading(read: Any) -> Any:
        def without(self: Path, *given: Any, **named: Any) -> Any:
            if self == built / removed:
                self.unlink()
            return read(self, *given, **named)

        return without

    monkeypatch.setattr(Path, "read_bytes", reading(read_bytes))
    monkeypatch.setattr(Path, "read_text", reading(read_text))
    assert get(app, path, {"accept-encoding": "gzip"}).status == 404


def test_a_prefix_of_a_proxy_is_in_every_address(built: Path, tmp_path: Path) -> None:
    app = app_of(tmp_path)
    answer = get(app, "/flyte/console", root_path="/flyte")
    assert b'<meta name="flyte-root" content="/flyte" />' in answer.body
    assert b'src="/flyte/console/assets/app-1.js"' in answer.body
    assert answer.headers["etag"] != get(app, "/console").headers["etag"]
    assert get(app, "/flyte/", root_path="/flyte").headers["location"] == "/flyte/console"
    moved = get(app, "/flyte/projects/p/domains/d/executions/x", root_path="/flyte")
    assert moved.headers["location"] == "/flyte/console/projects/p/domains/d/executions/x"


def test_the_start_page_says_where_nobody_signs_in(built: Path, tmp_path: Path) -> None:
    element = b'<meta name="flyte-sign-in" content="%s"'
    assert element % b"off" in get(app_of(tmp_path), "/console").body
    settings = load(flags={"server.security.use_auth": True}, environ={}).settings
    pages = console.ConsolePages(settings, Blobs(app_of(tmp_path).server.settings), built)
    assert element % b"" in pages._read_index("", 0).body


def test_older_addresses_are_redirected_as_they_were_sent(app: FlyteAdmin) -> None:
    root = get(app, "/")
    assert (root.status, root.headers["location"]) == (307, "/console")
    sent = "/projects/p/domains/d/workflow/m.w/version/v%2F1+2%3D?tab=graph&x=%20"
    answer = get(app, sent)
    assert (answer.status, answer.headers["location"]) == (307, f"/console{sent}")


def test_without_built_files_a_page_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "STATIC", tmp_path / "none")
    app = app_of(tmp_path)
    answer = get(app, BASE)
    assert answer.status == 404
    assert b"make console" in answer.body
    assert get(app, "/console/assets/app-1.js").status == 404


def test_the_setting_switches_the_console_off(tmp_path: Path) -> None:
    app = app_of(tmp_path, {"console.enabled": False})
    assert get(app, "/console").status == 404
    assert get(app, "/").status == 404
    assert get(app, "/projects/p/domains/d/executions/x").status == 404


class TestBuiltFiles:
    """What is committed below app/console/static, without Node."""

    @pytest.fixture
    def manifest(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((console.STATIC / "manifest.json").read_text())
        return loaded

    def files(self) -> set[str]:
        return {f"assets/{path.name}" for path in (console.STATIC / "assets").iterdir()}

    def test_manifest_and_files_agree(self, manifest: dict[str, Any]) -> None:
        named = {chunk["file"] for chunk in manifest.values()}
        named |= {name for chunk in manifest.values() for key in ("css", "assets") for name in chunk.get(key, ())}
        assert {name for name in self.files() if not name.endswith(".gz")} == named

    def test_every_script_and_style_has_its_compressed_neighbour(self) -> None:
        found = self.files()
        texts = {name for name in found if name.endswith((".js", ".css"))}
        assert {name for name in found if name.endswith(".gz")} == {f"{name}.gz" for name in texts}
        for name in texts:
            assert gzip.decompress((console.STATIC / f"{name}.gz").read_bytes()) == (console.STATIC / name).read_bytes()

    def test_the_start_page_names_the_entry_and_has_no_inline_script(self, manifest: dict[str, Any]) -> None:
        page = (console.STATIC / "index.html").read_text()
        assert f'src="./{manifest["index.html"]["file"]}"' in page
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", page)
        assert '<meta name="flyte-root" content=""' in page

    def test_every_page_of_the_sources_is_built(self, manifest: dict[str, Any]) -> None:
        table = (Path(__file__).parents[3] / "console" / "src" / "pages" / "table.ts").read_text()
        pages = {f"src/pages/{name}" for name in re.findall(r'import\("\./([^"]+)"\)', table)}
        assert pages
        assert pages <= set(manifest)
