"""Tenfold's own CSV, as it is exported: columns are the fields of a task, in any order; only `title` must be there.

- Empty cells are absent fields. `id` becomes `external_id` (`tenfold:<id>`) where there is none. Fields that no import
  sets are passed over, such as `version`; so is `error`, which the report of an import's errors adds.
- `labels`: separated by commas; `\\,` and `\\\\` are a comma and a backslash within a label.
- Timestamps: RFC 3339, or what a spreadsheet makes of it (`31.12.2024 14:30`), in the import's time zone.
- A cell that begins with `'` and then with one of `= + - @ TAB CR '` loses that first `'`, which the export puts there
  so that no spreadsheet runs the cell as a formula.
"""

import re
from collections.abc import Callable
from datetime import tzinfo
from functools import partial
from typing import Any, BinaryIO

from core.formats.csv.damage import Damaged
from core.formats.csv.headers import first_records, positions_of
from core.formats.csv.records import Records
from core.formats.csv.rows import sampled, too_many_cells
from core.formats.dates import day_order, end_of_day, is_day, parse_due, parse_moment
from core.formats.failed_rows import ERROR
from core.formats.faults import bad_row
from core.formats.own import IGNORED, KNOWN, OWN_PREFIX, is_own
from core.formats.rows import (
    BadRow,
    Certainty,
    FileReport,
    Format,
    Head,
    ImportRefused,
    ReadOptions,
    Row,
    Rows,
    RowWarning,
)
from core.formats.values import quoted
from core.tasks.fields import FIELDS, IMPORTED, Field
from core.tasks.kinds import Choice, Day, LabelList, Moment, Number

COLUMNS = (*(field.name for field in FIELDS), "external_id")
_IGNORED = frozenset({*IGNORED, ERROR})
_KNOWN = KNOWN | {ERROR}
_DATES = frozenset(field.name for field in IMPORTED if isinstance(field.kind, Moment | Day))
_GUARDED = frozenset("=+-@\t\r'")
_LABEL = re.compile(r"((?:[^,\\]|\\.|\\$)*)(?:,|$)", re.DOTALL)
_ESCAPE = re.compile(r"\\([\\,])")


def _recognise(head: Head) -> Certainty:
    records = first_records(head)
    names = [name.casefold() for name in records[0]] if records else []
    known = {name for name in names if name != ERROR}
    return 3 if is_own(known, _cells(records, names, "id"), _cells(records, names, "external_id")) else 0


def _cells(records: list[list[str]], names: list[str], name: str) -> list[str]:
    """What stands in a column of the first records."""
    if name not in names:
        return []
    position = names.index(name)
    return [record[position] for record in records[1:] if position < len(record) and record[position]]


def _text(cell: str) -> str:
    if cell[0] == "'" and cell[1:2] in _GUARDED:
        return cell[1:]
    return cell


def _number(cell: str) -> int | str:
    digits = cell.strip()
    return int(digits) if digits.isdecimal() and len(digits) < 10 else cell


def _labels(cell: str) -> list[str]:
    cell = _text(cell)
    if "\\" not in cell:
        return [label for label in map(str.strip, cell.split(",")) if label]
    labels = (_ESCAPE.sub(r"\1", label).strip() for label in _LABEL.findall(cell))
    return [label for label in labels if label]


def _moment(parse: Callable[..., str], options: ReadOptions, day_first: bool | None) -> Callable[[str], str]:
    def read(cell: str) -> str:
        # What the export writes: the validation looks at it anyway.
        if len(cell) > 19 and cell[10] in "Tt" and (cell[-1] in "Zz" or cell[-6] in "+-"):
            return cell
        return parse(cell, options.time_zone, day_first=day_first) if cell.strip() else ""

    return read


def _day(cell: str, *, time_zone: tzinfo, day_first: bool | None) -> str:
    day = parse_due(cell, time_zone, day_first=day_first)
    if not is_day(day):
        raise ValueError(f"{quoted(cell)} is no day; write it as 2026-01-31.")
    return day


def _converter(field: Field, options: ReadOptions, day_first: bool | None) -> Callable[[str], Any]:
    match field.kind:
        case Number():
            return _number
        case Choice():
            return str.strip
        case Moment():
            return _moment(parse_due if field.name == "due_date" else parse_moment, options, day_first)
        case Day():
            return partial(_day, time_zone=options.time_zone, day_first=day_first)
        case LabelList():
            return _labels
        case _:
            return _text


def _read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    records = Records(stream, options, report)
    names = records.header()
    header = [name.casefold() for name in names]
    positions = positions_of(header, report)
    report.columns = names
    _check(header, positions)
    day_first = day_order(sampled(records, {name: where[0] for name, where in positions.items()}, _DATES))
    converters = _converters(options, day_first)
    plan = [(position, name, converters[name]) for position, name in enumerate(header) if name and name not in _IGNORED]
    width = len(header)
    has_id = "id" in positions
    for number, cells in records.numbered():
        if isinstance(cells, Damaged):
            yield cells.as_bad_row(number)
            continue
        values = cells
        if len(cells) != width:
            if message := too_many_cells(cells, width):
                yield BadRow(number, None, message, cells)
                continue
            values = cells + [""] * (width - len(cells))
        fields = {}
        faults: list[RowWarning] | None = None
        for position, name, convert in plan:
            if cell := values[position]:
                try:
                    fields[name] = convert(cell)
                except ValueError as error:
                    faults = [*(faults or ()), RowWarning(name, str(error))]
        if (due := fields.get("due_date")) is not None and is_day(due):
            # The end of the day stands beside it: by that rows are known which were imported before there were days.
            fields.setdefault("due_day", due)
            fields["due_date"] = end_of_day(due, options.time_zone)
        if has_id and (id_ := fields.pop("id", None)) and "external_id" not in fields:
            fields["external_id"] = f"{OWN_PREFIX}{id_}"
        yield bad_row(number, faults, fields, cells, {}) if faults else Row(number, fields, cells)


def _converters(options: ReadOptions, day_first: bool | None) -> dict[str, Callable[[str], Any]]:
    """Column → what makes its field of a cell that is not empty; raises ValueError."""
    return {
        "id": str.strip,
        "external_id": _text,
        **{field.name: _converter(field, options, day_first) for field in IMPORTED},
    }


def _check(header: list[str], positions: dict[str, list[int]]) -> None:
    unknown = [name for name in positions if name not in _KNOWN]
    if unknown:
        raise ImportRefused(
            "import-wrong-format",
            f"A Tenfold CSV has no column {', '.join(map(repr, unknown[:5]))}; its columns are {', '.join(COLUMNS)}."
            " Use the format csv, with a mapping, for other files.",
        )
    if "title" not in positions:
        raise ImportRefused("import-wrong-format", "A Tenfold CSV has a column title; this header has none.")
    twice = [name for name, where in positions.items() if len(where) > 1]
    if twice:
        raise ImportRefused("import-wrong-format", f"The column {twice[0]!r} stands in the header twice.")


FORMAT = Format("tenfold-csv", "Tenfold CSV", _recognise, _read, form="csv")
