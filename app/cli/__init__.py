"""The command `flyteadmin`: one module per group of commands."""
