"""`flyteadmin auth client` and `flyteadmin auth token`: machines and personal tokens, on the database itself."""

import getpass
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import urlsplit

import typer

from app.cli.options import Files, Output, errors_in_one_line, group, load_settings

if TYPE_CHECKING:
    from app.database.base import Database
    from app.settings import Settings

Result = TypeVar("Result")
TOKEN_LIFESPAN = "2160h"
DAYS_MAX = 366

client_commands = group("Make, list and revoke clients: machines that sign in with a secret.")
token_commands = group("Make, list and revoke personal tokens.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, dots, dashes and underscores.")]
Scopes = Annotated[list[str], typer.Option("--scope", metavar="SCOPE", help="A scope; can be repeated.")]
Description = Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")]


@client_commands.command("create")
def create_client(
    context: typer.Context,
    name: Name,
    scope: Scopes = ["all"],  # noqa: B006  (Typer copies it)
    expires: Annotated[
        str, typer.Option(metavar="DURATION", help="Time until it expires, such as 720h. [default: never]")
    ] = "",
    description: Description = "",
    output: Output = "text",
    config: Files = None,
) -> None:
    """Make a client for the grant client_credentials, and print its secret: it is shown this once.

    The API key is id and secret in one text: base64 of JSON. The variables are those that flytekit reads.
    """
    from app.auth.oauth import personal
    from app.cli.terminal.output import print_json
    from app.settings import BadSetting

    with errors_in_one_line():
        settings = load_settings(context, config)
        if name in settings.auth.app_auth.self_auth_server.static_clients:
            raise BadSetting(f"{name} is a client of the settings (staticClients); choose another name")
        until = _until(expires, None)
        made = _on_database(
            settings,
            lambda database: personal.create_client(
                database, name, scope, description=description, valid_until=until, created_by=getpass.getuser()
            ),
        )
        uris = settings.auth.authorized_uris
        values = {
            "client_id": made.name,
            "client_secret": made.secret,
            "api_key": made.api_key(urlsplit(uris[0]).netloc if uris else ""),
        }
        if output == "json":
            print_json(values)
            return
        for key, value in values.items():
            typer.echo(f"{key}: {value}")
        typer.echo("FLYTE_CREDENTIALS_AUTH_MODE=clientSecret")
        typer.echo(f"FLYTE_CREDENTIALS_CLIENT_ID={made.name}")
        typer.echo(f"FLYTE_CREDENTIALS_CLIENT_SECRET={made.secret}")
        typer.echo("store the secret now: it is not shown again", err=True)
        _warn(settings)


@client_commands.command("list")
def list_clients(context: typer.Context, output: Output = "text", config: Files = None) -> None:
    """Print the clients that were made by command; those of the settings are in staticClients."""
    _list(context, config, "client", output=output)


@client_commands.command("revoke")
def revoke_client(context: typer.Context, name: Name, config: Files = None) -> None:
    """Revoke a client: it gets no more tokens, and its tokens end within `auth.revocationDelay`."""
    settings = _revoke(context, config, "client", name)
    seconds = settings.auth.revocation_delay_seconds
    typer.echo(f"revoked client {name}; servers refuse its tokens within {seconds:g} s (auth.revocationDelay)")


@token_commands.command("create")
def create_token(
    context: typer.Context,
    name: Name,
    subject: Annotated[str, typer.Option("--subject", metavar="USER", help="The user id as whom the token acts.")],
    scope: Scopes = ["all"],  # noqa: B006  (Typer copies it)
    expires: Annotated[str, typer.Option(metavar="DURATION", help="Time until it expires.")] = TOKEN_LIFESPAN,
    description: Description = "",
    output: Output = "text",
    config: Files = None,
) -> None:
    """Make a personal token, and print it: it is shown this once. Clients send it as a bearer token."""
    from app.auth.oauth import personal
    from app.cli.terminal.output import print_json

    with errors_in_one_line():
        settings = load_settings(context, config)
        until = _until(expires, DAYS_MAX)
        assert until is not None
        made = _on_database(
            settings,
            lambda database: personal.create_token(
                database,
                name,
                subject,
                scope,
                valid_until=until,
                description=description,
                created_by=getpass.getuser(),
            ),
        )
        values = {"name": made.name, "token": made.secret, "expires": until.isoformat(timespec="seconds")}
        if output == "json":
            print_json(values)
            return
        typer.echo(made.secret)
        typer.echo(f"store the token now: it is not shown again. It expires at {values['expires']}.", err=True)
        _warn(settings)


@token_commands.command("list")
def list_tokens(context: typer.Context, output: Output = "text", config: Files = None) -> None:
    """Print the personal tokens, without the tokens themselves."""
    _list(context, config, "personal", output=output)


@token_commands.command("revoke")
def revoke_token(context: typer.Context, name: Name, config: Files = None) -> None:
    """Revoke a personal token at once."""
    _revoke(context, config, "personal", name)
    typer.echo(f"revoked personal token {name}")


def _list(context: typer.Context, config: Any, kind: str, *, output: str) -> None:
    from app.auth.oauth import personal
    from app.cli.terminal.output import print_rows

    with errors_in_one_line():
        settings = load_settings(context, config)
        rows = _on_database(settings, lambda database: personal.list_rows(database, kind))
        print_rows([_shown(row) for row in rows], json=output == "json")
        if not rows:
            typer.echo("there is none", err=True)


def _shown(row: Any) -> dict[str, str]:
    expired = row.valid_until is not None and row.valid_until <= datetime.now(UTC)
    return {
        "name": row.name,
        "subject": row.subject,
        "scopes": row.scopes,
        "state": "revoked" if row.revoked_at is not None else "expired" if expired else "valid",
        "last_used": _time(row.used_at) or "never",
        "expires": _time(row.valid_until) or "never",
        "created": _time(row.created_at),
        "created_by": row.created_by or "",
        "description": row.description or "",
    }


def _time(value: datetime | None) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if value is not None else ""


def _revoke(context: typer.Context, config: Any, kind: str, name: str) -> "Settings":
    from app.auth.oauth import personal

    with errors_in_one_line():
        settings = load_settings(context, config)
        _on_database(settings, lambda database: personal.revoke(database, name, kind))
    return settings


def _until(duration: str, days_max: int | None) -> datetime | None:
    """Return the end of a validity; None for "". Raises BadSetting."""
    from app.settings import BadSetting
    from app.wire.go.goparse import parse_go_duration

    if not duration:
        return None
    try:
        seconds = parse_go_duration(duration) / 1e9
        if seconds <= 0 or (days_max is not None and seconds > days_max * 86400):
            raise ValueError("out of range")
        return datetime.now(UTC) + timedelta(seconds=seconds)
    except (ValueError, OverflowError) as error:
        most = f", at most {days_max * 24}h" if days_max is not None else ""
        raise BadSetting(f"--expires={duration} is no duration; allowed: such as 720h or 30m{most}") from error


def _on_database(settings: "Settings", work: "Callable[[Database], Awaitable[Result]]") -> "Result":
    from app import errors
    from app.server import startup
    from app.settings import BadSetting

    async def run(database: "Database") -> "Result":
        try:
            return await work(database)
        except (errors.InvalidArgument, errors.AlreadyExists, errors.NotFound) as error:
            raise BadSetting(error.message) from error

    startup.check_migrated(settings)
    return startup.on_database(settings, run)


def _warn(settings: "Settings") -> None:
    if not settings.server.security.use_auth:
        typer.echo("it has no effect: server.security.useAuth is false", err=True)
