"""The processes between this server and its tasks. They run in the interpreter of the tasks.

    server ── fork server: one for each environment, with or without flytekit imported
                └── task: flytekit's command in the forked interpreter, or any program by exec

The fork server supervises the tasks that it has forked (supervisor.py): it writes their logs, and kills every process
that they leave behind. It outlives the server as long as it has tasks. It writes `exit.json` into the directory of an
attempt, from which a later server reads how the task ended.

The interpreter of the tasks has neither this server's packages nor its code. So the modules here import only the
standard library, each other, and app/system. They are removed from `sys.modules` before flytekit is imported.
"""
