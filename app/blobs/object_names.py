"""Names of objects: turn any text into one path component, so that different texts get different components.

Letters, digits and `-_.=` stay; every other byte of UTF-8 becomes ~XX. This is percent-encoding with another sign,
because readers of object URIs treat `%` differently: Go and this server decode it, s3fs (flytekit) does not. A
component without `%` names the same object for all readers, and is a plain file name on a local disk.
"""

import hashlib
import re
from urllib.parse import unquote

# Limits of Linux and macOS for a path component and a path; of S3, Google Cloud Storage and Azure for a key.
FILE_NAME_BYTES_MAX = 255
PATH_BYTES_MAX = 4095
KEY_BYTES_MAX = 1024
# The longest location has five long components, which together fit into a key.
COMPONENT_BYTES_MAX = 180

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN = re.compile(r"[.]*[A-Za-z0-9_=-][A-Za-z0-9_.=-]*")
_ESCAPED = re.compile(rb"[^A-Za-z0-9_.=-]")


def component(text: str) -> str:
    """Return the path component for a text: ASCII, never empty, `.` or `..`, at most COMPONENT_BYTES_MAX long.

    Deviates: upstream joins texts as a relative URL (URLPathConstructor.ConstructReference), where `#`, `?`, `/` and
    `..` make different versions share one object.
    """
    if len(text) <= COMPONENT_BYTES_MAX and _PLAIN.fullmatch(text):
        return text
    raw = text.encode("utf-8", "surrogatepass")
    if not raw.strip(b"."):
        # An empty component, `.` and `..` have a meaning in paths.
        return "~2E" * len(raw) or "~"
    escaped = _ESCAPED.sub(lambda match: b"~%02X" % match[0][0], raw).decode("ascii")
    if len(escaped) <= COMPONENT_BYTES_MAX:
        return escaped
    # The escaping above never produces `~~`, so a shortened name equals no other name.
    return f"{escaped[: COMPONENT_BYTES_MAX - 66]}~~{hashlib.sha256(raw).hexdigest()}"


def file_name_problem(text: str) -> str:
    """Return why an uploaded file, which keeps its name, cannot have this name; "" where it can."""
    if _CONTROL.search(text):
        return "must not contain control characters"
    if len(text.encode("utf-8", "surrogatepass")) > FILE_NAME_BYTES_MAX:
        return f"must not have names of more than {FILE_NAME_BYTES_MAX} bytes"
    return ""


def key_of(uri_path: str) -> str:
    """Return the key that upstream reads from the path of an object's URI: decoded, without query and fragment.

    Source:
        flytestdlib/storage DataReference.Split
    """
    return unquote(uri_path.partition("#")[0].partition("?")[0])
