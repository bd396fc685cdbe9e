"""Parse the filter language of list requests, such as `eq(name,x)+gte(created_at,2024-01-01)`.

    filters := expr ( "+" expr )*          all must hold; values cannot contain "+"
    expr    := function "(" field "," value ( ";" value )* ")"

Fields are the columns of the tables in app/database/schema.py. A prefix (`workflow.name`) names a joined entity. Each
value is converted to the type of its column. `filter_sql.py` turns the result into SQL.

Source:
    flyteadmin/pkg/manager/impl/util/filters.go, pkg/common/filters.go
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, Table

from app import errors
from app.database import schema
from app.database.schema import UtcTime
from app.settings.limits import Limits
from app.wire.go.goparse import parse_go_duration

# Prefix in a filter → (its code in upstream's messages, table).
ENTITIES: dict[str, tuple[str, type[schema.Base]]] = {
    "task": ("t", schema.Task),
    "workflow": ("w", schema.Workflow),
    "launch_plan": ("l", schema.LaunchPlan),
    "execution": ("e", schema.Execution),
    "node_execution": ("ne", schema.NodeExecution),
    "task_execution": ("te", schema.TaskExecution),
    "entities": ("nen", schema.NamedEntityMetadata),
    "named_entity_metadata": ("nem", schema.NamedEntityMetadata),
    "project": ("p", schema.Project),
    "signal": ("s", schema.Signal),
    "admin_tag": ("at", schema.ExecutionTag),
    "execution_admin_tag": ("eat", schema.ExecutionTag),
    "execution_tag": ("et", schema.ExecutionTag),
    "description_entity": ("de", schema.DescriptionEntity),
}

# The name of a tag is the key of its row; until 1.13 upstream had a table of tag names. Parity: project, domain and
# name of an attempt are those of its execution, although its row has those of its task too (upstream customizeField).
_RENAMED = {
    ("admin_tag", "name"): "key",
    ("task_execution", "project"): "execution_project",
    ("task_execution", "domain"): "execution_domain",
    ("task_execution", "name"): "execution_name",
}

# The characters that \s matches in Go's regular expressions.
_BLANKS = " \t\n\f\r"
_INTEGER = re.compile(r"\s*[-+]?[0-9]+\s*")
# No column holds a number of more characters.
_NUMBER_LENGTH_MAX = 40
_INTEGER_RANGE = {Integer: ("integer", 2**31), BigInteger: ("bigint", 2**63)}
_FUNCTIONS = ("contains", "not_like", "eq", "ne", "gt", "gte", "lt", "lte", "value_in", "value_not_in")


class FilterShape(NamedTuple):
    """The part of a filter that its SQL text depends on.

    Attributes:
        function: Such as "eq".
        entity: A key of ENTITIES.
        field: The column.
        size: Number of values.
        constant: The value where it is written into the SQL, for a partial index; None where values are bound.
    """

    function: str
    entity: str
    field: str
    size: int
    constant: Any = None


@dataclass(frozen=True, slots=True)
class Filter:
    """One parsed expression; its values have the column's Python type."""

    function: str
    entity: str
    field: str
    values: tuple[Any, ...]

    @property
    def shape(self) -> FilterShape:
        """The shape of this filter, with every value bound to a parameter."""
        return FilterShape(self.function, self.entity, self.field, len(self.values))


def parse(
    text: str,
    *,
    limits: Limits,
    own: str,
    joinable: tuple[str, ...],
    columns: Callable[[str], Table] | None = None,
) -> tuple[Filter, ...]:
    """Parse the filters of a list request, in time linear in their length.

    Args:
        text: The filters of the request.
        limits: The settings that limit length, expressions and values.
        own: The listed entity, a key of ENTITIES.
        joinable: Further keys of ENTITIES that the filters may use as prefixes.
        columns: Maps an entity to the table whose columns it offers; by default the table of ENTITIES.

    Raises:
        InvalidArgument: In upstream's order: syntax, entity, column, value, function.
    """
    if not text:
        return ()
    _check_limits(text, limits)
    table_of = columns or (lambda entity: schema.table(ENTITIES[entity][1]))
    return tuple(_parse_one(expression, own, joinable, table_of) for expression in text.split("+"))


def _check_limits(text: str, limits: Limits) -> None:
    """Raise InvalidArgument for filters that would take long to parse and compile.

    The number of values is that of expressions plus that of semicolons.
    """
    expressions = text.count("+") + 1
    for amount, unit, most, setting in (
        (len(text), "characters", limits.filters_characters_max, "limits.filtersCharactersMax"),
        (expressions, "expressions", limits.filters_max, "limits.filtersMax"),
        (expressions + text.count(";"), "values", limits.filter_values_max, "limits.filterValuesMax"),
    ):
        if amount > most:
            raise errors.InvalidArgument(f"filters have {amount} {unit}, at most {most} are allowed ({setting})")


def _split(expression: str) -> tuple[str, str, str]:
    r"""Split an expression into function, field and value.

    The result is that of upstream's greedy pattern `(.+)\((.+),\s?(.+)\)`, in linear time. The value ends at the
    last ")", the field at the last "," that leaves a value, the function at the last "(" that leaves a field.

    Deviates: a line break is refused, where upstream looks for an expression in each line.
    """
    end = expression.rfind(")")
    comma = expression.rfind(",", 0, max(end - 1, 0))
    opening = expression.rfind("(", 1, max(comma - 1, 0))
    if opening < 0 or "\n" in expression:
        raise errors.invalid("filters")
    start = comma + 1
    if expression[start] in _BLANKS and start + 1 < end:
        start += 1
    return expression[:opening], expression[opening + 1 : comma], expression[start:end]


def _parse_one(expression: str, own: str, joinable: tuple[str, ...], table_of: Callable[[str], Table]) -> Filter:
    function, field, value = _split(expression)
    entity = own
    prefix, dot, rest = field.partition(".")
    if dot and prefix in ENTITIES:
        entity, field = prefix, rest
    code = ENTITIES[entity][0]
    if entity != own and entity not in joinable:
        raise errors.InvalidArgument(f"'{code}' entity is not allowed in filters")
    column = table_of(entity).c.get(_RENAMED.get((entity, field), field))
    if column is None:
        raise errors.InvalidArgument(f"'{code}.{field}' is invalid filter")
    field = column.key
    duration = entity == "execution" and field == "duration"
    parts = value.split(";")
    values: tuple[Any, ...] = tuple(_duration(v) for v in parts) if duration else ()
    if function not in _FUNCTIONS:
        raise errors.InvalidArgument(f"unrecognized filter function: {function}")
    if function in ("contains", "not_like"):
        # Parity: several values compare against Go's rendering of the slice.
        return Filter(function, entity, field, (_text_of(column, parts),))
    if function not in ("value_in", "value_not_in") and len(parts) > 1:
        raise errors.InvalidArgument("operator does not exist: text = record")
    return Filter(function, entity, field, values or tuple(_read(column, v) for v in parts))


def _text_of(column: Column[Any], parts: list[str]) -> str:
    if isinstance(column.type, (Integer, BigInteger, Boolean, LargeBinary, UtcTime)):
        kind = {Integer: "integer", Boolean: "boolean", LargeBinary: "bytea"}.get(type(column.type), "bigint")
        raise errors.InvalidArgument(f"operator does not exist: {kind} ~~ unknown")
    return parts[0] if len(parts) == 1 else f"[{' '.join(parts)}]"


def _read(column: Column[Any], text: str) -> Any:
    """Convert a value to the type of its column.

    Deviates: a value that is no integer or time is INVALID_ARGUMENT; upstream answers UNKNOWN (500).
    """
    kind = column.type
    if isinstance(kind, UtcTime):
        return _time(text)
    if isinstance(kind, Boolean):
        if text.lower() not in ("true", "false", "t", "f", "1", "0"):
            raise errors.InvalidArgument(f'invalid input syntax for type boolean: "{text}"')
        return text.lower() in ("true", "t", "1")
    for type_, (name, bound) in _INTEGER_RANGE.items():
        if type(kind) is type_:
            if len(text) > _NUMBER_LENGTH_MAX or not _INTEGER.fullmatch(text):
                raise errors.InvalidArgument(f'invalid input syntax for type {name}: "{text}"')
            number = int(text)
            if not -bound <= number < bound:
                raise errors.InvalidArgument(f'value "{text}" is out of range for type {name}')
            return number
    if isinstance(kind, LargeBinary):
        return text.encode()
    return text


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip().replace("z", "Z"))
        # A time without a zone is UTC, like the time zone of the database session.
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise errors.InvalidArgument(f'invalid input syntax for type timestamp with time zone: "{text}"') from error


def _duration(text: str) -> int:
    """Convert seconds or a Go duration to nanoseconds."""
    try:
        nanoseconds = float(text) * 10**9
    except ValueError:
        try:
            return parse_go_duration(text)
        except ValueError as error:
            raise errors.InvalidArgument(f"Failed to parse duration [{text}]") from error
    if not abs(nanoseconds) < 2**63:
        raise errors.InvalidArgument(f"Failed to parse duration [{text}]")
    return int(nanoseconds)
