"""The environment variables of a task process; what is not listed here does not reach it. Pure but for reading ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from app.engine.local.processes import folders
from app.engine.local.processes.commands import Container
from app.engine.local.processes.task_attempt import TaskAttempt

ARRAY_INDEX = "FLYTE_K8S_ARRAY_INDEX"


def task_variables(
    run: TaskAttempt,
    container: Container,
    *,
    programs: Path,
    passed: tuple[str, ...],
    python_path: str,
    defaults: Mapping[str, str],
) -> dict[str, str]:
    """All variables of the process; later sources win.

    passed: patterns of names that are taken over from this server. programs: directory that is searched first.
    defaults: of every task, which a task or a launch may set itself.
    # Parity: flytek8s.DecorateEnvVars: container, engine, execution, array index, platform.
    """
    variables = {
        **_taken_over(passed),
        **_of_this_machine(run.directory, python_path),
        **defaults,
        **container.env,
        **_of_the_engine(run),
        **run.envs,
        **_of_the_array(run.array_index),
        **run.platform,
    }
    variables["PATH"] = f"{programs}{os.pathsep}{variables.get('PATH') or os.defpath}"
    return variables


def _taken_over(passed: tuple[str, ...]) -> dict[str, str]:
    """Variables of this server that tasks may see; its own passwords and settings are not among them."""
    return {name: value for name, value in os.environ.items() if any(fnmatchcase(name, pattern) for pattern in passed)}


def _of_this_machine(directory: Path, python_path: str) -> dict[str, str]:
    variables = {"PYTHONUNBUFFERED": "1", "TMPDIR": str(folders.short_temporary(directory))}
    if python_path:
        variables["PYTHONPATH"] = python_path
    return variables


def _of_the_engine(run: TaskAttempt) -> Mapping[str, str]:
    execution, task = run.execution, run.task.id
    variables = {
        "FLYTE_INTERNAL_EXECUTION_WORKFLOW": f"{execution.project}:{execution.domain}:{run.workflow_name}",
        "FLYTE_INTERNAL_EXECUTION_ID": execution.name,
        "FLYTE_INTERNAL_EXECUTION_PROJECT": execution.project,
        "FLYTE_INTERNAL_EXECUTION_DOMAIN": execution.domain,
        "FLYTE_ATTEMPT_NUMBER": str(run.attempt),
        "FLYTE_INTERNAL_TASK_PROJECT": task.project,
        "FLYTE_INTERNAL_TASK_DOMAIN": task.domain,
        "FLYTE_INTERNAL_TASK_NAME": task.name,
        "FLYTE_INTERNAL_TASK_VERSION": task.version,
    }
    if run.console_url and "link_type" in run.task.config:
        variables["FLYTE_EXECUTION_URL"] = (
            f"{run.console_url.rstrip('/')}/projects/{execution.project}/domains/{execution.domain}"
            f"/executions/{execution.name}/nodeId/{run.node_unique_id}/nodes"
        )
    return variables


def _of_the_array(index: int | None) -> Mapping[str, str]:
    return {} if index is None else {"BATCH_JOB_ARRAY_INDEX_VAR_NAME": ARRAY_INDEX, ARRAY_INDEX: str(index)}
