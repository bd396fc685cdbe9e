"""`flyteadmin envs`: list and remove the environments of tasks on this machine."""

from typing import Annotated, Any

import typer

from app.cli.options import Files, Output, errors_in_one_line, group, load_settings
from app.cli.program import program

_MEBIBYTE = 1024**2
_PACKAGES_SHOWN = 8

commands = group("List and remove the environments in which the local engine runs tasks.")


@commands.callback(invoke_without_command=True, no_args_is_help=False)
def envs(
    context: typer.Context,
    output: Output = "text",
    config: Files = None,
) -> None:
    """List environments with state, size, last use and packages, those used last first."""
    if context.invoked_subcommand is not None:
        return
    from app.cli.terminal.output import print_json
    from app.engine.local.processes.environments.views import store_of, views

    with errors_in_one_line():
        settings = load_settings(context, config)
        found = views(settings, store_of(settings))
        if output == "json":
            print_json(found)
            return
        for one in found:
            _print(one)
        size = sum(one["size_bytes"] for one in found) // _MEBIBYTE
        typer.echo(f"{len(found)} environment{'' if len(found) == 1 else 's'}, {size} MiB")


@commands.command("log")
def log(
    context: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="The id in the list.")],
    config: Files = None,
) -> None:
    """Print the output of the installer."""
    from app.engine.local.processes.environments.views import store_of
    from app.settings import BadSetting, redact

    with errors_in_one_line():
        store = store_of(load_settings(context, config))
        if store.record(id) is None:
            raise BadSetting(f"there is no environment {id}; `{program()} envs` lists them")
        typer.echo(redact(store.log_of(id, _MEBIBYTE)), nl=False)


@commands.command("prune")
def prune(
    context: typer.Context,
    unused_for: Annotated[str, typer.Option(metavar="DURATION", help="Time without use, such as 720h.")] = "720h",
    everything: Annotated[bool, typer.Option("--all", help="Remove every environment that is not in use.")] = False,
    config: Files = None,
) -> None:
    """Remove environments that no task has used for a time, and those that could not be made.

    An environment in use, and the default one, stays. A task that needs a removed one makes it again.
    """
    from datetime import UTC, datetime

    from app.cli.options import time_before
    from app.engine.local.processes.environments import pruning
    from app.engine.local.processes.environments.views import store_of

    with errors_in_one_line():
        store = store_of(load_settings(context, config))
        before = None if everything else time_before(unused_for, "--unused-for")
        seconds = 0.0 if before is None else (datetime.now(UTC) - before).total_seconds()
        store.clean()
        removed = pruning.unused(store, seconds)
        for record in removed:
            typer.echo(f"removed {record.key}  {record.size_bytes // _MEBIBYTE} MiB  {record.image}")
        size = sum(record.size_bytes for record in removed) // _MEBIBYTE
        typer.echo(f"removed {len(removed)} environment{'' if len(removed) == 1 else 's'}, {size} MiB")


def _print(one: dict[str, Any]) -> None:
    from app.engine.local.processes.environments.wanted import distribution_name

    times = (("used", one["used_at"]), ("begun", one["started_at"]))
    when = next((f"  {word} {time}" for word, time in times if time), "")
    kind = one["image"] or ("default environment" if one["default"] else "")
    size = f"{one['size_bytes'] // _MEBIBYTE:6} MiB" if one["size_bytes"] else ""
    typer.echo(f"{one['id']}  {one['state']:7}{size}{when}  {kind}".rstrip())
    if one["default"]:
        typer.echo(f"  {one['path']}")
    asked = {distribution_name(line) for line in one["requirements"]}
    listed = [package for package in one["packages"] if distribution_name(package) in asked] or one["requirements"]
    listed = listed or [package for package in one["packages"] if distribution_name(package) == "flytekit"]
    more = len(one["packages"]) - len(listed)
    rest = f" and {more} more" if more > 0 else ""
    typer.echo(f"  {', '.join(listed[:_PACKAGES_SHOWN])}{', …' if len(listed) > _PACKAGES_SHOWN else ''}{rest}")
    for name in ("progress", "reason"):
        if one[name]:
            typer.echo(f"  {name}: {one[name]}")
    for notice in one["notices"]:
        typer.echo(f"  notice: {notice}")
