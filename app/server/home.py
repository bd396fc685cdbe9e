"""FLYTEADMIN_HOME: the folder with all files of a server, and the lock that gives it to one server at a time.

config.yaml     configuration for flytekit and flytectl, written at each start
flyteadmin.db   the embedded database        storage/   the embedded store
envs/           environments of tasks        logs/      output of tasks
tls/            authority and certificate of `flyteadmin serve --tls`
server.lock     locked by flock while a server runs; contains the id of its process
"""

import errno
import fcntl
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from app.settings import BadSetting, Settings

# Earlier versions stored the key that signs storage addresses here. installation.py moves it into the database.
STORAGE_KEY_FILE = "storage.key"
FOLDERS = ("storage", "envs")

# The server overwrites only files that begin with this line.
CONFIG_HEADER = "# Written by `flyteadmin serve` at every start; delete this line to keep your own changes."


@dataclass(slots=True)
class Lock:
    """A lock of the home folder. The system releases it when the process ends, so a stale lock cannot exist."""

    descriptor: int

    def release(self) -> None:
        """Release the lock."""
        os.close(self.descriptor)


def lock(path: Path) -> Lock:
    """Lock the folder for this process.

    Raises:
        BadSetting: Another process has the lock, or the lock file cannot be written.
    """
    file = path / "server.lock"
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise BadSetting(
            f"another flyteadmin (process {holder}) serves from {path}; stop it with `kill {holder}`, "
            f"or give this one a folder of its own with FLYTEADMIN_HOME"
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return Lock(descriptor)


def holder(path: Path) -> int:
    """Return the id of the process that serves from the folder, or 0."""
    try:
        with (path / "server.lock").open("rb") as stream:
            written = stream.read(32).decode("ascii", "replace").strip()
            if not written.isdigit() or not _alive(int(written)):
                return 0
            # Another program may have that id by now, so the lock decides. Closing the file releases it.
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(written)
            return 0
    except FileNotFoundError:
        return 0


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def prepare(path: Path) -> None:
    """Create the folder and those in it, readable for its owner alone. Existing folders stay as they are.

    Raises:
        BadSetting: The folder cannot be created or written.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in FOLDERS:
            (path / name).mkdir(mode=0o700, exist_ok=True)
        # On a full disk folders can be created, and the first write fails.
        with tempfile.TemporaryFile(dir=path, buffering=0) as probe:
            probe.write(b"\0" * 4096)
            os.fsync(probe.fileno())
    except OSError as error:
        raise _unusable(path, error) from error


def write_client_config(settings: Settings) -> Path:
    """Write config.yaml for clients on this machine, unless its user has removed the first line. Return its path.

    Source: flytekit.configuration.internal (Platform, AWS) and flytectl's section `admin`.
    """
    file = settings.home_path / "config.yaml"
    content = _client_config(settings)
    try:
        if file.exists():
            present = file.read_text()
            if present == content or not present.startswith(CONFIG_HEADER):
                return file
        _write_whole(file, content)
    except OSError as error:
        raise _unusable(settings.home_path, error) from error
    return file


def _client_config(settings: Settings) -> str:
    # flytekit and flytectl both read the form dns:///.
    lines = [CONFIG_HEADER, "admin:", f"  endpoint: dns:///localhost:{settings.server.http_port}"]
    security = settings.server.security
    lines.append(f"  insecure: {'false' if security.secure else 'true'}")
    if security.secure and security.ssl.local_authority:
        from app.server import local_authority

        # flytekit reads the path for gRPC and HTTPS, flytectl for gRPC alone.
        lines.append(f"  caCertFilePath: {json.dumps(str(local_authority.files_of(settings).authority))}")
    connection = settings.storage.connection
    if settings.storage_url.startswith("s3://") and connection.endpoint:
        # The file has no keys: clients have their own, or use the addresses that the server signs.
        lines += [
            "storage:",
            "  connection:",
            f"    endpoint: {connection.endpoint}",
            f"    region: {connection.region}",
        ]
    return "\n".join(lines) + "\n"


def _write_whole(file: Path, content: str) -> None:
    """Replace the file atomically."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise


def _unusable(path: Path, error: OSError) -> BadSetting:
    advice = "choose another folder with FLYTEADMIN_HOME"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = f"make room, or {advice}"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = f"make it writable for this user, or {advice}"
    return BadSetting(f"the home folder {path} cannot be used ({error.strerror}); {advice}")
