"""How the columns of a CSV of any program become fields of tasks, as a client says it.

A mapping is a JSON object:

    {"columns":     {"Task": "title", "Notes": "description",
                     "Prio": {"field": "priority", "values": {"A": 1, "B": 5, "*": 9}},
                     "No.": {"field": "external_id", "prefix": "house-"},
                     "Created (UTC)": {"field": "created_at", "time_zone": "UTC"}},
     "constants":   {"labels": ["house"], "status": "pending"},
     "header":      true,
     "date_format": "day-first"}

- `columns`: the header's name of a column, or its number from 1, and a field: one of `FIELDS`, or null to pass it
  over, as columns are that are not named at all. Those of `OFTEN` may be named for several columns, the others for one.
  A name that the header has several times means all of those columns.
  Of a `due_day` and a `due_date` that contradict each other, the day is taken, with a warning.
- `values`: what stands in a cell → what the field becomes, whatever the case; null: nothing; `*`: all other words.
  Without it priorities are 1 to 10 or words such as `high`, and states are words such as `in progress` or `done`.
- `prefix`: what to put before an `external_id`, where the file's numbers are not the only ones of their kind.
- `time_zone`: of the dates in that column which have none, where it is not the file's.
- `constants`: fields for rows whose columns give none; labels are added to the row's own.
- `header`: whether the first row is one; left out, it is found out.
- `date_format`: `day-first` or `month-first`, for dates such as 03/04/2024; or a pattern of Python's `strptime`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import tzinfo
from typing import Any

from marshmallow import ValidationError

from core.formats.rows import ImportRefused
from core.formats.zones import zone_called
from core.tasks.fields import IMPORTED
from core.tasks.kinds import Choice, Number
from core.tasks.validation import load_import

OFTEN = ("description", "labels", "list", "detail", "note")
_NAMED = (
    "title",
    "priority",
    "status",
    "due_date",
    "created_at",
    "completed_at",
    "external_id",
    "parent",
    "source",
    "recurrence",
)
ONCE = (*_NAMED, *(field.name for field in IMPORTED if field.name not in (*_NAMED, *OFTEN)))
FIELDS = (*ONCE, *OFTEN)
"""A task's own, and for its description `parent` (`Part of: …`), `source` (`Source: …`), `detail` (`<column>: …`) and
`note` (a comment). A `list` (a list, column or project) is as a `detail`, or what `lists_as` and `columns_as` say."""

OTHERS = "*"
_CONSTANTS = ("description", "priority", "status", "due_date", "labels", "created_at")
_KEYS = ("columns", "constants", "header", "date_format")
_CHECKED = frozenset(field.name for field in IMPORTED if isinstance(field.kind, Choice | Number))
_COLUMN_KEYS = ("field", "values", "prefix", "time_zone")
DATE_FORMATS = {"day-first": True, "month-first": False}


@dataclass(frozen=True, slots=True)
class Column:
    """A column that is read.

    Attributes:
        name: as the header has it; its number where there is none.
        positions: from 0; several where the header has the name several times.
        field: one of `FIELDS`.
        values: word, case-folded → value.
        prefix: of an `external_id`.
        time_zone: of dates without one; None: the file's.
    """

    name: str
    positions: tuple[int, ...]
    field: str
    values: Mapping[str, Any] = dataclass_field(default_factory=dict)
    prefix: str = ""
    time_zone: tzinfo | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A mapping, applied to a header.

    Attributes:
        columns: in the order of the mapping.
        constants: field → value.
        day_first: of ambiguous dates; None: unknown.
        date_pattern: of `strptime`; None: any notation.
    """

    columns: tuple[Column, ...]
    constants: Mapping[str, Any]
    day_first: bool | None
    date_pattern: str | None


def refused(detail: str) -> ImportRefused:
    """The problem of a mapping that cannot be used."""
    return ImportRefused("import-mapping-invalid", detail)


def wants_header(mapping: Mapping[str, Any]) -> bool | None:
    """What the mapping says about the first row; None: nothing."""
    header = mapping.get("header")
    if header is not None and not isinstance(header, bool):
        raise refused("The mapping's “header” is true or false.")
    return header


def plan_columns(mapping: Mapping[str, Any], positions: Mapping[str, list[int]], width: int) -> Plan:
    """Applies a mapping to the columns of a file.

    Args:
        mapping: as the client sent it.
        positions: name → positions in the header; empty where the file has none.
        width: how many columns there are.

    Raises:
        ImportRefused: `import-mapping-invalid`, telling what of it is wrong.
    """
    for key in mapping:
        if key not in _KEYS:
            raise refused(f"The mapping has an unknown member “{key}”; it may have {', '.join(_KEYS)}.")
    columns = mapping.get("columns")
    if not isinstance(columns, Mapping) or not columns:
        raise refused("The mapping has no “columns”: an object with a field for each column that is to be read.")
    planned = [
        column for name, entry in columns.items() if (column := _column(str(name), entry, positions, width)) is not None
    ]
    for field_name in ONCE:
        names = [column.name for column in planned if column.field == field_name]
        if len(names) > 1:
            raise refused(f"The columns {' and '.join(f'“{name}”' for name in names)} both become {field_name}.")
    if not any(column.field == "title" for column in planned):
        raise refused("No column becomes the title.")
    day_first, pattern = _date_format(mapping.get("date_format"))
    return Plan(tuple(planned), _constants(mapping.get("constants") or {}), day_first, pattern)


def _column(name: str, entry: Any, positions: Mapping[str, list[int]], width: int) -> Column | None:
    """A column of the mapping; None where it is passed over."""
    found = _positions(name, positions, width)
    if entry is None:
        return None
    if isinstance(entry, str):
        entry = {"field": entry}
    _check_entry(name, entry)
    values = {str(word).strip().casefold(): value for word, value in (entry.get("values") or {}).items()}
    zone_name = entry.get("time_zone") or ""
    return Column(name.strip(), tuple(found), entry["field"], values, entry.get("prefix") or "", zone_called(zone_name))


def _positions(name: str, positions: Mapping[str, list[int]], width: int) -> list[int]:
    """Where a column stands that the mapping names, or numbers."""
    found = positions.get(name, positions.get(name.strip()))
    if found is None and name.strip().isdecimal() and len(name) < 9 and 1 <= int(name) <= width:
        found = [int(name) - 1]
    if found is None:
        known = ", ".join(f"“{known}”" for known in list(positions)[:30]) or f"1 to {width}"
        raise refused(f"The file has no column “{name}”; its columns are {known}.")
    return found


def _check_entry(name: str, entry: Any) -> None:
    """Refuses what a mapping cannot say of a column."""
    if not isinstance(entry, Mapping) or "field" not in entry:
        raise refused(f"The column “{name}” needs a field, or an object with “field” and “values”.")
    for key in entry:
        if key not in _COLUMN_KEYS:
            raise refused(f"The column “{name}” has an unknown member “{key}”; it may have {', '.join(_COLUMN_KEYS)}.")
    field_name, values, prefix = entry["field"], entry.get("values") or {}, entry.get("prefix") or ""
    if field_name not in FIELDS:
        raise refused(f"The column “{name}” becomes {field_name!r}, which is no field; fields are {', '.join(FIELDS)}.")
    if not isinstance(values, Mapping):
        raise refused(f"The “values” of the column “{name}” are an object: word → value.")
    if not isinstance(prefix, str):
        raise refused(f"The “prefix” of the column “{name}” is a text.")
    zone_name = entry.get("time_zone") or ""
    if zone_name and (not isinstance(zone_name, str) or zone_called(zone_name) is None):
        raise refused(f"The “time_zone” of the column “{name}” is none: it is such as UTC, +01:00 or Europe/Berlin.")
    for word, value in values.items():
        _check_value(name, field_name, word, value)


def _check_value(name: str, field_name: str, word: Any, value: Any) -> None:
    if value is None:
        return
    if field_name in _CHECKED:
        try:
            load_import({"title": "-", field_name: value})
        except ValidationError as error:
            messages = " ".join(map(str, error.messages_dict.get(field_name, [])))
            raise refused(f"“{word}” of the column “{name}” becomes {value!r}: {messages}") from None
    elif not isinstance(value, str):
        raise refused(f"“{word}” of the column “{name}” becomes {value!r}, which is no text.")


def _constants(constants: Any) -> dict[str, Any]:
    if not isinstance(constants, Mapping):
        raise refused("The mapping's “constants” are an object: field → value.")
    for name in constants:
        if name not in _CONSTANTS:
            raise refused(f"{name!r} cannot be a constant; {', '.join(_CONSTANTS)} can.")
    try:
        load_import({"title": "-", **constants})
    except ValidationError as error:
        name, messages = next(iter(error.messages_dict.items()))
        raise refused(f"The constant {name} is {constants.get(name)!r}: {messages}") from None
    return dict(constants)


def _date_format(text: Any) -> tuple[bool | None, str | None]:
    if text is None:
        return None, None
    if isinstance(text, str):
        if text in DATE_FORMATS:
            return DATE_FORMATS[text], None
        if "%" in text:
            return None, text
    raise refused(f"The date_format {text!r} is none: it is day-first, month-first, or a pattern such as %d.%m.%Y.")
