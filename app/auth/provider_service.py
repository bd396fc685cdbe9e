"""The background service of identity providers: reads their documents early, and closes their connections."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from app import errors
from app.auth.provider import ExternalServer, OpenIdProvider


class ProviderService:
    """Fetches documents and keys when a process starts, so that no request waits for them.

    A failure is logged and ends nothing: a request that needs the document fetches it later.

    Args:
        providers: The servers to ask.
    """

    name = "identity_provider"

    def __init__(self, providers: Sequence[OpenIdProvider | ExternalServer]) -> None:
        self._providers = providers
        self._loading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to fetch."""
        self._loading = asyncio.create_task(self._load())

    async def stop(self) -> None:
        """End a fetch that still runs, and close all connections."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait([self._loading])
        for provider in self._providers:
            await provider.close()

    def health(self) -> str:
        """Return why a document could not be fetched, "" where each one was. Known tokens are served all the same."""
        return "; ".join(provider.problem for provider in self._providers if provider.problem)

    def metrics(self) -> Mapping[str, float]:
        """Return no gauges."""
        return {}

    async def _load(self) -> None:
        for provider in self._providers:
            try:
                await provider.keys.load()
            except errors.FlyteError:
                # app/auth/remote_value.py has logged it.
                continue
