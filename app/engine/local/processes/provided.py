"""Variables and files that tasks receive from this server: storage access, default variables, requested secrets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from app.engine.local.processes.storage_variables import Access, storage_access
from app.engine.local.processes.task_attempt import TaskAttempt
from app.engine.local.processes.task_secrets import Handed, secrets_of
from app.services import offloading
from app.settings import Settings

FOLDER = "secrets"


class Provided:
    """Provides tasks with storage access, default variables and secrets; one instance serves all tasks of a server.

    Attributes:
        defaults: Variables of every task, which a task or a launch may set otherwise.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._access: Access = storage_access(settings, environ)
        plugin = settings.plugins.k8s
        copied = {name: source for table in plugin.default_env_vars_from_env for name, source in table.items()}
        self.defaults: dict[str, str] = {
            **offloading.environment_variables(settings),
            **self._access.variables,
            **{name: environ[source] for name, source in copied.items() if source in environ},
            **{name: value for table in plugin.default_env_vars for name, value in table.items()},
        }

    async def private(self, run: TaskAttempt, variables: Mapping[str, str]) -> Handed:
        """Return the variables and files for a single attempt: requested secrets, and storage keys kept in files.

        Args:
            run: The attempt; its files lie in its folder.
            variables: All other variables of the attempt.

        Raises:
            CannotBuild: A requested secret is missing.
        """
        folder = run.directory / FOLDER
        # In a thread: a secret's file may lie on a network file system.
        handed = await asyncio.to_thread(secrets_of, run.task, variables, self._environ, folder)
        paths = {name: folder / ".storage" / name for name in self._access.files}
        named = {self._access.paths[name]: str(path) for name, path in paths.items()}
        files = {paths[name]: text.encode() for name, text in self._access.files.items()}
        missing = {name: path for name, path in named.items() if name not in variables}
        return Handed({**missing, **handed.variables}, {**files, **handed.files})


def write(files: Mapping[Path, bytes]) -> None:
    """Write an attempt's private files, readable for their owner alone. errors: OSError"""
    for path, data in files.items():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
