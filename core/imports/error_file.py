"""What was wrong with an import as files: its errors as a CSV to look at, its failed rows in their own form to mend."""

import codecs
import csv
import io
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import orjson

from core.formats.failed_rows import ERROR as ERROR_COLUMN
from core.formats.failed_rows import FILE_FORMS, FailedRow, FailedRowsWriter, FileForm, Surroundings, form_of_file
from core.formats.registry import FORMATS
from core.imports.queries import ImportedFile, ListedError

OTHER_COLUMNS = ("row", "column", ERROR_COLUMN, "values")

# A cell that a spreadsheet would run as a formula gets an apostrophe in front. A number is none, and a cell that begins
# with an apostrophe has one already.
_FORMULA = re.compile(r"[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?\Z")


async def error_csv(columns: Sequence[str] | None, pages: AsyncIterator[list[ListedError]]) -> AsyncIterator[bytes]:
    """The file, in pieces; the first is there at once.

    Args:
        columns: of the CSV that was imported: a record for each row that failed, its cells as they were, and `error`.
            None for other files: a record for each error.
        pages: the errors in their order.
    """
    if columns is None:
        yield _records([OTHER_COLUMNS])
    else:
        yield _records([[*_without_errors(columns, columns), ERROR_COLUMN]])
    waiting: list[ListedError] = []
    async for page in pages:
        if columns is None:
            yield _records([_record(error) for error in page])
            continue
        records = []
        for error in page:
            if waiting and waiting[0].row != error.row:
                records.append(_original(columns, waiting))
                waiting = []
            waiting.append(error)
        yield _records(records)
    if waiting and columns is not None:
        yield _records([_original(columns, waiting)])


def form_of(file: ImportedFile) -> FileForm:
    """The form that an import's file has."""
    return FILE_FORMS[form_of_file(FORMATS[file.format].form, _surroundings(file))]


async def failed_rows_file(file: ImportedFile, pages: AsyncIterator[list[FailedRow]]) -> AsyncIterator[bytes]:
    """The rows that failed as a file of their own form, in pieces; the first is there at once.

    It is in UTF-8, or in the encoding that the client named for the file: so it can be sent with the same options.

    Args:
        file: that the rows came from.
        pages: the rows in their order.
    """
    writer = FailedRowsWriter(FORMATS[file.format].form, _surroundings(file))
    encode = codecs.getincrementalencoder(file.encoding or "utf-8")("replace").encode
    yield encode(writer.begin())
    async for page in pages:
        yield encode("".join(map(writer.add, page)))
    yield encode(writer.end(), True)


def _surroundings(file: ImportedFile) -> Surroundings:
    return Surroundings(file.columns or (), file.has_header, file.delimiter, file.frame)


def _original(columns: Sequence[str], errors: Sequence[ListedError]) -> list[str]:
    """A row's cells, and all that is wrong with it."""
    values = errors[0].values
    if isinstance(values, Mapping):
        values = [values.get(column, "") for column in columns]
    cells = ["" if value is None else str(value) for value in (values or [])]
    # A row with more cells than the header has keeps them; with fewer, it is filled up, so that the errors stand below
    # each other.
    cells += [""] * (len(columns) - len(cells))
    cells, more = _without_errors(columns, cells[: len(columns)]), cells[len(columns) :]
    told = [f"{error.column}: {error.message}" if error.column else error.message for error in errors]
    return [*cells, "; ".join(told), *more]


def _without_errors(columns: Sequence[str], cells: Sequence[str]) -> list[str]:
    """The cells without those of the column that an earlier report has added."""
    return [cell for column, cell in zip(columns, cells, strict=True) if column != ERROR_COLUMN]


def _record(error: ListedError) -> list[str]:
    values = "" if error.values is None else orjson.dumps(error.values).decode()
    return [str(error.row), error.column or "", error.message, values]


def _records(records: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([_defused(cell) for cell in record] for record in records)
    return text.getvalue().encode(errors="replace")


def _defused(cell: Any) -> str:
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.match(cell) else cell
