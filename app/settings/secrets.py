"""Secrets in text: find them by their value or by their form, and replace them with asterisks.

A `Masker` is made with the secrets of the settings and replaces them wherever they occur. It also masks secrets by
form, because the message of a library or an unreadable configuration may hold unknown ones: addresses with a password,
assignments to a name such as `password` or `X-Amz-Signature`, private keys, tokens. Masking too much is accepted,
showing a secret is not. Every pattern runs in linear time, because log lines hold text of clients.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import cache
from typing import Any
from urllib.parse import quote, unquote

from pydantic import SecretStr

MASK = "********"
# A shorter secret is masked only where it is a value by itself: elsewhere it may be a part of a word.
KNOWN_LENGTH_MIN = 6
# The password in examples of addresses: postgresql://user:password@host.
PLACEHOLDER = "password"

# Names are compared without case, dashes, underscores and dots: accessKey, access-key and ACCESS_KEY are one name.
_SECRET_NAME = re.compile(
    r"secret|passw|passphrase|pwd$|pass$|token|apikey|accesskey|accountkey|privatekey|sharedkey|signature|credential"
    r"|authorization|cookie|connectionstring|bearer|^sig$|^sas|sas$|jwt"
)
# Values under these names are names, locations or numbers, unless the name matches _SECRET_NAME too.
_HARMLESS_NAME = re.compile(
    r"(region|endpoint|endpointurl|host|hostname|port|path|home|level|type|kind|enabled|ssl|bucket|container|project"
    r"|projectid|scopes|account|accountname|zone|locale|lang|tz|threads|workers|mode|debug|style|signing|version|name"
    r"|user|username|url|uri|domain|timeout|retries|accept|agent|role|prefix)$"
)
_HARMLESS_VALUE = re.compile(r"(true|false|yes|no|on|off|[+-]?\d{1,5}(\.\d{1,3})?[A-Za-z]{0,2})?", re.IGNORECASE)

# Shells store the working directory in these variables; elsewhere "pwd" means a password.
_FOLDERS = ("PWD", "OLDPWD")

_ASSIGNED = re.compile(
    r"""(?ix)
    (?: passw(?:or)?d | passphrase | (?<![a-z])pwd | secret (?:[_-]?(?:access)?[_-]?key)? | token | jwt
      | (?: api | access | account | private | shared ) [_-]?key (?:[_-]?id)? | signature | credentials? | cookie
      | (?<![a-z]) (?: sig | sas | authorization ) | sas[_-]?key | googleaccessid )
    \\{0,4} ["']? \s{0,4} (?: [=:] | %3D ) \s{0,4} (?: (?: bearer | basic | digest ) \s{1,4} )? \\{0,4}
    (?P<value> "(?:[^"\\]|\\.)*+"? | '(?:[^'\\]|\\.)*+'? | [^\s&"',;)\]}\\]++ )"""
)
_FORMS = re.compile(
    r"""(?x)
    -----BEGIN\ [A-Z\ ]{0,40}PRIVATE\ KEY.*?(?:-----END[A-Z\ ]{0,50}-----|\Z)
    | (?<![\w-]) eyJ [\w-]{8,}+ \. [\w-]{8,}+ (?:\.[\w-]*+)?
    | (?<!\w) (?: AKIA | ASIA ) [0-9A-Z]{16} (?!\w)
    | (?<!\w) (?: gh[pousr]_\w{20,}+ | github_pat_\w{20,}+ | glpat-[\w-]{16,}+ | xox[abeprs]-[\w-]{10,}+ )
    | (?<!\w) AIza [\w-]{30,}+
    | (?<!\w) SG\.[\w-]{16,}+\.[\w-]{16,}+
    | (?<![\w-]) (?<=[Bb]earer\ ) [\w.~+/=-]{8,}+""",
    re.DOTALL,
)
_USER = re.compile(r"//[^\s:/@]{0,64}+:")
_USER_AT_START = re.compile(r"[^\s:/@]{0,200}+:(?!//)")
# In an address without host the password is in the place of the port; a list of hosts may follow.
_NO_PORT = re.compile(r"(?<!/)//[^\s:/@\[\]]{0,200}+:(?!\d{1,5}(?:[/?#,]|$))([^\s/?#]+)")
# A user without password is a token in these schemes; in s3://, abfs:// and others it is a container.
_TOKEN_AS_USER = re.compile(r"\b(?:https?|nats|tls|rediss?)://([^\s:/@]{1,4096})@")
_ADDRESS = re.compile(r"\s*[A-Za-z][\w.+-]{0,30}:?//")
_PARAMETER = re.compile(r"(?<=[?&;#])([^=&?#\s]{1,200})=([^&#]*)")


class Masker:
    """Replaces secrets in text and in values, for logs and output.

    Args:
        known: Secrets to replace wherever they occur, also in their URL, JSON and Python forms.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        forms = {form for secret in known for form in _forms_of(secret)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def text(self, text: str) -> str:
        """Return text without secrets; a text that begins with an address is parsed as one address."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        if _ADDRESS.match(text):
            text = _PARAMETER.sub(_masked_parameter, _without_password(text))
        elif "@" in text:
            text = re.sub(r"\S+", lambda word: _without_password(word[0]), text)
        return _FORMS.sub(MASK, _ASSIGNED.sub(_masked_assignment, text))

    def value(self, value: Any, name: str = "") -> Any:
        """Return a copy of a value without secrets: by its name, then through tables and lists, then as text.

        Args:
            value: A value. An object of an unknown class becomes its masked text.
            name: The key or name of the value.
        """
        if value is None or isinstance(value, (bool, date)):
            return value
        if isinstance(value, SecretStr) or (name and is_secret_name(name)):
            return MASK
        if isinstance(value, (int, float)):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self._key(key): self.value(item, str(key)) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.value(item) for item in value]
        return self.text(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))

    def _key(self, key: Any) -> Any:
        return self.text(key) if isinstance(key, str) else key


def redact(text: str) -> str:
    """Return text with secrets masked by form; for messages of libraries."""
    return _masker_by_form().text(text)


@cache
def _masker_by_form() -> Masker:
    return Masker()


def is_secret_name(name: str) -> bool:
    """Return whether a key, field or variable of this name holds a secret, however the name is spelled."""
    return bool(_SECRET_NAME.search(_plain(name)))


def is_harmless(name: str, value: str) -> bool:
    """Return whether an entry of a table with secrets is none, such as `region: eu`, `disable_ssl: true` or `25`."""
    if is_secret_name(name):
        return value == ""
    return bool(_HARMLESS_NAME.search(_plain(name)) or _HARMLESS_VALUE.fullmatch(value))


def secrets_in_address(address: str) -> Iterator[str]:
    """Yield the password and the secret parameters of an address, and their parts between reserved characters.

    A driver that splits a password at `@` or `/` writes only a part of it into its message.
    """
    start, end = _password_place(address)
    found = [address[start:end]] if start < end else []
    found += [match[2] for match in _PARAMETER.finditer(address) if is_secret_name(match[1])]
    for secret in found:
        yield secret
        yield from re.split(r"[@/:?#&]", secret)


def environment_secrets(environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yield the values of variables that are named like secrets, and those of addresses with a password."""
    for name, value in environ.items():
        if name in _FOLDERS:
            continue
        if is_secret_name(name):
            yield value
        elif _ADDRESS.match(value):
            yield from secrets_in_address(value)


def _forms_of(secret: str) -> Iterator[str]:
    """Yield a secret as it is, in its URL, JSON and repr forms, and each long line of a secret of several lines."""
    if len(secret.strip()) < KNOWN_LENGTH_MIN or _HARMLESS_VALUE.fullmatch(secret):
        return
    for one in {secret, secret.strip(), unquote(secret)}:
        yield from (one, quote(one), quote(one, safe=""), json.dumps(one)[1:-1], repr(one)[1:-1])
    for line in secret.splitlines():
        if len(line.strip()) >= 16 and line.strip() != secret:
            yield line.strip()


def _plain(name: str) -> str:
    return name.lower().translate(_SEPARATORS)


_SEPARATORS = str.maketrans("", "", "-_. ")


def _password_place(word: str) -> tuple[int, int]:
    """Return start and end of the password in an address, (0, 0) without one. It may contain any character.

    In an address without host, as in `postgres://user:password`, the password is the text in place of the port, unless
    that text is a number.
    """
    at = word.rfind("@")
    if at < 0:
        unreadable = _NO_PORT.search(word)
        return unreadable.span(1) if unreadable is not None else (0, 0)
    user = _USER.search(word, 0, at) if at > 0 else None
    if user is None and at > 0 and not word.startswith("@sha256:", at):
        user = _USER_AT_START.match(word, 0, at)
    return (user.end(), at) if user is not None and user.end() < at else (0, 0)


def _without_password(word: str) -> str:
    start, end = _password_place(word)
    if start < end and word[start:end] != PLACEHOLDER:
        return f"{word[:start]}{MASK}{word[end:]}"
    return _TOKEN_AS_USER.sub(lambda match: match[0].replace(match[1], MASK), word)


def _masked_parameter(match: re.Match[str]) -> str:
    secret = match[2] and is_secret_name(unquote(match[1]))
    return f"{match[1]}={MASK}" if secret else match[0]


def _masked_assignment(match: re.Match[str]) -> str:
    value, before = match["value"], match[0][: match.start("value") - match.start()]
    mark = value[0] if value[0] in "\"'" else ""
    if value == mark * 2 or value.startswith(mark + MASK):
        return match[0]
    return f"{before}{mark}{MASK}{mark}"
