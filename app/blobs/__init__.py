"""Blob storage: what is too large for a row lies as an object in a local folder or in a bucket.

Local objects are plain files, read and written directly; buckets of S3, Google Cloud Storage and Azure are reached
through obstore. Clients get signed, expiring addresses: the bucket's own, or, for a local folder, addresses of this
server (app/api/pages/storage.py).
"""

from app.blobs.links import LinkRefused
from app.blobs.problems import (
    BlobError,
    BlobMissing,
    BlobNameRefused,
    BlobOutside,
    BlobTooLarge,
    BlobUnavailable,
    BlobUnreadable,
    BlobUnwritable,
    StorageFull,
    Unavailability,
    failed_call,
)
from app.blobs.store import Blobs

__all__ = [
    "BlobError",
    "BlobMissing",
    "BlobNameRefused",
    "BlobOutside",
    "BlobTooLarge",
    "BlobUnavailable",
    "BlobUnreadable",
    "BlobUnwritable",
    "Blobs",
    "LinkRefused",
    "StorageFull",
    "Unavailability",
    "failed_call",
]
