"""Read and write the literals of an execution, within the size limits of the settings."""

from __future__ import annotations

from collections.abc import Iterable

from flyteidl.core import literals_pb2
from google.protobuf.message import DecodeError

from app.blobs import CLOSURE_LIMIT, DOWNLOAD_LIMIT, BlobMissing, BlobOutside, BlobTooLarge
from app.engine.local.graph import bindings
from app.engine.local.graph.failures import BindingFailed, TooLarge
from app.runtime.dispatch import Server
from app.services import literal_limits, offloading


class LiteralStore:
    """The object store as nodes use it. Every method that reads or writes raises BlobError when the store fails."""

    def __init__(self, server: Server) -> None:
        self._settings = server.settings
        self._blobs = server.blobs

    async def read_bytes(self, uri: str) -> bytes:
        """Read an object of at most storage.limits.maxDownloadMBs."""
        return await self._blobs.read(
            uri, bytes_max=self._settings.storage.limits.max_download_bytes, setting=DOWNLOAD_LIMIT
        )

    async def read_closure_bytes(self, uri: str) -> bytes:
        """Read the compiled workflow of a dynamic node, which may be larger than literals."""
        return await self._blobs.read(
            uri, bytes_max=self._settings.storage.limits.closure_bytes_max, setting=CLOSURE_LIMIT
        )

    async def read(self, uri: str) -> literals_pb2.LiteralMap:
        """Read a literal map."""
        return literals_pb2.LiteralMap.FromString(await self.read_bytes(uri))

    async def resolve(
        self, given: Iterable[literals_pb2.Binding], outputs_of: bindings.Outputs
    ) -> literals_pb2.LiteralMap:
        """Return the literals of bindings. Read an offloaded literal only where an attribute path leads into it.

        Raises:
            BindingFailed: A binding has no value; the message names the variable or the file.
        """
        contents: dict[str, literals_pb2.Literal] = {}
        while True:
            try:
                return bindings.resolve(given, outputs_of, contents)
            except bindings.Offloaded as offloaded:
                contents[offloaded.uri] = await self._read_offloaded(offloaded.uri)

    async def _read_offloaded(self, uri: str) -> literals_pb2.Literal:
        offloaded = literals_pb2.Literal(offloaded_metadata=literals_pb2.LiteralOffloadedMetadata(uri=uri))
        try:
            literal = await offloading.read_offloaded(self._settings, self._blobs, offloaded)
        except (BlobMissing, BlobOutside, BlobTooLarge, DecodeError) as error:
            raise BindingFailed(f"the offloaded literal at [{uri}] cannot be read: {error}") from error
        if literal.WhichOneof("value") == "offloaded_metadata":
            raise BindingFailed(f"the offloaded literal at [{uri}] is offloaded itself")
        return literal

    async def with_contents(self, values: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
        """Return a literal map with the contents of its offloaded literals, which the engine itself needs.

        Raises:
            BindingFailed: A file cannot be read.
        """

        async def read(reference: literals_pb2.Literal) -> literals_pb2.Literal:
            uri = reference.offloaded_metadata.uri
            return await self._read_offloaded(uri) if uri else reference

        return await offloading.map_references(values, read)

    async def write(self, uri: str, values: literals_pb2.LiteralMap, *, durable: bool = True) -> None:
        """Write a literal map.

        Args:
            uri: Its address.
            values: The map.
            durable: Whether the file outlives a power failure (`Blobs.write`).

        Raises:
            TooLarge: The map exceeds the size limit of literals.
        """
        kind = "inputs" if uri.endswith("/inputs.pb") else "outputs"
        reason = literal_limits.excess(self._settings, kind, values)
        if reason:
            raise TooLarge("InputSizeExceeded" if kind == "inputs" else "OutputSizeExceeded", reason)
        await self._blobs.write(uri, values.SerializeToString(deterministic=True), durable=durable)

    async def write_composed(
        self, uri: str, directory: str, values: literals_pb2.LiteralMap, *, durable: bool = True
    ) -> literals_pb2.LiteralMap:
        """Write a literal map that the engine itself has composed, and return it as it was written.

        The largest literals of a map that is too large are offloaded to files in the directory.

        Args:
            uri: Its address.
            directory: The folder for offloaded literals.
            values: The map.
            durable: Whether the file outlives a power failure (`Blobs.write`).

        Raises:
            TooLarge: The map exceeds the size limit of literals even then.
        """
        slim = await offloading.offload(self._settings, self._blobs, directory, values)
        await self.write(uri, slim, durable=durable)
        return slim
