"""The command `flyteadmin`: upstream's commands and flags, and further ones.

An error that the user can correct is one line on stderr and exit code 1. Commands import the modules that they need
when they run, so that `--help` is fast.

Source: flyteadmin/cmd/entrypoints.
"""

import signal
import sys
import traceback
from typing import Annotated

import typer

from app.cli import (
    auth,
    cache,
    clusterresource,
    config,
    connectors,
    doctor,
    envs,
    events,
    executions,
    mcp,
    migrate,
    notifications,
    scheduler,
    secret,
    serve,
    storage,
)
from app.cli.options import INTERRUPTED, Files, end_of_reader, group, masker
from app.cli.terminal import control, get, logs, run, status, watch

EXECUTIONS, SERVER, DATA, ASSISTANTS = "Executions", "Server", "Data", "AI assistants"

app = group("A Flyte control plane. Start with `flyteadmin serve`, then try `flyteadmin hello`.", completes=True)
app.command("hello", rich_help_panel=EXECUTIONS)(run.hello)
app.command("run", rich_help_panel=EXECUTIONS, context_settings=run.CONTEXT)(run.run)
app.command("get", rich_help_panel=EXECUTIONS)(get.get)
app.command("watch", rich_help_panel=EXECUTIONS)(watch.watch)
app.command("logs", rich_help_panel=EXECUTIONS)(logs.logs)
app.command("terminate", rich_help_panel=EXECUTIONS)(control.terminate)
app.command("relaunch", rich_help_panel=EXECUTIONS)(control.relaunch)
app.command("recover", rich_help_panel=EXECUTIONS)(control.recover)
app.command("waiting", rich_help_panel=EXECUTIONS)(control.waiting)
app.command("signal", rich_help_panel=EXECUTIONS)(control.signal)
app.command("status", rich_help_panel=SERVER)(status.status)
app.command("serve", rich_help_panel=SERVER)(serve.serve)
app.add_typer(migrate.commands, name="migrate", rich_help_panel=SERVER)
app.add_typer(config.commands, name="config", rich_help_panel=SERVER)
app.add_typer(auth.commands, name="auth", rich_help_panel=SERVER)
app.add_typer(secret.commands, name="secret", rich_help_panel=SERVER)
app.command("doctor", rich_help_panel=SERVER)(doctor.doctor)
app.add_typer(scheduler.commands, name="scheduler", rich_help_panel=SERVER)
app.add_typer(clusterresource.commands, name="clusterresource", rich_help_panel=SERVER)
app.add_typer(notifications.commands, name="notifications", rich_help_panel=SERVER)
app.command("connectors", rich_help_panel=SERVER)(connectors.connectors)
app.add_typer(executions.commands, name="executions", rich_help_panel=DATA)
app.add_typer(events.commands, name="events", rich_help_panel=DATA)
app.add_typer(cache.commands, name="cache", rich_help_panel=DATA)
app.add_typer(envs.commands, name="envs", rich_help_panel=DATA)
app.add_typer(storage.commands, name="storage", rich_help_panel=DATA)


@app.command(rich_help_panel=SERVER)
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(f"flyteadmin {installed('flyteadmin')}")


app.command("mcp", rich_help_panel=ASSISTANTS)(mcp.mcp)
app.command("capability", rich_help_panel=ASSISTANTS)(mcp.capability)


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    config: Files = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    context.obj = list(config or [])


def main() -> None:
    """Run the command line."""
    from app.runtime import own_environment

    own_environment.hide()
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        app(prog_name="flyteadmin")
    except BrokenPipeError:
        end_of_reader()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except Exception:  # noqa: BLE001  (a fault of this program ends it here, with its traceback but without secrets)
        sys.stderr.write(masker().text(traceback.format_exc()))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
