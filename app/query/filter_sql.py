"""Turn parsed filters into SQL conditions.

A list request passes four modules: `filters` parses the text into `Filter`s; `narrowing` chooses the strategy, so that
an index answers the filters; this module writes the condition of one filter; `page_sql` assembles the SELECT.

SQL is written for the `FilterShape` of a filter, without its values, so that it is compiled once per shape. Values are
bound to the parameters f<filter>_<value>, numbered from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Text, bindparam, literal_column, type_coerce
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op

from app.query.filters import Filter, FilterShape

_COMPARISONS: dict[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "eq": lambda column, value: column == value,
    "ne": lambda column, value: column != value,
    "gt": lambda column, value: column > value,
    "gte": lambda column, value: column >= value,
    "lt": lambda column, value: column < value,
    "lte": lambda column, value: column <= value,
}


def parameter_names(index: int, size: int) -> list[str]:
    """Return the parameter names of the filter at position `index`, which has `size` values."""
    return [f"f{index}_{number}" for number in range(size)]


def parameter_values(filters: Iterable[Filter]) -> dict[str, Any]:
    """Return the values of all filters by parameter name."""
    return {
        name: value
        for index, one in enumerate(filters)
        for name, value in zip(parameter_names(index, len(one.values)), one.values, strict=True)
    }


def column_condition(column: ColumnElement[Any], function: str, names: list[str]) -> ColumnElement[bool]:
    """Return the SQL of a filter function on a column, with its values bound to the parameters `names`."""
    if function == "contains":
        # Parity: % and _ in the value act as wildcards.
        return column.contains(bindparam(names[0], type_=Text()))
    if function == "not_like":
        return column.not_like(bindparam(names[0]))
    typed = [bindparam(name, type_=column.type) for name in names]
    if function == "value_in":
        return column.in_(typed)
    if function == "value_not_in":
        return column.not_in(typed)
    return _COMPARISONS[function](column, typed[0])


def filter_condition(table: Any, shape: FilterShape, names: list[str]) -> ColumnElement[bool]:
    """Return the SQL of a filter on a table. A value with a partial index is written into the SQL, others are bound."""
    column = table.c[shape.field]
    if shape.constant is None:
        return column_condition(column, shape.function, names)
    literal: ColumnElement[Any] = literal_column(
        str(shape.constant) if isinstance(shape.constant, int) else f"'{shape.constant}'"
    )
    equal: ColumnElement[bool] = column == literal
    return equal if shape.function == "eq" else ~equal


def where_conditions(table: Any, where: tuple[tuple[str, str], ...]) -> list[ColumnElement[bool]]:
    """Return the conditions that every row of a list meets.

    Args:
        table: The listed table.
        where: Pairs of column and "eq" or "null". The value of an "eq" is bound to the parameter where_<column>.
    """
    return [
        table.c[column].is_(None) if how == "null" else table.c[column] == bindparam(f"where_{column}")
        for column, how in where
    ]


def without_index(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the column as `+column`, an expression for which the database uses no index."""
    return type_coerce(UnaryExpression(column, operator=custom_op("+")), BigInteger())
