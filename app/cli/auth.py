"""`flyteadmin auth`: who may call, and what callers may do."""

from app.cli import auth_check, auth_logout, oauth_clients, roles
from app.cli.options import group

commands = group("Manage who may call, and what callers may do.")
commands.command("check")(auth_check.check)
commands.command("logout")(auth_logout.logout)
commands.add_typer(roles.role_commands, name="role")
commands.add_typer(roles.admin_commands, name="admin")
commands.add_typer(oauth_clients.client_commands, name="client")
commands.add_typer(oauth_clients.token_commands, name="token")
