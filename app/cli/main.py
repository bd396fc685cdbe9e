"""The command `flyteadmin`: upstream's commands and flags, and a few of ours.

What goes wrong is one line on stderr and exit code 1. Modules are imported by the commands that need them.
Source: flyteadmin/cmd/entrypoints.
"""

import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.cache import cache_app
from app.cli.executions import executions_app
from app.cli.options import INTERRUPTED, Files, masker, one_line, settings_of, sources_of
from app.cli.storage import storage_app

if TYPE_CHECKING:
    from app.server.startup import Progress, Started

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="A Flyte control plane in Python."
)
migrations_app = typer.Typer(no_args_is_help=True, help="Migrate the database and add projects.")
config_app = typer.Typer(no_args_is_help=True, help="Show the configuration.")
app.add_typer(migrations_app, name="migrate")
app.add_typer(config_app, name="config")
app.add_typer(cache_app, name="cache")
app.add_typer(executions_app, name="executions")
app.add_typer(storage_app, name="storage")


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    config: Files = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A Flyte control plane in Python."""
    context.obj = list(config or [])


@app.command()
def serve(
    context: typer.Context,
    port: Annotated[int | None, typer.Option(help="REST, gRPC and documentation (30080).")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="gRPC alone (30081).")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Metrics, for Prometheus (10254).")] = None,
    mcp_port: Annotated[
        int | None, typer.Option(help="Serve MCP tools for assistants at /mcp (9090); off by default.")
    ] = None,
    rest_adapter_port: Annotated[
        int | None, typer.Option(help="Serve the MCP operations over REST (8080); off by default.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).")] = None,
    workers: Annotated[int | None, typer.Option(help="Number of server processes (1).")] = None,
    config: Files = None,
) -> None:
    """Serve the API. Make the home folder and migrate the database first."""
    from app.runtime import descriptors
    from app.server import logs, reload, startup
    from app.server import serve as processes

    reload.ignore_hangup()
    flags = {
        "server__http_port": port,
        "server__grpc__port": grpc_port,
        "flyteadmin__profiler_port": metrics_port,
        # A port for one of them switches both on; FLYTEADMIN_MCP=1 switches them on at their usual ports.
        "mcp__enabled": None if mcp_port is rest_adapter_port is None else True,
        "mcp__port": mcp_port,
        "mcp__adapter_port": rest_adapter_port,
        "server__host": host,
        "server__workers": workers,
    }
    with one_line():
        settings = settings_of(context, config, **flags)
        logs.set_up(settings)
        descriptors.raise_limit()
        progress = startup.Progress(masker=masker())
        started = startup.prepare(settings, progress)
        source = reload.SettingsSource(*sources_of(context, config, **flags))
        processes.serve(started, source, progress, lambda: _tell(started, progress))


def _tell(started: "Started", progress: "Progress") -> None:
    """Tell where everything is and what to try next."""
    from app.server import startup

    settings = started.settings
    host = settings.server.host
    web = f"http://{_reachable(host, settings.server.http_port)}"
    shared = settings.server.http == "zttp"
    pyflyte = settings.environment_path / "bin" / "pyflyte" if settings.engine.kind == "local" else "pyflyte"
    example = Path(__file__).parents[2] / "examples" / "hello.py"
    if example.is_relative_to(Path.cwd()):
        example = example.relative_to(Path.cwd())
    client = f"{pyflyte} --config {settings.home_path / 'config.yaml'}"
    assistants = ""
    if started.assistants:
        mcp, adapter = (_reachable(host, port) for port in (settings.mcp.port, settings.mcp.adapter_port))
        assistants = f"\n  MCP            http://{mcp}/mcp\n  REST adapter   http://{adapter}/v1/api/v1/executions"
    local = settings.engine.local
    waiting = settings.engine.kind == "local" and not local.environment and not settings.environment_path.exists()
    when = ", after `task environment: ready`" if waiting else ""
    run = f"{startup.FIRST_PROJECT}/development/<name>"
    progress.line(
        f"""
flyteadmin is ready
  {"REST and gRPC" if shared else "REST         "}  {web}  (documentation at {web}/docs)
  {"gRPC alone" if shared else "gRPC      "}     {_reachable(host, settings.server.grpc.port)}
  metrics        http://{_reachable(host, settings.flyteadmin.profiler_port)}/metrics{assistants}
  database       {startup.shown(settings.database_url)}
  data           {settings.storage_url}
  engine         {settings.engine.kind}

Try next{when}:
  {client} run --remote -p {startup.FIRST_PROJECT} -d development {example} main --x 3
  curl {web}/api/v1/executions/{run}
  curl {web}/api/v1/data/executions/{run}
"""
    )


def _reachable(host: str, port: int) -> str:
    """host:port as a client on this machine writes it."""
    if host in ("127.0.0.1", "0.0.0.0", "::1", "::"):
        host = "localhost"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@migrations_app.command("run")
def migrate_run(context: typer.Context, config: Files = None) -> None:
    """Bring the database to this version's schema."""
    from app.server import home, startup

    with one_line():
        settings = settings_of(context, config)
        home.prepare(settings.home_path)
        startup.migrate(settings, startup.Progress(masker=masker()))
        print(f"{startup.shown(settings.database_url)} has this version's schema")


@migrations_app.command("rollback")
def migrate_rollback(context: typer.Context, config: Files = None) -> None:
    """Undo the last migration. Stop every server first."""
    from app.server import startup

    with one_line():
        settings = settings_of(context, config)
        startup.rollback(settings)
        print(f"took the last migration of {startup.shown(settings.database_url)} back")


@migrations_app.command("seed-projects")
def migrate_seed_projects(context: typer.Context, ids: list[str], config: Files = None) -> None:
    """Register projects with these ids, skipping those that exist."""
    from app.server import startup

    with one_line():
        made = startup.seed(settings_of(context, config), ids)
        print(f"made {len(made)} of {len(ids)} projects" + (f": {', '.join(made)}" if made else "; all were there"))


@config_app.command("show")
def config_show(context: typer.Context, config: Files = None) -> None:
    """Print the value of every setting after files, environment and flags, in YAML, with secrets masked."""
    import yaml

    from app.settings import masked

    with one_line():
        print(yaml.safe_dump(masked(settings_of(context, config)), sort_keys=False, allow_unicode=True), end="")


@app.command()
def mcp(
    context: typer.Context,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Call this server (http://host:port), with FLYTE_API_KEY as bearer token, instead of the database.",
        ),
    ] = None,
    config: Files = None,
) -> None:
    """Serve MCP tools for assistants over stdin and stdout."""
    from app.server import logs

    with one_line():
        settings = settings_of(context, config)
        logs.set_up(settings)
        from app.cli import stdio

        stdio.run(settings, endpoint)


@app.command()
def capability() -> None:
    """Print the Naftiko capability file of the REST adapter and the MCP tools."""
    import yaml

    from app.mcp.capability import document

    print(yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=120), end="")


@app.command()
def version() -> None:
    """Print this program's version."""
    from importlib.metadata import version as installed

    print(f"flyteadmin {installed('flyteadmin')}")


def main() -> None:
    """The entry point of the command line."""
    from app.runtime import own_environment

    own_environment.hide()
    try:
        app()
    except BrokenPipeError:
        # A reader of the output that ends early (head, less) is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except Exception:  # noqa: BLE001  (a fault of this program ends it here, with its traceback but without secrets)
        sys.stderr.write(masker().text(traceback.format_exc()))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
