"""The processes between this server and its tasks; run by path, in whichever Python the tasks use.

    server ── main: fork server, one per environment, flytekit imported or not
                └── supervisor: one per task, holds the log, ends whatever the task leaves behind
                      └── task: flytekit's command in the forked interpreter, or any command by exec

A supervisor outlives both the fork server and the control plane: it writes `exit.json` in the directory of
the attempt, from which a later server learns how the task ended. Nothing here may import anything of this
server or anything outside the standard library, and nothing here stays in `sys.modules` of a task.
"""
