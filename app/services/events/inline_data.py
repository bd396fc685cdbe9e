"""Write the inputs and outputs that an event carries inline as objects."""

from __future__ import annotations

import secrets
from typing import Any

from flyteidl.core import literals_pb2
from google.protobuf.message import Message

from app.blobs import BlobMissing, BlobTooLarge
from app.runtime.context import Context
from app.services import literal_limits


class InlineData:
    """Messages that an event carries inline, to be written as objects before the event's row is locked.

    Objects are written without the lock for two reasons. Other writers do not wait for the object store. And an older
    update of upstream's server, which waits for the same lock, cannot overwrite this event.

    An object is written once and never replaced, so that two events that race for a row cannot change each other's
    data. The object of the event that loses remains, unreferenced.
    """

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._data: dict[str, Message] = {}

    def add(self, uri: str, data: Message) -> str:
        """Keep data for `write`, which stores it at this URI or beside it; return the URI."""
        self._data[uri] = data
        return uri

    def uris(self, event: Any, *parts: str, has_inputs: bool, ends: bool) -> dict[str, str]:
        """Return the URIs of the inputs and outputs of a node or task event; keep inline data for `write`.

        Args:
            event: A NodeExecutionEvent or TaskExecutionEvent.
            parts: The folders of the node or attempt below metadata/.
            has_inputs: Whether the row has inputs already; those of the event are then ignored.
            ends: Whether the event ends the node or attempt. Only then outputs are recorded.

        Returns:
            The keys "input" and "output"; "" where there is no URI.
        """
        uris = {"input": event.input_uri, "output": ""}
        if event.WhichOneof("input_value") == "input_data" and not has_inputs:
            uris["input"] = self.inputs_uri(event.input_data, *parts)
        if ends:
            uris["output"] = self.outputs_uri(event, *parts)
        return uris

    def inputs_uri(self, data: literals_pb2.LiteralMap, *parts: str) -> str:
        """Keep inline inputs for `write`; return their URI (upstream common.OffloadLiteralMap)."""
        literal_limits.check(self._ctx.settings, "inputs", data)
        return self.add(self._ctx.blobs.uri("metadata", *parts, "offloaded_inputs"), data)

    def outputs_uri(self, event: Any, *parts: str) -> str:
        """Return the URI of an event's outputs; keep inline outputs for `write`.

        Returns:
            "" where outputs stay inline (remoteData.inlineEventDataPolicy) or the event has none.
        """
        if (
            event.WhichOneof("output_result") != "output_data"
            or self._ctx.settings.remote_data.inline_event_data_policy != "Offload"
        ):
            return str(event.output_uri)
        return self.add(self._ctx.blobs.uri("metadata", *parts, "offloaded_outputs"), event.output_data)

    async def write(self, uris: dict[str, str]) -> dict[str, str]:
        """Write the kept data.

        Args:
            uris: URIs by their use. Data is written for each URI that `add` has returned.

        Returns:
            The same URIs. A URI that holds other data of another event is replaced by a new one.

        Raises:
            BlobError: An object cannot be stored.
        """
        return {use: await self._write_object(uri) if uri in self._data else uri for use, uri in uris.items()}

    async def _write_object(self, uri: str) -> str:
        blobs, data = self._ctx.blobs, self._data[uri].SerializeToString(deterministic=True)
        if await blobs.create(uri, data) or await self._has_content(uri, data):
            return uri
        # Parity: the name is upstream's, unless an event that lost its race has left other data under that name.
        unused = f"{uri}-{secrets.token_hex(8)}"
        await blobs.write(unused, data)
        return unused

    async def _has_content(self, uri: str, data: bytes) -> bool:
        """Return whether an object has this content, as it does when an event is sent twice."""
        try:
            return await self._ctx.blobs.read(uri, bytes_max=len(data)) == data
        except (BlobMissing, BlobTooLarge):
            return False
