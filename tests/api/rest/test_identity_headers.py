"""The headers of /me: JSON values, and claims that fit into no header."""

from __future__ import annotations

from typing import Any

import pytest
from flyteidl.service import identity_pb2

from app.api.rest.identity_headers import HEADERS_BYTES_MAX, user_headers


def headers_of(subject: str = "s", **claims: Any) -> dict[str, str]:
    user = identity_pb2.UserInfoResponse(subject=subject)
    user.additional_claims.update(claims)
    return {name.decode(): value.decode() for name, value in user_headers(user)}


@pytest.mark.parametrize(
    ("name", "value", "header", "text"),
    [
        ("groups", ["ml", "admins"], "x-user-claim-groups", '["ml", "admins"]'),
        ("given_name", "Alice", "x-user-claim-given-name", '"Alice"'),
        ("email_verified", True, "x-user-claim-email-verified", "true"),
        ("exp", 1_800_000_000, "x-user-claim-exp", "1800000000"),
        ("ratio", 0.5, "x-user-claim-ratio", "0.5"),
        ("none", None, "x-user-claim-none", "null"),
        ("name", 'a\r\nSet-Cookie: x="日', "x-user-claim-name", '"a\\r\\nSet-Cookie: x=\\"\\u65e5"'),
    ],
)
def test_a_claim_is_a_header_with_its_json(name: str, value: Any, header: str, text: str) -> None:
    assert headers_of(**{name: value}) == {"x-user-subject": "s", header: text}


@pytest.mark.parametrize("name", ["http://example.com/x", "a b", "a:b", "é", "a\r\nb", ""])
def test_a_claim_whose_name_is_no_header_name_is_left_out(name: str) -> None:
    assert headers_of(**{name: "x"}) == {"x-user-subject": "s"}


def test_the_subject_starts_no_other_header() -> None:
    assert headers_of("a\r\nb: c")["x-user-subject"] == "a??b: c"


def test_many_claims_are_cut() -> None:
    found = headers_of(**{f"c{number:04}": "x" * 100 for number in range(1000)})
    assert 10 < len(found) < 100
    assert sum(len(name) + len(value) for name, value in found.items()) <= HEADERS_BYTES_MAX + 20
