"""`flyteadmin auth role` and `flyteadmin auth admin`: bindings of roles, on the database itself."""

import getpass
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from app.cli.options import Files, errors_in_one_line, group, load_settings
from app.cli.program import program

if TYPE_CHECKING:
    from app.auth.roles import MemberRole
    from app.database.base import UnitOfWork
    from app.settings import Settings

Result = TypeVar("Result")

role_commands = group("Grant, revoke and list roles.")
admin_commands = group("Make administrators.")

RoleArgument = Annotated[str, typer.Argument(metavar="ROLE", help="view, run, register or admin.")]
Place = Annotated[
    str, typer.Argument(metavar="PROJECT/DOMAIN", help="Patterns: a name, the start of names (`team-*`), or `*`.")
]
MemberArgument = Annotated[
    str, typer.Argument(metavar="MEMBER", help="A user id, client id or verified e-mail address; `*` for all.")
]
IsClaim = Annotated[bool, typer.Option("--claim", help="MEMBER is a value of the claim that auth.roles.claim names.")]


@role_commands.command("grant")
def grant(
    context: typer.Context,
    role: RoleArgument,
    place: Place,
    member: MemberArgument,
    claim: IsClaim = False,
    config: Files = None,
) -> None:
    """Give a role in a place to a member. Servers apply it within `auth.roles.cache`."""
    with errors_in_one_line():
        _grant(load_settings(context, config), _binding(role, place, member, claim=claim))


@role_commands.command("revoke")
def revoke(
    context: typer.Context,
    role: RoleArgument,
    place: Place,
    member: MemberArgument,
    claim: IsClaim = False,
    config: Files = None,
) -> None:
    """Take a role in a place from a member, but not the last administrator."""
    from app.auth import role_store

    with errors_in_one_line():
        settings = load_settings(context, config)
        binding = _binding(role, place, member, claim=claim)

        async def work(unit: "UnitOfWork") -> None:
            await role_store.revoke(unit, binding, role_store.configured_bindings(settings))

        _change(settings, "revoke", binding, work)
        typer.echo(f"revoked {role_store.shown(binding)}")


@role_commands.command("list")
def list_roles(context: typer.Context, config: Files = None) -> None:
    """Print the bindings of the settings and of the database."""
    from app.auth import role_store

    with errors_in_one_line():
        settings = load_settings(context, config)

        async def work(unit: "UnitOfWork") -> "list[MemberRole]":
            return await role_store.read_bindings(unit, settings.auth.roles.rows_max)

        stored = _on_database(settings, work)
        lines = [(one, "settings") for one in role_store.configured_bindings(settings)]
        for binding, source in (*lines, *((one, "database") for one in stored)):
            typer.echo(f"{role_store.shown(binding)}  ({source})")
        if not lines and not stored:
            typer.echo(f"no roles; make an administrator with {program()} auth admin add SUBJECT")
        if not settings.auth.roles.enabled:
            typer.echo("roles have no effect: auth.roles.enabled is false", err=True)


@admin_commands.callback()
def _group() -> None:
    # With a callback, Typer keeps a group of one command a group.
    pass


@admin_commands.command("add")
def add_admin(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="User id, client id or verified e-mail address.")],
    config: Files = None,
) -> None:
    """Give the role admin everywhere to a subject."""
    with errors_in_one_line():
        _grant(load_settings(context, config), _binding("admin", "*/*", subject, claim=False))


def _binding(role: str, place: str, member: str, *, claim: bool) -> "MemberRole":
    from app.auth import role_store
    from app.settings import BadSetting

    project, slash, domain = place.partition("/")
    if not slash:
        raise BadSetting(f"{place!r} is no place; allowed: PROJECT/DOMAIN, such as flytesnacks/development or */*")
    return role_store.binding_of(role, project, domain, "claim" if claim else "subject", member)


def _grant(settings: "Settings", binding: "MemberRole") -> None:
    from app.auth import role_store

    async def work(unit: "UnitOfWork") -> bool:
        by = f"{getpass.getuser()} (command line)"
        return await role_store.grant(unit, binding, by=by, rows_max=settings.auth.roles.rows_max)

    is_new = _change(settings, "grant", binding, work)
    typer.echo(f"{'granted' if is_new else 'unchanged:'} {role_store.shown(binding)}")
    if not settings.auth.roles.enabled:
        typer.echo("roles have no effect: auth.roles.enabled is false", err=True)


def _change(
    settings: "Settings", what: str, binding: "MemberRole", work: "Callable[[UnitOfWork], Awaitable[Result]]"
) -> Result:
    """Run a change in a transaction, with a line of the audit log about it."""
    from app.auth import audit, role_store
    from app.errors import FlyteError
    from app.server import logs

    if audit.set_up(settings) is not None:
        logs.set_up(settings)
    outcome = "error"
    try:
        found = _on_database(settings, work)
        outcome = "ok"
        return found
    except FlyteError as error:
        outcome = f"error {error.code}"
        raise
    finally:
        who = f"{getpass.getuser()} (command line)"
        audit.record("role", what, who=who, where=role_store.shown(binding), outcome=outcome)


def _on_database(settings: "Settings", work: "Callable[[UnitOfWork], Awaitable[Result]]") -> Result:
    from app.errors import FlyteError
    from app.server import startup

    if TYPE_CHECKING:
        from app.database.base import Database

    startup.check_migrated(settings)

    async def run(database: "Database") -> Result | FlyteError:
        try:
            async with database.unit_of_work() as unit:
                return await work(unit)
        except FlyteError as error:
            # A refusal is no failure of the database, which `on_database` would report.
            return error

    outcome = startup.on_database(settings, run)
    if isinstance(outcome, FlyteError):
        raise outcome
    return outcome
