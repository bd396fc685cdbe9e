"""Sections `limits` and `switching`. Not upstream's."""

from pydantic import Field

from app.settings.values import Section


class Limits(Section):
    """Limits of requests, replies, lists and caches."""

    body_wait_seconds_max: float = Field(default=30.0, gt=0)
    """Time for the whole body of a call, and for the next piece of an upload, in seconds."""

    upload_bytes_max: int = Field(default=2 * 1024**3, ge=1)
    """Largest upload to a signed address of the local store, in bytes."""

    upload_bytes_per_second_min: int = Field(default=1024, ge=0)
    """Least average rate of an upload, in bytes a second."""

    unsent_bytes_max: int = Field(default=128 * 1024**2, ge=1)
    """Bytes of replies in one process that clients have not read yet. Beyond it the slowest connections are closed."""

    connection_unsent_bytes_max: int = Field(default=4 * 1024**2, ge=1)
    """Unread bytes of replies on one connection from which it starts no further request."""

    send_wait_seconds_max: float = Field(default=60.0, gt=0)
    """Time in which a client must read 16 KiB of a reply, in seconds, before its connection is closed."""

    list_rows_max: int = Field(default=10_000, ge=1)
    """Rows of a page of a list, also where a request asks for more."""

    filters_characters_max: int = Field(default=64 * 1024, ge=1)
    """Characters of the filters of one list request."""

    filters_max: int = Field(default=100, ge=1)
    """Filter expressions of one list request, joined with `+`. Compiling 100 to SQL takes about 30 ms, once for each
    new combination."""

    filter_values_max: int = Field(default=1000, ge=1)
    """Values in all filter expressions of one list request."""

    list_reply_bytes_max: int = Field(default=16 * 1024**2, ge=1)
    """Bytes of a page of a list, which ends before it is larger. flytekit accepts 20 MiB."""

    gzip_reply_bytes_min: int = Field(default=4096, ge=0)
    """Size of a JSON or text reply over REST from which it is compressed for clients that send `Accept-Encoding: gzip`,
    in bytes. 0 compresses none."""

    json_values_max: int = Field(default=300_000, ge=1)
    """Scalars, objects and lists in one JSON body. Reading this many takes 1 to 3 seconds of CPU; a workflow of 10,000
    nodes has 260,000."""

    metrics_rows_max: int = Field(default=50_000, ge=1)
    """Nodes, and attempts, of an execution whose metrics are computed."""

    kept_json_bytes_max: int = Field(default=32 * 1024**2, ge=0)
    """Size of the cache of JSON and of replies that never change, in bytes for each process."""

    kept_closure_bytes_max: int = Field(default=16 * 1024**2, ge=0)
    """Size of the cache of compiled workflows, in bytes for each process."""

    database_wait_seconds_max: float = Field(default=10.0, gt=0)
    """Time to wait for a connection or for a lock of SQLite, in seconds."""

    database_statement_seconds_max: float = Field(default=30.0, gt=0)
    """Longest time of one statement on PostgreSQL, in seconds."""


class Switching(Section):
    """Settings for the time in which a flyteadmin in Go serves the same database (docs/switching.md)."""

    upstream_page_tokens: bool = False
    """Return upstream's offsets as page tokens, so that either server continues a list of the other. Such a page costs
    more the further down it is, and rows that are inserted meanwhile can repeat or be missed."""
