"""From a CSV's records to rows, for formats that make a draft of each record."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from core.formats.csv.records import Damaged, Records, too_many_cells
from core.formats.draft import Draft, WrongValueError
from core.formats.rows import BadRow, Rows


def drafted_rows(records: Records, width: int, draft: Callable[[list[str]], Draft], columns: Mapping[str, str]) -> Rows:
    """A row a record.

    Args:
        records: behind the header.
        width: how many cells the header has.
        draft: what a record's cells become; raises `WrongValueError`.
        columns: field → the file's own name of its column.
    """
    for number, cells in records.numbered():
        if isinstance(cells, Damaged):
            yield cells.as_bad_row(number)
        elif message := too_many_cells(cells, width):
            yield BadRow(number, None, message, cells)
        else:
            try:
                yield draft(cells).row(number, cells, columns)
            except WrongValueError as wrong:
                yield BadRow(number, wrong.column or None, wrong.message, cells)


def by_name(cells: list[str], places: Mapping[str, int]) -> dict[str, str]:
    """Column → cell; what a short record lacks is empty."""
    return {name: cells[place] if place < len(cells) else "" for name, place in places.items()}


def sampled(records: Records, places: Mapping[str, int], names: Iterable[str]) -> Iterator[str]:
    """The cells of the named columns among the first records, column by column."""
    for name in names:
        if name in places:
            for record in records.sample:
                if places[name] < len(record):
                    yield record[places[name]]
