"""Calls to the Kubernetes API of one cluster: create, read, list, delete and apply objects, which are JSON values."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode

import httpx2
import orjson

from app.engine.kubernetes.credentials import CredentialsError
from app.engine.kubernetes.kubeconfig import Access
from app.settings.server import KubeClient

GROUP, VERSION, PLURAL = "flyte.lyft.com", "v1alpha1", "flyteworkflows"
FIELD_MANAGER = "flyteadmin"
PAGE_ROWS = 500
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
# Bytes of an answer that are read. A page of metadata takes about 1 MB.
_ANSWER_BYTES_MAX = 64 * 1024 * 1024
_TEXT_LENGTH_MAX = 2048


class ApiError(Exception):
    """A call that failed. Its text is that of Kubernetes' client for Go, which upstream's messages contain.

    Attributes:
        status: The HTTP status; 0 without an answer.
        reason: Kubernetes' reason such as `AlreadyExists`, "" for none.
        retry_after: Seconds after which Kubernetes asks to call again; 0 for none.
    """

    def __init__(self, text: str, *, status: int = 0, reason: str = "", retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class ClusterApi:
    """The API of one cluster.

    Args:
        access: Address and credentials.
        limits: Rate, burst and timeout of the calls.
        requests_max: Calls at once.
    """

    def __init__(self, access: Access, limits: KubeClient, *, requests_max: int) -> None:
        self._timeout_seconds = limits.timeout_seconds
        # The timeout of the whole call is set in `call`.
        self._http = httpx2.AsyncClient(verify=access.tls, auth=access.auth, timeout=None, trust_env=False)
        self._address = access.address
        self._slots = asyncio.Semaphore(requests_max)
        self._rate = _Rate(limits.qps, limits.burst)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def create(self, namespace: str, document: bytes) -> dict[str, Any]:
        """Create a FlyteWorkflow, which is given as JSON, and return it.

        Raises:
            ApiError: Kubernetes refused the object, or did not answer.
        """
        return await self.call("POST", workflows_path(namespace), document)

    async def get(self, namespace: str, name: str) -> dict[str, Any]:
        """Return a FlyteWorkflow. Raises ApiError, with status 404 where there is none."""
        return await self.call("GET", workflows_path(namespace, name))

    async def delete(self, namespace: str, name: str, *, uid: str = "") -> None:
        """Delete a FlyteWorkflow in the background.

        Args:
            namespace: Its namespace.
            name: Its name.
            uid: Its uid, so that no later object of the same name is deleted; "" deletes any.

        Raises:
            ApiError: With status 404 where there is none, 409 where the object of this name has another uid.
        """
        options = {"kind": "DeleteOptions", "apiVersion": f"{GROUP}/{VERSION}", "propagationPolicy": "Background"} | (
            {"preconditions": {"uid": uid}} if uid else {}
        )
        await self.call("DELETE", workflows_path(namespace, name), orjson.dumps(options))

    async def list_metadata(self, selector: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the metadata of the FlyteWorkflows of all namespaces that a label selector selects, page by page.

        Raises:
            ApiError: Kubernetes refused, or did not answer.
        """
        path, continued = f"/apis/{GROUP}/{VERSION}/{PLURAL}", ""
        while True:
            query = {"labelSelector": selector, "limit": str(PAGE_ROWS)} | (
                {"continue": continued} if continued else {}
            )
            page = await self.call("GET", path, query=query, accept=_METADATA_ONLY)
            for item in page.get("items", ()):
                yield item["metadata"]
            continued = page.get("metadata", {}).get("continue", "")
            if not continued:
                return

    async def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """Send one request and return the JSON object of the answer.

        Raises:
            ApiError: Another status than 2xx, no answer in time, or a connection that broke.
        """
        # In the address: parameters of their own would make the library parse it twice.
        parameters = urlencode({**(query or {}), "timeout": f"{self._timeout_seconds:g}s"})
        headers = {"accept": accept} | ({"content-type": content_type} if body is not None else {})
        async with self._slots:
            await self._rate.wait()
            try:
                async with (
                    asyncio.timeout(self._timeout_seconds or None),
                    self._http.stream(
                        method, f"{self._address}{path}?{parameters}", content=body, headers=headers
                    ) as answer,
                ):
                    content = await _read(answer)
            except (httpx2.HTTPError, TimeoutError) as error:
                url = f"{self._address}{path}?timeout={self._timeout_seconds:g}s"
                raise ApiError(f'{method.capitalize()} "{url}": {_cause(error, self._address)}') from error
        if not answer.is_success:
            raise _refusal(method, path, answer, content)
        try:
            found = orjson.loads(content)
        except ValueError as error:
            raise ApiError(f"{method} {path}: the answer is no JSON", status=answer.status_code) from error
        if not isinstance(found, dict):
            raise ApiError(f"{method} {path}: the answer is no JSON object", status=answer.status_code)
        return found


class _Rate:
    """Delays calls so that there are at most `burst` at once and `per_second` on average; 0 means no limit."""

    def __init__(self, per_second: int, burst: int) -> None:
        self._interval = 1.0 / per_second if per_second else 0.0
        self._ahead = self._interval * max(burst, 1)
        # When the calls so far are used up at the average rate.
        self._paid_until = 0.0

    async def wait(self) -> None:
        if not self._interval:
            return
        now = asyncio.get_running_loop().time()
        self._paid_until = max(self._paid_until, now) + self._interval
        if self._paid_until - now > self._ahead:
            await asyncio.sleep(self._paid_until - now - self._ahead)


async def _read(answer: httpx2.Response) -> bytes:
    pieces, size = [], 0
    async for piece in answer.aiter_bytes():
        size += len(piece)
        if size > _ANSWER_BYTES_MAX:
            raise httpx2.DecodingError(f"the answer has more than {_ANSWER_BYTES_MAX} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def workflows_path(namespace: str, name: str = "") -> str:
    """Return the path of the FlyteWorkflows of a namespace, or of one of them."""
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}"
    return f"{path}/{name}" if name else path


def _refusal(method: str, path: str, answer: httpx2.Response, content: bytes) -> ApiError:
    """Return the error of an answer, with the texts that Kubernetes' client for Go makes of answers without one."""
    status = answer.status_code
    try:
        found = orjson.loads(content)
    except ValueError:
        found = None
    found = found if isinstance(found, dict) else {}
    text, reason = str(found.get("message") or ""), str(found.get("reason") or "")
    what = f"{method.lower()} {path.rstrip('/').rsplit('/', 1)[-1]}.{GROUP}"
    if not text:
        said = content[:_TEXT_LENGTH_MAX].decode("utf-8", "replace").strip()
        text = {
            401: "Unauthorized",
            404: f"the server could not find the requested resource ({what})",
            413: "Request entity too large: limit is 3145728",
            429: "the server has received too many requests and has asked us to try again later",
        }.get(status, f"an error on the server ({said!r}) has prevented the request from succeeding ({what})")
    after = answer.headers.get("retry-after", "")
    return ApiError(text, status=status, reason=reason, retry_after=float(after) if after.isdigit() else 0.0)


def _cause(error: httpx2.HTTPError | TimeoutError, address: str) -> str:
    """Return the text of Go for a call without an answer."""
    host = httpx2.URL(address).netloc.decode()
    if isinstance(error, httpx2.ConnectError):
        return f"dial tcp {host}: {_connect_cause(error)}"
    if isinstance(error, CredentialsError):
        return f"getting credentials: {error}"
    if isinstance(error, (httpx2.TimeoutException, TimeoutError)):
        return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    if isinstance(error, (httpx2.RemoteProtocolError, httpx2.ReadError)):
        return "EOF"
    return str(error) or type(error).__name__


def _connect_cause(error: BaseException) -> str:
    """Return why no connection could be made: the innermost reason, which the libraries wrap several times."""
    if isinstance(error, ConnectionRefusedError):
        return "connect: connection refused"
    inner = error.__cause__ or error.__context__
    if isinstance(error, BaseExceptionGroup) and error.exceptions:
        inner = error.exceptions[0]
    return str(error) if inner is None else _connect_cause(inner)
