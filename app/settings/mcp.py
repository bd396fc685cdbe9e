"""Section `mcp`: the service for AI assistants. Not upstream's."""

from pydantic import Field, SecretStr, field_validator

from app.settings.hosts import HostName
from app.settings.values import Port, Section


class Mcp(Section):
    """MCP tools on one port, the REST adapter of the same operations on another."""

    enabled: bool = False
    """Serve both ports."""

    port: Port = 9090
    """Port of the MCP tools, at /mcp. 0 picks a free port."""

    adapter_port: Port = 8080
    """Port of the REST adapter. 0 picks a free port."""

    api_key: SecretStr = SecretStr("")
    """Bearer token that both ports require; empty means none. With authentication on, both ports accept other tokens
    too. Shown masked."""

    api_key_subject: str = Field(default="mcp", min_length=1)
    """User id of callers with the key, where authentication is on: the principal of their executions, and the subject
    of their roles."""

    allowed_hosts: tuple[HostName, ...] = ()
    """Names in the header Host that every port serves, beside those of `server.security.allowedHosts`."""

    call_seconds_max: float = Field(default=60.0, gt=0)
    """Timeout of one call of a tool, in seconds."""

    list_rows: int = Field(default=20, ge=1)
    """Rows of a page where a call sets no limit."""

    list_rows_max: int = Field(default=100, ge=1)
    """Largest limit that a call may set, in rows."""

    result_bytes_max: int = Field(default=100_000, ge=1_000)
    """Bytes of a tool's result as JSON; a larger result is truncated."""

    log_bytes_max: int = Field(default=4_000, ge=0)
    """Bytes of the end of an attempt's log that list-failed-nodes returns."""

    failed_nodes_max: int = Field(default=20, ge=1)
    """Failed nodes that list-failed-nodes returns."""

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value().strip()
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("allowed are printable ASCII characters without spaces, as a header can hold them")
        return SecretStr(text)
