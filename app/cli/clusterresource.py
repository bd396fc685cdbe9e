"""`flyteadmin clusterresource`: Kubernetes resources of projects and domains, from templates."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import Files, errors_in_one_line, group, progress, service_settings

if TYPE_CHECKING:
    from app.engine.kubernetes.resources.sync import Summary
    from app.settings import Settings

commands = group("Make namespaces, quotas and service accounts of projects on Kubernetes, from templates.")


@commands.command("sync")
def sync(
    context: typer.Context,
    config: Files = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would change, and change nothing.")] = False,
) -> None:
    """Apply the templates once. The exit code is 1 if an object could not be applied."""
    with errors_in_one_line():
        settings = service_settings(context, config)
        summary = asyncio.run(_sync(settings, dry_run=dry_run))
    for text in summary.errors:
        typer.echo(text, err=True)
    typer.echo(("would be: " if dry_run else "") + summary.text())
    if summary.errors:
        raise typer.Exit(1)


@commands.command("run")
def run(context: typer.Context, config: Files = None) -> None:
    """Apply the templates again and again, in a process of its own."""
    from app.engine.kubernetes.resources.service import ResourceService
    from app.server.alone import run_alone

    with errors_in_one_line():
        settings = service_settings(context, config)
        progress().line("the resources of projects are kept in step; end it with Ctrl-C")
        run_alone(settings, ResourceService)


async def _sync(settings: "Settings", *, dry_run: bool) -> "Summary":
    from app.blobs import Blobs
    from app.database.connect import database_of
    from app.engine.kubernetes.clusters import ClusterApis
    from app.engine.kubernetes.resources.sync import ResourceSync
    from app.engine.port import NoEngine
    from app.runtime.dispatch import Server

    server = Server(settings, database_of(settings, serves=True), Blobs(settings), NoEngine())
    clusters = ClusterApis(settings)
    await server.database.open()
    try:
        return await ResourceSync(server, clusters, show=typer.echo if dry_run else None).run()
    finally:
        await clusters.close()
        await server.database.close()
