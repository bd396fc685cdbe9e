"""The decision of roles, against a model in plain Python, and the names by which bindings mean a caller."""

from __future__ import annotations

import fnmatch
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.auth.identity import ANONYMOUS, INTERNAL, Identity, TaskGrant, UserInfo
from app.auth.roles import CallerRole, Member, Need, Permissions, Role, matches
from app.auth.task_access import allows as task_allows

NAMES = ("a", "ab", "a-b", "A", "a%", "a_b", "axb", "*", "", "development", "dev")
PATTERNS = ("*", "a", "a*", "a-*", "A*", "a%", "a%*", "a_*", "a_b", "dev*", "development", "x*")
roles = st.sampled_from(list(Role))
grants = st.lists(st.builds(CallerRole, roles, st.sampled_from(PATTERNS), st.sampled_from(PATTERNS)), max_size=6)
needs = st.builds(Need, roles, st.sampled_from(NAMES), st.sampled_from((*NAMES, None)))


def model_matches(pattern: str, name: str) -> bool:
    if name == "*":  # Every place: only the pattern for every place has it.
        return pattern == "*"
    return fnmatch.fnmatchcase(name, pattern)


def model(granted: list[CallerRole], need: Need) -> bool:
    for role, project, domain in granted:
        if list(Role).index(role) < list(Role).index(need.role):
            continue
        if model_matches(project, need.project) and (need.domain is None or model_matches(domain, need.domain)):
            return True
    return False


@given(grants, st.lists(needs, min_size=1, max_size=20))
@example([CallerRole(Role.ADMIN, "a*", "*")], [Need(Role.VIEW, "*", "*"), Need(Role.VIEW, "ab", "*")])
def test_the_decision_is_that_of_the_model(granted: list[CallerRole], asked: list[Need]) -> None:
    permissions = Permissions(granted)
    for need in (*asked, *asked):  # The second time from memory.
        assert permissions.allows(need) == model(granted, need), need


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", NAMES)
def test_a_pattern_has_one_wildcard_at_its_end(pattern: str, name: str) -> None:
    assert matches(pattern, name) == model_matches(pattern, name)


def member(identity: Identity, claim: str = "groups") -> Member:
    return Member.of(identity, claim, 3)


@pytest.mark.parametrize(
    ("identity", "subjects"),
    [
        (ANONYMOUS, ()),
        (Identity(subject="alice", method="session"), ("*", "alice")),
        # A role of the client flytectl is not a role of everyone who uses flytectl.
        (Identity(subject="alice", client_id="flytectl", method="access_token"), ("*", "alice")),
        (Identity(subject="", client_id="robot", method="access_token"), ("*", "robot")),
        (Identity(subject="robot", client_id="robot", method="access_token"), ("*", "robot")),
        # A subject of this name would be every caller.
        (Identity(subject="*", client_id="*", method="access_token"), ("*",)),
        (Identity(subject="a", user=UserInfo(email="a@x.y"), method="id_token"), ("*", "a")),
        (
            Identity(subject="a", user=UserInfo(email="a@x.y"), claims={"email_verified": True}, method="id_token"),
            ("*", "a", "a@x.y"),
        ),
        (
            Identity(subject="a", user=UserInfo(email="a@x.y"), claims={"email_verified": "true"}, method="id_token"),
            ("*", "a"),
        ),
        (
            Identity(
                subject="a",
                user=UserInfo(email="a@x.y"),
                claims={"user_info": {"email_verified": True}},
                method="access_token",
            ),
            ("*", "a", "a@x.y"),
        ),
    ],
)
def test_the_subjects_of_a_caller(identity: Identity, subjects: tuple[str, ...]) -> None:
    assert member(identity).subjects == subjects


@pytest.mark.parametrize(
    ("claims", "claim", "values"),
    [
        ({"groups": ["a", "b", "a"]}, "groups", ("a", "b")),
        ({"groups": "a"}, "groups", ("a",)),
        ({"groups": ""}, "groups", ()),
        ({"groups": ["a", 7, None, ["b"], {"c": 1}, ""]}, "groups", ()),  # More values than allowed.
        ({"groups": ["a", 7, ""]}, "groups", ("a",)),
        ({"groups": {"a": True}}, "groups", ()),
        ({"groups": 7}, "groups", ()),
        ({}, "groups", ()),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", ("a",)),
        ({"realm_access": ["roles"]}, "realm_access.roles", ()),
        ({"https://x.y/roles": ["a"]}, "https://x.y/roles", ("a",)),
        ({"user_info": {"groups": ["a"]}}, "groups", ("a",)),
        ({"groups": [], "user_info": {"groups": ["a"]}}, "groups", ()),
        ({"user_info": "groups"}, "groups", ()),
    ],
)
def test_the_values_of_the_claim(claims: dict[str, Any], claim: str, values: tuple[str, ...]) -> None:
    assert member(Identity(subject="a", claims=claims, method="session"), claim).values == values


def test_a_value_of_the_claim_is_not_a_subject() -> None:
    found = member(Identity(subject="a", claims={"groups": ["alice", "*"]}, method="session"))
    assert found == Member(("*", "a"), ("alice", "*"))


def test_the_internal_identity_is_no_caller_with_roles() -> None:
    assert member(INTERNAL).subjects == ("*",)


TASK = TaskGrant("p", "development", "e")


@pytest.mark.parametrize(
    ("need", "launcher_may", "allowed"),
    [
        (Need(Role.VIEW, "p", "development"), False, True),
        (Need(Role.RUN, "p", "development"), False, True),
        (Need(Role.VIEW, "p", None), False, True),
        (Need(Role.REGISTER, "p", "development"), False, False),
        (Need(Role.REGISTER, "p", "development"), True, True),
        (Need(Role.ADMIN, "p", "development"), True, False),
        (Need(Role.VIEW, "p", "production"), True, False),
        (Need(Role.RUN, "q", "development"), True, False),
        (Need(Role.VIEW, "q", "development", True), True, True),
        (Need(Role.VIEW, "q", "development", True), False, False),
        (Need(Role.RUN, "q", "development", True), True, False),
        (Need(Role.VIEW, "*", "*"), True, False),
    ],
)
def test_the_token_of_a_task_has_its_own_place(need: Need, launcher_may: bool, allowed: bool) -> None:
    assert task_allows(TASK, need, launcher_may=launcher_may) is allowed
