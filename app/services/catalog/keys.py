"""Keys of datasets and cached outputs, and the checks of identifiers in requests.

Source: datacatalog/pkg/manager/impl/validators.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import orjson
from flyteidl.datacatalog import datacatalog_pb2

from app import errors
from app.runtime.context import Context

DATASET_PREFIX = "flyte_task-"
# The end of dataset_version, after the cache version: two hashes of eight characters, each after a hyphen.
SIGNATURE_CHARACTERS = 18
_NAMESPACE = UUID("6f5bb6f4-7d0e-4c0b-9d6c-5a2f0a1c9e57")


class DatasetKey(NamedTuple):
    """The key of a dataset. Its fields are columns of all tables of the catalog."""

    dataset_project: str
    dataset_domain: str
    dataset_name: str
    dataset_version: str

    @property
    def uuid(self) -> str:
        """Return the UUID of a dataset to which no client gave one."""
        return str(uuid5(_NAMESPACE, "\0".join(self)))


class CacheKey(NamedTuple):
    """The key of cached outputs: a dataset and a tag."""

    dataset_project: str
    dataset_domain: str
    dataset_name: str
    dataset_version: str
    tag: str

    @property
    def dataset(self) -> DatasetKey:
        """Return the key of the dataset."""
        return DatasetKey(*self[:-1])

    @property
    def task(self) -> str:
        """Return the name of the task."""
        return self.dataset_name.removeprefix(DATASET_PREFIX)

    @property
    def version(self) -> str:
        """Return the cache version that the task declares."""
        return self.dataset_version[:-SIGNATURE_CHARACTERS]

    @classmethod
    def of_row(cls, row: Any) -> CacheKey:
        """Return the key of a row of `list_cached`."""
        return cls(*(getattr(row, name) for name in cls._fields))

    @property
    def token(self) -> str:
        """Return the key as text, after which a list continues."""
        return urlsafe_b64encode(orjson.dumps(list(self))).decode().rstrip("=")

    @classmethod
    def of_token(cls, token: str) -> CacheKey:
        """Return the key in a token. Raises ValueError for another text."""
        parts = orjson.loads(urlsafe_b64decode(token + "=="))
        if not isinstance(parts, list) or len(parts) != len(cls._fields) or not all(isinstance(p, str) for p in parts):
            raise ValueError("not a key")
        return cls(*parts)


def dataset_key(ctx: Context, message: Any, field: str = "dataset") -> DatasetKey:
    """Return the key of the dataset that a field of a request names.

    Raises:
        InvalidArgument: A part is missing, or all together are too long for the database's index.
    """
    if not message.HasField(field):
        raise errors.InvalidArgument("missing dataset")
    id = getattr(message, field)
    for part in ("project", "domain", "name", "version"):
        checked(part, getattr(id, part))
    key = DatasetKey(id.project, id.domain, id.name, id.version)
    check_length(ctx, key)
    return key


def checked(field: str, value: str) -> str:
    """Return a text. Raises InvalidArgument for an empty one and for one with a NUL, which PostgreSQL refuses."""
    if not value:
        raise errors.InvalidArgument(f"missing {field}")
    if "\0" in value:
        raise errors.InvalidArgument(f"invalid value for {field}, value:[{value!r}]")
    return value


def check_length(ctx: Context, parts: tuple[str, ...]) -> None:
    """Raise InvalidArgument for the parts of a key that are together longer than `datacatalog.keyBytesMax`."""
    size, most = sum(len(part.encode()) for part in parts), ctx.settings.datacatalog.key_bytes_max
    if size > most:
        raise errors.InvalidArgument(
            f"the identifier has {size} bytes, and at most {most} are allowed (datacatalog.keyBytesMax)"
        )


def dataset_id(key: DatasetKey, uuid: str = "") -> datacatalog_pb2.DatasetID:
    """Return the message of a key."""
    return datacatalog_pb2.DatasetID(
        project=key.dataset_project,
        domain=key.dataset_domain,
        name=key.dataset_name,
        version=key.dataset_version,
        UUID=uuid,
    )
