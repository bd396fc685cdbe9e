"""The variables with which a task accesses the bucket of this server, with the server's own credentials.

flytekit's file systems s3fs, gcsfs and adlfs read them. There are none where the storage is a local folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from app.blobs.bucket import s3_options
from app.settings import Settings

GOOGLE_KEY_FILE = "google.json"

# Variables that the clients of a provider read. They match no other secret of the server.
_READ_BY_CLIENTS = {
    "s3": ("AWS_*", "FLYTE_AWS_*"),
    "gs": ("GOOGLE_*", "GCLOUD_*", "CLOUDSDK_*", "GCE_METADATA_*", "STORAGE_EMULATOR_HOST", "FLYTE_GCP_*"),
    "az": ("AZURE_*", "FLYTE_AZURE_*", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_*"),
}


@dataclass(frozen=True, slots=True)
class StorageAccess:
    """The variables and files with which a task reaches a bucket.

    `files` maps names to contents, for files in a private folder of the attempt. `paths` maps each name to the variable
    that receives the file's path.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)


def storage_access(settings: Settings, environ: Mapping[str, str]) -> StorageAccess:
    """Return the access to the storage that this server has.

    Args:
        settings: The settings; section `storage` overrides the environment, as it does for the server.
        environ: The server's environment.
    """
    scheme = settings.storage_url.partition("://")[0]
    patterns = _READ_BY_CLIENTS.get(scheme, ())
    given = {name: value for name, value in environ.items() if any(fnmatchcase(name, one) for one in patterns)}
    match scheme:
        case "s3":
            return StorageAccess({**given, **_s3(settings, given)})
        case "gs":
            return _google(settings, given)
        case "az":
            return StorageAccess({**given, **_azure(settings, given)})
    return StorageAccess()


def _s3(settings: Settings, given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of flytekit's section aws and of boto."""
    options = s3_options(settings)
    endpoint = options.get("endpoint") or given.get("AWS_ENDPOINT_URL_S3") or given.get("AWS_ENDPOINT_URL")
    variables = {
        "FLYTE_AWS_ENDPOINT": endpoint or given.get("AWS_ENDPOINT", ""),
        "FLYTE_AWS_ACCESS_KEY_ID": options.get("access_key_id", ""),
        "FLYTE_AWS_SECRET_ACCESS_KEY": options.get("secret_access_key", ""),
        "AWS_REGION": options.get("region", ""),
        "AWS_DEFAULT_REGION": options.get("region") or given.get("AWS_REGION", ""),
    }
    # Clients take an empty variable for a value. A FLYTE_AWS_ENDPOINT of the server overrides AWS_ENDPOINT_URL.
    own = {"FLYTE_AWS_ENDPOINT"} & given.keys() if not options.get("endpoint") else set()
    return {name: value for name, value in variables.items() if value and name not in own}


def _google(settings: Settings, given: Mapping[str, str]) -> StorageAccess:
    """Return the variables of Google's libraries, which take a key as a file only."""
    variables = dict(given)
    key = settings.storage.stow.config.get("json") or given.get("GOOGLE_SERVICE_ACCOUNT_KEY")
    if key:
        return StorageAccess(variables, {GOOGLE_KEY_FILE: key}, {GOOGLE_KEY_FILE: "GOOGLE_APPLICATION_CREDENTIALS"})
    path = given.get("GOOGLE_SERVICE_ACCOUNT_PATH") or given.get("GOOGLE_SERVICE_ACCOUNT")
    if path:
        variables.setdefault("GOOGLE_APPLICATION_CREDENTIALS", path)
    return StorageAccess(variables)


def _azure(settings: Settings, given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of adlfs, and of flytekit's section azure."""
    stow = settings.storage.stow.config
    account = stow.get("account") or given.get("AZURE_STORAGE_ACCOUNT_NAME") or given.get("AZURE_STORAGE_ACCOUNT", "")
    key = stow.get("key") or given.get("AZURE_STORAGE_ACCOUNT_KEY") or given.get("AZURE_STORAGE_KEY", "")
    variables = {
        "AZURE_STORAGE_ACCOUNT_NAME": account,
        "AZURE_STORAGE_ACCOUNT_KEY": key,
        "FLYTE_AZURE_STORAGE_ACCOUNT_NAME": account,
        "FLYTE_AZURE_STORAGE_ACCOUNT_KEY": key,
        # Unless this is false, adlfs does not try the machine's identity.
        "AZURE_STORAGE_ANON": "" if key else given.get("AZURE_STORAGE_ANON", "false"),
    }
    endpoint = stow.get("base_url", "")
    if endpoint and key:
        protocol = endpoint.partition("://")[0]
        variables["AZURE_STORAGE_CONNECTION_STRING"] = (
            f"DefaultEndpointsProtocol={protocol};AccountName={account};AccountKey={key};BlobEndpoint={endpoint}"
        )
    return {name: value for name, value in variables.items() if value}
