"""`flyteadmin cache`: list and delete cached outputs of tasks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import Files, Output, Yes, errors_in_one_line, group, load_settings, time_before
from app.cli.program import program

if TYPE_CHECKING:
    from app.database.base import Database
    from app.services.catalog import ArtifactFilter, CacheKey

ROWS_MAX = 1000
_COLUMNS = ("project", "domain", "task", "version", "updated", "produced_by", "tag")

Project = Annotated[str, typer.Option(metavar="ID", help="Only entries of this project.")]
Domain = Annotated[str, typer.Option(metavar="ID", help="Only entries of this domain.")]
Task = Annotated[str, typer.Option(metavar="NAME", help="Only entries of the task with this full name.")]
Version = Annotated[str, typer.Option(metavar="VERSION", help="Only entries of this cache version.")]
Age = Annotated[str, typer.Option(metavar="DURATION", help="Only entries older than this, such as 720h.")]

commands = group("List and delete cached outputs of tasks.")


@commands.command("list")
def list_entries(
    context: typer.Context,
    project: Project = "",
    domain: Domain = "",
    task: Task = "",
    cache_version: Version = "",
    older_than: Age = "",
    limit: Annotated[int, typer.Option(metavar="NUMBER", min=1, max=ROWS_MAX, help="Most entries to list.")] = 100,
    after: Annotated[str, typer.Option(metavar="TOKEN", help="Continue after an earlier list, with its token.")] = "",
    output: Output = "text",
    config: Files = None,
) -> None:
    """List cached outputs in the order of project, domain, task, cache version and tag.

    Each line names the attempt that produced the outputs: execution/node/attempt.
    """
    from app.cli.terminal.output import print_rows
    from app.server import startup
    from app.services import catalog

    with errors_in_one_line():
        chosen, start = _chosen(project, domain, task, cache_version, older_than), _read_token(after)
        settings = load_settings(context, config)
        startup.check_migrated(settings)

        async def read(database: "Database") -> Sequence[Any]:
            async with database.unit_of_work() as db:
                return await catalog.list_cached(db, chosen, after=start, limit=limit + 1)

        rows = startup.on_database(settings, read)
        print_rows([_shown(row) for row in rows[:limit]], json=output == "json")
        # On stderr, so that a program that reads the list receives entries alone.
        if not rows:
            typer.echo("no entry matches these options", err=True)
        if len(rows) > limit:
            typer.echo(f"there are more entries: --after {catalog.CacheKey.of_row(rows[limit - 1]).token}", err=True)


@commands.command("delete")
def delete_entries(
    context: typer.Context,
    project: Project = "",
    domain: Domain = "",
    task: Task = "",
    cache_version: Version = "",
    older_than: Age = "",
    everything: Annotated[bool, typer.Option("--all", help="Delete every entry, after a question.")] = False,
    yes: Yes = False,
    config: Files = None,
) -> None:
    """Delete cache entries, so that their tasks run again.

    Deletes the entries that match all given options; `flyteadmin cache list` with the same options lists them. The
    outputs stay: they belong to the executions that produced them.
    """
    from app.server import startup
    from app.services import catalog
    from app.settings import BadSetting

    with errors_in_one_line():
        chosen = _chosen(project, domain, task, cache_version, older_than)
        if everything == (chosen != catalog.ArtifactFilter()):
            raise BadSetting("which entries? Give options such as --task or --older-than, or --all without them")
        settings = load_settings(context, config)
        startup.check_migrated(settings)
        if everything and not yes:

            async def count(database: "Database") -> int:
                async with database.unit_of_work() as db:
                    return await catalog.count_artifacts(db, chosen)

            entries = startup.on_database(settings, count)
            typer.confirm(f"Delete all {entries} entries of {startup.shown(settings.database_url)}?", abort=True)

        async def delete(database: "Database") -> int:
            deleted, some = 0, 1
            while some:
                async with database.unit_of_work() as db:
                    some = await catalog.delete_artifacts(db, chosen, limit=ROWS_MAX)
                deleted += some
            return deleted

        deleted = startup.on_database(settings, delete)
        typer.echo(f"deleted {deleted} entries; the outputs stay with the executions that produced them")


def _chosen(project: str, domain: str, task: str, version: str, older_than: str) -> "ArtifactFilter":
    """Return the filter for the options. Raises BadSetting for a bad age."""
    from app.services.catalog import ArtifactFilter

    return ArtifactFilter(project, domain, task, version, time_before(older_than))


def _shown(row: Any) -> dict[str, str]:
    from app.services.catalog import CacheKey

    key = CacheKey.of_row(row)
    values = (key.dataset_project, key.dataset_domain, key.task, key.version, row.updated_at.isoformat(" ", "seconds"))
    produced_by = f"{row.execution_name}/{row.node_id}/{row.retry_attempt}"
    return dict(zip(_COLUMNS, (*values, produced_by, key.tag), strict=True))


def _read_token(token: str) -> "CacheKey | None":
    """Return the key in a token of the list. Raises BadSetting for another text."""
    from app.services.catalog import CacheKey
    from app.settings import BadSetting

    if not token:
        return None
    try:
        return CacheKey.of_token(token)
    except ValueError as error:
        raise BadSetting(f"--after={token} is no token of `{program()} cache list`") from error
