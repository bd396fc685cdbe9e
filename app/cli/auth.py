"""`flyteadmin auth`: who may call, and what callers may do."""

from app.cli import auth_check
from app.cli.options import group

commands = group("Manage who may call, and what callers may do.")
commands.command("check")(auth_check.check)
