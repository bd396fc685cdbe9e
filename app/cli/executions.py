"""`flyteadmin executions`: end executions that no engine runs any more."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import Files, Yes, errors_in_one_line, group, load_settings, time_before

if TYPE_CHECKING:
    from flyteidl.core import identifier_pb2

    from app.database.base import Database
    from app.services.executions.orphans import OrphanFilter
    from app.settings import Settings

PAGE_ROWS = 500
SHOWN_ROWS_MAX = 20

commands = group("End executions that no engine runs any more.")


@commands.callback()
def _group() -> None:
    # With a callback, Typer keeps a group of one command a group.
    pass


@commands.command("end")
def end(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="PROJECT/DOMAIN/NAME", help="Executions to end.")] = None,
    project: Annotated[str, typer.Option(metavar="ID", help="Only executions of this project.")] = "",
    domain: Annotated[str, typer.Option(metavar="ID", help="Only executions of this domain.")] = "",
    older_than: Annotated[
        str, typer.Option(metavar="DURATION", help="Only executions older than this, such as 24h.")
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="All executions that this server did not launch.")] = False,
    cause: Annotated[str, typer.Option(metavar="TEXT", help="Cause to record in the abort metadata.")] = "",
    yes: Yes = False,
    config: Files = None,
) -> None:
    """Record executions that another flyteadmin launched as ABORTED, with their nodes and attempts.

    Use this after the other flyteadmin and its FlytePropeller are stopped for good. The command lists the executions
    and asks before it ends them. It ends none that this server launched. It deletes nothing in Kubernetes: pods that
    still run are not stopped, and their events are refused from then on.
    """
    from app.server import startup
    from app.services.executions import orphans
    from app.settings import BadSetting

    with errors_in_one_line():
        chosen = orphans.OrphanFilter(project, domain, time_before(older_than))
        if sum((bool(names), chosen != orphans.OrphanFilter(), everything)) != 1:
            raise BadSetting(
                "which executions? Give names as PROJECT/DOMAIN/NAME, or --project, --domain and --older-than, or --all"
            )
        settings = load_settings(context, config)
        startup.check_migrated(settings)
        ids = [_read(name) for name in names] if names else _found(settings, chosen)
        if not ids:
            typer.echo("no open execution of another flyteadmin matches these options")
            return
        if not yes:
            typer.confirm(f"End {_counted(ids)} of {startup.shown(settings.database_url)}?", abort=True)
        refused = _end(settings, ids, cause or orphans.CAUSE)
        for reason in refused:
            typer.echo(f"flyteadmin: {reason}", err=True)
        typer.echo(f"ended {len(ids) - len(refused)} of {_counted(ids)}")
        if refused:
            raise SystemExit(1)


def _counted(ids: Sequence[Any]) -> str:
    return f"{len(ids)} execution{'s' if len(ids) != 1 else ''}"


def _read(name: str) -> "identifier_pb2.WorkflowExecutionIdentifier":
    """Return the id that an argument names. Raises BadSetting for an argument of another form."""
    from flyteidl.core import identifier_pb2

    from app.settings import BadSetting

    parts = name.split("/")
    if len(parts) != 3 or not all(parts):
        raise BadSetting(f"{name!r} is no execution; allowed: PROJECT/DOMAIN/NAME")
    return identifier_pb2.WorkflowExecutionIdentifier(project=parts[0], domain=parts[1], name=parts[2])


def _found(settings: "Settings", chosen: "OrphanFilter") -> "list[identifier_pb2.WorkflowExecutionIdentifier]":
    """Return the ids of the executions that match, and print the first SHOWN_ROWS_MAX of them."""
    from app.server import startup
    from app.services.execution_ids import execution_id
    from app.services.executions import orphans

    async def read(database: "Database") -> list[Any]:
        rows: list[Any] = []
        while True:
            async with database.unit_of_work() as db:
                more = await orphans.list_orphans(db, chosen, after_id=rows[-1].id if rows else 0, limit=PAGE_ROWS)
            rows += more
            if len(more) < PAGE_ROWS:
                return rows

    rows = startup.on_database(settings, read)
    for row in rows[:SHOWN_ROWS_MAX]:
        launched = row.created_at.isoformat(" ", "seconds") if row.created_at else "unknown"
        name = f"{row.execution_project}/{row.execution_domain}/{row.execution_name}"
        typer.echo(f"  {name}  {row.phase}  launched {launched}")
    if len(rows) > SHOWN_ROWS_MAX:
        typer.echo(f"  and {len(rows) - SHOWN_ROWS_MAX} more")
    return [execution_id(row) for row in rows]


def _end(settings: "Settings", ids: "Sequence[identifier_pb2.WorkflowExecutionIdentifier]", cause: str) -> list[str]:
    """End executions one after the other, each in its own transaction; return the error of each that was refused."""
    from flyteidl.admin import execution_pb2

    from app import errors
    from app.background.events_out.build import write_events
    from app.blobs import Blobs
    from app.engine.port import NoEngine
    from app.runtime.dispatch import Server, perform
    from app.server import startup
    from app.services import executions

    async def work(database: "Database") -> list[str]:
        server = Server(settings=settings, database=database, blobs=Blobs(settings), engine=NoEngine())
        write_events(server)
        refused = []
        for id in ids:
            request = execution_pb2.ExecutionTerminateRequest(id=id, cause=cause)
            try:
                await perform(server, executions.end_orphan, request)
            except (errors.NotFound, errors.FailedPrecondition) as error:
                refused.append(error.message)
        return refused

    return startup.on_database(settings, work)
