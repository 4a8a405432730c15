"""Our own lists about rows, which somebody may send by mistake in place of the rows."""

from core.formats.csv.headers import first_records
from core.formats.rows import Head
from core.formats.streams.json_shape import shape_of

SEND_THE_ROWS = (
    "This is a list of what was wrong with the rows of an import, not the rows: mend and send the file that"
    " GET /imports/{id}/errors/file gives."
)
_CSV = ["row", "column", "error", "values"]
_MEMBERS = frozenset({"row", "column", "message"})


def is_list_about_rows(head: Head) -> bool:
    """Whether a file is what `GET /imports/{id}/errors` or `/warnings` answers, a page or its items; never raises."""
    shape = shape_of(head.text)
    if shape.top is None:
        return first_records(head)[:1] == [_CSV]
    return any(keys >= _MEMBERS and "title" not in keys for keys in map(shape.keys, ("items[]", "[]", "")))
