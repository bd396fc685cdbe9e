"""The environment variables of a task's process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from app.engine.local.processes.commands import Container
from app.engine.local.processes.pool.spec import temporary_link
from app.engine.local.processes.task_attempt import TaskAttempt

ARRAY_INDEX = "FLYTE_K8S_ARRAY_INDEX"


def task_variables(
    attempt: TaskAttempt,
    container: Container,
    *,
    programs: Path,
    passed: Mapping[str, str],
    python_path: str,
    defaults: Mapping[str, str],
    of_image: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return all variables of the process but for secrets.

    # Parity: flytek8s.DecorateEnvVars: container, engine, execution, array index, platform; the later overrides.

    Args:
        attempt: The attempt.
        container: Its container.
        programs: The folder of programs that PATH begins with.
        passed: The variables of this server that tasks get (`passed_variables`).
        python_path: PYTHONPATH; "" for none.
        defaults: Variables of every task, which a task or a launch may override.
        of_image: Variables that the image sets; None for none.
    """
    variables = {
        **passed,
        **_of_this_machine(attempt.directory, python_path),
        **defaults,
        **(of_image or {}),
        **container.env,
        **_of_the_engine(attempt),
        **attempt.envs,
        **array_variables(attempt.array_index),
        **attempt.platform,
    }
    variables["PATH"] = f"{programs}{os.pathsep}{variables.get('PATH') or os.defpath}"
    return variables


def shared_variables(variables: Mapping[str, str], attempt: TaskAttempt) -> dict[str, str]:
    """Return the variables that other attempts of the version have too, of the result of `task_variables`."""
    own = {"TMPDIR", ARRAY_INDEX, *_of_the_engine(attempt), *attempt.platform}
    return {name: value for name, value in variables.items() if name not in own}


def passed_variables(patterns: tuple[str, ...]) -> dict[str, str]:
    """Return the variables of this server whose names match one of these patterns."""
    return {
        name: value for name, value in os.environ.items() if any(fnmatchcase(name, pattern) for pattern in patterns)
    }


def _of_this_machine(directory: Path, python_path: str) -> dict[str, str]:
    variables = {"PYTHONUNBUFFERED": "1", "TMPDIR": str(temporary_link(directory))}
    if python_path:
        variables["PYTHONPATH"] = python_path
    return variables


def _of_the_engine(attempt: TaskAttempt) -> Mapping[str, str]:
    execution, task = attempt.execution, attempt.task.id
    variables = {
        "FLYTE_INTERNAL_EXECUTION_WORKFLOW": f"{execution.project}:{execution.domain}:{attempt.workflow_name}",
        "FLYTE_INTERNAL_EXECUTION_ID": execution.name,
        "FLYTE_INTERNAL_EXECUTION_PROJECT": execution.project,
        "FLYTE_INTERNAL_EXECUTION_DOMAIN": execution.domain,
        "FLYTE_ATTEMPT_NUMBER": str(attempt.attempt),
        "FLYTE_INTERNAL_TASK_PROJECT": task.project,
        "FLYTE_INTERNAL_TASK_DOMAIN": task.domain,
        "FLYTE_INTERNAL_TASK_NAME": task.name,
        "FLYTE_INTERNAL_TASK_VERSION": task.version,
    }
    if attempt.console_url and "link_type" in attempt.task.config:
        variables["FLYTE_EXECUTION_URL"] = (
            f"{attempt.console_url.rstrip('/')}/projects/{execution.project}/domains/{execution.domain}"
            f"/executions/{execution.name}/nodeId/{attempt.node_unique_id}/nodes"
        )
    return variables


def array_variables(index: int | None) -> Mapping[str, str]:
    """Return the variables that name the index of an array node; none without one."""
    return {} if index is None else {"BATCH_JOB_ARRAY_INDEX_VAR_NAME": ARRAY_INDEX, ARRAY_INDEX: str(index)}
