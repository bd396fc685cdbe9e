"""Names of objects: any text becomes one component of a path, and no two texts become the same one.

Letters, digits and `-_.=` stay; every other byte of UTF-8 is written as ~XX. That is percent-encoding with another
sign, because readers of object URIs disagree about `%`: Go's and ours decode it, s3fs (flytekit) does not. A
component without `%` names the same object to all of them, and is a plain file name on a local disk.
"""

import hashlib
import re
from urllib.parse import unquote

# S3 keys have at most 1,024 bytes and file names at most 255; the longest location has five long components.
COMPONENT_BYTES_MAX = 180

# The longest name that file systems take.
FILE_NAME_BYTES_MAX = 255

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN = re.compile(r"[.]*[A-Za-z0-9_=-][A-Za-z0-9_.=-]*")
_ESCAPED = re.compile(rb"[^A-Za-z0-9_.=-]")


def component(text: str) -> str:
    """The path component that stands for text: never empty, `.` or `..`, ASCII, at most COMPONENT_BYTES_MAX long.

    Deviates: upstream joins texts as a relative URL (URLPathConstructor.ConstructReference), where `#`, `?`, `/` and
    `..` make different versions share one object.
    """
    if len(text) <= COMPONENT_BYTES_MAX and _PLAIN.fullmatch(text):
        return text
    raw = text.encode("utf-8", "surrogatepass")
    if not raw.strip(b"."):
        # Nothing, `.` and `..` have a meaning in paths.
        return "~2E" * len(raw) or "~"
    escaped = _ESCAPED.sub(lambda match: b"~%02X" % match[0][0], raw).decode("ascii")
    if len(escaped) <= COMPONENT_BYTES_MAX:
        return escaped
    # `~~` cannot come out of the line above, so a shortened name equals no other.
    return f"{escaped[: COMPONENT_BYTES_MAX - 66]}~~{hashlib.sha256(raw).hexdigest()}"


def file_name_problem(text: str) -> str:
    """Return why text cannot be the name of an uploaded file, which keeps its name as it is; "" where it can."""
    if _CONTROL.search(text):
        return "must not contain control characters"
    if len(text.encode("utf-8", "surrogatepass")) > FILE_NAME_BYTES_MAX:
        return f"must not have names of more than {FILE_NAME_BYTES_MAX} bytes"
    return ""


def key_of(uri_path: str) -> str:
    """The key that upstream means by the path of an object's URI: decoded, without query and fragment.

    source: flytestdlib/storage DataReference.Split
    """
    return unquote(uri_path.partition("#")[0].partition("?")[0])
