"""Add signed headers to a presigned S3 URL, by AWS Signature Version 4 in the query.

obstore signs only the header `host`. Its URL has everything else that a signature needs (key id, scope, time, session
token), so this module signs the URL again with the same secret. botocore could do it too, but takes 80 MB.

Source:
    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlsplit


def with_headers(url: str, method: str, secret: str, headers: Mapping[str, str]) -> str:
    """Return a URL that is valid only for requests with these headers.

    Args:
        url: A URL that was presigned for `method` with the same secret.
        method: The HTTP method.
        secret: The secret access key.
        headers: Names and values that a request must have.
    """
    parts = urlsplit(url)
    signed = {"host": parts.netloc, **{name.lower(): value.strip() for name, value in headers.items()}}
    names = ";".join(sorted(signed))
    given = dict(parse_qsl(parts.query, keep_blank_values=True)) | {"X-Amz-SignedHeaders": names}
    del given["X-Amz-Signature"]
    query = "&".join(f"{_escaped(name)}={_escaped(value)}" for name, value in sorted(given.items()))
    lines = [f"{name}:{signed[name]}" for name in sorted(signed)]
    request = "\n".join([method, parts.path, query, *lines, "", names, "UNSIGNED-PAYLOAD"])
    scope = given["X-Amz-Credential"].partition("/")[2]
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", given["X-Amz-Date"], scope, digest])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return f"{parts.scheme}://{parts.netloc}{parts.path}?{query}&X-Amz-Signature={signature}"


def _escaped(text: str) -> str:
    return quote(text, safe="-_.~")
