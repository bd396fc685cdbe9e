"""`flyteadmin cache`: what the local engine has cached of the outputs of tasks, and how to forget it."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from app.cli.options import Files, before, one_line, settings_of

if TYPE_CHECKING:
    from app.database.base import Database
    from app.services.catalog import ArtifactFilter, CacheKey

ROWS_MAX = 1000
_COLUMNS = ("project", "domain", "task", "version", "updated", "produced_by", "tag")

Project = Annotated[str, typer.Option(help="Only entries of this project.")]
Domain = Annotated[str, typer.Option(help="Only entries of this domain.")]
Task = Annotated[str, typer.Option(metavar="NAME", help="Only entries of the task with this full name.")]
Version = Annotated[str, typer.Option(metavar="VERSION", help="Only entries of this cache version.")]
Age = Annotated[str, typer.Option(metavar="DURATION", help="Only entries written longer ago than this, as in 720h.")]

cache_app = typer.Typer(no_args_is_help=True, help="List and delete cached outputs of tasks.")


@cache_app.command("list")
def list_entries(
    context: typer.Context,
    project: Project = "",
    domain: Domain = "",
    task: Task = "",
    cache_version: Version = "",
    older_than: Age = "",
    limit: Annotated[int, typer.Option(min=1, max=ROWS_MAX, help="List at most this many entries.")] = 100,
    after: Annotated[str, typer.Option(metavar="TOKEN", help="Continue from the token of an earlier list.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line, one for each entry.")] = False,
    config: Files = None,
) -> None:
    """List cached outputs in the order of project, domain, task, cache version and tag.

    Each line names the attempt that produced the outputs: execution/node/attempt.
    """
    from app.server import startup
    from app.services import catalog

    with one_line():
        chosen, start = _chosen(project, domain, task, cache_version, older_than), _read_token(after)
        settings = settings_of(context, config)
        startup.check_migrated(settings)

        async def read(database: "Database") -> Sequence[Any]:
            async with database.unit_of_work() as db:
                return await catalog.list_artifacts(db, chosen, after=start, limit=limit + 1)

        rows = startup.on_database(settings, read)
        lines = [_shown(row) for row in rows[:limit]]
        for line in [orjson.dumps(line).decode() for line in lines] if json else _table(lines):
            typer.echo(line)
        # What is no entry stands beside the list, so that what reads the list does not read it.
        if not rows:
            typer.echo("nothing is cached that fits", err=True)
        if len(rows) > limit:
            typer.echo(f"there are more: --after {_token(_key(rows[limit - 1]))}", err=True)


@cache_app.command("delete")
def delete_entries(
    context: typer.Context,
    project: Project = "",
    domain: Domain = "",
    task: Task = "",
    cache_version: Version = "",
    older_than: Age = "",
    everything: Annotated[bool, typer.Option("--all", help="Delete every entry; asks first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: Files = None,
) -> None:
    """Delete cache entries, so that the tasks run again.

    Only the entries are deleted: the data belongs to the executions that produced it and stays. An entry has to match
    all the options that are given; `flyteadmin cache list` with the same options lists the matching entries.
    """
    from app.server import startup
    from app.services import catalog
    from app.settings import BadSetting

    with one_line():
        chosen = _chosen(project, domain, task, cache_version, older_than)
        if everything == (chosen != catalog.ArtifactFilter()):
            raise BadSetting("say which entries to delete, with options such as --task or --older-than, or say --all")
        settings = settings_of(context, config)
        startup.check_migrated(settings)
        if everything and not yes:

            async def count(database: "Database") -> int:
                async with database.unit_of_work() as db:
                    return await catalog.count_artifacts(db, chosen)

            entries = startup.on_database(settings, count)
            typer.confirm(f"Delete all {entries} entries of {startup.shown(settings.database_url)}?", abort=True)

        async def delete(database: "Database") -> int:
            deleted, some = 0, ROWS_MAX
            while some == ROWS_MAX:
                async with database.unit_of_work() as db:
                    some = await catalog.delete_artifacts(db, chosen, limit=ROWS_MAX)
                deleted += some
            return deleted

        deleted = startup.on_database(settings, delete)
        typer.echo(f"deleted {deleted} entries; the data of the executions that produced them stays")


def _chosen(project: str, domain: str, task: str, version: str, older_than: str) -> "ArtifactFilter":
    """Return what the options name. Raises BadSetting for an age that cannot be read."""
    from app.services.catalog import ArtifactFilter

    return ArtifactFilter(project, domain, task, version, before(older_than))


def _key(row: Any) -> "CacheKey":
    from app.services.catalog import CacheKey

    return CacheKey(*(getattr(row, name) for name in CacheKey._fields))


def _shown(row: Any) -> dict[str, str]:
    key = _key(row)
    values = (key.dataset_project, key.dataset_domain, key.task, key.version, row.updated_at.isoformat(" ", "seconds"))
    produced_by = f"{row.execution_name}/{row.node_id}/{row.retry_attempt}"
    return dict(zip(_COLUMNS, (*values, produced_by, key.tag), strict=True))


def _table(lines: list[dict[str, str]]) -> list[str]:
    """Lines with a heading, in columns as wide as what is in them; none without entries."""
    if not lines:
        return []
    cells = [[name.replace("_", " ").upper() for name in _COLUMNS], *(list(line.values()) for line in lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _token(key: "CacheKey") -> str:
    """A key as one word."""
    return urlsafe_b64encode(orjson.dumps(list(key))).decode().rstrip("=")


def _read_token(token: str) -> "CacheKey | None":
    """errors: BadSetting for one that no list has shown"""
    from app.services.catalog import CacheKey
    from app.settings import BadSetting

    if not token:
        return None
    try:
        key = CacheKey(*orjson.loads(urlsafe_b64decode(token + "==")))
    except (ValueError, TypeError) as error:
        raise BadSetting(f"--after={token} is not what a list has shown") from error
    if not all(isinstance(part, str) for part in key):
        raise BadSetting(f"--after={token} is not what a list has shown")
    return key
