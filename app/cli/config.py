"""`flyteadmin config`: the settings in use, and their documentation."""

import shutil
import sys
from typing import Annotated

import typer

from app.cli.options import Files, errors_in_one_line, group, load_settings
from app.cli.program import program

commands = group("Show and document the settings.")


@commands.command("show")
def show(context: typer.Context, config: Files = None) -> None:
    """Print the value of every setting in YAML, with secrets masked.

    The values are those after files, environment and flags.
    """
    import yaml

    from app.settings import masked

    with errors_in_one_line():
        values = masked(load_settings(context, config))
        typer.echo(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), nl=False)


@commands.command("docs")
def docs(
    key: Annotated[
        str, typer.Argument(metavar="[KEY]", help="A section or a setting, such as `server.grpc`; without it, all.")
    ] = "",
) -> None:
    """Print the documentation of settings in Markdown: key, default, unit and effect."""
    from app.settings import BadSetting
    from app.settings.documentation import markdown, wrapped

    with errors_in_one_line():
        text = markdown(key)
        if not text:
            raise BadSetting(f"no setting has the key {key}; `{program()} config docs` prints all keys")
        typer.echo(wrapped(text, shutil.get_terminal_size().columns) if sys.stdout.isatty() else text, nl=False)
