"""The secrets that a task requests: found in the server's environment or in files, handed to that task alone.

Source: flytekit.core.context_manager.SecretsManager, whose names count here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from flyteidl.core import security_pb2, tasks_pb2

from app.engine.local.processes.task_attempt import CannotBuild, bad_task

_ENV_PREFIX = "FLYTE_SECRETS_ENV_PREFIX"
_DEFAULT_DIR = "FLYTE_SECRETS_DEFAULT_DIR"
_FILE_PREFIX = "FLYTE_SECRETS_FILE_PREFIX"
_SECRET_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Handed:
    """What an attempt gets: variables, and files by their absolute paths in its private folder."""

    variables: Mapping[str, str]
    files: Mapping[Path, bytes]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where secrets are looked for: names of variables begin with `prefix`, files lie below `folder`."""

    prefix: str
    folder: Path
    file_prefix: str

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> _Place:
        """Return the place that a process with these variables looks at."""
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
    task: tasks_pb2.TaskTemplate, variables: Mapping[str, str], environ: Mapping[str, str], folder: Path
) -> Handed:
    """Return the secrets that a task requests, in the form that each request asks for.

    A secret that is requested as a file gets one in the attempt's folder; then the others get one too, because flytekit
    looks in one folder only.

    Args:
        task: Its `security_context.secrets` are the requests.
        variables: The task's variables, without secrets.
        environ: The server's environment.
        folder: The private folder for the attempt's secrets.

    Raises:
        CannotBuild: A secret is missing, or cannot be handed over in the form that is asked for.
    """
    requests = task.security_context.secrets
    # The task's own variables decide under which names flytekit looks there, not what of this server it may see.
    ours, theirs = _Place.of(environ), replace(_Place.of(variables), folder=folder)
    handed: dict[str, str] = {}
    files: dict[Path, bytes] = {}
    as_files = any(request.mount_requirement == security_pb2.Secret.FILE for request in requests)
    for request in requests:
        _check(task, request)
        given = variables.get(theirs.variable(request))
        value = _value(task, request, ours, environ) if given is None else given.encode()
        is_file = request.mount_requirement == security_pb2.Secret.FILE
        path = theirs.file(request)
        if as_files:
            files[path] = value
            handed[_DEFAULT_DIR] = str(folder)
        if not is_file:
            handed[theirs.variable(request)] = _text(task, request, value)
        if request.env_var:
            handed[request.env_var] = str(path) if is_file else _text(task, request, value)
    return Handed(handed, files)


def _parts(secret: security_pb2.Secret) -> list[str]:
    return [part for part in (secret.group, secret.group_version, secret.key) if part]


def _shown(secret: security_pb2.Secret) -> str:
    version = f", group version [{secret.group_version}]" if secret.group_version else ""
    return f"secret with group [{secret.group}]{version} and key [{secret.key}]"


def _check(task: tasks_pb2.TaskTemplate, secret: security_pb2.Secret) -> None:
    parts = _parts(secret)
    if not parts or any("/" in part or "\0" in part or part in (".", "..") for part in parts):
        raise bad_task(f"task [{task.id.name}] requests a {_shown(secret)}, which cannot be the name of a file")


def _value(
    task: tasks_pb2.TaskTemplate, secret: security_pb2.Secret, place: _Place, environ: Mapping[str, str]
) -> bytes:
    name, path = place.variable(secret), place.file(secret)
    # Without a prefix every variable of the server would be a secret that tasks may request.
    if place.prefix and name in environ:
        return environ[name].encode("utf-8", "surrogateescape")
    try:
        with path.open("rb") as file:
            value = file.read(_SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise CannotBuild(
            f"[SecretNotFound] the {_shown(secret)} of task [{task.id.name}] is missing: the environment of the server "
            f"has no variable [{name}], and file [{path}] cannot be read: {error.strerror}"
        ) from error
    if len(value) > _SECRET_BYTES_MAX:
        raise bad_task(f"the {_shown(secret)} in file [{path}] is larger than {_SECRET_BYTES_MAX} bytes")
    return value


def _text(task: tasks_pb2.TaskTemplate, secret: security_pb2.Secret, value: bytes) -> str:
    """Return a secret as the value of a variable: as flytekit reads it, without blanks around it."""
    try:
        text = value.decode().strip()
    except UnicodeDecodeError as error:
        raise bad_task(
            f"the {_shown(secret)} of task [{task.id.name}] is not text; allowed is mount_requirement FILE"
        ) from error
    if "\0" in text:
        raise bad_task(f"the {_shown(secret)} of task [{task.id.name}] holds a zero byte; allowed is FILE")
    return text
