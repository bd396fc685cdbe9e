"""`flyteadmin secret`: the secrets of authentication."""

import shlex
import stat
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import Files, errors_in_one_line, group, load_settings

commands = group("Make the secrets of authentication.")


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
