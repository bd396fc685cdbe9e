"""The headers of /me by which a proxy in front of other services learns who the caller is.

Source: GetUserInfoForwardResponseHandler of flyteadmin/auth/handlers.go.
"""

from __future__ import annotations

import json
import re

from flyteidl.service import identity_pb2
from google.protobuf.json_format import MessageToDict

# Clients and proxies refuse replies whose headers are larger than 8 to 16 KiB together.
HEADERS_BYTES_MAX = 6 * 1024

_TOKEN = re.compile(r"[a-z0-9-]+")


def user_headers(user: identity_pb2.UserInfoResponse) -> list[tuple[bytes, bytes]]:
    """Return X-User-Subject, and X-User-Claim-* with the JSON of each claim.

    A claim is left out where its name is no header name, and where HEADERS_BYTES_MAX is used up.
    """
    headers = [(b"x-user-subject", _one_line(user.subject))]
    left = HEADERS_BYTES_MAX
    for claim, value in sorted(MessageToDict(user.additional_claims).items()):
        name = claim.lower().replace("_", "-")
        if not _TOKEN.fullmatch(name):
            continue
        if isinstance(value, float) and value.is_integer():
            # A number in a Struct is a float. Times are written without an exponent.
            value = int(value)
        header = f"x-user-claim-{name}".encode(), json.dumps(value).encode()
        left -= len(header[0]) + len(header[1])
        if left < 0:
            break
        headers.append(header)
    return headers


def _one_line(text: str) -> bytes:
    """Return a text as a header's value, in which control characters could start another header."""
    return "".join(letter if letter.isprintable() else "?" for letter in text).encode("utf-8")
