"""What every command shares: where its settings come from, and how it ends where something is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from app.settings import Masker, Settings

# What shells report of a program that Ctrl-C ended.
INTERRUPTED = 130

_masker: "ContextVar[Masker | None]" = ContextVar("masker", default=None)

Files = Annotated[
    list[Path] | None, typer.Option("--config", metavar="FILE", help="Configuration in YAML; later files win.")
]


def settings_of(context: typer.Context, config: list[Path] | None, **flags: Any) -> "Settings":
    """The settings of this call, its warnings told; --config may stand before or after the command."""
    from app.settings import load, masker_of, redact

    loaded = load(*sources_of(context, config, **flags))
    _masker.set(masker_of(loaded.settings))
    for warning in loaded.warnings:
        typer.echo(f"warning: {redact(warning)}", err=True)
    return loaded.settings


def sources_of(
    context: typer.Context, config: list[Path] | None, **flags: Any
) -> tuple[tuple[Path, ...], dict[str, Any]]:
    """Return the configuration files of this call, and its flags by the dotted path of their setting."""
    return (*context.obj, *(config or [])), {key.replace("__", "."): value for key, value in flags.items()}


def masker() -> "Masker":
    """Return the masker of the settings that this command has loaded; before that, one that knows the environment."""
    from app.settings import Masker
    from app.settings.secrets import environment_secrets

    return _masker.get() or Masker(environment_secrets())


@contextmanager
def one_line() -> Iterator[None]:
    """End the program with one line, without secrets, where a setting, the database or the disk is at fault."""
    from app.errors import FlyteError
    from app.settings import BadSetting

    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except (BadSetting, FlyteError) as error:
        typer.echo(f"flyteadmin: {masker().text(str(error))}", err=True)
        raise SystemExit(1) from error
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        typer.echo(f"flyteadmin: {masker().text(f'{error.strerror or error}{where}')}", err=True)
        raise SystemExit(1) from error


def before(older_than: str) -> datetime | None:
    """Return the moment that an option --older-than names, None for "".

    Raises:
        BadSetting: The age cannot be read.
    """
    from app.settings import BadSetting
    from app.wire.go.goparse import parse_go_duration

    if not older_than:
        return None
    try:
        microseconds = parse_go_duration(older_than) // 1000
        if microseconds <= 0:
            raise ValueError("an age is positive")
        return datetime.now(UTC) - timedelta(microseconds=microseconds)
    except (ValueError, OverflowError) as error:
        raise BadSetting(f"--older-than={older_than} is no age; allowed: such as 720h, 1h30m or 45s") from error
