"""SQL that names the fields of tasks, made of their one list.

On its way into the database a task is a row of parameters: each a text or a number, so that many tasks are one array a
field. A time is a text in RFC 3339, and a day one, too. So are labels, joined by commas, which no label holds: arrays
of different lengths make no array of arrays.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from core.tasks.fields import FIELDS, Field

TASK_COLUMNS = tuple(field.name for field in FIELDS)

# Type of a column → type of its parameter, where that is another, and what is stored of it.
_PARAMETERS = {"timestamptz": "text", "date": "text", "text[]": "text"}
_STORED = {
    "timestamptz": "{0}::timestamptz",
    "date": "{0}::date",
    "text[]": "coalesce(string_to_array({0}, ','), '{{}}')",
}


def names(fields: Iterable[Field], prefix: str = "") -> str:
    """The columns, with commas; `prefix` is such as `t.`."""
    return ", ".join(prefix + field.name for field in fields)


def parameter_columns(fields: Iterable[Field]) -> str:
    """The parameters as columns of a table."""
    return ", ".join(f"{field.name} {_parameter(field)}" for field in fields)


def parameter_arrays(fields: Iterable[Field], *, first: int) -> str:
    """The parameters of many tasks, numbered from `first`: what `unnest` takes."""
    return ", ".join(f"${number}::{_parameter(field)}[]" for number, field in enumerate(fields, first))


def task_arrays(tasks: Sequence[Mapping[str, Any]], fields: Iterable[Field]) -> list[list[Any]]:
    """The values of `parameter_arrays`, of validated tasks; what a task does not say has its default."""
    return [_array(tasks, field) for field in fields]


def stored(field: Field, parameter: str) -> str:
    """What a column holds of its parameter."""
    return _STORED.get(field.kind.sql, "{0}").format(parameter)


def _parameter(field: Field) -> str:
    return _PARAMETERS.get(field.kind.sql, field.kind.sql)


def _array(tasks: Sequence[Mapping[str, Any]], field: Field) -> list[Any]:
    name, default = field.name, field.default
    if field.is_required:
        return [task[name] for task in tasks]
    if field.kind.sql == "text[]":
        return [",".join(values) if (values := task.get(name)) else None for task in tasks]
    return [task.get(name, default) for task in tasks]
