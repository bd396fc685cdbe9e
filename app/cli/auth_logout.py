"""`flyteadmin auth logout`: forget the tokens of a server."""

import typer

from app.cli.options import errors_in_one_line
from app.cli.rest import LOCAL, Endpoint


def logout(endpoint: Endpoint = LOCAL) -> None:
    """Remove the stored tokens of a server from this machine. The next command signs in anew."""
    from app.cli.sign_in import connection, token_store

    with errors_in_one_line():
        found = connection.find(endpoint)
        token_store.save(connection.home(), token_store.key_of(found), None)
        typer.echo(f"no token of {found.url} is stored on this machine")
