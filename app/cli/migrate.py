"""`flyteadmin migrate`: the schema of the database, and its first projects."""

from typing import Annotated

import typer

from app.cli.options import Files, errors_in_one_line, group, load_settings, progress

commands = group("Migrate the database and register projects.")


@commands.command("run")
def run(context: typer.Context, config: Files = None) -> None:
    """Migrate the database to the schema of this version."""
    from app.server import home, startup

    with errors_in_one_line():
        settings = load_settings(context, config)
        home.prepare(settings.home_path)
        startup.migrate(settings, progress())
        typer.echo(f"{startup.shown(settings.database_url)} has this version's schema")


@commands.command("rollback")
def rollback(context: typer.Context, config: Files = None) -> None:
    """Undo the last migration. Stop every server first."""
    from app.server import startup

    with errors_in_one_line():
        settings = load_settings(context, config)
        startup.rollback(settings)
        typer.echo(f"the last migration of {startup.shown(settings.database_url)} is undone")


@commands.command("seed-projects")
def seed_projects(
    context: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of the projects.")],
    config: Files = None,
) -> None:
    """Register projects; those that exist are left as they are."""
    from app.server import startup

    with errors_in_one_line():
        made = startup.seed(load_settings(context, config), ids)
        outcome = f": {', '.join(made)}" if made else "; all of them exist"
        typer.echo(f"registered {len(made)} of {len(ids)} projects{outcome}")
