"""The objects of a local store over HTTP: GET, HEAD and PUT at signed, expiring URLs (app/blobs/signed_urls.py).

flytekit, flytectl and browsers send the same requests to it as to an S3 endpoint. Errors are plain text, which flytekit
shows to its user.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
import os
import time
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from app.blobs import BlobError, BlobMissing, BlobNameRefused, BlobOutside, Blobs, SignedUrlRefused, StorageFull
from app.blobs.folder import IncomingFile
from app.blobs.signed_urls import PREFIX
from app.runtime import failures
from app.settings import Settings

# Bodies are written to disk in pieces of this size.
PIECE_BYTES = 1024 * 1024

# Decks are HTML with scripts, written by tasks. The sandbox gives them an origin of their own, so that the scripts
# cannot send requests to this server in the name of the person who views the deck.
_HEADERS = {
    "content-security-policy": (
        "sandbox allow-scripts allow-popups allow-downloads; "
        "default-src 'unsafe-inline' 'unsafe-eval' https: data: blob:; connect-src 'none'; form-action 'none'; "
        "base-uri 'none'; object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # no-transform: clients compare length and digest with those of the object, so it is not compressed.
    "cache-control": "private, no-cache, no-transform",
}


def routes(blobs: Blobs, settings: Settings) -> list[BaseRoute]:
    """Return the routes; none for a bucket, which clients reach directly."""
    if not blobs.local:
        return []
    limits = settings.limits
    service = Storage(
        blobs,
        upload_bytes_max=limits.upload_bytes_max,
        wait_seconds_max=limits.body_wait_seconds_max,
        bytes_per_second_min=limits.upload_bytes_per_second_min,
    )
    return [Route(PREFIX + "{key:path}", service.serve, methods=["GET", "HEAD", "PUT"])]


class _TooLarge(Exception):
    """The body is larger than the limit."""


class Storage:
    """Serves the requests to signed URLs.

    Args:
        blobs: The local store.
        upload_bytes_max: The limit for the body of one PUT.
        wait_seconds_max: The limit for the arrival of the next part of a body.
        bytes_per_second_min: The lowest average rate of a body, enforced wait_seconds_max after its start; 0 for none.
    """

    def __init__(
        self, blobs: Blobs, *, upload_bytes_max: int, wait_seconds_max: float, bytes_per_second_min: int
    ) -> None:
        self._blobs = blobs
        self._upload_bytes_max = upload_bytes_max
        self._wait_seconds_max = wait_seconds_max
        self._bytes_per_second_min = bytes_per_second_min

    async def serve(self, request: Request) -> Response:
        """Serve one request to /storage/<key>."""
        key = str(request.path_params["key"])
        try:
            md5 = self._blobs.check_signed_url(request.method, key, dict(request.query_params))
            if request.method == "PUT":
                return await self._put(request, key, md5)
            return self._get(key)
        except SignedUrlRefused as error:
            return _reply(403, error.message)
        except BlobError as error:
            failures.record(error, rpc=f"{request.method} /storage", request_id="")
            statuses = {BlobMissing: 404, BlobNameRefused: 400, BlobOutside: 403, StorageFull: 507}
            return _reply(statuses.get(type(error), 500), error.message)

    def _get(self, key: str) -> Response:
        """Return the file or the requested range of it; for HEAD only the headers."""
        folder, path = self._blobs.folder_path(key)
        # Opening the file applies the rules of the store about links and pipes.
        descriptor, status = folder.open(path, key)
        os.close(descriptor)
        return FileResponse(path, headers=_HEADERS, stat_result=status)

    async def _put(self, request: Request, key: str, md5: bytes) -> Response:
        """Store the body if it fits the limits and its MD5 matches the URL and the headers."""
        try:
            expected = base64.b64decode(request.headers.get("content-md5", ""), validate=True) or md5
            length = int(request.headers.get("content-length", "0"))
        except (binascii.Error, ValueError):
            return _reply(400, "the header Content-MD5 is no base64, or Content-Length no number")
        if md5 and expected != md5:
            return _reply(400, "the header Content-MD5 is not the MD5 that the URL was signed with")
        if length > self._upload_bytes_max:
            return self._too_large()
        folder, path = self._blobs.folder_path(key)
        with IncomingFile(folder, path, key) as incoming:
            try:
                await self._receive(request, incoming)
            except _TooLarge:
                return self._too_large()
            except TimeoutError:
                return _reply(408, self._too_slow())
            except ClientDisconnect:
                return _reply(400, "the body ended early")
            if expected and incoming.md5 != expected:
                return _reply(
                    400, f"the MD5 of the body is {_base64(incoming.md5)}, that of the request {_base64(expected)}"
                )
            await asyncio.to_thread(incoming.commit)
            # Parity: S3 replies with an empty body of this content type.
            return Response(media_type="text/html", headers={"etag": f'"{incoming.md5.hex()}"'})

    async def _receive(self, request: Request, incoming: IncomingFile) -> None:
        """Write the body to disk as it arrives.

        Raises:
            _TooLarge: The body is larger than the limit.
            TimeoutError: The body arrives too slowly.
            ClientDisconnect: The client disconnected.
            BlobError: The disk is full, for example.
        """
        stream = request.stream()
        pending = bytearray()
        following: Callable[[], Awaitable[bytes | None]] = functools.partial(anext, stream, None)
        began = time.monotonic()
        while (chunk := await asyncio.wait_for(following(), self._seconds_left(began, incoming, pending))) is not None:
            pending += chunk
            if incoming.size_bytes + len(pending) > self._upload_bytes_max:
                raise _TooLarge
            if len(pending) >= PIECE_BYTES:
                await asyncio.to_thread(incoming.write, bytes(pending))
                pending.clear()
        await asyncio.to_thread(incoming.write, pending)

    def _seconds_left(self, began: float, incoming: IncomingFile, pending: bytearray) -> float:
        """Return the time in which the next part must arrive."""
        if not self._bytes_per_second_min:
            return self._wait_seconds_max
        earned = (incoming.size_bytes + len(pending)) / self._bytes_per_second_min
        return min(self._wait_seconds_max, max(0.0, began + self._wait_seconds_max + earned - time.monotonic()))

    def _too_slow(self) -> str:
        return (
            f"no part of the body arrived for {self._wait_seconds_max:g} seconds (limits.bodyWaitSecondsMax), or less "
            f"than {self._bytes_per_second_min} bytes a second (limits.uploadBytesPerSecondMin)"
        )

    def _too_large(self) -> Response:
        return _reply(
            413, f"the body is larger than {self._upload_bytes_max} bytes, the limit of limits.uploadBytesMax"
        )


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _reply(status: int, message: str) -> Response:
    return PlainTextResponse(message + "\n", status)
