"""A CSV's beginning, by which programs know their files, and the columns that its header names."""

import re
from itertools import islice

from core.formats.csv.dialect import DELIMITERS, is_blank, lenient_records
from core.formats.rows import FileReport, Head
from core.formats.streams.text import wide_encoding

_HEAD = 32 * 1024
_ORNAMENTS = " \t*:?#!.†"
_UNIT = re.compile(r"\s*[(\[（【]([^()\[\]（）【】]*)[)\]）】]$")


def head_text(head: Head) -> str:
    """A file's beginning as text, also where it is UTF-16 and does not say so."""
    encoding = wide_encoding(head.data[:4096])
    text = head.text if encoding is None else head.data[: 2 * _HEAD].decode(encoding, errors="replace")
    return text[:_HEAD]


def first_records(head: Head) -> list[list[str]]:
    """The first ten records of a file, split where that gives most columns; blanks around cells are off."""
    text = head_text(head)
    best: list[list[str]] = []
    for delimiter in DELIMITERS:
        records = list(islice(lenient_records(text, delimiter, False), 10))
        if max(map(len, records), default=0) > max(map(len, best), default=0):
            best = records
    return [[cell.strip(" \t\r\n\ufeff") for cell in record] for record in best if not is_blank(record)]


def bare(name: str) -> str:
    """A column's name without what people put around it: a unit in brackets, a star, a colon."""
    return _UNIT.sub("", name.strip(_ORNAMENTS)).strip(_ORNAMENTS) or name


def unit_of(name: str) -> str:
    """What stands in brackets behind a column's name, as in `Created At (UTC)`; empty where nothing does."""
    unit = _UNIT.search(name.strip(_ORNAMENTS))
    return unit[1].strip() if unit else ""


def upper_positions(header: list[str]) -> dict[str, int]:
    """Column, in capitals → its position; of a name that is repeated, the first."""
    return {name.upper(): position for position, name in reversed(list(enumerate(header)))}


def positions_of(header: list[str], report: FileReport) -> dict[str, list[int]]:
    """Column → its positions, of which repeated names have several; the header goes into the report."""
    report.columns = header
    positions: dict[str, list[int]] = {}
    for position, name in enumerate(header):
        if name:
            positions.setdefault(name, []).append(position)
    return positions
