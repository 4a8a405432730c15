"""Single values of a file: dates, texts in one line, texts in a sentence."""

from collections.abc import Callable
from datetime import tzinfo


def read_moment(
    text: str, parse: Callable[..., str], time_zone: tzinfo, *, day_first: bool | None = None
) -> str | None:
    """A date as `parse` reads it; nothing where the text is blank.

    Raises:
        ValueError: the text is no date.
    """
    return parse(text, time_zone, day_first=day_first) if text.strip() else None


def quoted(text: str) -> str:
    """A text in a sentence, cut if it is long."""
    text = one_line(text)
    return f"“{text[:60]}…”" if len(text) > 60 else f"“{text}”"


def one_line(text: str) -> str:
    """A text with all its white space made single spaces."""
    return " ".join(text.split())


def trimmed(text: str) -> str:
    """A text with newlines as we write them, and without blank lines around it."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\n").rstrip()
