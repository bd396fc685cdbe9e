"""Workflows whose tasks pass tables, written with pandas; CASES as in data.py."""

from typing import Annotated

import pandas as pd
from flytekit import kwtypes, task, workflow
from flytekit.types.schema import FlyteSchema
from flytekit.types.structured import StructuredDataset

Typed = Annotated[StructuredDataset, kwtypes(name=str, age=int)]


@task
def make(count: int) -> pd.DataFrame:
    return pd.DataFrame({"name": [f"n{index}" for index in range(count)], "age": list(range(count))})


@task
def older(frame: pd.DataFrame, by: int) -> Typed:
    return StructuredDataset(dataframe=frame.assign(age=frame["age"] + by))


@task
def ages(table: StructuredDataset) -> list[int]:
    return [int(age) for age in table.open(pd.DataFrame).all()["age"]]


@task
def names(table: Annotated[StructuredDataset, kwtypes(name=str)]) -> list[str]:
    """Only one of the columns is read."""
    return sorted(table.open(pd.DataFrame).all().to_dict(orient="list")["name"])


@task
def as_csv(frame: pd.DataFrame) -> Annotated[StructuredDataset, "csv"]:
    return StructuredDataset(dataframe=frame)


@task
def as_schema(frame: pd.DataFrame) -> FlyteSchema[kwtypes(name=str, age=int)]:  # type: ignore[valid-type]
    schema = FlyteSchema[kwtypes(name=str, age=int)]()  # type: ignore[misc]
    schema.open().write(frame)
    return schema


@task
def rows(schema: FlyteSchema[kwtypes(name=str, age=int)]) -> int:  # type: ignore[valid-type]
    return sum(len(frame) for frame in schema.open().iter())


@task
def parts(frame: pd.DataFrame) -> list[pd.DataFrame]:
    return [frame.head(1), frame.tail(1)]


@task
def joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True)


@workflow
def tables(count: int) -> tuple[pd.DataFrame, list[int], list[str], list[int], int, pd.DataFrame]:
    """Data frames, structured datasets with and without columns, formats, and schemas."""
    frame = make(count=count)
    grown = older(frame=frame, by=10)
    csv = as_csv(frame=frame)
    return (
        frame,
        ages(table=grown),
        names(table=grown),
        ages(table=csv),
        rows(schema=as_schema(frame=frame)),
        joined(frames=parts(frame=frame)),
    )


CASES = {"tables": (tables, {"count": 3})}
