"""From a CSV's records to rows, for programs that make a task of each record by itself."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from core.formats.csv.damage import Damaged
from core.formats.csv.records import Records
from core.formats.parsed_task import ParsedTask
from core.formats.rows import BadRow, Rows


def parsed_rows(
    records: Records, width: int | None, parse: Callable[[list[str]], ParsedTask], columns: Mapping[str, str]
) -> Rows:
    """A row a record.

    Args:
        records: behind the header.
        width: how many cells the header has; None: the file has none.
        parse: what a record's cells become.
        columns: field → the file's own name of its column.
    """
    for number, cells in records.numbered():
        if isinstance(cells, Damaged):
            yield cells.as_bad_row(number)
        elif width is not None and (message := too_many_cells(cells, width)):
            yield BadRow(number, None, message, cells)
        else:
            yield parse(cells).row(number, cells, columns)


def too_many_cells(cells: list[str], width: int) -> str | None:
    """What is wrong with a row that has something in cells for which the header has no column; None: nothing."""
    if len(cells) > width and any(map(str.strip, cells[width:])):
        return (
            f"The row has {len(cells)} cells, the header {width}; a cell that holds the delimiter must stand in quotes."
        )
    return None


def by_name(cells: list[str], positions: Mapping[str, int]) -> dict[str, str]:
    """Column → cell; what a short record lacks is empty."""
    return {name: cells[position] if position < len(cells) else "" for name, position in positions.items()}


def sampled(records: Records, positions: Mapping[str, int], names: Iterable[str]) -> Iterator[str]:
    """The cells of the named columns among the first records, column by column."""
    for name in names:
        if name in positions:
            for record in records.sample:
                if positions[name] < len(record):
                    yield record[positions[name]]
