"""How a file writes its CSV: what stands between cells, and what a spreadsheet did to its lines."""

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice

from core.formats.rows import ImportRefused

DELIMITERS = (",", ";", "\t", "|")
_NAMED_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
# Excel writes, and heeds, such a line before the header.
SEP_LINE = re.compile(r'"?sep=([^"\r\n])"?\r?\n', re.IGNORECASE)


def lenient_records(text: str, delimiter: str, skips_space: bool) -> Iterator[list[str]]:
    """The records of a piece of text, as far as they can be read."""
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, skipinitialspace=skips_space)
    while True:
        try:
            yield next(reader)
        except csv.Error:
            continue
        except StopIteration:
            return


def is_blank(record: list[str]) -> bool:
    """Whether no cell has anything but blanks."""
    return not any(map(str.strip, record))


def find_delimiter(text: str) -> str:
    """What stands between the cells of most records, and of the first; a comma where nothing does.

    Args:
        text: the file's beginning.
    """
    best, best_score = ",", (False, 0.0, 0)
    for delimiter in DELIMITERS:
        records = islice(lenient_records(text, delimiter, False), 100)
        widths = [len(record) for record in records if any(map(str.strip, record))]
        usual = max(set(widths), key=widths.count, default=1)
        if max(usual, *widths[:1], 1) < 2:
            continue
        score = (widths[0] == usual, widths.count(usual) / len(widths) if usual > 1 else 0.0, max(usual, widths[0]))
        if score > best_score:
            best, best_score = delimiter, score
    return best


def checked_delimiter(delimiter: str) -> str:
    """The delimiter that a client, or the file's first line, names.

    Raises:
        ImportRefused: `import-unreadable`: it cannot be one.
    """
    delimiter = _NAMED_DELIMITERS.get(delimiter.casefold(), delimiter)
    if len(delimiter) != 1 or delimiter in '"\r\n\0 ' or delimiter.isalnum():
        raise ImportRefused(
            "import-unreadable", f"{delimiter!r} cannot be a delimiter; it is one character such as , or ; or a tab."
        )
    return delimiter


def has_space_after(delimiter: str, text: str) -> bool:
    """Whether the file puts a space after its delimiters, as people do."""
    if delimiter in "\t ":
        return False
    cells = [
        cell
        for record in islice(lenient_records(text, delimiter, False), 50)
        for cell in record[1:]
        if cell  # an empty cell tells nothing
    ]
    return bool(cells) and sum(cell[0] == " " for cell in cells) >= 0.8 * len(cells)


def is_wrapped(text: str) -> bool:
    """Whether a spreadsheet opened a comma-separated file as if it had semicolons, and saved it.

    Each line then is one cell, in quotes if there are quotes in it, torn where it had semicolons, and padded with
    semicolons to one width.
    """
    header, *rows = [line.rstrip("\r\n") for line in islice(io.StringIO(text, newline="\n"), 200)] or [""]
    quoted = [line for line in rows if line.startswith('"')]
    width = header.count(",") + 1
    if width < 3 or header.rstrip(";").count(";") or header.startswith('"') or not quoted:
        return False
    if sum(line.endswith(";;") for line in rows) >= 0.5 * sum(map(bool, rows)):
        return True
    # Nothing was torn: the lines that have quotes in them stand in quotes, with the cells of a row inside.
    wholes = [_quoted_whole(line) for line in quoted]
    return all(wholes) and any(len(next(lenient_records(whole, ",", False), [])) == width for whole in wholes)


def _quoted_whole(line: str) -> str:
    """What a line holds that is one cell in quotes, with quotes inside; empty where it is none."""
    if not (line.endswith('"') and '""' in line[1:-1]):
        return ""
    cells = next(lenient_records(line, ",", False), [])
    return cells[0] if len(cells) == 1 else ""


def unwrapped(line: str) -> str:
    """The line as it was before; one that is too long for it stays, to be told as a damaged record."""
    cells = next(lenient_records(line, ";", False), [])
    if not cells and line.strip():
        return line
    return ";".join(cells).rstrip(";") + "\n"
