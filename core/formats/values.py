"""Single values of a file: what is wrong with one, dates by the file's own names, texts in one line."""

from collections.abc import Callable
from datetime import tzinfo

from core.formats.dates import parse_moment


class WrongValue(Exception):
    """A value that no task can be made of.

    Attributes:
        column: the file's own name of it.
        message: what is wrong, and what would be right.
    """

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column
        self.message = message


def moment(text: str, column: str, time_zone: tzinfo, parse: Callable[[str, tzinfo], str] = parse_moment) -> str | None:
    """A date, RFC 3339 in UTC; nothing where the text is blank.

    Raises:
        WrongValue: the text is no date.
    """
    if not text.strip():
        return None
    try:
        return parse(text, time_zone)
    except ValueError as error:
        raise WrongValue(column, str(error)) from None


def one_line(text: str) -> str:
    """A text with all its white space made single spaces."""
    return " ".join(text.split())


def trimmed(text: str) -> str:
    """A text with newlines as we write them, and without blank lines around it."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\n").rstrip()
