"""What every command shares: where its settings come from, and how it ends where something is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from app.settings import Settings

Files = Annotated[
    list[Path] | None, typer.Option("--config", metavar="FILE", help="Configuration in YAML; later files win.")
]


def settings_of(context: typer.Context, config: list[Path] | None, **flags: Any) -> "Settings":
    """The settings of this call, its warnings told; --config may stand before or after the command."""
    from app.settings import load

    loaded = load([*context.obj, *(config or [])], {key.replace("__", "."): value for key, value in flags.items()})
    for warning in loaded.warnings:
        typer.echo(f"warning: {warning}", err=True)
    return loaded.settings


@contextmanager
def one_line() -> Iterator[None]:
    """Ends the program with one line where a setting, the database or the disk is at fault."""
    from app.errors import FlyteError
    from app.settings import BadSetting

    try:
        yield
    except (BadSetting, FlyteError) as error:
        typer.echo(f"flyteadmin: {error}", err=True)
        raise SystemExit(1) from error
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        typer.echo(f"flyteadmin: {error.strerror or error}{where}", err=True)
        raise SystemExit(1) from error
