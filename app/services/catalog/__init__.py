"""The catalog of cached task outputs, shared by the local engine and by clients of DataCatalog such as FlytePropeller.

    dataset      the outputs of one task with one cache version and one interface
    artifact     outputs in a dataset, stored as an object
    tag          a name of an artifact; the tag of cached outputs is a hash of the task's inputs
    reservation  an owner that computes the outputs of a tag while others wait

entries.py reads and writes cached outputs for the local engine and for commands; datasets.py, artifacts.py, tags.py and
reservations.py have the RPCs.
Proto: flyteidl/datacatalog/datacatalog.proto. Source: datacatalog/pkg, upstream's service for this.
"""

from app.services.catalog.artifacts import create_artifact, get_artifact, update_artifact
from app.services.catalog.datasets import create_dataset, get_dataset
from app.services.catalog.entries import (
    ArtifactFilter,
    count_artifacts,
    delete_artifact,
    delete_artifacts,
    find_artifact,
    list_cached,
    store_artifact,
)
from app.services.catalog.keys import DATASET_PREFIX, SIGNATURE_CHARACTERS, CacheKey, DatasetKey
from app.services.catalog.lists import list_artifacts, list_datasets
from app.services.catalog.reservations import (
    ReservationOwner,
    get_or_extend_reservation,
    is_reserved,
    release,
    release_reservation,
    reserve,
)
from app.services.catalog.tags import add_tag

__all__ = [
    "DATASET_PREFIX",
    "SIGNATURE_CHARACTERS",
    "ArtifactFilter",
    "CacheKey",
    "DatasetKey",
    "ReservationOwner",
    "add_tag",
    "count_artifacts",
    "create_artifact",
    "create_dataset",
    "delete_artifact",
    "delete_artifacts",
    "find_artifact",
    "get_artifact",
    "get_dataset",
    "get_or_extend_reservation",
    "is_reserved",
    "list_artifacts",
    "list_cached",
    "list_datasets",
    "release",
    "release_reservation",
    "reserve",
    "store_artifact",
    "update_artifact",
]
