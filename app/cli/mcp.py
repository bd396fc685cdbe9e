"""`flyteadmin mcp` and `flyteadmin capability`: the tools for AI assistants."""

from typing import Annotated

import typer

from app.cli.options import Files, errors_in_one_line, load_settings


def mcp(
    context: typer.Context,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Call the server at http://host:port instead of the database. FLYTE_API_KEY is sent as bearer token.",
        ),
    ] = None,
    config: Files = None,
) -> None:
    """Serve MCP tools over stdin and stdout, for an assistant that starts this command itself."""
    from app.server import logs

    with errors_in_one_line():
        settings = load_settings(context, config)
        logs.set_up(settings)
        from app.cli import mcp_stdio

        mcp_stdio.run(settings, endpoint)


def capability() -> None:
    """Print the Naftiko capability file: the operations of the REST adapter and their MCP tools."""
    import yaml

    from app.mcp.capability import document

    typer.echo(yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=120), nl=False)
