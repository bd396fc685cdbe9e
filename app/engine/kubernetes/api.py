"""Calls to the Kubernetes API of one cluster: create, read, list, delete and apply objects, which are JSON values."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from app.engine.kubernetes.credentials import Credential, CredentialsError
from app.engine.kubernetes.http import Answer, Connections, NoAnswer
from app.engine.kubernetes.kubeconfig import ClusterAccess
from app.settings.server import KubeClient

GROUP, VERSION, PLURAL = "flyte.lyft.com", "v1alpha1", "flyteworkflows"
FIELD_MANAGER = "flyteadmin"
PAGE_ROWS = 500
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_TEXT_LENGTH_MAX = 2048


class ApiError(Exception):
    """A call that failed. Its text is that of Kubernetes' client for Go, which upstream's messages contain.

    Attributes:
        status: The HTTP status; 0 without an answer.
        reason: Kubernetes' reason such as `AlreadyExists`, "" for none.
        causes: The reasons of its parts, such as `NamespaceTerminating`.
        retry_after: Seconds after which Kubernetes asks to call again; 0 for none.
    """

    def __init__(
        self, text: str, *, status: int = 0, reason: str = "", causes: Iterable[str] = (), retry_after: float = 0.0
    ) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.causes = frozenset(causes)
        self.retry_after = retry_after


class ClusterApi:
    """The API of one cluster.

    Args:
        access: Address and credentials.
        limits: Rate, burst and timeout of the calls.
        requests_max: Calls at once.
    """

    def __init__(self, access: ClusterAccess, limits: KubeClient, *, requests_max: int) -> None:
        self._timeout_seconds = limits.timeout_seconds
        self._connections = Connections(access.address)
        self._credentials = access.credentials
        self._address = access.address
        self._slots = asyncio.Semaphore(requests_max)
        self._rate = _Rate(limits.qps, limits.burst)

    async def close(self) -> None:
        """Close the connections."""
        self._connections.close()

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
        parameters = urlencode({**(query or {}), "timeout": f"{self._timeout_seconds:g}s"})
        headers = {"Accept": accept} | ({"Content-Type": content_type} if body is not None else {})
        async with self._slots:
            await self._rate.wait()
            try:
                async with asyncio.timeout(self._timeout_seconds or None):
                    answer = await self._signed(method, f"{path}?{parameters}", headers, body or b"")
            except (NoAnswer, CredentialsError, TimeoutError) as error:
                url = f"{self._address}{path}?timeout={self._timeout_seconds:g}s"
                raise ApiError(f'{method.capitalize()} "{url}": {_cause(error)}') from error
        if not 200 <= answer.status < 300:
            raise _refusal(method, path, answer)
        try:
            found = orjson.loads(answer.content)
        except ValueError as error:
            raise ApiError(f"{method} {path}: the answer is no JSON") from error
        if not isinstance(found, dict):
            raise ApiError(f"{method} {path}: the answer is no JSON object")
        return found

    async def _signed(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a request with the credentials; after an answer 401 once more, if there are other credentials now."""
        credential = await self._credentials.current()
        answer = await self._send(method, target, headers, body, credential)
        if answer.status != 401:
            return answer
        renewed = await self._credentials.after_refusal(credential)
        return answer if renewed is None else await self._send(method, target, headers, body, renewed)

    async def _send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, credential: Credential
    ) -> Answer:
        signed = {**headers, "Authorization": credential.authorization} if credential.authorization else headers
        return await self._connections.send(method, target, signed, body, tls=credential.tls)


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


def workflows_path(namespace: str, name: str = "") -> str:
    """Return the path of the FlyteWorkflows of a namespace, or of one of them."""
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{quote(namespace, safe='')}/{PLURAL}"
    return f"{path}/{quote(name, safe='')}" if name else path


def _refusal(method: str, path: str, answer: Answer) -> ApiError:
    """Return the error of an answer, with the texts that Kubernetes' client for Go makes of answers without one."""
    status = answer.status
    try:
        found = orjson.loads(answer.content)
    except ValueError:
        found = None
    found = found if isinstance(found, dict) else {}
    text, reason = str(found.get("message") or ""), str(found.get("reason") or "")
    what = f"{method.lower()} {path.rstrip('/').rsplit('/', 1)[-1]}.{GROUP}"
    if not text:
        said = answer.content[:_TEXT_LENGTH_MAX].decode("utf-8", "replace").strip()
        text = {
            401: "Unauthorized",
            404: f"the server could not find the requested resource ({what})",
            413: "Request entity too large: limit is 3145728",
            429: "the server has received too many requests and has asked us to try again later",
        }.get(status, f"an error on the server ({said!r}) has prevented the request from succeeding ({what})")
    after = answer.headers.get("retry-after", "")
    retry_after = float(after) if after.isdecimal() else 0.0
    return ApiError(text, status=status, reason=reason, causes=_causes(found), retry_after=retry_after)


def _causes(status: Mapping[str, Any]) -> list[str]:
    """Return the reasons of the parts of a Status object."""
    details = status.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return [str(one.get("reason", "")) for one in causes or () if isinstance(one, dict)]


def _cause(error: NoAnswer | CredentialsError | TimeoutError) -> str:
    """Return the text of Go for a call without an answer."""
    if isinstance(error, CredentialsError):
        return f"getting credentials: {error}"
    if isinstance(error, TimeoutError):
        return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    return str(error)
