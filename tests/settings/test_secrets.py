"""Secrets: none is shown, wherever a configuration holds it, by any command, page, error or log line."""

from __future__ import annotations

import io
import json
import logging
import string
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import pytest
import structlog
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from app.server import logs, startup
from app.settings import BadSetting, Masker, Settings, load, masked, masker_of, redact
from app.settings.secrets import is_harmless, is_secret_name
from app.settings.spelling import camel

pytestmark = pytest.mark.heavy

# Shrinking takes minutes, and a failing example is short anyway.
UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)

MARK = st.text(string.ascii_letters + string.digits, min_size=8, max_size=12).map(lambda text: f"Q{text}z")
# A secret has two marks, and between them any characters that some parser gives a meaning.
SECRET = st.tuples(MARK, st.text("@:/?#&%='\"\\ +,;{}[]!*$", max_size=4), MARK)

SPELLINGS = (
    str,
    camel,
    lambda key: key.replace("_", "-"),
    lambda key: key.replace("_", "").upper(),
    lambda key: key.title().replace("_", ""),
)
TABLE_KEYS = (
    *("json", "key", "account_key", "sas", "secret_key", "access_key_id", "sas_token", "session_token"),
    *("client_secret", "password", "private_key", "shared_key", "signature", "connection_string", "anything"),
)
VARIABLES = ("AWS_SECRET_ACCESS_KEY", "DB_PASS", "MY_KEY", "GITHUB_TOKEN", "flyte_api-key", "WHATEVER")
ADDRESSES = (
    "postgresql://h/d?user=u&password={encoded}",
    "postgresql://u:{encoded}@h:5432/d",
    "postgresql://u:{raw}@h/d",
    "postgres//u:{raw}@h/d",
    "postgres:u:{raw}@h/d",
    "mysql://u:{raw}@h/d?ssl=1",
    "{encoded}",
)


def places(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every field that holds secrets, and how: `text`, `table`, a table of `lists` or a list of `tables`."""
    for name, info in model.model_fields.items():
        here = (*path, name)
        if info.annotation is SecretStr or (info.annotation is str and not info.repr):
            yield here, "text"
        elif not info.repr:
            text = str(info.annotation)
            yield here, "tables" if text.startswith("tuple[dict") else "lists" if "tuple" in text else "table"
        else:
            for part in (info.annotation, *get_args(info.annotation)):
                if isinstance(part, type) and issubclass(part, BaseModel):
                    inner = ("x",) if "dict" in str(info.annotation) else ()
                    yield from places(part, (*here, *inner))


PLACES = sorted(place for place in places(Settings) if place[0] != ("database", "url"))
# Texts that may be addresses of other services with a password in them.
ADDRESSED = [
    ("auth", "http_proxy_url"),
    ("auth", "user_auth", "http_proxy_url"),
    ("server", "public_url"),
    ("flyteadmin", "console_url"),
    ("storage", "connection", "endpoint"),
]


def nested(path: tuple[str, ...], value: Any, spell: Any) -> dict[str, Any]:
    for part in reversed(path):
        value = {spell(part) if part != "x" else part: value}
    return dict(value)


@st.composite
def configurations(draw: st.DrawFn) -> tuple[tuple[str, str, str], dict[str, Any], dict[str, str]]:
    """A secret, and a file and an environment of which one holds it at some place."""
    secret = draw(SECRET)
    raw, spell = "".join(secret), draw(st.sampled_from(SPELLINGS))
    kind = draw(st.sampled_from(["field", "address", "url", "list"]))
    content: dict[str, Any]
    if kind == "field":
        path, form = draw(st.sampled_from(PLACES))
        keys = VARIABLES if path[-1] in ("envs", "headers", "default_env_vars") else TABLE_KEYS
        table = {spell(draw(st.sampled_from(keys))): [raw] if form == "lists" else raw}
        content = nested(path, raw if form == "text" else [table] if form == "tables" else table, spell)
    elif kind == "address":
        path = draw(st.sampled_from(ADDRESSED))
        content = nested(path, f"http://user:{quote(raw, safe='')}@proxy:1/x", spell)
    elif kind == "list":
        content = {"cloudEvents": {"nats": {"servers": ["nats://a", f"nats://u:{quote(raw, safe='')}@h"]}}}
    else:
        url = draw(st.sampled_from(ADDRESSES)).format(raw=raw, encoded=quote(raw, safe=""))
        if draw(st.booleans()):
            return secret, {}, {"FLYTEADMIN_DATABASE_URL": url}
        content = {"database": {"url": url}}
    if draw(st.booleans()):
        return secret, {}, _variables(content)
    return secret, content, {}


def _variables(content: dict[str, Any]) -> dict[str, str]:
    """The same as one variable with a double underscore between keys, as far as keys can stand in a variable."""
    name, value = "FLYTEADMIN", content
    while isinstance(value, dict) and len(value) == 1 and "." not in next(iter(value)):
        (key, value), *_ = value.items()
        name += f"__{key}"
    return {name: value if isinstance(value, str) else json.dumps(value)}


def assert_hidden(text: str, secret: tuple[str, str, str]) -> None:
    for mark in (secret[0], secret[2]):
        place = text.find(mark)
        assert place < 0, text[max(0, place - 100) : place + 100]


@pytest.mark.slow
@settings(phases=UNSHRUNK, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(configurations())
def test_no_configuration_shows_its_secret(tmp_path: Path, drawn: Any) -> None:
    secret, content, environ = drawn
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(content))
    try:
        loaded = load([file], None, environ)
    except BadSetting as error:
        # Only a text that YAML takes for a list or mapping is refused.
        assert_hidden(str(error), secret)
        return
    told = io.StringIO()
    progress = startup.Progress(told, masker_of(loaded.settings, environ))
    progress.line(f"installing from {''.join(secret)}")
    try:
        progress.line(startup.shown(loaded.settings.database_url))
    except BadSetting as error:
        progress.line(str(error))
        assert_hidden(str(error), secret)
    shown = masked(loaded.settings, environ)
    for text in (
        yaml.dump(shown, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), width=10_000),
        json.dumps(shown),
        " ".join(loaded.warnings),
        repr(loaded.settings),
        told.getvalue(),
    ):
        assert_hidden(text, secret)


@settings(phases=UNSHRUNK)
@given(SECRET, st.sampled_from(["path", "section", "number"]))
def test_no_refused_configuration_shows_its_secret(secret: tuple[str, str, str], fault: str) -> None:
    raw = "".join(secret)
    wrong: dict[str, Any] = {
        "path": {"storage": {"connection": raw}},
        "section": {"database": f"postgresql://u:{raw}@h/d"},
        "number": {"database": {"postgres": {"password": [raw]}, "url": {"x": raw}}},
    }[fault]
    flat = {"FLYTEADMIN__DATABASE": json.dumps(wrong["database"])} if "database" in wrong else {}
    flags = {"storage.connection": raw} if fault == "path" else {}
    with pytest.raises(BadSetting) as caught:
        load((), flags, flat)
    assert_hidden(str(caught.value), secret)


@settings(phases=UNSHRUNK)
@given(configurations(), st.sampled_from(["", "text"]))
def test_no_log_line_shows_a_secret(drawn: Any, form: str) -> None:
    secret, content, environ = drawn
    try:
        loaded = load((), None, environ or _variables(content))
    except BadSetting:
        return
    known = loaded.settings.model_copy(
        update={"logger": Settings.model_validate({"logger": {"formatter": {"type": form}}}).logger}
    )
    raw = "".join(secret)
    stream, root = io.StringIO(), logging.getLogger()
    before = root.handlers[:], root.level
    try:
        logs.set_up(known)
        root.handlers[0].setStream(stream)  # type: ignore[attr-defined]
        log = structlog.get_logger("tests")
        log.warning(
            "tried", detail=f"with <{raw}>", nested={"list": [raw], "error": ValueError(raw)}, password="x" + raw
        )
        logging.getLogger("library").warning("connecting with %s", raw)
        try:
            raise RuntimeError(f"cannot use {raw}")
        except RuntimeError:
            log.exception("failed")
    finally:
        root.handlers, root.level = before
        structlog.reset_defaults()
    assert "failed" in stream.getvalue()
    assert_hidden(stream.getvalue(), secret)


@pytest.mark.parametrize(
    "text",
    [
        "https://b.s3.amazonaws.com/k?X-Amz-Credential=S3CRETAA%2F1&X-Amz-Signature=S3CRETBB&X-Amz-Expires=1",
        "GET https://b.blob.core.windows.net/k?se=2026&sig=S3CRETAA%3D failed",
        "https://storage.googleapis.com/b?GoogleAccessId=S3CRETAA&Signature=S3CRETBB",
        "connection failed: host=h user=u password='S3CRETAA b' sslmode=disable",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=S3CRETAA==;EndpointSuffix=x",
        'body {"private_key": "S3CRETAA\\nx", "client_email": "a@b"}',
        'value \'{\\"private_key\\":\\"S3CRETAA\\"}\'',
        "-----BEGIN RSA PRIVATE KEY-----\nS3CRETAA\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nS3CRETAA",
        "Authorization: Basic S3CRETAA==",
        "{'authorization': 'Bearer S3CRETAA'}",
        "sent Bearer S3CRETAA.x.y",
        "key AKIAS3CRETS3CRETAAAA is not known",
        "eyJhbGciOiJIUzI1NiJ9.S3CRETAAeyJzdWIi.S3CRETBB",
        "cloning https://S3CRETAA@github.com/o/r failed",
        "redis://:S3CRETAA@h:6379",
        "amqp://u:S3CRET@AA/b@h,x",
        "postgres//u:S3CRETAA@h/d",
        "token: S3CRETAA",
        "api-key=S3CRETAA, aws_secret_access_key = S3CRETBB",
        "no usable address (u:S3CRETAA@h)",
        *("postgres://u:S3CRETAA", "postgresql://u:S3CRETAA/d?sslmode=disable", "gs://b/k#sig=S3CRETAA"),
    ],
)
def test_what_has_the_form_of_a_secret_is_masked(text: str) -> None:
    assert "S3CRET" not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://user@host:5432/name?sslmode=disable",
        *("postgresql://h1:5432,h2:5433/d", "http://[::1]:8080/x", "http://h:80?a=b", "file:///x:y/z", "http://h/a:b"),
        "s3://bucket/prefix and /home/u/.flyteadmin",
        "abfs://container@account.dfs.core.windows.net/x",
        "image ghcr.io/o/i@sha256:0123",
        "database.postgres.passwordPath=/none cannot be read: No such file or directory",
        "mail to someone@example.org",
        "auth.userAuth.cookieHashKeySecretName is not a text",
        "",
    ],
)
def test_what_has_none_stays(text: str) -> None:
    assert redact(text) == text


def test_names_are_read_in_any_spelling() -> None:
    for name in ("secretKey", "secret-key", "SECRET_KEY", "accessKeyId", "accountKey", "X-Amz-Signature", "dbPassword"):
        assert is_secret_name(name), name
    for name in ("region", "endpoint", "container", "authType", "keyFile", "passive"):
        assert not is_secret_name(name), name
    assert is_harmless("AWS_REGION", "eu")
    assert is_harmless("retries", "3")
    assert not is_harmless("json", "{}x")


def test_a_short_secret_blots_out_no_words() -> None:
    assert Masker(["a", "true", "30080", "hunter2"]).text("a hunter2 at 30080 is true") == "a ******** at 30080 is true"


def test_upstreams_own_password_is_no_secret() -> None:
    loaded = load((), {"database.postgres.host": "postgres", "database.postgres.password": "postgres"}, {})
    assert masked(loaded.settings, {})["database"]["postgres"]["host"] == "postgres"


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        *("a:" * 100_000, "//" * 100_000, "//a:" * 70_000 + "@", "@" * 200_000, " " * 200_000, "https://" * 25_000),
        *("password='" * 30_000, "\\" * 200_000, "eyJ" * 70_000, "token=" * 40_000, "?a=" * 70_000),
        "-----BEGIN PRIVATE KEY" * 10_000,
    ],
    ids=lambda text: text[:10],
)
def test_long_texts_take_linear_time(text: str) -> None:
    started = time.process_time()
    redact(text)
    redact("x://" + text)
    assert time.process_time() - started < 1.5
