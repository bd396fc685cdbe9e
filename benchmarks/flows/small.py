"""The task that the engine is measured with; it runs in the environment of tasks."""

from flytekit import task


@task
def step(x: int) -> int:
    """Nothing to do, so all the time that goes by is the engine's and flytekit's."""
    return x
