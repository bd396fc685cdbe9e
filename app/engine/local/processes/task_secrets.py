"""The secrets that a task requests, from the server's environment or from files on its machine.

Source: flytekit.core.context_manager.SecretsManager. Its names of variables and files are used here too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flyteidl.core import security_pb2, tasks_pb2

from app.engine.local.processes.secret_store import SecretName
from app.engine.local.processes.task_attempt import CannotBuild, bad_task
from app.settings import BadSetting

# Returns a secret, None for one that is not there. Raises BadSetting where it cannot be read.
Lookup = Callable[[SecretName], bytes | None]

_ENV_PREFIX = "FLYTE_SECRETS_ENV_PREFIX"
_DEFAULT_DIR = "FLYTE_SECRETS_DEFAULT_DIR"
_FILE_PREFIX = "FLYTE_SECRETS_FILE_PREFIX"
_SECRET_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class VariablesAndFiles:
    """Variables of an attempt, and contents of files in its private folder by their absolute paths."""

    variables: Mapping[str, str]
    files: Mapping[Path, bytes]


@dataclass(frozen=True, slots=True)
class _SecretSource:
    """Names under which secrets are looked up.

    Attributes:
        prefix: Beginning of the names of environment variables.
        folder: Folder of files.
        file_prefix: Beginning of the names of files.
    """

    prefix: str
    folder: Path
    file_prefix: str

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> _SecretSource:
        """Return the names that flytekit's SecretsManager uses in a process with these variables."""
        return cls(
            variables.get(_ENV_PREFIX, "_FSEC_"),
            Path(variables.get(_DEFAULT_DIR, "/etc/secrets")),
            variables.get(_FILE_PREFIX, ""),
        )

    def variable(self, secret: security_pb2.Secret) -> str:
        return self.prefix + "_".join(part.upper() for part in _parts(secret))

    def file(self, secret: security_pb2.Secret) -> Path:
        *parents, name = (part.lower() for part in _parts(secret))
        return self.folder.joinpath(*parents, self.file_prefix + name)


def secrets_of(
    task: tasks_pb2.TaskTemplate,
    variables: Mapping[str, str],
    environ: Mapping[str, str],
    folder: Path,
    stores: Sequence[Lookup] = (),
) -> VariablesAndFiles:
    """Return the secrets that a task requests, each as a variable or as a file, as its request asks for.

    flytekit looks for files in one folder only. So if one secret is requested as a file, all secrets get files in the
    attempt's folder.

    Args:
        task: The task; its `security_context.secrets` are the requests.
        variables: The variables of the attempt, without secrets.
        environ: The server's environment.
        folder: The private folder for the attempt's secrets.
        stores: Further places, which are asked in this order.

    Raises:
        CannotBuild: A secret is missing, or cannot have the requested form.
    """
    requests = task.security_context.secrets
    # The task's variables set the names that flytekit uses inside the task, not the secrets that the task gets.
    on_server, in_task = _SecretSource.of(environ), replace(_SecretSource.of(variables), folder=folder)
    given: dict[str, str] = {}
    files: dict[Path, bytes] = {}
    as_files = any(request.mount_requirement == security_pb2.Secret.FILE for request in requests)
    for request in requests:
        _check(task, request)
        already_set = variables.get(in_task.variable(request))
        value = _value(task, request, on_server, environ, stores) if already_set is None else already_set.encode()
        is_file = request.mount_requirement == security_pb2.Secret.FILE
        path = in_task.file(request)
        if as_files:
            files[path] = value
            given[_DEFAULT_DIR] = str(folder)
        if not is_file:
            given[in_task.variable(request)] = _text(task, request, value)
        if request.env_var:
            given[request.env_var] = str(path) if is_file else _text(task, request, value)
    return VariablesAndFiles(given, files)


def _parts(secret: security_pb2.Secret) -> list[str]:
    return [part for part in (secret.group, secret.group_version, secret.key) if part]


def _shown(secret: security_pb2.Secret) -> str:
    version = f", group version [{secret.group_version}]" if secret.group_version else ""
    return f"secret with group [{secret.group}]{version} and key [{secret.key}]"


def _check(task: tasks_pb2.TaskTemplate, secret: security_pb2.Secret) -> None:
    parts = _parts(secret)
    if not parts or any("/" in part or "\0" in part or part in (".", "..") for part in parts):
        raise bad_task(f"task [{task.id.name}] requests a {_shown(secret)}, which cannot be the name of a file")


def _stored(task: tasks_pb2.TaskTemplate, secret: security_pb2.Secret, stores: Sequence[Lookup]) -> bytes | None:
    name = SecretName.of(secret.group, secret.group_version, secret.key)
    for find in stores:
        try:
            value = find(name)
        except BadSetting as error:
            raise CannotBuild(f"the {_shown(secret)} of task [{task.id.name}] cannot be read: {error}") from error
        if value is not None:
            return value
    return None


def _value(
    task: tasks_pb2.TaskTemplate,
    secret: security_pb2.Secret,
    source: _SecretSource,
    environ: Mapping[str, str],
    stores: Sequence[Lookup],
) -> bytes:
    name, path = source.variable(secret), source.file(secret)
    # With an empty prefix a task could request every variable of the server.
    if source.prefix and name in environ:
        return environ[name].encode("utf-8", "surrogateescape")
    try:
        with path.open("rb") as file:
            value = file.read(_SECRET_BYTES_MAX + 1)
    except OSError as error:
        stored = _stored(task, secret, stores)
        if stored is not None:
            return stored
        version = f" --group-version {secret.group_version}" if secret.group_version else ""
        full_name = "/".join(part for part in (secret.group, secret.key) if part)
        raise CannotBuild(
            f"[SecretNotFound] the {_shown(secret)} of task [{task.id.name}] is missing: the environment of the server "
            f"has no variable [{name}], file [{path}] cannot be read: {error.strerror}, and it is in no store of "
            f"secrets. Set it on the machine of the server: flyteadmin secret set {full_name}{version}"
        ) from error
    if len(value) > _SECRET_BYTES_MAX:
        raise bad_task(f"the {_shown(secret)} in file [{path}] is larger than {_SECRET_BYTES_MAX} bytes")
    return value


def _text(task: tasks_pb2.TaskTemplate, secret: security_pb2.Secret, value: bytes) -> str:
    """Return a secret as the value of a variable, without surrounding blanks, as flytekit reads it."""
    try:
        text = value.decode().strip()
    except UnicodeDecodeError as error:
        raise bad_task(
            f"the {_shown(secret)} of task [{task.id.name}] is not text; allowed is mount_requirement FILE"
        ) from error
    if "\0" in text:
        raise bad_task(f"the {_shown(secret)} of task [{task.id.name}] holds a zero byte; allowed is FILE")
    return text
