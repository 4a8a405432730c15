"""Tenfold's NDJSON: a task a line, each an object as `GET /tasks` answers it, of which only `title` is required.

Members are the fields that an import sets, and `external_id`. `id` becomes the external id `tenfold:<id>` where there
is no other; the other fields of a task, such as `version`, may be there and say nothing, and so may `error`, which a
file of failed rows has. Any other member is an error of its row. Empty lines are passed over.
"""

import re
from typing import Any, BinaryIO

from core.formats.failed_rows import ERROR
from core.formats.own import IGNORED, MEMBERS, OWN_PREFIX, is_own
from core.formats.rows import Certainty, FileReport, Format, Head, ReadOptions, Row, Rows
from core.formats.streams.json_lines import json_lines
from core.formats.streams.json_shape import shape_of
from core.formats.streams.utf8 import as_utf8

_ID = re.compile(r'"id"\s*:\s*(\w+)')
_EXTERNAL_ID = re.compile(r'"external_id"\s*:\s*"([^"]*)"')
_NO_COLUMNS: dict[str, str] = {}


def recognise(head: Head) -> Certainty:
    """Objects in lines: ours if they have only what we write, and something that nobody else does."""
    shape = shape_of(head.text)
    return 3 if shape.top == "lines" and is_own_json(shape.keys(""), head.text) else 0


def is_own_json(names: set[str], text: str) -> bool:
    """Whether objects with these members are tasks of a Tenfold.

    Args:
        names: of the members.
        text: the file's beginning.
    """
    return is_own(names - {ERROR}, _ID.findall(text), _EXTERNAL_ID.findall(text))


def read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    """A row a line; rows are numbered as lines are, empty ones too."""
    yield from json_lines(as_utf8(stream, options.encoding), _row)


def _row(number: int, content: dict[str, Any]) -> Row:
    return Row(number, content if content.keys() <= MEMBERS else as_fields(content), content, _NO_COLUMNS)


def as_fields(content: dict[str, Any]) -> dict[str, Any]:
    """What an object says about a task to be made; members that are unknown stay, for validation to refuse."""
    fields = content.copy()
    for name in (*IGNORED, ERROR):
        fields.pop(name, None)
    own_id = fields.pop("id", None)
    if own_id is not None and fields.get("external_id") is None:
        fields["external_id"] = f"{OWN_PREFIX}{own_id}"
    return fields


FORMAT = Format("tenfold-ndjson", "Tenfold NDJSON", recognise, read, form="ndjson")
