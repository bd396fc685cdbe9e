"""FLYTEADMIN_HOME: the one folder that a server keeps its things in, and the lock that makes it one server's.

config.yaml     for flytekit's and flytectl's clients, kept in step with the port
flyteadmin.db   the embedded database        storage/   the embedded store
envs/           environments of tasks        logs/      what tasks printed
server.lock     held, by flock, while a server runs; its text is that server's process id
"""

import errno
import fcntl
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from app.settings import BadSetting, Settings

# Earlier versions kept the key that signs storage addresses here; it lies in the database now (installation.py).
STORAGE_KEY_FILE = "storage.key"
FOLDERS = ("storage", "logs", "envs")

# Only a file that begins with this line is ours to rewrite.
CONFIG_HEADER = "# Written by `flyteadmin serve` at every start; delete this line to keep your own changes."


@dataclass(slots=True)
class Lock:
    """The held lock; it ends with the process, however that ends, so a stale lock cannot exist."""

    descriptor: int

    def release(self) -> None:
        """Give the folder free for another server."""
        os.close(self.descriptor)


def lock(path: Path) -> Lock:
    """Claim the folder for this process.

    errors: BadSetting naming the process that holds it, or why the lock file cannot be written
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
    """The process that serves from the folder; 0 where none does."""
    try:
        with (path / "server.lock").open("rb") as stream:
            written = stream.read(32).decode("ascii", "replace").strip()
            if not written.isdigit() or not _alive(int(written)):
                return 0
            # Its number may be another program's by now, so only the lock tells. It is let go at once.
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
    """Make the folder and those in it, for its owner only; nothing happens to what is there.

    errors: BadSetting where it cannot be made or written: no permission, a full disk, a file in its place
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in FOLDERS:
            (path / name).mkdir(mode=0o700, exist_ok=True)
        # A full disk lets folders be made and fails at the first byte, so one is written here.
        with tempfile.TemporaryFile(dir=path, buffering=0) as probe:
            probe.write(b"\0" * 4096)
            os.fsync(probe.fileno())
    except OSError as error:
        raise _unusable(path, error) from error


def write_client_config(settings: Settings) -> Path:
    """Write config.yaml for clients on this machine, unless its owner has made it theirs; where it is.

    source: flytekit.configuration.internal (Platform, AWS) and flytectl's admin section
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
    # The dns:/// form is the one that both flytekit and flytectl read.
    lines = [CONFIG_HEADER, "admin:", f"  endpoint: dns:///localhost:{settings.server.http_port}", "  insecure: true"]
    connection = settings.storage.connection
    if settings.storage_url.startswith("s3://") and connection.endpoint:
        # Keys stay out of this file; clients have their own, or use the signed addresses that the server hands out.
        lines += [
            "storage:",
            "  connection:",
            f"    endpoint: {connection.endpoint}",
            f"    region: {connection.region}",
        ]
    return "\n".join(lines) + "\n"


def _write_whole(file: Path, content: str) -> None:
    """Replace the file at once, so that no reader and no crash finds half of it."""
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
