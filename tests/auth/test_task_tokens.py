"""Tokens of tasks: accepted while the execution and the node run, refused in every other case."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from app import errors
from app.auth.identity import TaskGrant
from app.auth.task_tokens import TYPE, TaskTokens, TaskTokenVerifier, signing_key
from app.database import schema
from tests.conftest import Bench

KEY = signing_key(b"secret of the deployment")
GRANT = TaskGrant("p", "development", "e1", "n0", "robot")
EXECUTION = {"execution_project": "p", "execution_domain": "development", "execution_name": "e1"}


async def _insert(bench: Bench, execution: str | None, node: str | None) -> None:
    async with bench.context() as ctx:
        if execution is not None:
            await ctx.db.insert(schema.Execution, **EXECUTION, phase=execution, spec=b"")
        if node is not None:
            await ctx.db.insert(schema.NodeExecution, **EXECUTION, node_id="n0", phase=node)


@pytest.mark.parametrize(
    ("execution", "node", "refusal"),
    [
        ("RUNNING", "RUNNING", ""),
        ("RUNNING", "QUEUED", ""),
        ("RUNNING", "DYNAMIC_RUNNING", ""),
        # The task may clean up in its grace period, as flytekit's eager tasks do.
        ("ABORTING", "RUNNING", ""),
        ("FAILING", "RUNNING", ""),
        ("RUNNING", None, ""),
        (None, None, "execution e1 does not exist"),
        ("SUCCEEDED", "RUNNING", "execution e1 has ended (SUCCEEDED)"),
        ("FAILED", "FAILED", "execution e1 has ended (FAILED)"),
        ("ABORTED", "RUNNING", "execution e1 has ended (ABORTED)"),
        ("TIMED_OUT", "RUNNING", "execution e1 has ended (TIMED_OUT)"),
        ("RUNNING", "SUCCEEDED", "node n0 has ended (SUCCEEDED)"),
        ("RUNNING", "FAILED", "node n0 has ended (FAILED)"),
        ("RUNNING", "TIMED_OUT", "node n0 has ended (TIMED_OUT)"),
    ],
)
def test_a_token_ends_with_its_execution_and_its_node(
    bench: Callable[..., Any], execution: str | None, node: str | None, refusal: str
) -> None:
    token = TaskTokens(KEY, 60).issue("ada", GRANT)

    async def scenario(bench: Bench) -> None:
        await _insert(bench, execution, node)
        verifier = TaskTokenVerifier(KEY, bench.database)
        if refusal:
            with pytest.raises(errors.Unauthenticated) as raised:
                await verifier.verify(token, "")
            assert raised.value.message == f"task token refused: {refusal}"
            return
        identity = await verifier.verify(token, "")
        assert (identity.subject, identity.method, identity.task) == ("ada", "task", GRANT)
        assert identity.scopes == {"all"}
        assert identity.expires_at == pytest.approx(time.time() + 61, abs=2)
        assert verifier.recent(token, "") is None

    bench(scenario)


def _forged(**claims: Any) -> str:
    now = int(time.time())
    places = {"project": "p", "domain": "development", "execution": "e1", "node": "n0", "execution_identity": ""}
    body = {"sub": "root", "iat": now, "exp": now + 60, **places, **claims}
    return jwt.encode({key: value for key, value in body.items() if value is not None}, KEY, headers={"typ": TYPE})


@pytest.mark.parametrize(
    ("token", "refusal"),
    [
        (TaskTokens(KEY, 60, clock=lambda: time.time() - 100).issue("ada", GRANT), "Signature has expired"),
        (TaskTokens(signing_key(b"another"), 60).issue("ada", GRANT), "Signature verification failed"),
        (jwt.encode({"sub": "root"}, None, algorithm="none", headers={"typ": TYPE}), "The specified alg value is not"),
        (jwt.encode({"sub": "root"}, KEY * 2, algorithm="HS512", headers={"typ": TYPE}), "The specified alg value is"),
        (_forged(exp=None), 'Token is missing the "exp" claim'),
        (_forged(sub=None), 'Token is missing the "sub" claim'),
    ],
    ids=["expired", "other key", "none", "HS512", "no exp", "no sub"],
)
def test_forged_and_expired_tokens_are_refused(bench: Callable[..., Any], token: str, refusal: str) -> None:
    async def scenario(bench: Bench) -> None:
        await _insert(bench, "RUNNING", "RUNNING")
        with pytest.raises(errors.Unauthenticated) as raised:
            await TaskTokenVerifier(KEY, bench.database).verify(token, "")
        assert raised.value.message.startswith(f"task token refused: {refusal}")
        assert token not in raised.value.message

    bench(scenario)


@pytest.mark.parametrize(
    "token",
    [
        *("", "junk", "eyJ", "eyJ.eyJ.x", "e" * 100_000, "eyJ" + "A" * 100_000, "eyJhbGciOjV9.e30.x", "\x00"),
        jwt.encode({"sub": "a"}, KEY, algorithm="HS256"),
        jwt.encode({"sub": "a"}, KEY, algorithm="HS256", headers={"typ": ["flyte-task+jwt"]}),
        jwt.encode({"sub": "root"}, None, algorithm="none", headers={"typ": TYPE}),
        jwt.encode({"sub": "root"}, KEY * 2, algorithm="HS512", headers={"typ": TYPE}),
    ],
    ids=lambda token: f"{token[:12]!r}, {len(token)} bytes",
)
def test_other_tokens_are_left_to_other_verifiers(token: str) -> None:
    assert not TaskTokenVerifier.recognises(token)


def test_a_token_of_a_task_is_recognised() -> None:
    assert TaskTokenVerifier.recognises(TaskTokens(KEY, 60).issue("ada", GRANT))


def test_the_key_is_derived_and_not_the_secret_itself() -> None:
    secret = bytes(range(64))
    assert signing_key(secret) not in secret
    assert signing_key(secret) != signing_key(secret[:-1])
    assert len(signing_key(secret)) == 32
