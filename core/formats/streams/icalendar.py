"""iCalendar (RFC 5545) component by component: of any length, malformed in places, and without a VCALENDAR around.

The old vCalendar 1.0 is understood, too. icalendar's own parser is not asked for whole components: it looks at every
character in Python, and it remembers each file's VTIMEZONEs for the whole process, that is, for other people's files.
"""

import quopri
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from core.formats.rows import FileReport, ImportRefused
from core.formats.streams.lines import TooLong, read_lines

COMPONENT_MAXIMUM = 1024 * 1024
FRAME = ("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Tenfold//Imports//EN\r\n", "END:VCALENDAR\r\n")
"""What stands around components that are given back."""
_LINE_BYTES = 75
_FOLDS = (b" ", b"\t")
_READ = (b"VTODO", b"VTIMEZONE")
_IGNORED = {b"VEVENT": "events", b"VJOURNAL": "journals"}
_CONTENT_LINE = re.compile(r'([A-Za-z0-9_.-]+)[ \t]*((?:;(?:[^":]++|"[^"]*+")*+)?+):(.*)', re.DOTALL)
_PARAMETER = re.compile(r';[ \t]*([^=;:"]+)(?:=("[^"]*"|[^;:"]*))?')
_ESCAPE = re.compile(r"\\([\\;,nN:\"])")
_LIST_ENTRY = re.compile(r"(?:[^,\\]|\\.)+", re.DOTALL)


@dataclass(slots=True)
class Property:
    """A content line."""

    name: str
    parameters: dict[str, str]
    value: str

    @property
    def text(self) -> str:
        """The value as a text."""
        return _unescaped(self.value)

    @property
    def texts(self) -> list[str]:
        """The values of a list."""
        return [_unescaped(entry).strip() for entry in _LIST_ENTRY.findall(self.value)]


@dataclass(slots=True)
class Component:
    """A component, or what was found of one.

    Attributes:
        line: of its beginning.
        source: its content lines.
        size: of all of them, in bytes.
        problem: why it cannot be read; its lines are those that came before.
        is_whole: whether all of its lines are there, so that it can be given back.
    """

    name: bytes
    line: int
    source: list[bytes] = field(default_factory=list)
    size: int = 0
    problem: str | None = None
    is_whole: bool = True

    def add(self, line: bytes) -> None:
        """Adds a content line."""
        if self.problem is None:
            self.size += len(line)
            if self.size > COMPONENT_MAXIMUM:
                self.lose(f"Has more than {COMPONENT_MAXIMUM:,} bytes.")
            else:
                self.source.append(line)

    def spoil(self, problem: str) -> None:
        """It cannot be read; the first problem counts."""
        self.problem = self.problem or problem

    def lose(self, problem: str) -> None:
        """A part of it is too long to be held."""
        self.spoil(problem)
        self.is_whole = False


class Properties:
    """A component's properties, by their names.

    Attributes:
        alarms: the properties of each alarm inside, the first of a name.
    """

    def __init__(self, component: Component) -> None:
        text = as_text(b"\n".join(component.source))
        self._properties: dict[str, list[Property]] = {}
        self.alarms: list[dict[str, Property]] = []
        nested: list[str] = []
        for line in text.split("\n"):
            parsed = _parse_line(line)
            if parsed is None:
                continue
            if parsed.name == "BEGIN":
                nested.append(parsed.value.strip().upper())
                if nested == ["VALARM"]:
                    self.alarms.append({})
            elif parsed.name == "END":
                del nested[-1:]
            elif not nested:
                self._properties.setdefault(parsed.name, []).append(parsed)
            elif nested == ["VALARM"]:
                self.alarms[-1].setdefault(parsed.name, parsed)

    def first(self, name: str) -> Property | None:
        """The first of the properties of that name."""
        found = self._properties.get(name)
        return found[0] if found else None

    def all(self, name: str) -> list[Property]:
        """All properties of that name."""
        return self._properties.get(name, [])

    def is_empty(self, but: Collection[str]) -> bool:
        """Whether there is nothing but the named properties."""
        return not any(self.text(name) for name in self._properties.keys() - but)

    def text(self, name: str) -> str:
        """The text of the first property of that name; empty where there is none."""
        found = self.first(name)
        return found.text.strip() if found else ""

    def values(self) -> dict[str, str]:
        """For the report of errors."""
        return {name: ", ".join(one.text for one in found) for name, found in self._properties.items()}


def source_of(component: Component) -> bytes:
    """The component's lines, unfolded, with its own around them; empty where not all of them are there."""
    if not component.is_whole:
        return b""
    return b"\n".join((b"BEGIN:" + component.name, *component.source, b"END:" + component.name))


def as_lines(source: str, *more: str) -> str:
    """Lines of a component as a file has them, with `more` after the first."""
    first, *rest = source.split("\n")
    return "".join(f"{_folded(line)}\r\n" for line in (first, *more, *rest))


def _folded(line: str) -> str:
    """A content line in pieces of 75 bytes at most (RFC 5545, 3.1)."""
    if len(line) <= _LINE_BYTES and line.isascii():
        return line
    pieces = [""]
    size = 0
    for character in line:
        width = len(character.encode(errors="replace"))
        if size + width > _LINE_BYTES:
            pieces.append("")
            size = 1  # the space in front
        pieces[-1] += character
        size += width
    return "\r\n ".join(pieces)


def as_text(source: bytes) -> str:
    """The text of content lines: UTF-8, else Windows-1252."""
    try:
        return source.decode()
    except UnicodeDecodeError:
        return source.decode("windows-1252", errors="replace")


def read_components(stream: BinaryIO, report: FileReport) -> Iterator[Component]:
    """Each VTODO and VTIMEZONE, wherever it stands; events and journals are passed over and counted.

    Args:
        stream: UTF-8, or nearly so.
        report: gets the counts.

    Raises:
        ImportRefused: `import-unreadable`: the file breaks off; `import-wrong-format`: there is no calendar in it.
    """
    state = _Nesting(report)
    for number, line in _unfolded(stream):
        finished: Component | None = None
        if line is None:
            if state.open is not None:
                state.open.lose(f"Line {number:,} is too long.")
            continue
        keyword = line[:6].upper()
        if keyword == b"BEGIN:":
            finished = state.begin(line, number)
        elif state.open is None:
            continue
        elif keyword.startswith(b"END:"):
            finished = state.end(line)
        else:
            state.open.add(line)
        if finished is not None:
            yield finished
    if state.open is not None:
        raise ImportRefused(
            "import-unreadable",
            f"The file breaks off within the component that begins in line {state.open.line:,}: it is not whole."
            " Send it again.",
        )
    if not state.is_calendar:
        raise ImportRefused("import-wrong-format", "Not an iCalendar file: there is no BEGIN:VCALENDAR in it.")


class _Nesting:
    """Where in a calendar's components a line stands.

    Attributes:
        open: the component that is being read.
        is_calendar: whether there was anything of a calendar.
    """

    def __init__(self, report: FileReport) -> None:
        self.open: Component | None = None
        self.is_calendar = False
        self._report = report

    def begin(self, line: bytes, number: int) -> Component | None:
        """Heeds a BEGIN; returns the component that it cuts short."""
        name = line[6:].strip().upper()
        is_outermost = name in (b"VCALENDAR", b"VTODO")
        self.is_calendar = self.is_calendar or is_outermost
        cut = self.open if is_outermost else None
        if cut is not None:
            cut.spoil("Has no end.")
            self.open = None
        if self.open is not None:
            self.open.add(line)
        elif name in _READ:
            self.open = Component(name, number)
        elif name in _IGNORED:
            self._report.ignore(_IGNORED[name])
        return cut

    def end(self, line: bytes) -> Component | None:
        """Heeds an END within a component; returns the component if it is its own."""
        found = self.open
        assert found is not None
        name = line[4:].strip().upper()
        if name == b"VCALENDAR":
            found.spoil("Has no end.")
        elif name != found.name:
            found.add(line)
            return None
        self.open = None
        return found


def _unfolded(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Content lines with the number of their first line; None for one that is too long.

    A line that begins with a space or a tab goes on the one before it, on the level of bytes: a fold may lie within a
    character.
    """
    number = 0
    parts: list[bytes] | None = []  # None: too long to be held
    first = 1
    size = 0
    for lines in read_lines(stream):
        if isinstance(lines, TooLong):
            number += 1
            if not lines.beginning.startswith(_FOLDS):
                if parts:
                    yield first, b"".join(parts)
                first = number
            parts = None
            continue
        for raw in lines:
            number += 1
            line = raw.removesuffix(b"\r")
            if line.startswith(_FOLDS):
                more = line[1:]
            elif parts and parts[-1].endswith(b"=") and _is_quoted_printable(parts[0]):
                parts[-1] = parts[-1][:-1]  # a soft line break
                more = line.lstrip()
            else:
                if parts is None or parts:
                    yield first, _joined(parts)
                first, parts, size = number, [line], len(line)
                continue
            if parts is not None:
                parts.append(more)
                size += len(line)
                if size > COMPONENT_MAXIMUM:
                    parts = None
    if parts is None or parts:
        yield first, _joined(parts)


def _joined(parts: list[bytes] | None) -> bytes | None:
    return None if parts is None else b"".join(parts)


def _is_quoted_printable(line: bytes) -> bool:
    return b"QUOTED-PRINTABLE" in line.upper()


def _parse_line(line: str) -> Property | None:
    match = _CONTENT_LINE.match(line)
    if match is None:
        name, colon, value = line.partition(":")
        return Property(name.partition(";")[0].strip().upper(), {}, value) if colon else None
    name, parameters_text, value = match.groups()
    if not parameters_text:
        return Property(name.upper(), {}, value)
    parameters = {
        key.strip().upper(): (quoted or "").strip().strip('"') for key, quoted in _PARAMETER.findall(parameters_text)
    }
    if parameters.get("ENCODING", "").upper() == "QUOTED-PRINTABLE" or "QUOTED-PRINTABLE" in parameters:
        value = _unquoted(value, parameters.get("CHARSET", "utf-8"))
    return Property(name.upper(), parameters, value)


def _unescaped(value: str) -> str:
    return _ESCAPE.sub(lambda match: "\n" if match[1] in "nN" else match[1], value)


def _unquoted(value: str, charset: str) -> str:
    """vCalendar 1.0 quotes what is not ASCII as mails do."""
    data = quopri.decodestring(value.encode(errors="replace"))
    try:
        text = data.decode(charset)
    except (LookupError, ValueError):
        text = data.decode("windows-1252", errors="replace")
    return text.replace("\\", "\\\\").replace("\r\n", "\n").replace("\n", "\\n")
