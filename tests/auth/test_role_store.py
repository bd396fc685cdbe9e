"""Rows of roles: grant, revoke, the last administrator, limits, concurrent changes; on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app import errors
from app.auth import role_store
from app.auth.identity import Identity
from app.auth.role_store import Roles, binding_of
from app.auth.roles import MemberRole, Need, Role
from app.database.auth_tables import AuthRole

Bench = Callable[..., Any]
ADMIN_A = binding_of("admin", "*", "*", "subject", "a")
ADMIN_B = binding_of("admin", "*", "*", "subject", "b")
GROUP = binding_of("admin", "*", "*", "claim", "admins")


async def grant(b: Any, *bindings: MemberRole, rows_max: int = 100) -> list[bool]:
    found = []
    for binding in bindings:
        async with b.database.unit_of_work() as unit:
            found.append(await role_store.grant(unit, binding, by="t", rows_max=rows_max))
    return found


async def revoke(b: Any, binding: MemberRole) -> None:
    async with b.database.unit_of_work() as unit:
        await role_store.revoke(unit, binding, role_store.configured_bindings(b.settings))


async def stored(b: Any) -> list[MemberRole]:
    async with b.database.unit_of_work() as unit:
        return await role_store.read_bindings(unit, 100)


def test_a_binding_is_stored_once(bench: Bench) -> None:
    async def scenario(b: Any) -> None:
        assert await grant(b, ADMIN_A, ADMIN_A, GROUP) == [True, False, True]
        assert await stored(b) == [ADMIN_A, GROUP]
        await revoke(b, GROUP)
        assert await stored(b) == [ADMIN_A]
        with pytest.raises(errors.NotFound):
            await revoke(b, GROUP)

    bench(scenario)


def test_the_last_administrator_stays(bench: Bench) -> None:
    async def scenario(b: Any) -> None:
        # An administrator by a claim does not count: no token may have the claim.
        await grant(b, ADMIN_A, GROUP, binding_of("admin", "p", "*", "subject", "c"))
        with pytest.raises(errors.FailedPrecondition, match="last administrator"):
            await revoke(b, ADMIN_A)
        await grant(b, ADMIN_B)
        await revoke(b, ADMIN_A)
        with pytest.raises(errors.FailedPrecondition):
            await revoke(b, ADMIN_B)

    bench(scenario)


def test_the_last_row_may_go_where_the_settings_name_an_administrator(bench: Bench) -> None:
    async def scenario(b: Any) -> None:
        await grant(b, ADMIN_A)
        await revoke(b, ADMIN_A)
        assert await stored(b) == []

    bench(scenario, auth={"roles": {"admins": ("root",)}})


def test_two_administrators_cannot_revoke_each_other_at_once(bench: Bench) -> None:
    async def scenario(b: Any) -> None:
        for _ in range(10):
            await grant(b, ADMIN_A, ADMIN_B)
            outcomes = await asyncio.gather(revoke(b, ADMIN_A), revoke(b, ADMIN_B), return_exceptions=True)
            assert sorted(type(one) for one in outcomes if one is not None) == [errors.FailedPrecondition]
            assert len(await stored(b)) == 1

    bench(scenario)


def test_the_table_has_a_limit(bench: Bench) -> None:
    async def scenario(b: Any) -> None:
        await grant(b, ADMIN_A, ADMIN_B, rows_max=2)
        with pytest.raises(errors.ResourceExhausted, match="rowsMax"):
            await grant(b, GROUP, rows_max=2)

    bench(scenario)


def test_permissions_join_settings_and_rows(bench: Bench) -> None:
    async def scenario(b: Any) -> None:
        await grant(b, binding_of("run", "q", "d", "claim", "team"))
        async with b.context() as ctx:  # Rows that an older or newer version has written.
            for role, kind in (("owner", "subject"), ("admin", "planet")):
                key = {"role": role, "project": "*", "domain": "*", "member_kind": kind, "member": "x"}
                await ctx.db.insert(AuthRole, **key)
        roles = Roles(b.settings, b.database)
        x = Identity(subject="x", claims={"groups": ["team"]}, method="session")
        permissions = await roles.permissions(x)
        assert permissions.allows(Need(Role.VIEW, "p", "d"))
        assert permissions.allows(Need(Role.RUN, "q", "d"))
        assert not permissions.allows(Need(Role.RUN, "p", "d"))
        assert not permissions.allows(Need(Role.ADMIN, "q", "d"))
        assert not (await roles.permissions(Identity())).grants

    binding = {"role": "view", "project": "p", "subjects": ("*",)}
    bench(scenario, auth={"roles": {"enabled": True, "bindings": (binding,)}})


def test_many_callers_read_the_table_once(bench: Bench) -> None:
    async def scenario(b: Any) -> None:
        roles = Roles(b.settings, b.database)
        reads = 0
        unit_of_work = b.database.unit_of_work

        def counted() -> Any:
            nonlocal reads
            reads += 1
            return unit_of_work()

        b.database.unit_of_work = counted
        callers = [Identity(subject=f"s{number}", method="session") for number in range(3000)]
        await asyncio.gather(*(roles.permissions(one) for one in callers))
        assert reads == 1

    bench(scenario)


def test_a_database_that_fails_denies_nobody_and_lets_nobody_in(bench: Bench) -> None:
    async def scenario(b: Any) -> None:
        roles = Roles(b.settings, b.database)
        await b.database.close()
        with pytest.raises(errors.Unavailable):
            await roles.permissions(Identity(subject="x", method="session"))
        await b.database.open()
        assert not (await roles.permissions(Identity(subject="x", method="session"))).grants

    bench(scenario)
