"""Decks: pages of HTML that a task leaves beside its outputs, at its end or, with `Deck.publish()`, while it runs."""

from __future__ import annotations

from app.blobs import BlobOutside, Blobs, BlobUnreadable


def uri_of(output_dir: str) -> str:
    """Return where an attempt with this output folder leaves its deck."""
    return f"{output_dir}/deck.html"


async def first_of(blobs: Blobs, *uris: str) -> str:
    """Return the first of the decks that is in the store; "" when none is.

    Raises:
        BlobError: When the store does not answer.
    """
    for uri in dict.fromkeys(uris):
        try:
            if uri and await blobs.exists(uri):
                return uri
        except (BlobUnreadable, BlobOutside):
            if not blobs.contains(uri):
                raise
            # The task left a pipe, a device or a link there, which cannot be shown.
            continue
    return ""
