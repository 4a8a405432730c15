"""Tenfold's JSON: an array of tasks, each as a line of Tenfold's NDJSON is."""

from typing import BinaryIO

from core.formats.programs.tenfold_ndjson import KNOWN, MEMBERS, as_fields
from core.formats.rows import BadRow, Certainty, FileReport, Format, Head, ImportRefused, ReadOptions, Row, Rows
from core.formats.streams.json_shape import shape_of
from core.formats.streams.json_stream import json_items


def recognise(head: Head) -> Certainty:
    """Objects in an array: ours if they have a title and no member that we do not know."""
    shape = shape_of(head.text)
    if shape.top != "array":
        return 0
    keys = shape.keys("[]")
    if "title" in keys:
        return 3 if keys <= KNOWN else 1
    return 1 if head.is_whole and not shape.members else 0


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
