"""The HTTP client of all commands that call a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
import orjson

from app.cli.calls import CALLS_MAX, PAGE_ROWS, STREAMS_MAX, TIMEOUT_SECONDS, TOKEN_VARIABLE
from app.cli.program import program
from app.cli.sign_in import connection as connections
from app.cli.sign_in.bearer import Bearer
from app.cli.sign_in.connection import Connection
from app.cli.sign_in.tls import verification
from app.settings import BadSetting

Item = TypeVar("Item")
Result = TypeVar("Result")


class CallRefused(BadSetting):
    """The server answered with an error.

    Attributes:
        status: The HTTP status.
        code: The code of gRPC; -1 where the reply has none.
    """

    def __init__(self, message: str, status: int, code: int = -1) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class ServerUnreachable(BadSetting):
    """There is no reply."""


class RestClient:
    """Calls routes of one server. Its methods may be called from several threads.

    Args:
        connection: The server.
        seconds: Time for a reply.
    """

    def __init__(self, connection: Connection, *, seconds: float = TIMEOUT_SECONDS) -> None:
        self.connection = connection
        self.url = connection.url
        verify = verification(connection)
        self._bearer = Bearer(connection, verify, connections.home())
        self._http = httpx.Client(
            base_url=connection.url,
            auth=self._bearer,
            headers={"accept": "application/json"},
            timeout=seconds,
            verify=verify,
            limits=httpx.Limits(max_connections=CALLS_MAX + STREAMS_MAX),
        )

    def token(self) -> str:
        """Return the bearer token that calls send now; "" without one."""
        return self._bearer.token()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(
        self,
        verb: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        *,
        seconds: float | None = None,
    ) -> Any:
        """Call a route that takes and returns JSON.

        Args:
            verb: The HTTP method.
            path: The path, which begins with a slash; quoted where needed.
            body: The body.
            query: The query.
            seconds: Time for the reply; None for that of the client.

        Raises:
            CallRefused: The reply is an error; the message is the server's.
            ServerUnreachable: There is no reply.
        """
        timeout = httpx.USE_CLIENT_DEFAULT if seconds is None else httpx.Timeout(seconds)
        try:
            reply = self._http.request(verb, path, json=body, params=query, timeout=timeout)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        try:
            found = orjson.loads(reply.content)
        except ValueError:
            found = {"message": reply.text[:200]}
        if reply.is_error:
            raise self._refused(reply, found)
        return found

    def get(self, path: str, **query: str) -> Any:
        """Return the reply to GET. Raises as `call`."""
        return self.call("GET", path, query=query)

    @contextmanager
    def stream(self, path: str, query: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """Open a reply of text that may go on for as long as a task runs.

        Raises:
            CallRefused: The reply is an error.
            ServerUnreachable: There is no reply, or it breaks off.
        """
        timeout = httpx.Timeout(TIMEOUT_SECONDS, read=None)
        try:
            headers = {"accept": "text/plain"}
            with self._http.stream("GET", path, params=query, headers=headers, timeout=timeout) as reply:
                if reply.is_error:
                    reply.read()
                    raise self._refused(reply, {"message": reply.text[:500].strip()})
                yield reply
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def pages(
        self, path: str, key: str, query: Mapping[str, str] | None = None, *, rows: int = PAGE_ROWS
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a list.

        Args:
            path: The path of the list.
            key: The field of a page that has its rows.
            query: The query, without limit and token.
            rows: The largest number of rows of a page.
        """
        token = ""
        while True:
            page = self.get(path, **{**(query or {}), "limit": str(rows), "token": token})
            yield page.get(key) or []
            token = page.get("token") or ""
            if not token:
                return

    def each(self, call: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return the results of a call for each item, in order, CALLS_MAX of them at once."""
        if len(items) <= 1:
            return [call(item) for item in items]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(CALLS_MAX, len(items))) as pool:
            try:
                return list(pool.map(call, items))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _refused(self, reply: httpx.Response, found: Any) -> CallRefused:
        fields = found if isinstance(found, dict) else {}
        message = str(fields.get("message") or fields.get("error") or reply.reason_phrase)
        code = fields.get("code")
        text = f"{reply.status_code}: {message}"
        if advice := _advice_of_status(reply.status_code):
            text = f"{text}; {advice}"
        return CallRefused(text, reply.status_code, code if isinstance(code, int) else -1)

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        return ServerUnreachable(
            f"no answer of {self.url} (named by {self.connection.source}): {error}; {_advice(error)}"
        )


def _advice_of_status(status: int) -> str:
    return {
        401: f"sign in anew, or put a token into {TOKEN_VARIABLE} ({program()} auth token create)",
        403: f"ask an administrator for the role ({program()} auth role add)",
        429: "try again later",
    }.get(status, "")


@contextmanager
def connected(endpoint: str, *, seconds: float = TIMEOUT_SECONDS) -> Iterator[RestClient]:
    """Open the client of a command.

    Args:
        endpoint: The value of `--endpoint`; "" for the server that the configuration names.
        seconds: Time for a reply.

    Raises:
        BadSetting: The configuration cannot be used.
    """
    client = RestClient(connections.find(endpoint), seconds=seconds)
    try:
        yield client
    finally:
        client.close()


def _advice(error: Exception) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "name the authority of the certificate in SSL_CERT_FILE"
    if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout):
        return "it takes connections but does not answer, so it is stopped or too busy: see its log, or start it again"
    return f"is the server running ({program()} serve), and is --endpoint its address?"
