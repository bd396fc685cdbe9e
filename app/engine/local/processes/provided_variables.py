"""Variables and files that a task receives from this server: storage access, defaults, secrets, its own token."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from flyteidl.core import tasks_pb2

from app.engine.local.processes.forkserver.layout import SECRETS
from app.engine.local.processes.platform_access import PlatformAccess
from app.engine.local.processes.secret_store import Keyring, SecretStore
from app.engine.local.processes.storage_variables import StorageAccess, storage_access
from app.engine.local.processes.task_attempt import TaskAttempt
from app.engine.local.processes.task_secrets import VariablesAndFiles, secrets_of
from app.services import offloading
from app.settings import Settings


class ProvidedVariables:
    """Storage access, default variables, secrets and tokens for the tasks of a server.

    Args:
        settings: The settings.
        platform: Gives tokens to tasks.
        environ: The server's environment.

    Attributes:
        defaults: Variables of every task. A task or a launch may set them to other values.
    """

    def __init__(self, settings: Settings, platform: PlatformAccess, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._platform = platform
        self._access: StorageAccess = storage_access(settings, environ)
        self._secret_stores = (SecretStore(settings).get, Keyring(settings.engine.local.keyring_service).get)
        plugin = settings.plugins.k8s
        copied = {name: source for table in plugin.default_env_vars_from_env for name, source in table.items()}
        self.defaults: dict[str, str] = {
            **offloading.environment_variables(settings),
            **self._access.variables,
            **{name: environ[source] for name, source in copied.items() if source in environ},
            **{name: value for table in plugin.default_env_vars for name, value in table.items()},
        }

    async def private(self, attempt: TaskAttempt, variables: Mapping[str, str]) -> VariablesAndFiles:
        """Return the variables and files of one attempt only: requested secrets, storage keys that are files, a token.

        Args:
            attempt: The attempt; its files lie in its directory.
            variables: All other variables of the attempt.

        Raises:
            CannotBuild: A requested secret is missing.
        """
        folder = attempt.directory / SECRETS
        secrets = await self.secrets(attempt.task, variables, folder)
        paths = {name: folder / ".storage" / name for name in self._access.files}
        named = {self._access.paths[name]: str(path) for name, path in paths.items()}
        files = {paths[name]: text.encode() for name, text in self._access.files.items()}
        missing = {name: path for name, path in named.items() if name not in variables}
        return VariablesAndFiles(
            {**missing, **secrets.variables, **self._platform.variables(attempt, {**variables, **secrets.variables})},
            {**files, **secrets.files, **self._platform.files(attempt)},
        )

    async def secrets(
        self, task: tasks_pb2.TaskTemplate, variables: Mapping[str, str], folder: Path
    ) -> VariablesAndFiles:
        """Return the secrets that a task requests.

        Args:
            task: The task.
            variables: Its variables, without secrets.
            folder: Its private folder for secrets.

        Raises:
            CannotBuild: A requested secret is missing.
        """
        if not task.security_context.secrets:
            return VariablesAndFiles({}, {})
        # In a thread: a secret's file may lie on a network file system.
        return await asyncio.to_thread(secrets_of, task, variables, self._environ, folder, self._secret_stores)
