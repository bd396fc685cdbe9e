"""The processes between this server and its tasks. They run in the interpreter of the tasks.

    server ── main: fork server, one for each environment, with or without flytekit imported
                └── supervisor: one for each task; writes the log, and kills every process that the task leaves behind
                      └── task: flytekit's command in the forked interpreter, or any program by exec

A supervisor outlives the fork server and the control plane. It writes `exit.json` into the directory of the attempt,
from which a later server reads how the task ended.

The interpreter of the tasks has neither this server's packages nor its code. So the modules here import only the
standard library and each other, and their top-level package is `forkserver`. They are removed from `sys.modules` before
the code of a user runs.
"""
