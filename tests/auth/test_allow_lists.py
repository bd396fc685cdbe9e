from __future__ import annotations

from typing import Any

import pytest

from app.auth.allow_lists import refusal
from app.settings.auth import SignInAllowed

DOMAINS = SignInAllowed(email_domains=("example.com", "@Example.org"))
GROUPS = SignInAllowed(claim="groups", claim_values=("ml", "true", "7"))


@pytest.mark.parametrize(
    ("allow", "claims"),
    [
        (SignInAllowed(), {}),
        (DOMAINS, {"email": "a@example.com", "email_verified": True}),
        (DOMAINS, {"email": "A@EXAMPLE.ORG", "email_verified": "true"}),
        (GROUPS, {"groups": ["ml", "other"]}),
        (GROUPS, {"groups": "ml"}),
        (GROUPS, {"groups": True}),
        (GROUPS, {"groups": 7}),
    ],
)
def test_who_may_sign_in(allow: SignInAllowed, claims: dict[str, Any]) -> None:
    assert refusal(allow, claims) == ""


@pytest.mark.parametrize(
    ("allow", "claims", "words"),
    [
        (DOMAINS, {}, ("no e-mail address", "scope email")),
        (DOMAINS, {"email": 5, "email_verified": True}, ("no e-mail address",)),
        (DOMAINS, {"email": "a@example.com"}, ("a@example.com", "verified")),
        (DOMAINS, {"email": "a@example.com", "email_verified": False}, ("email_verified",)),
        (DOMAINS, {"email": "a@example.com", "email_verified": "false"}, ("email_verified",)),
        (DOMAINS, {"email": "a@sub.example.com", "email_verified": True}, ("sub.example.com", "example.com")),
        (DOMAINS, {"email": "a@example.com@evil.example", "email_verified": True}, ("evil.example",)),
        (GROUPS, {}, ("no claim groups", "ml")),
        (GROUPS, {"groups": ["other"]}, ("groups is other", "ml")),
        (GROUPS, {"groups": []}, ("groups is empty",)),
        (GROUPS, {"groups": ["ml2", "xml"]}, ("ml2, xml",)),
        (GROUPS, {"groups": {"ml": 1}}, ("groups is",)),
    ],
)
def test_who_may_not_and_why(allow: SignInAllowed, claims: dict[str, Any], words: tuple[str, ...]) -> None:
    reason = refusal(allow, claims)
    assert reason
    for word in words:
        assert word in reason


def test_a_reason_repeats_a_bounded_part_of_a_claim() -> None:
    assert len(refusal(GROUPS, {"groups": ["x" * 100_000]})) < 400
