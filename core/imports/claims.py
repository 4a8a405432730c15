"""An import as a worker carries it on: what it was told, and how far it has come."""

from dataclasses import dataclass
from typing import Any

from core.imports.rows import OnConflict


@dataclass(frozen=True, slots=True)
class Counts:
    """What has become of the rows so far, and what is kept of it.

    Attributes:
        error_bytes: of the rows that failed.
        previewed: tasks.
    """

    read: int = 0
    created: int = 0
    updated: int = 0
    skipped: int = 0
    failed: int = 0
    warned: int = 0
    errors_kept: int = 0
    error_bytes: int = 0
    warnings_kept: int = 0
    previewed: int = 0


@dataclass(frozen=True, slots=True)
class ClaimedImport:
    """An import that a worker may carry on until its lease lapses.

    Attributes:
        owner: of the lease.
        attempts: how often it was claimed since its last progress, this time included.
        is_unwanted: it was cancelled before it had begun.
        users_time_zone: for dates without one.
    """

    id: str
    owner: str
    user_id: int
    format: str
    dry_run: bool
    options: dict[str, Any]
    object: str
    bytes: int
    counts: Counts
    attempts: int
    is_unwanted: bool
    users_time_zone: str

    @property
    def on_conflict(self) -> OnConflict:
        mode: OnConflict = self.options.get("on_conflict", "skip")
        return mode

    @property
    def max_errors(self) -> int | None:
        return self.options.get("max_errors")


COUNTS = """
    rows_read, rows_created, rows_updated, rows_skipped, rows_failed, rows_warned, errors_kept, error_bytes,
    warnings_kept, coalesce(cardinality(preview), 0) AS previewed
"""
"""SQL: what `counts_of` reads of a row of `imports`."""


def counts_of(row: Any) -> Counts:
    """The counts in a row of `imports`: its `COUNTS`."""
    return Counts(
        read=row["rows_read"],
        created=row["rows_created"],
        updated=row["rows_updated"],
        skipped=row["rows_skipped"],
        failed=row["rows_failed"],
        warned=row["rows_warned"],
        errors_kept=row["errors_kept"],
        error_bytes=row["error_bytes"],
        warnings_kept=row["warnings_kept"],
        previewed=row["previewed"],
    )
