"""Section `storage`: where objects lie, and the credentials of buckets.

Source: flytestdlib/storage at v1.16.8.
"""

import os
import re
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from pydantic import Field, SecretStr

from app.settings.secrets import redact
from app.settings.values import BadSetting, Seconds, Section

# S3 and stores with its protocol, Google Cloud Storage, Azure.
BUCKET_SCHEMES = ("s3", "gs", "az")
CLOSURE_BYTES_MAX = 64 * 1024 * 1024


class StorageConnection(Section):
    """The connection to an S3 store."""

    endpoint: str = ""
    """Address of the store; empty means that of AWS. Without a scheme, `disable-ssl` chooses it."""

    auth_type: str = "iam"
    """`iam` uses the identity of the machine or of the environment, `accesskey` the two keys below."""

    access_key: str = Field(default="", repr=False)
    """Access key id. Shown masked."""

    secret_key: SecretStr = SecretStr("")
    """Secret access key. Shown masked."""

    region: str = "us-east-1"
    """Region of the bucket. Where it is not given, `AWS_REGION` counts."""

    disable_ssl: bool = False
    """Use http for an endpoint without a scheme."""


class Stow(Section):
    """Stores by upstream's library stow."""

    kind: str = ""
    """Kind of the store: `s3`, `google`, `azure` or `local`."""

    config: dict[str, str] = Field(default={}, repr=False)
    """Options of the store: `region`, `endpoint`, `auth_type`, `access_key_id`, `secret_key`, `disable_ssl` (s3);
    `json` (google); `account`, `key` (azure); `path` (local). Secrets are shown masked."""


class StorageLimits(Section):
    """Limits of objects."""

    max_download_mbs: int = Field(default=10, ge=0)
    """Largest object of inputs or outputs that is read or written, in MiB; 0 means no limit. The default is that of
    upstream's charts; with a configuration file that has no such key it is 2, as upstream's own."""

    @property
    def max_download_bytes(self) -> int:
        """Return the limit of inputs and outputs in bytes; 0 is no limit."""
        return self.max_download_mbs * 1024 * 1024

    @property
    def closure_bytes_max(self) -> int:
        """Return the limit of a compiled workflow: 64 MiB where max_download_mbs is less; 0 is no limit.

        Deviates: upstream registers closures of any size and reads those up to storage.limits.maxDownloadMBs; here
        each closure that can be registered can be read. A request and the tasks that it names stay far below.
        """
        return max(self.max_download_bytes, CLOSURE_BYTES_MAX) if self.max_download_mbs else 0


class StorageCache(Section):
    """Upstream's cache of objects in memory."""

    max_size_mbs: int = Field(default=0, ge=0)
    """Size of the cache, in MiB; 0 switches it off."""

    target_gc_percent: int = 0
    """Percentage for Go's garbage collector."""


class HttpClient(Section):
    """The HTTP client for stores."""

    headers: dict[str, tuple[str, ...]] = Field(default={}, repr=False)
    """Headers of each request. Shown masked."""

    timeout_seconds: Seconds = 0.0
    """Timeout of a request, as a duration; 0 means none."""


class StorageSignedUrl(Section):
    """Signed addresses of a bucket."""

    stow_config_override: dict[str, str] = Field(default={}, repr=False)
    """Entries that replace those of `storage.stow.config` when addresses are signed, such as an `endpoint` that clients
    reach. Secrets are shown masked."""


class Storage(Section):
    """The store of objects."""

    url: str = ""
    """Where objects lie: an absolute path, `file:///path`, `s3://bucket[/prefix]`, `gs://…` or `az://…`. Wins over
    `type` and `container`. Empty, without these two: the folder `storage` in the home folder. Not upstream's."""

    aliases: dict[str, str] = {}
    """Locations that are read from a copy in a folder, as `{s3://bucket: /folder}`. Not upstream's."""

    type: Literal["", "s3", "minio", "local", "mem", "stow"] = ""
    """Kind of the store. `mem` is refused."""

    connection: StorageConnection = StorageConnection()
    stow: Stow = Stow()

    container: str = ""
    """Name of the bucket, or path of the folder."""

    enable_multicontainer: bool = False
    """Read and write objects in other buckets too, where a request names them."""

    cache: StorageCache = StorageCache()
    limits: StorageLimits = StorageLimits()
    default_http_client: HttpClient = HttpClient()
    signed_url: StorageSignedUrl = StorageSignedUrl()

    def location(self, home: Path) -> str:
        """Return where objects lie: an absolute path, or s3://bucket[/prefix], gs://…, az://….

        Args:
            home: The home folder, as an absolute path.

        Raises:
            BadSetting: The section contradicts itself, or the location is of no known form.
        """
        if self.url:
            return _location(self.url)
        if not self.type and not self.container and not self.stow.kind:
            return str(home / "storage")
        kind = self.stow.kind if self.type == "stow" or self.stow.kind else (self.type or "s3")
        if kind == "local":
            root = self.stow.config.get("path") or self.container
            return _location(os.path.join(root, self.container) if root != self.container else root)
        schemes = {"s3": "s3", "minio": "s3", "google": "gs", "azure": "az"}
        if kind not in schemes:
            raise BadSetting(f"storage.type={kind} is not served; allowed: {', '.join(schemes)}, local")
        if not self.container:
            raise BadSetting(f"storage.container is missing; with storage.type={kind} it names the bucket")
        return f"{schemes[kind]}://{self.container}"


def _location(url: str) -> str:
    """Return a storage location: local ones as plain absolute paths, others without a trailing slash."""
    scheme, marked, rest = url.partition("://")
    if marked and scheme in BUCKET_SCHEMES and re.fullmatch(r"[^/@:?#\s]+(/[^?#\s]*)?", rest):
        return url.rstrip("/")
    text = url
    if scheme == "file" and marked:
        host, slash, path = rest.partition("/")
        text = unquote(slash + path) if host in ("", "localhost") else ""
    local = Path(text).expanduser()
    if not local.is_absolute():
        buckets = ", ".join(f"{scheme}://bucket[/prefix]" for scheme in BUCKET_SCHEMES)
        raise BadSetting(
            f"storage.url={redact(url)} (FLYTEADMIN_STORAGE_URL) is not usable; allowed: an absolute path, "
            f"file:///path, {buckets}"
        )
    return os.path.abspath(local)
