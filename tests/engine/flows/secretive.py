"""Tasks that get secrets, as a variable and as a file, and wait with them; and one that asks for too much."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from flytekit import Secret, current_context, task, workflow

TOKEN = Secret(group="lab", key="token")


def digest_once_there(value: str, path: str) -> str:
    while not Path(path).exists():
        time.sleep(0.1)
    return hashlib.sha256(value.encode()).hexdigest()


@task(secret_requests=[TOKEN])
def as_variable(path: str) -> str:
    assert "_FSEC_LAB_TOKEN" in os.environ
    return digest_once_there(current_context().secrets.get("lab", "token"), path)


@task(secret_requests=[Secret(group="lab", key="token", mount_requirement=Secret.MountType.FILE)])
def as_file(path: str) -> str:
    return digest_once_there(current_context().secrets.get("lab", "token"), path)


@task(secret_requests=[Secret(group="lab", key="absent")])
def lacking(path: str) -> str:
    return path


@workflow
def both(path: str) -> tuple[str, str]:
    return as_variable(path=path), as_file(path=path)


@workflow
def missing(path: str) -> str:
    return lacking(path=path)
