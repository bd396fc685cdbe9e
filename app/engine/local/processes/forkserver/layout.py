"""Names in the private directory of an attempt, which the supervisor and the server share."""

from __future__ import annotations

PROCESS_RECORD = "process.json"
EXIT_RECORD = "exit.json"
# The working directory of the task.
WORK = "work"
# Temporary files of the task.
TEMPORARY = "tmp"
# Files with secrets and storage keys.
SECRETS = "secrets"
# Inputs and outputs of a raw container, as files.
COPILOT = "copilot"
