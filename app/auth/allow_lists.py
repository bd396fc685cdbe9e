"""Who may sign in: domains of e-mail addresses, and values of a claim. Both lists are empty by default.

Deviates: upstream admits everybody whom the identity provider authenticates, of whatever organisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.settings.auth import SignInAllowed

_SHOWN_MAX = 200


def refusal(allow: SignInAllowed, claims: Mapping[str, Any]) -> str:
    """Return why a person may not sign in, naming the claim and the values found and wanted; "" for one who may.

    Args:
        allow: The settings.
        claims: Claims of the id token, completed by the provider's user info.
    """
    return _email_refusal(allow, claims) or _claim_refusal(allow, claims)


def _email_refusal(allow: SignInAllowed, claims: Mapping[str, Any]) -> str:
    wanted = [domain.strip().lstrip("@").lower() for domain in allow.email_domains]
    if not wanted:
        return ""
    email = claims.get("email")
    if not isinstance(email, str) or "@" not in email:
        return (
            "the identity provider sent no e-mail address; wanted is one of the domains "
            f"{', '.join(wanted)} (auth.userAuth.allow.emailDomains). The scope email may be missing in "
            "auth.userAuth.openId.scopes"
        )
    verified = claims.get("email_verified")
    # Some providers send a text.
    if verified is not True and verified != "true":
        return (
            f"the identity provider does not call the e-mail address {_shown(email)} verified "
            f"(claim email_verified); wanted is a verified address of the domains {', '.join(wanted)}"
        )
    domain = email.rpartition("@")[2].lower()
    if domain in wanted:
        return ""
    return f"the e-mail address {_shown(email)} is of the domain {_shown(domain)}; wanted is {' or '.join(wanted)}"


def _claim_refusal(allow: SignInAllowed, claims: Mapping[str, Any]) -> str:
    if not allow.claim_values:
        return ""
    wanted = " or ".join(allow.claim_values)
    found = claims.get(allow.claim)
    if found is None:
        return f"the identity provider sent no claim {allow.claim}; wanted is {wanted}"
    values = found if isinstance(found, list) else [found]
    # A claim may hold true or a number, which the settings write as text.
    texts = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
    if not set(texts).isdisjoint(allow.claim_values):
        return ""
    return f"the claim {allow.claim} is {_shown(', '.join(texts) or 'empty')}; wanted is {wanted}"


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"
