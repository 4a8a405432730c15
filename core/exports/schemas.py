"""The forms in which tasks are exported."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A form of file.

    Attributes:
        media_type: as `Content-Type` says it.
        extension: of the file's name, without the dot.
    """

    media_type: str
    extension: str


FORMATS: dict[str, ExportFormat] = {
    "csv": ExportFormat("text/csv; charset=utf-8; header=present", "csv"),
    "ndjson": ExportFormat("application/x-ndjson", "ndjson"),
    "json": ExportFormat("application/json", "json"),
    "ics": ExportFormat("text/calendar; charset=utf-8", "ics"),
}


def file_name(export_format: str, moment: datetime) -> str:
    """What a client that saves the file of `moment` calls it."""
    return f"tenfold-tasks-{moment:%Y-%m-%d}.{FORMATS[export_format].extension}"
