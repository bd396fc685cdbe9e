"""A first workflow: three small tasks, run by your own control plane.

Start the server with `make run`; it prints this command with the right paths:

    pyflyte --config ~/.flyteadmin/config.yaml run --remote -p flytesnacks -d development examples/hello.py main --x 3

`--x` is the workflow's input. The command prints the execution's address; its name is the last part of it, and

    curl http://localhost:30080/api/v1/executions/flytesnacks/development/<name>
    curl http://localhost:30080/api/v1/data/executions/flytesnacks/development/<name>

show how far it is and what came out.
"""

from flytekit import task, workflow


@task
def square(x: int) -> int:
    """A task is a function with typed inputs and outputs; each call runs as a process of its own."""
    return x * x


@task
def double(x: int) -> int:
    """This one does not depend on `square`, so both run at the same time."""
    return 2 * x


@task
def describe(x: int, squared: int, doubled: int) -> str:
    """This one waits for the other two, because their results are its inputs."""
    return f"Hello! {x} squared is {squared}, and doubled it is {doubled}."


@workflow
def main(x: int = 3) -> str:
    """A workflow says which results go where; it runs nothing by itself."""
    return describe(x=x, squared=square(x=x), doubled=double(x=x))
