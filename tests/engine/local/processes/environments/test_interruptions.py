"""An environment that cannot be made, for real: downloads that stop, a full disk, a killed server. Nothing is left."""

from __future__ import annotations

import asyncio
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.blobs import Blobs
from app.engine.local.processes.environments.installer import InstallationStopped, Installer, Sources
from app.engine.local.processes.environments.store import EnvironmentStore, NotMade
from app.engine.local.processes.environments.wanted import Wanted
from app.engine.local.processes.runner import TaskRunner
from app.engine.local.processes.task_attempt import CannotBuild, PreparedAttempt
from app.settings import Settings
from tests.engine.conftest import script
from tests.engine.local.processes.test_environment import a_wheel
from tests.engine.local.processes.test_provided_variables import attempt as attempt_of

pytestmark = pytest.mark.slow

# A server process that makes an environment, as the engine does.
MAKER = """
import sys
from pathlib import Path
from app.engine.local.processes.environments.installer import Installer, Sources
from app.engine.local.processes.environments.store import EnvironmentStore
from app.engine.local.processes.environments.wanted import Wanted

wanted = Wanted(requirements=("tiny-part==1.0",), sources=Sources(index=sys.argv[2]))
EnvironmentStore(Path(sys.argv[1]), Installer(), seconds_max=120).make(wanted, "me:tag")
"""


class Index:
    """A package index on this machine. `broken`: downloads end half-way; `hold`: they wait before the first byte."""

    def __init__(self, folder: Path) -> None:
        self.wheel = a_wheel(folder, "1.0")
        self.broken = False
        self.downloads = 0
        self.hold = threading.Event()
        self.hold.set()
        self.address = ""

    @contextmanager
    def running(self) -> Iterator[str]:
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.endswith(".whl"):
                    index.downloads += 1
                    index.hold.wait(60)
                    self.answer(index.wheel.read_bytes(), "application/octet-stream")
                elif self.path == "/simple/tiny-part/":
                    link = f'<a href="/{index.wheel.name}">{index.wheel.name}</a>'
                    self.answer(f"<!DOCTYPE html><html><body>{link}</body></html>".encode(), "text/html")
                else:
                    self.send_error(404)

            def do_HEAD(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(index.wheel.read_bytes())))
                self.end_headers()

            def answer(self, body: bytes, kind: str) -> None:
                whole = not (index.broken and kind == "application/octet-stream")
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body if whole else body[: len(body) // 2])

            def log_message(self, *_: object) -> None:
                return None

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/simple"
        finally:
            self.hold.set()
            server.shutdown()
            server.server_close()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Index, Wanted]]:
    # No file of an earlier test comes from the cache, and a broken download is not repeated for a minute.
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    made = Index(tmp_path)
    with made.running() as address:
        yield made, Wanted(requirements=("tiny-part==1.0",), sources=Sources(index=address))


def store_in(folder: Path) -> EnvironmentStore:
    return EnvironmentStore(folder / "envs", Installer(), seconds_max=120)


def folders(store: EnvironmentStore, wanted: Wanted) -> list[str]:
    """What is left of an environment, beside its record, log, requirements and lock."""
    kept = {f"{wanted.key}.{suffix}" for suffix in ("json", "log", "txt", "lock")}
    return [path.name for path in store.path(wanted.key).parent.iterdir() if path.name not in kept]


def test_a_download_that_stops_half_way_leaves_nothing_and_the_next_attempt_makes_it(
    tmp_path: Path, index: tuple[Index, Wanted]
) -> None:
    server, wanted = index
    store = store_in(tmp_path)
    server.broken = True
    with pytest.raises(NotMade, match=r"environment [0-9a-f]{16} with the packages \[tiny-part==1\.0\] cannot be made"):
        store.make(wanted, "me:tag")
    assert server.downloads > 0
    assert not folders(store, wanted)
    assert not store.is_ready(wanted.key)
    server.broken = False
    store.make(wanted, "me:tag")
    assert store.is_ready(wanted.key)


def test_the_project_in_the_working_directory_of_the_server_has_no_effect(
    tmp_path: Path, index: tuple[Index, Wanted], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    # uv reads it in its working directory, and fails for it.
    (project / "uv.toml").write_text("[pip]\nno-index = 7\n")
    monkeypatch.chdir(project)
    store = store_in(tmp_path)
    store.make(index[1], "me:tag")
    assert store.is_ready(index[1].key)


def test_a_full_disk_leaves_nothing_and_the_next_attempt_makes_it(tmp_path: Path, index: tuple[Index, Wanted]) -> None:
    _, wanted = index
    store = store_in(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The largest file of a fresh environment is larger: uv gets the signal that a process gets at this limit.
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, before[1]))
    try:
        with pytest.raises(NotMade, match=r"cannot be made: .*(signal 25|File too large|No space left)"):
            store.make(wanted, "me:tag")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not folders(store, wanted)
    store.make(wanted, "me:tag")
    assert store.is_ready(wanted.key)


def test_a_server_killed_while_it_makes_an_environment_leaves_none_and_the_next_makes_it(
    tmp_path: Path, index: tuple[Index, Wanted]
) -> None:
    server, wanted = index
    store = store_in(tmp_path)
    server.hold.clear()
    maker = subprocess.Popen([sys.executable, "-c", MAKER, str(tmp_path / "envs"), wanted.sources.index])
    until(lambda: server.downloads > 0)
    assert store.all()[0].state == "making"
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    began = time.monotonic()
    # The installer may run on without its server; it ends with its download, and its folder is not used.
    assert not store.is_ready(wanted.key)
    threading.Timer(0.5, server.hold.set).start()
    store.make(wanted, "me:tag")
    assert store.is_ready(wanted.key)
    assert not [name for name in folders(store, wanted) if name != wanted.key]
    assert time.monotonic() - began < 60


def test_a_stopped_server_ends_its_installer_and_removes_the_folder(
    tmp_path: Path, index: tuple[Index, Wanted]
) -> None:
    server, wanted = index
    server.hold.clear()
    installer = Installer()
    store = EnvironmentStore(tmp_path / "envs", installer, seconds_max=120)

    def make() -> None:
        with pytest.raises(InstallationStopped):
            store.make(wanted, "me:tag")

    making = threading.Thread(target=make)
    making.start()
    until(lambda: server.downloads > 0)
    installer.stop()
    making.join(30)
    assert not making.is_alive()
    assert not folders(store, wanted)
    assert not store.all()


def test_a_package_that_does_not_exist_is_named_by_the_task_and_the_earlier_environment_does_not_run_it(
    tmp_path: Path, index: tuple[Index, Wanted]
) -> None:
    listed = tmp_path / "ml.txt"
    settings = Settings.model_validate(
        {
            "home": tmp_path / "home",
            "storage": {"url": str(tmp_path / "store")},
            "engine": {
                "local": {
                    # No flytekit, which this index does not have.
                    "requirements": ["tiny-part"],
                    "environments": {"images": [{"image": "me:*", "use": str(listed)}]},
                }
            },
        }
    )
    template = script("echo done")
    template.container.image = "me:tag"
    address = f"--index-url {index[1].sources.index}\n"

    async def prepared() -> PreparedAttempt:
        runner = TaskRunner(settings, Blobs(settings), progress=print)
        try:
            return await runner.prepare(attempt_of(tmp_path, template))
        finally:
            await runner.close()

    listed.write_text(f"{address}tiny-part==1.0\n")
    before = asyncio.run(prepared())
    listed.write_text(f"{address}tiny-part==1.0\nmissing-part==2.0\n")
    with pytest.raises(CannotBuild) as refused:
        asyncio.run(prepared())
    message = refused.value.error.message
    # By uv, which looks for it in the index.
    assert "missing-part was not found in the package registry" in message
    assert f"{listed}, to which engine.local.environments.images maps image [me:tag]" in message
    listed.write_text(f"{address}tiny-part==1.0\n")
    downloads = index[0].downloads
    assert asyncio.run(prepared()) == before
    assert index[0].downloads == downloads


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
