"""Options, settings and error output that all commands share."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from app.server.startup import Progress
    from app.settings import Masker, Settings

# The exit code that shells use for a program that Ctrl-C ended.
INTERRUPTED = 130

_masker: "ContextVar[Masker | None]" = ContextVar("masker", default=None)

Files = Annotated[
    list[Path] | None,
    typer.Option("--config", metavar="FILE", help="Configuration in YAML. Can be repeated; later files win."),
]
Output = Annotated[
    Literal["text", "json"], typer.Option("--output", "-o", help="Text for people, or JSON for programs.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


def group(help: str, *, completes: bool = False) -> typer.Typer:
    """Return a group of commands.

    Args:
        help: The help text.
        completes: Whether it has the options that install the completion of shells.
    """
    return typer.Typer(
        no_args_is_help=True,
        add_completion=completes,
        # `main` prints tracebacks, because Typer's own would print local variables, and with them secrets.
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        help=help,
    )


def load_settings(context: typer.Context, config: list[Path] | None, **flags: Any) -> "Settings":
    """Return the settings for this command, and print their warnings on stderr.

    Args:
        context: Holds the files given before the command.
        config: The files given after the command, which win.
        flags: Values by field path, with `__` for the dot; None counts as not given.
    """
    from app.settings import load, masker_of, redact

    loaded = load(*sources_of(context, config, **flags))
    _masker.set(masker_of(loaded.settings))
    for warning in loaded.warnings:
        typer.echo(f"warning: {redact(warning)}", err=True)
    return loaded.settings


def service_settings(context: typer.Context, config: list[Path] | None) -> "Settings":
    """Return the settings for a command that does the work of a server, with its logs and on its migrated database.

    Raises:
        BadSetting: A setting is wrong, or the database is not migrated.
    """
    from app.server import logs, startup

    settings = load_settings(context, config)
    logs.set_up(settings)
    startup.check_migrated(settings)
    return settings


def sources_of(
    context: typer.Context, config: list[Path] | None, **flags: Any
) -> tuple[tuple[Path, ...], dict[str, Any]]:
    """Return the configuration files of this call, and its flags by the dotted path of their setting."""
    return (*context.obj, *(config or [])), {key.replace("__", "."): value for key, value in flags.items()}


def masker() -> "Masker":
    """Return the masker of the settings that this command has loaded; before that, one for the environment."""
    from app.settings import Masker
    from app.settings.secrets import environment_secrets

    return _masker.get() or Masker(environment_secrets())


def progress() -> "Progress":
    """Return the progress output on stdout, with secrets masked."""
    from app.server.startup import Progress

    return Progress(masker=masker())


def end_of_reader() -> NoReturn:
    """End this program without an error: the reader of its output, such as `head`, has ended."""
    # The interpreter flushes the stream at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0) from None


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Exit with code 1 and one line on stderr, without secrets, for an error of settings, database or file system."""
    from app.errors import FlyteError
    from app.settings import BadSetting

    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except (BadSetting, FlyteError) as error:
        typer.echo(f"flyteadmin: {masker().text(str(error))}", err=True)
        raise SystemExit(1) from error
    except BrokenPipeError:
        end_of_reader()
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        typer.echo(f"flyteadmin: {masker().text(f'{error.strerror or error}{where}')}", err=True)
        raise SystemExit(1) from error


def time_before(age: str, option: str = "--older-than") -> datetime | None:
    """Return the time that lies an age in the past; None for "".

    Args:
        age: A Go duration.
        option: The option that gives it.

    Raises:
        BadSetting: The age is not a positive Go duration.
    """
    from app.settings import BadSetting
    from app.wire.go.goparse import parse_go_duration

    if not age:
        return None
    try:
        microseconds = parse_go_duration(age) // 1000
        if microseconds <= 0:
            raise ValueError("an age is positive")
        return datetime.now(UTC) - timedelta(microseconds=microseconds)
    except (ValueError, OverflowError) as error:
        raise BadSetting(f"{option}={age} is no age; allowed: such as 720h, 1h30m or 45s") from error
