"""Names in the private directory of an attempt, which the supervisor and the server share."""

from __future__ import annotations

PROCESS_RECORD = "process.json"
EXIT_RECORD = "exit.json"
# The server's request to stop the task; its content is one of the two words.
STOP_REQUEST = "stop"
TERMINATE, KILL = "terminate", "kill"
# The working directory of the task.
WORK = "work"
# Temporary files of the task.
TEMPORARY = "tmp"
# Files with secrets and storage keys.
SECRETS = "secrets"
# The private variables of a new interpreter, in the folder of secrets. It removes the file when it has read them.
VARIABLES = ".variables"
# Inputs and outputs of a raw container, as files.
COPILOT = "copilot"
