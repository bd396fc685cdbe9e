"""The access of a task to this server: the variables that flytekit reads, and a file with the task's token.

flytekit runs a command and sends its output as bearer token (authentication mode `external_process`); it runs the
command again when a call is refused. So the token is never in a variable, and replacing the file renews it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog

from app.auth.identity import TaskGrant
from app.auth.task_tokens import TaskTokens
from app.engine.local.processes.forkserver import layout
from app.engine.local.processes.task_attempt import TaskAttempt

log = structlog.get_logger(__name__)

FILE_VARIABLE = "FLYTEADMIN_TASK_TOKEN_FILE"
# flytekit splits the command at commas, which a path may contain.
_COMMAND = f'sh,-c,cat "${FILE_VARIABLE}"'
_MODE = "FLYTE_CREDENTIALS_AUTH_MODE"
# A token is replaced when this part of its validity has passed.
_RENEWED_AFTER = 1 / 3


class PlatformAccess:
    """Gives tokens to the attempts of tasks.

    Args:
        tokens: Issues the tokens; None where authentication is off.
    """

    def __init__(self, tokens: TaskTokens | None) -> None:
        self._tokens = tokens

    def variables(self, attempt: TaskAttempt, given: Mapping[str, str]) -> dict[str, str]:
        """Return the variables by which flytekit finds the token.

        A task that brings credentials of its own keeps them; the path of the file is set all the same.

        Args:
            attempt: The attempt.
            given: All other variables of the attempt.
        """
        if self._tokens is None:
            return {}
        credentials = {_MODE: "external_process", "FLYTE_CREDENTIALS_COMMAND": _COMMAND} if _MODE not in given else {}
        return {FILE_VARIABLE: str(_path(attempt)), **credentials}

    def files(self, attempt: TaskAttempt) -> dict[Path, bytes]:
        """Return the file with a new token, by its path."""
        return {} if self._tokens is None else {_path(attempt): self._token(self._tokens, attempt)}

    @asynccontextmanager
    async def renewing(self, attempt: TaskAttempt) -> AsyncIterator[None]:
        """Replace the token of an attempt again and again while the block runs."""
        if self._tokens is None:
            yield
            return
        ended = asyncio.Event()
        renewal = asyncio.create_task(self._renew(self._tokens, attempt, ended))
        try:
            yield
        finally:
            # Not cancelled: a thread that still writes would make the folder undeletable.
            ended.set()
            await renewal

    async def _renew(self, tokens: TaskTokens, attempt: TaskAttempt, ended: asyncio.Event) -> None:
        path, seconds = _path(attempt), tokens.lifespan_seconds * _RENEWED_AFTER
        # At once, because the attempt may have waited for a permit, or for a server after the end of an earlier one.
        while not ended.is_set():
            try:
                await asyncio.to_thread(_replace, path, self._token(tokens, attempt))
            except FileNotFoundError:
                # Started by a server without authentication.
                return
            except OSError as error:
                log.warning("task_token_not_renewed", attempt=attempt.generated_name, reason=error.strerror)
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), seconds)

    @staticmethod
    def _token(tokens: TaskTokens, attempt: TaskAttempt) -> bytes:
        id = attempt.execution
        grant = TaskGrant(id.project, id.domain, id.name, attempt.node_unique_id, attempt.execution_identity)
        return tokens.issue(attempt.principal, grant).encode()


def _path(attempt: TaskAttempt) -> Path:
    return attempt.directory / layout.SECRETS / ".platform" / "token"


def _replace(path: Path, token: bytes) -> None:
    """Replace a file that only its owner may read, so that a reader finds the old token or the new one."""
    fresh = path.with_name("token.new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(token)
    fresh.replace(path)
