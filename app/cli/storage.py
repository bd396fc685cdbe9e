"""`flyteadmin storage`: the storage that belongs to the database."""

import typer

from app.cli.options import Files, one_line, settings_of

storage_app = typer.Typer(no_args_is_help=True, help="Tie the database to a storage.")


@storage_app.callback()
def common() -> None:
    """Tie the database to a storage."""


@storage_app.command("adopt")
def adopt(context: typer.Context, config: Files = None) -> None:
    """Tie the database to the configured storage, after its data was moved there. Stop every server first."""
    from app.server import startup

    with one_line():
        settings = settings_of(context, config)
        adopted = startup.adopt_storage(settings)
        typer.echo(f"{startup.shown(settings.database_url)} belongs with {settings.storage_url} (id {adopted}) now")
