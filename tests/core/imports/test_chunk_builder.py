"""What becomes of the rows of a format in a chunk."""

from core.formats.rows import BadRow, Row, RowWarning, SkippedRow
from core.imports.chunk_builder import Chunk, ChunkBuilder


def test_a_row_that_is_left_out_on_purpose_is_skipped() -> None:
    chunk = Chunk()
    ChunkBuilder(chunk, "github", "skip").skip(SkippedRow(3, "A pull request.", {"title": "a"}))
    assert (chunk.skipped, chunk.failed, chunk.errors, chunk.rows) == (1, 0, [], [])


def test_a_row_of_several_faults_fails_once_and_tells_them_all() -> None:
    chunk = Chunk()
    bad = BadRow(2, "Due", "No date.", ["a"], more=(RowWarning("Prio", "No priority."), RowWarning(None, "Odd.")))
    ChunkBuilder(chunk, "csv", "skip").fail(bad)
    assert chunk.failed == 1
    assert [(error.number, error.ordinal, error.column, error.message) for error in chunk.errors] == [
        (2, 1, "Due", "No date."),
        (2, 2, "Prio", "No priority."),
        (2, 3, None, "Odd."),
    ]


def test_a_row_with_warnings_is_a_task_all_the_same() -> None:
    chunk = Chunk()
    ChunkBuilder(chunk, "csv", "skip").add(Row(1, {"title": "a"}, ["a"], warnings=(RowWarning("Prio", "None."),)))
    assert (len(chunk.rows), chunk.failed) == (1, 0)
