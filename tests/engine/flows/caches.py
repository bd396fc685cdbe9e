"""Workflows whose tasks are cached, registered by the tests of the engine. Tasks leave traces in files, which count."""

from flytekit import task, workflow


def leave(path: str, word: str) -> None:
    with open(path, "a") as file:
        file.write(f"{word}\n")


@task(cache=True, cache_version="1")
def doubled(path: str, x: int) -> int:
    """Its trace is part of its inputs, so every test has entries of its own."""
    leave(path, str(x))
    return 2 * x


@workflow
def one(path: str, x: int) -> int:
    return doubled(path=path, x=x)
