"""Decks: HTML pages that a task writes beside its outputs, at its end or, with `Deck.publish()`, while it runs."""

from __future__ import annotations

from app.blobs import BlobOutside, Blobs, BlobUnreadable


def uri_of(output_dir: str) -> str:
    """Return the address at which an attempt with this output folder writes its deck."""
    return f"{output_dir}/deck.html"


async def first_of(blobs: Blobs, *uris: str) -> str:
    """Return the first of the decks that is in the store; "" when none is.

    Raises:
        BlobError: The store does not answer, or refuses access.
    """
    for uri in dict.fromkeys(uris):
        try:
            if uri and await blobs.exists(uri):
                return uri
        except (BlobUnreadable, BlobOutside):
            # A task may have left a pipe, a device or a link there, which cannot be shown.
            if not blobs.in_own_folder(uri):
                raise
    return ""
