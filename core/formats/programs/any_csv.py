"""A CSV of any other program: by the client's mapping (`csv/mapping.py`), or by a guess (`csv/guessing.py`).

- Priorities are 1 (highest) to 10, or words (Highest 1, High 3, Medium 5, Low 7, Lowest 9 and the like, in many
  languages); states are words, also `yes` and `x`, or a date of completion.
- By a mapping, a word that nobody knows and a date that cannot be read fail their row: the mapping's `values` can tell
  what it means. By a guess it stands in the description, and the field has its default, with a warning.
- `none`, `null`, `n/a`, `-` and the like are nothing, except in texts. A row without a title fails.
- An `external_id` that is an address also stands in the description, as `Source: …`.
"""

import re
from typing import Any, BinaryIO

from core.formats.csv.guessing import guess, has_header
from core.formats.csv.headers import first_records, head_text, positions_of
from core.formats.csv.mapping import plan_columns, wants_header
from core.formats.csv.records import Records
from core.formats.csv.rows import parsed_rows
from core.formats.csv.tasks import TaskReader
from core.formats.rows import Certainty, FileReport, Format, Head, ReadOptions, Rows

_OTHER_FORMS = ("{", "[", "<", "BEGIN:", "%PDF", "PK\x03")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_CSV_NAMES = (".csv", ".tsv", ".tab", ".csv.gz", ".tsv.gz", ".csv.zst", ".tsv.zst")


def _recognise(head: Head) -> Certainty:
    text = head_text(head).lstrip("\ufeff \r\n\t")
    if text.startswith(_OTHER_FORMS) or _CONTROL.search(text.partition("\n")[0]):
        return 0
    if head.filename.endswith(_CSV_NAMES):
        return 1
    records = first_records(head)
    if len(records) < 2:
        return 0
    # The last one may be cut.
    widths = {len(record) for record in (records if head.is_whole else records[:-1])}
    return 1 if len(widths) == 1 and widths.pop() > 1 else 0


def _read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    records = Records(stream, options, report)
    sample = records.sample
    mapping = options.mapping
    has_names = wants_header(mapping) if mapping is not None else None
    if has_names is None:
        has_names = _names_columns(sample, mapping)
    positions: dict[str, list[int]] = {}
    if has_names:
        header = records.header()
        width = len(header)
        positions = positions_of(header, report)
        sample = sample[1:]
    else:
        width = max(map(len, sample), default=1)
        Records.limit_columns(sample[0] if sample else [])
        header = [str(number) for number in range(1, width + 1)]
        report.columns = header
        report.has_header = False
    if mapping is None:
        if not sample:
            # Nothing to guess from: what there is tells what is wrong.
            records.require_rows()
        mapping = report.mapping = guess(header if has_names else None, sample)
    reader = TaskReader(plan_columns(mapping, positions, width), options, is_guess=report.mapping is not None)
    yield from parsed_rows(records, width if has_names else None, reader.parse, reader.names)


def _names_columns(sample: list[list[str]], mapping: Any) -> bool:
    """Whether the first record is a header: it has a name that the mapping says, or looks like one."""
    columns = mapping.get("columns") if mapping is not None else None
    if isinstance(columns, dict) and sample:
        names = {cell.strip(" \t\ufeff") for cell in sample[0]}
        if any(str(name).strip() in names for name in columns):
            return True
        if not all(str(name).strip().isdecimal() for name in columns):
            return True
    return has_header(sample)


FORMAT = Format("csv", "CSV of any program", _recognise, _read, form="csv")
