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
from typing import Any, BinaryIO

from core.formats.csv.damage import Damaged
from core.formats.csv.headers import first_records, positions_of
from core.formats.csv.records import Records
from core.formats.csv.rows import sampled, too_many_cells
from core.formats.dates import day_order, parse_due, parse_moment
from core.formats.failed_rows import ERROR
from core.formats.rows import BadRow, Certainty, FileReport, Format, Head, ImportRefused, ReadOptions, Row, Rows
from core.tasks.fields import FIELDS, IMPORTED, Field
from core.tasks.kinds import Choice, LabelList, Moment, Number

COLUMNS = (*(field.name for field in FIELDS), "external_id")
_IGNORED = frozenset({*(field.name for field in FIELDS if not field.is_imported and field.name != "id"), ERROR})
_KNOWN = frozenset({*COLUMNS, ERROR})
_DATES = frozenset(field.name for field in IMPORTED if isinstance(field.kind, Moment))
_GUARDED = frozenset("=+-@\t\r'")
_LABEL = re.compile(r"((?:[^,\\]|\\.|\\$)*)(?:,|$)", re.DOTALL)
_ESCAPE = re.compile(r"\\([\\,])")


def _recognise(head: Head) -> Certainty:
    records = first_records(head)
    names = [name.casefold() for name in records[0]] if records else []
    if "title" not in names or not _KNOWN.issuperset(names):
        return 0
    return 3 if len(names) > 2 else 2


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


def _converter(field: Field, options: ReadOptions, day_first: bool | None) -> Callable[[str], Any]:
    match field.kind:
        case Number():
            return _number
        case Choice():
            return str.strip
        case Moment():
            return _moment(parse_due if field.name == "due_date" else parse_moment, options, day_first)
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
        name = ""
        try:
            for position, name, convert in plan:
                if cell := values[position]:
                    fields[name] = convert(cell)
        except ValueError as error:
            yield BadRow(number, name, str(error), cells)
            continue
        if has_id and (id_ := fields.pop("id", None)) and "external_id" not in fields:
            fields["external_id"] = f"tenfold:{id_}"
        yield Row(number, fields, cells)


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
