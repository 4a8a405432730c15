"""Guesses which columns of a CSV are which fields, from the words of its header and from what stands below.

The guess is a mapping as clients write it (`mapping.py`), so that it can be offered, changed and sent back. Columns
whose meaning cannot be guessed become lines of the description: what a file holds is not lost.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC
from typing import Any

from core.formats.csv.headers import unit_of
from core.formats.csv.mapping import refused
from core.formats.csv.words import EXACT, NOTHING, RANKS, is_known, word_of
from core.formats.dates import day_order, parse_moment
from core.formats.failed_rows import ERROR
from core.formats.words import priority_of, status_of
from core.formats.zones import zone_called
from core.tasks.fields import IMPORTED
from core.tasks.kinds import Day, Moment

_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?%?\Z")
_URL = re.compile(r"https?://\S+\Z", re.IGNORECASE)
# Keys such as ABC-12, UUIDs and addresses of issues are the only ones of their kind. A mere number is not, as every
# program counts from 1: as an id it would make one file's tasks out of another's.
_KEY = re.compile(
    r"[A-Za-z][A-Za-z0-9_]*-\d+\Z|[0-9a-fA-F]{24,}\Z|[0-9a-fA-F-]{36}\Z|https?://\S+/(?:issues|pull|browse)/[\w-]+\Z"
)
_DATES = frozenset(field.name for field in IMPORTED if isinstance(field.kind, Moment | Day))
_DETAILS_MAXIMUM = 50
_MOST = 0.8
_HALF = 0.5
# A unit that tells how dates are written: dd.mm.yyyy, TT.MM.JJJJ, jj/mm/aaaa, MM/DD/YYYY.
_DAY_FIRST = re.compile(r"(?:[dtjgд]{1,2}|dia)[./ -]?m{1,2}[./ -]?[yjaгaå]{2,4}", re.IGNORECASE)
_MONTH_FIRST = re.compile(r"m{1,2}[./ -]?d{1,2}[./ -]?y{2,4}", re.IGNORECASE)


class _Column:
    """What the sample tells of a column; empty cells, and those that say nothing, do not count."""

    def __init__(self, position: int, name: str, key: str, sample: Sequence[Sequence[str]]) -> None:
        self.position = position
        self.name = name
        self.word = word_of(name)
        self.key = key
        self.rows = len(sample)
        cells = (row[position].strip() for row in sample if position < len(row))
        self.said = [cell for cell in cells if cell.casefold() not in NOTHING]
        self.dates = self._share(_is_date)
        self.numbers = self._share(lambda cell: bool(_NUMBER.match(cell)))
        self.urls = self._share(lambda cell: bool(_URL.match(cell)))
        self.keys = self._share(lambda cell: bool(_KEY.match(cell)))
        self.statuses = self._share(lambda cell: status_of(cell) is not None)
        self.priorities = self._share(_is_priority)
        self.rules = self._share(lambda cell: cell.upper().startswith(("FREQ=", "RRULE:")))
        self.words = sum(len(cell.split()) for cell in self.said) / len(self.said) if self.said else 0.0
        self.length = sum(map(len, self.said)) / len(self.said) if self.said else 0.0
        self.is_unique = len(set(self.said)) == len(self.said) == self.rows

    def _share(self, test: Callable[[str], bool]) -> float:
        return sum(map(test, self.said)) / len(self.said) if self.said else 0.0

    @property
    def is_text(self) -> bool:
        return bool(self.said) and max(self.dates, self.numbers, self.urls, self.keys) < _MOST

    @property
    def is_list(self) -> bool:
        """Whether cells are lists of words that come again and again, as labels do."""
        lists = [[part.strip() for part in cell.split(",")] for cell in self.said]
        parts = [part for items in lists for part in items]
        several = sum(len(items) > 1 for items in lists)
        return (
            self.is_text
            and several >= 0.5 * len(lists)
            and len(set(parts)) <= 0.5 * len(parts)
            and all(len(part) <= 50 for part in parts)
        )

    @property
    def is_worth_keeping(self) -> bool:
        """Whether it tells anything: not where it only counts the rows, and has no name."""
        is_counter = self.is_unique and self.said == [str(number) for number in range(1, self.rows + 1)]
        return bool(self.word or (self.said and not is_counter))


def _is_date(cell: str) -> bool:
    if len(cell) < 6 or not any(map(str.isdecimal, cell)) or (cell.isdecimal() and len(cell) != 8):
        return False
    try:
        parse_moment(cell, UTC, day_first=True)
    except ValueError:
        return False
    return True


def _is_priority(cell: str) -> bool:
    """Whether it can be a priority of ours: a word, or a number from 1 to 10."""
    return (cell.isdecimal() and len(cell) < 3 and 1 <= int(cell) <= 10) or priority_of(cell) is not None


def _holds_reasons(position: int, sample: Sequence[Sequence[str]]) -> bool:
    """Whether a column may be the one that our own file of failed rows has added: its cells are sentences."""
    cells = (record[position].strip() for record in sample if len(record) > position)
    return all(not cell or cell.endswith(".") for cell in cells)


def has_header(sample: Sequence[Sequence[str]]) -> bool:
    """Whether the first record names the columns, and is none of the data."""
    first = [cell.strip() for cell in sample[0]] if sample else []
    if first[-1:] == [ERROR]:  # our own file of failed rows
        return True
    if any(_NUMBER.match(cell) or _URL.match(cell) or _is_date(cell) for cell in first):
        return False
    if any(is_known(word_of(cell)) for cell in first):
        return True
    below = sample[1:]
    if not below or len(first) < 2:
        return False
    columns = [_Column(position, "", "", below) for position in range(len(first))]
    return any(max(column.dates, column.numbers, column.urls, column.keys) >= _MOST for column in columns)


def guess(header: Sequence[str] | None, sample: Sequence[Sequence[str]]) -> dict[str, Any]:
    """A mapping for a file.

    Args:
        header: the names of the columns; None: the file has none.
        sample: its first records, without the header.

    Raises:
        ImportRefused: `import-mapping-invalid`: no column can be a title.
    """
    columns = _columns(header, sample)
    if header and header[-1] == ERROR and _holds_reasons(len(header) - 1, sample):
        columns = [column for column in columns if column.key != ERROR]
    fields = _by_words(columns)
    _add_by_content(columns, fields)
    if "title" not in fields.values():
        raise refused("It cannot be guessed which column is the title; say so with a mapping.")
    _add_details(columns, fields)
    mapping: dict[str, Any] = {
        "header": header is not None,
        "columns": {column.key: _entry(column, fields[column.key]) for column in columns if fields.get(column.key)},
    }
    dates = [column for column in columns if fields.get(column.key) in _DATES]
    day_first = day_order(cell for column in dates for cell in column.said)
    if day_first is None:
        day_first = _order_by_units(dates)
    if day_first is not None:
        mapping["date_format"] = "day-first" if day_first else "month-first"
    return mapping


def _entry(column: _Column, field: str) -> Any:
    """What the mapping says of a column; a unit in brackets may tell the zone of its dates."""
    unit = unit_of(column.name)
    if field in _DATES and unit and zone_called(unit) is not None:
        return {"field": field, "time_zone": unit}
    return field


def _order_by_units(dates: list[_Column]) -> bool | None:
    """Whether dates begin with the day, as units in brackets tell: `Due (MM/DD/YYYY)`."""
    for unit in (unit_of(column.name) for column in dates):
        if _DAY_FIRST.fullmatch(unit):
            return True
        if _MONTH_FIRST.fullmatch(unit):
            return False
    return None


def _columns(header: Sequence[str] | None, sample: Sequence[Sequence[str]]) -> list[_Column]:
    """The columns, of those that have one name the first: a name means all the columns that have it."""
    names = list(header) if header is not None else [""] * max(map(len, sample), default=0)
    return [
        _Column(position, name, name or str(position + 1), sample)
        for position, name in enumerate(names)
        if not name or names.index(name) == position
    ]


def _suits(column: _Column, field: str) -> bool:
    """Whether a column that is called as a field, or might be, is that field.

    Of an exact name it is: odd cells are their rows' warnings. Else the cells must not be against it.
    """
    is_exact = column.word in EXACT.get(field, ())
    if not column.said:
        return field != "external_id" and (is_exact or field != "title")
    if field == "external_id":
        return column.is_unique and (is_exact or column.keys >= _MOST)
    if is_exact:
        return True
    if field == "title":
        return max(column.dates, column.urls) < _MOST
    if field == "description":
        return column.is_text
    if field in _DATES:
        return column.dates > _HALF
    if field == "labels":
        return column.is_text and column.length <= 100
    shares = {
        "status": column.statuses,
        "priority": column.priorities,
        "source": column.urls,
        "recurrence": column.rules,
    }
    return shares.get(field, 1.0) >= _MOST


def _by_words(columns: list[_Column]) -> dict[str, str]:
    """Key of a column → field, as the header's words have it; an empty field for a column that is passed over."""
    fields: dict[str, str] = {}
    for field, ranks in RANKS.items():
        fitting = sorted(
            (not column.said, ranks[column.word], column.position, column)
            for column in columns
            if column.word in ranks and column.key not in fields and _suits(column, field)
        )
        if field in ("description", "labels", "list", ""):
            fields.update((column.key, field) for *_, column in fitting)
        elif fitting:
            fields[fitting[0][-1].key] = field
    return fields


def _add_by_content(columns: list[_Column], fields: dict[str, str]) -> None:
    """Adds what only the cells tell."""
    if "title" not in fields.values():
        # What is called a text or a description stands for a title where there is none.
        described = [column for column in columns if fields.get(column.key) == "description" and column.said]
        if described:
            fields[min(described, key=lambda column: column.length).key] = "title"
        else:
            _add_title(_left(columns, fields), fields)
    for field in ("status", "labels", "external_id", "source"):
        if field not in fields.values():
            nameless = (column for column in _left(columns, fields) if not column.word)
            found = next((column for column in nameless if _shows(column, field)), None)
            if found is not None:
                fields[found.key] = field


def _add_title(left: list[_Column], fields: dict[str, str]) -> None:
    """Takes the column of most words for the title."""
    texts = [column for column in left if column.is_text and not column.is_list and column.statuses < _MOST]
    wordy = sorted(texts, key=lambda column: (-column.words, column.position))
    if not wordy:
        return
    # Of two columns of sentences, the longer one explains the other.
    two = sorted(wordy[:2], key=lambda column: (column.length, column.position))
    is_pair = len(two) == 2 and two[0].words >= 2 and two[1].length > 1.5 * two[0].length
    fields[(two[0] if is_pair else wordy[0]).key] = "title"
    if is_pair and "description" not in fields.values():
        fields[two[1].key] = "description"


def _add_details(columns: list[_Column], fields: dict[str, str]) -> None:
    """Makes lines of the description of what is left."""
    left = [column for column in _left(columns, fields) if column.is_worth_keeping]
    fields.update((column.key, "detail") for column in left[:_DETAILS_MAXIMUM])


def _left(columns: list[_Column], fields: dict[str, str]) -> list[_Column]:
    return [column for column in columns if column.key not in fields]


def _shows(column: _Column, field: str) -> bool:
    """Whether the cells alone tell the meaning of a column."""
    if field == "labels":
        return column.is_list
    return _suits(column, field) and bool(column.said) and (field != "status" or column.numbers < _MOST)
