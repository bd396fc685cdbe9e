"""`flyteadmin secret`: the secrets of authentication, and those of tasks."""

import shlex
import stat
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import Files, Output, errors_in_one_line, group, load_settings
from app.cli.program import program

if TYPE_CHECKING:
    from app.engine.local.processes.secret_store import SecretName

commands = group("Make the secrets of authentication; set those of tasks.")


@commands.command("init")
def init(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="The folder of the files. [default: secrets in the home]")
    ] = None,
    url: Annotated[
        str,
        typer.Option(
            "--url", metavar="URL", help="Address of this server as clients write it. [default: this machine]"
        ),
    ] = "",
    issuer: Annotated[str, typer.Option(metavar="URL", help="Address of the OpenID provider.")] = "",
    client_id: Annotated[str, typer.Option(metavar="ID", help="Id of this server at the OpenID provider.")] = "",
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Only make a new signing key; tokens of the present one stay valid.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist: all sign-ins end.")] = False,
    config: Files = None,
) -> None:
    """Write every secret into a folder, and print the settings that use them, as YAML on stdout.

    Files that exist are kept. `flyteadmin secret init --issuer URL --client-id ID > auth.yaml` and `flyteadmin serve
    --config auth.yaml` start a server with authentication.
    """
    import yaml

    from app.server import secret_files
    from app.settings import BadSetting

    with errors_in_one_line():
        if rotate and force:
            raise BadSetting("--rotate keeps the present key and --force replaces every secret; give one of them")
        settings = load_settings(context, config)
        place = (folder or settings.home_path / secret_files.FOLDER).expanduser().absolute()
        write = secret_files.rotate if rotate else partial(secret_files.write, force=force)
        for one in write(place, settings):
            typer.echo(f"{one.done:6}{one.file}", err=True)
        if stat.S_IMODE(place.stat().st_mode) & 0o077:
            typer.echo(f"warning: others can enter the folder; run chmod 700 {shlex.quote(str(place))}", err=True)
        if rotate:
            typer.echo("restart every server; remove the old key when its tokens have expired", err=True)
            return
        values = secret_files.settings_for(place, settings, url=url, issuer=issuer, client_id=client_id)
        typer.echo(yaml.safe_dump(values, sort_keys=False), nl=False)
        secret = place / secret_files.SERVICE_SECRET
        if not issuer:
            typer.echo(
                "without --issuer and --client-id: write the provider's address and the id of this server there into "
                "auth.userAuth.openId; a server does not start without an identity provider",
                err=True,
            )
        elif (place / settings.auth.user_auth.open_id.client_secret_name).read_text() == secret_files.PLACEHOLDER:
            name = settings.auth.user_auth.open_id.client_secret_name
            typer.echo(f"write the client secret of the provider into {place / name}", err=True)
        address = values["auth"]["authorizedUris"][0]
        typer.echo("try, with a server that runs with these settings:", err=True)
        typer.echo(
            f"  curl -u {secret_files.SERVICE}:$(cat {shlex.quote(str(secret))}) -d grant_type=client_credentials "
            f"-d scope=all {address}/oauth2/token",
            err=True,
        )


Name = Annotated[str, typer.Argument(metavar="[GROUP/]KEY", help="As in Secret(group=…, key=…) of the task.")]
Version = Annotated[str, typer.Option(metavar="VERSION", help="As in Secret(group_version=…).")]


@commands.command("set")
def set_(context: typer.Context, name: Name, group_version: Version = "", config: Files = None) -> None:
    """Set a secret of tasks. The value is asked for, or read from stdin.

    Values are encrypted in the home folder, with a key beside them. A running server uses them from the next task on.
    """
    import sys

    from app.engine.local.processes.secret_store import VALUE_BYTES_MAX, SecretStore
    from app.settings import BadSetting

    with errors_in_one_line():
        store, wanted = SecretStore(load_settings(context, config)), _secret_name(name, group_version)
        if sys.stdin.isatty():
            value = typer.prompt("Value", hide_input=True, confirmation_prompt=True, err=True).encode()
        else:
            value = sys.stdin.buffer.read(VALUE_BYTES_MAX + 1)
            value = value.removesuffix(b"\n")
        if not value:
            raise BadSetting(f"the value is empty; `{program()} secret delete` removes a secret")
        store.set(wanted, value)
        typer.echo(f"set {wanted.path}")


@commands.command("list")
def list_(context: typer.Context, output: Output = "text", config: Files = None) -> None:
    """List the names of the secrets of tasks that `flyteadmin secret set` has stored, without values."""
    from app.cli.terminal.output import print_json
    from app.engine.local.processes.secret_store import SecretStore

    with errors_in_one_line():
        names = SecretStore(load_settings(context, config)).names()
        if output == "json":
            print_json([{"group": one.group, "key": one.key, "version": one.version} for one in names])
            return
        for one in names:
            typer.echo(f"{one.group or '-'}  {one.key or '-'}{f'  version {one.version}' if one.version else ''}")
        typer.echo(f"{len(names)} secret{'' if len(names) == 1 else 's'}", err=True)


@commands.command("delete")
def delete(context: typer.Context, name: Name, group_version: Version = "", config: Files = None) -> None:
    """Delete a secret of tasks."""
    from app.engine.local.processes.secret_store import SecretStore
    from app.settings import BadSetting

    with errors_in_one_line():
        wanted = _secret_name(name, group_version)
        if not SecretStore(load_settings(context, config)).delete(wanted):
            raise BadSetting(f"there is no secret {wanted.path}; `{program()} secret list` lists them")
        typer.echo(f"deleted {wanted.path}")


def _secret_name(name: str, version: str) -> "SecretName":
    """Return the name in an argument [GROUP/]KEY. Raises BadSetting for another form."""
    from app.engine.local.processes.secret_store import SecretName
    from app.settings import BadSetting

    group, _, key = name.rpartition("/")
    if not key or "/" in group or "/" in version:
        raise BadSetting(f"{name!r} is no [GROUP/]KEY")
    # A task gets its secrets as files of these names, or as variables.
    for part in (group, version, key):
        if part in (".", "..") or (part and not part.strip()) or not part.isprintable():
            raise BadSetting(f"{part!r} cannot be a part of the name of a secret")
    return SecretName.of(group, version, key)
