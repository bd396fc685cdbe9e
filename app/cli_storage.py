"""`flyteadmin storage`: the storage that belongs to the database."""

import typer

from app.cli_settings import Files, one_line, settings_of

storage_app = typer.Typer(no_args_is_help=True, help="Look after the storage of the database.")


@storage_app.callback()
def common() -> None:
    """Look after the storage of the database."""


@storage_app.command("adopt")
def adopt(context: typer.Context, config: Files = None) -> None:
    """Make the storage the one of the database, after its data was moved there. No server may run meanwhile."""
    from app import startup

    with one_line():
        settings = settings_of(context, config)
        adopted = startup.adopt_storage(settings)
        typer.echo(f"{startup.shown(settings.database_url)} belongs with {settings.storage_url} (id {adopted}) now")
