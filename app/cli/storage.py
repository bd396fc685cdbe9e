"""`flyteadmin storage`: the storage that belongs to the database."""

import typer

from app.cli.options import Files, errors_in_one_line, group, load_settings

commands = group("Bind the database to a storage.")


@commands.callback()
def _group() -> None:
    # With a callback, Typer keeps a group of one command a group.
    pass


@commands.command("adopt")
def adopt(context: typer.Context, config: Files = None) -> None:
    """Bind the database to the configured storage, after its objects were moved there. Stop every server first."""
    from app.server import startup

    with errors_in_one_line():
        settings = load_settings(context, config)
        adopted = startup.adopt_storage(settings)
        typer.echo(f"{startup.shown(settings.database_url)} is bound to {settings.storage_url} (id {adopted})")
