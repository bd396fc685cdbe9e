"""Blob storage: data that is too large for a database row, as objects in a local folder or in a bucket.

Local objects are plain files (folder.py). Buckets of S3, Google Cloud Storage and Azure are accessed through obstore
(bucket.py). Clients get signed, expiring URLs: those of the bucket or, for a local folder, those of this server
(app/api/pages/storage.py).
"""

from app.blobs.blob_errors import (
    CLOSURE_LIMIT,
    DOWNLOAD_LIMIT,
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
from app.blobs.signed_urls import SignedUrlRefused
from app.blobs.store import Blobs

__all__ = [
    "CLOSURE_LIMIT",
    "DOWNLOAD_LIMIT",
    "BlobError",
    "BlobMissing",
    "BlobNameRefused",
    "BlobOutside",
    "BlobTooLarge",
    "BlobUnavailable",
    "BlobUnreadable",
    "BlobUnwritable",
    "Blobs",
    "SignedUrlRefused",
    "StorageFull",
    "Unavailability",
    "failed_call",
]
