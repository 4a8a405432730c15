"""Tenfold's JSON: an array of tasks, each as a line of Tenfold's NDJSON is."""

from typing import BinaryIO

from core.formats.own import MEMBERS
from core.formats.programs.tenfold_ndjson import as_fields, is_own_json
from core.formats.rows import BadRow, Certainty, FileReport, Format, Head, ImportRefused, ReadOptions, Row, Rows
from core.formats.streams.json_shape import shape_of
from core.formats.streams.json_stream import json_items


def recognise(head: Head) -> Certainty:
    """Objects in an array: ours as those in lines are."""
    shape = shape_of(head.text)
    return 3 if shape.top == "array" and is_own_json(shape.keys("[]"), head.text) else 0


def read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    """A row an item of the array."""
    item: tuple[int, dict[str, object], str] | BadRow | None = None
    for item in json_items(stream, options.encoding):
        if isinstance(item, BadRow):
            yield item
            continue
        number, content, _ = item
        yield Row(number, content if content.keys() <= MEMBERS else as_fields(content), content)
    if item is None:
        raise ImportRefused("import-empty", "The file holds no tasks.")


FORMAT = Format("tenfold-json", "Tenfold JSON", recognise, read)
