"""The command line: what each command prints, and that every bad start is one line of advice and exit code 1."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.servers import Running, launch, run, serving

PORTS = ("--port", "0", "--grpc-port", "0", "--metrics-port", "0")

pytestmark = pytest.mark.slow


def refused(home: Path, *arguments: str, **variables: str) -> str:
    """The one line with which a start fails."""
    ended = run(home, *arguments, **variables)
    lines = ended.stderr.strip().splitlines()
    assert ended.returncode == 1, ended
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("flyteadmin: ")
    assert "Traceback" not in ended.stdout
    return lines[0]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


class TestBadStarts:
    @pytest.mark.parametrize(
        ("flag", "key"),
        [
            ("--port", "server.httpPort"),
            ("--grpc-port", "server.grpc.port"),
            ("--metrics-port", "flyteadmin.profilerPort"),
        ],
    )
    def test_a_port_in_use(self, tmp_path: Path, taken: int, flag: str, key: str) -> None:
        home = tmp_path / "home"
        told = refused(home, "serve", *PORTS, flag, str(taken))
        assert all(part in told for part in (f"port {taken}", flag, key, "usually by another flyteadmin"))
        assert not home.exists()

    def test_all_ports_in_use_are_named_at_once(self, tmp_path: Path, taken: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            other = listener.getsockname()[1]
            told = refused(
                tmp_path / "home", "serve", "--port", str(taken), "--grpc-port", "0", "--metrics-port", str(other)
            )
        assert all(part in told for part in (f"port {taken} is in use", f"port {other} is in use", 'make run ARGS="--'))

    def test_one_port_for_two_uses(self, tmp_path: Path) -> None:
        told = refused(tmp_path / "home", "serve", *PORTS, "--port", "39999", "--grpc-port", "39999")
        assert "server.httpPort and server.grpc.port are both 39999" in told

    @pytest.mark.parametrize("url", ["ftp://u:hunter2@h/x", "s3://", "relative/path", "file://elsewhere/x"])
    def test_a_storage_of_another_kind(self, tmp_path: Path, url: str) -> None:
        home = tmp_path / "home"
        told = refused(home, "serve", *PORTS, FLYTEADMIN_STORAGE_URL=url)
        assert all(part in told for part in ("FLYTEADMIN_STORAGE_URL", "s3://bucket[/prefix]", "absolute path"))
        assert "hunter2" not in told
        assert not home.exists()

    @pytest.mark.parametrize(
        "url",
        ["postgresql://u:hunter2/x@h/d", "postgresql://u:hunter2@y@h/d", "postgres//u:hunter2@h/d", "hunter2"],
    )
    def test_a_database_address_that_cannot_be_read(self, tmp_path: Path, url: str) -> None:
        told = refused(tmp_path / "home", "serve", *PORTS, FLYTEADMIN_DATABASE_URL=url)
        assert "FLYTEADMIN_DATABASE_URL" in told
        assert "hunter2" not in told
        assert "hunter2" not in run(tmp_path / "home", "config", "show", FLYTEADMIN_DATABASE_URL=url).stdout

    def test_a_bad_flag_and_a_bad_variable_are_named_as_they_were_given(self, tmp_path: Path) -> None:
        assert "--port=70000" in refused(tmp_path / "home", "serve", "--port", "70000")
        told = refused(tmp_path / "home", "serve", FLYTEADMIN__SERVER__HTTPPORT="many")
        assert "FLYTEADMIN__SERVER__HTTPPORT='many'" in told

    def test_an_address_of_another_machine(self, tmp_path: Path) -> None:
        assert "--host" in refused(tmp_path / "home", "serve", *PORTS, "--host", "192.0.2.1")

    def test_an_unreadable_configuration_file(self, tmp_path: Path) -> None:
        missing = tmp_path / "none.yaml"
        told = refused(tmp_path / "home", "serve", "--config", str(missing))
        assert str(missing) in told
        assert "No such file" in told

    def test_an_invalid_configuration_file(self, tmp_path: Path) -> None:
        file = tmp_path / "bad.yaml"
        file.write_text("server:\n  httpPort: many\n")
        told = refused(tmp_path / "home", "serve", "--config", str(file))
        assert all(part in told for part in ("server.httpPort='many'", str(file), "integer"))

    @pytest.mark.parametrize(
        ("variable", "advice"),
        [
            ("FLYTEADMIN__SERVER__SECURITY__USEAUTH", "`flyteadmin secret init` makes every secret"),
            ("FLYTEADMIN__SERVER__SECURITY__SECURE", "`flyteadmin serve --tls` makes a certificate"),
        ],
    )
    def test_protection_without_its_secrets(self, tmp_path: Path, variable: str, advice: str) -> None:
        assert advice in refused(tmp_path / "home", "serve", *PORTS, **{variable: "true"})

    def test_a_database_that_cannot_be_reached(self, tmp_path: Path) -> None:
        url = "postgresql://flyte:hunter2@127.0.0.1:1/flyte"
        told = refused(tmp_path / "home", "serve", *PORTS, FLYTEADMIN_DATABASE_URL=url)
        assert all(part in told for part in ("127.0.0.1:1/flyte", "refused", "FLYTEADMIN_DATABASE_URL"))
        assert "hunter2" not in told

    def test_a_database_of_another_kind(self, tmp_path: Path) -> None:
        assert "postgresql://" in refused(tmp_path / "home", "serve", *PORTS, FLYTEADMIN_DATABASE_URL="mysql://h/d")

    def test_a_database_that_is_newer_than_the_code(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        assert run(home, "migrate", "run").returncode == 0
        with sqlite3.connect(home / "flyteadmin.db") as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.close()
        told = refused(home, "serve", *PORTS)
        assert all(part in told for part in ("9999", "newer flyteadmin", str(home / "flyteadmin.db")))

    def test_a_database_file_that_is_none(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        home.mkdir()
        (home / "flyteadmin.db").write_text("not a database, but a text that somebody wants to keep")
        assert "not a database" in refused(home, "serve", *PORTS)
        assert (home / "flyteadmin.db").read_text().startswith("not a database")

    def test_a_second_server_on_the_same_home(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        with serving(home) as server:
            told = refused(home, "serve", *PORTS)
            assert all(part in told for part in (f"process {server.process.pid}", str(home), "FLYTEADMIN_HOME"))

    def test_a_home_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "home").touch()
        assert "FLYTEADMIN_HOME" in refused(tmp_path / "home", "serve", *PORTS)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_home_that_may_not_be_written(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        home.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
        assert "writable" in refused(home, "serve", *PORTS)

    def test_a_full_disk_leaves_no_half_database(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        # No file may grow beyond 64 KiB, so the first write that the disk refuses is in the middle of the migration.
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
        try:
            told = refused(home, "serve", *PORTS)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert str(home / "flyteadmin.db") in told
        assert not list(home.glob("flyteadmin.db*"))
        assert run(home, "migrate", "run").returncode == 0


class TestInterrupts:
    def test_while_the_environment_of_tasks_is_made(self, tmp_path: Path) -> None:
        with serving(tmp_path / "home", variables={"FLYTEADMIN_ENGINE": "local"}) as server:
            server.wait_until("task environment: making")
            assert "Try next, after `task environment: ready`:" in server.printed
            assert server.stop(signal.SIGINT) == 0
            assert "warning" not in server.printed
            assert "Traceback" not in server.printed

    def test_before_the_server_is_ready(self, tmp_path: Path) -> None:
        process = launch(tmp_path / "home", tmp_path / "log")
        server = Running(process, tmp_path / "log")
        server.wait_until("home folder")
        code = server.stop(signal.SIGINT)
        # Python ends itself by SIGINT where the exception was raised in code that `exec` made of text.
        assert code in ((0,) if "flyteadmin is ready" in server.printed else (130, -signal.SIGINT))
        assert "Traceback" not in server.printed
        assert "flyteadmin: " not in server.printed

    @pytest.mark.parametrize(
        ("moment", "code"),
        [
            ("import app.cli; interrupt()", -signal.SIGINT),
            ("import app.cli.main as m; m.app = lambda **_: interrupt(); m.main()", 130),
        ],
    )
    def test_a_command_that_imports_its_modules_ends_without_a_traceback(self, moment: str, code: int) -> None:
        before = "import os, signal, sys; sys.argv = ['/bin/flyteadmin', 'get']; "
        before += "interrupt = lambda: os.kill(os.getpid(), signal.SIGINT); "
        ended = subprocess.run([sys.executable, "-c", before + moment], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr, ended.stdout) == (code, "", "")


class TestCommands:
    def test_migrate(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        first, again = run(home, "migrate", "run"), run(home, "migrate", "run")
        assert (first.returncode, again.returncode) == (0, 0)
        assert "migrating" in first.stdout
        assert "migrating" not in again.stdout
        assert run(home, "migrate", "rollback").returncode == 0
        assert "migrating" in run(home, "migrate", "run").stdout

    def test_seed_projects(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        run(home, "migrate", "run")
        assert "registered 2 of 2 projects: a, b" in run(home, "migrate", "seed-projects", "a", "b").stdout
        assert "registered 1 of 2 projects: c" in run(home, "migrate", "seed-projects", "a", "c").stdout
        assert "'A/b'" in refused(home, "migrate", "seed-projects", "d", "A/b")
        with sqlite3.connect(home / "flyteadmin.db") as connection:
            rows = connection.execute(
                "SELECT identifier, name, description, state FROM projects ORDER BY id"
            ).fetchall()
        connection.close()
        assert rows == [(name, name, f"{name} description", 0) for name in ("a", "b", "c")]

    def test_config_may_stand_before_and_after_the_command(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("server: {httpPort: 1, workers: 3}")
        (tmp_path / "b.yaml").write_text("server: {httpPort: 2}\nstorage: {connection: {secret-key: hunter2}}")
        before, after = ("--config", str(tmp_path / "a.yaml")), ("--config", str(tmp_path / "b.yaml"))
        shown = run(tmp_path / "home", *before, "config", "show", *after)
        server = yaml.safe_load(shown.stdout)["server"]
        assert (server["http_port"], server["workers"]) == (2, 3)
        assert "hunter2" not in shown.stdout

    def test_unknown_keys_are_warned_of(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("server: {htpPort: 1}")
        shown = run(tmp_path / "home", "config", "show", "--config", str(tmp_path / "a.yaml"))
        assert shown.returncode == 0
        assert "warning: unknown key server.htpPort" in shown.stderr

    def test_version_and_help(self, tmp_path: Path) -> None:
        for asked in ("version", "--version"):
            assert run(tmp_path / "home", asked).stdout.startswith("flyteadmin ")
        told = run(tmp_path / "home", "--help").stdout
        assert all(command in told for command in ("serve", "migrate", "config", "version"))
        assert not (tmp_path / "home").exists()
