"""Tenfold's NDJSON: a task a line, each an object as `GET /tasks` answers it, of which only `title` is required.

Members are the fields that an import sets, and `external_id`. `id` becomes the external id `tenfold:<id>` where there
is no other; the other fields of a task, such as `version`, may be there and say nothing, and so may `error`, which a
file of failed rows has. Any other member is an error of its row. Empty lines are passed over.
"""

from typing import Any, BinaryIO

import orjson

from core.formats.failed_rows import ERROR
from core.formats.rows import BadRow, Certainty, FileReport, Format, Head, ImportRefused, ReadOptions, Row, Rows
from core.formats.streams.json_shape import shape_of
from core.formats.streams.lines import LINE_MAXIMUM, TooLong, read_lines
from core.formats.streams.utf8 import as_utf8
from core.tasks.fields import FIELDS, IMPORTED

MEMBERS = frozenset({*(field.name for field in IMPORTED), "external_id"})
IGNORED = (*(field.name for field in FIELDS if not field.is_imported and field.name != "id"), ERROR)
KNOWN = MEMBERS.union(IGNORED, {"id"})
NOT_AN_OBJECT = 'Not a task: an object such as {"title": "…"} is expected.'
_NO_COLUMNS: dict[str, str] = {}


def recognise(head: Head) -> Certainty:
    """Objects in lines: ours if they have a title and no member that we do not know."""
    shape = shape_of(head.text)
    if shape.top != "lines":
        return 0
    keys = shape.keys("")
    if "title" in keys:
        return 3 if keys <= KNOWN else 1
    return 1 if head.filename.endswith((".ndjson", ".jsonl")) else 0


def read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    """A row a line; rows are numbered as lines are, empty ones too."""
    number = 0
    is_empty = True
    loads = orjson.loads
    for lines in read_lines(as_utf8(stream, options.encoding)):
        if isinstance(lines, TooLong):
            number += 1
            is_empty = False
            message = f"The line has {lines.size:,} bytes; {LINE_MAXIMUM:,} are the most."
            yield BadRow(number, None, message, {"line": _as_text(lines.beginning)}, source="")
            continue
        for line in lines:
            number += 1
            try:
                content = loads(line)
            except orjson.JSONDecodeError as error:
                if not line.strip():
                    continue
                is_empty = False
                yield _bad(number, f"Not valid JSON: {error}", line)
                continue
            is_empty = False
            if type(content) is dict:
                fields = content if content.keys() <= MEMBERS else as_fields(content)
                yield Row(number, fields, content, _NO_COLUMNS)
            else:
                yield _bad(number, NOT_AN_OBJECT, line)
    if is_empty:
        raise ImportRefused("import-empty", "The file holds no lines with tasks.")


def as_fields(content: dict[str, Any]) -> dict[str, Any]:
    """What an object says about a task to be made; members that are unknown stay, for validation to refuse."""
    fields = content.copy()
    for name in IGNORED:
        fields.pop(name, None)
    own_id = fields.pop("id", None)
    if own_id is not None and fields.get("external_id") is None:
        fields["external_id"] = f"tenfold:{own_id}"
    return fields


def _bad(number: int, message: str, line: bytes) -> BadRow:
    return BadRow(number, None, message, {"line": _as_text(line[:200])}, source=_as_text(line))


def _as_text(line: bytes) -> str:
    return line.decode(errors="replace").replace("\0", "�")


FORMAT = Format("tenfold-ndjson", "Tenfold NDJSON", recognise, read, form="ndjson")
