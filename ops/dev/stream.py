"""Log files on the terminal, shortened: the children write files, which outlive us and never block them."""

import json
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

LINES_AT_ONCE = 40
LONGEST_LINE = 200
READ_BYTES = 1 << 20
OWN_FIELDS = frozenset({"event", "level", "timestamp", "tier"})


class LogStream:
    """Follows files and tells what was added to them since the last look."""

    def __init__(self, files: Iterable[tuple[str, Path]], say: Callable[[str], None]) -> None:
        """
        Args:
            files: who writes, and where; what stands there already is not told.
            say: given one line at a time.
        """
        self._files = list(files)
        self._say = say
        self._places = {path: _size(path) for _, path in self._files}
        self._rests: dict[Path, bytes] = {}

    def look(self) -> None:
        for name, path in self._files:
            lines = self._new_lines(path)
            # The last ones: if the process has crashed, they say why.
            if len(lines) > LINES_AT_ONCE:
                self._say(f"{name:<6} │ … {len(lines) - LINES_AT_ONCE} lines, which are in {path.name}")
            for line in lines[-LINES_AT_ONCE:]:
                self._say(f"{name:<6} │ {shorten(line)}")

    def begin_anew(self, path: Path) -> None:
        """The file was emptied."""
        self._places[path] = 0

    def _new_lines(self, path: Path) -> list[str]:
        if _size(path) < self._places[path]:  # it was moved aside or emptied
            self._places[path] = 0
        try:
            with path.open("rb") as file:
                file.seek(self._places[path])
                added = file.read(READ_BYTES)
        except OSError:
            return []
        self._places[path] += len(added)
        *whole, self._rests[path] = (self._rests.get(path, b"") + added).split(b"\n")
        return [line.decode(errors="replace") for line in whole if line.strip()]


def shorten(line: str) -> str:
    """A structured line as text, anything else as it stands; never longer than `LONGEST_LINE`."""
    text = _readable(line)
    return text if len(text) <= LONGEST_LINE else text[: LONGEST_LINE - 1] + "…"


def _readable(line: str) -> str:
    try:
        record = json.loads(line)
    except ValueError:
        return line
    if not isinstance(record, dict):
        return line
    rest = " ".join(f"{key}={value}" for key, value in record.items() if key not in OWN_FIELDS)
    moment = str(record.get("timestamp", ""))[11:19]
    return f"{moment} {record.get('level', ''):<7} {record.get('event', '')} {rest}".rstrip()


def show(text: str) -> None:
    """Prints. A terminal that is gone stops nothing, above all not half-way."""
    with suppress(OSError):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
