"""Limits and paths of the calls that commands send to a server."""

TIMEOUT_SECONDS = 30.0
# Of commands with which a person finds out whether a server works.
SHORT_TIMEOUT_SECONDS = 10.0
PAGE_ROWS = 500
# Calls of one command at once.
CALLS_MAX = 8
# Logs that one command follows at once.
STREAMS_MAX = 16
TOKEN_VARIABLE = "FLYTE_API_KEY"  # nosec B105 - the name of a variable


def path_of(*parts: str) -> str:
    """Return a path of the API, with each part quoted."""
    from urllib.parse import quote

    return "/".join(("/api/v1", *(quote(part, safe="") for part in parts)))
