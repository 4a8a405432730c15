"""JSON of any other program: a list of objects, objects in lines, or an object with a list of them somewhere inside.

Members are to it what columns are to a CSV of any program, and mean what a mapping (`csv/mapping.py`) or a guess
(`csv/guessing.py`) says. An object inside another stands for its name, if it has one; else its members are columns of
their own, called by their path (`fields.summary`). A list is its texts, with commas between them.

Where the objects are lists of tasks (they have a name, and `tasks` or the like), the tasks are read, each with the name
of its list.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any, BinaryIO

from core.formats.csv.guessing import guess
from core.formats.csv.mapping import plan_columns
from core.formats.csv.tasks import TaskReader
from core.formats.csv.words import RANKS, word_of
from core.formats.failed_rows import ERROR, IN_LINES
from core.formats.json_object import text_in
from core.formats.rows import (
    BadRow,
    Certainty,
    FileReport,
    Format,
    Head,
    ImportRefused,
    ReadOptions,
    Rows,
    Source,
    excerpt,
)
from core.formats.streams.json_lines import json_lines
from core.formats.streams.json_shape import shape_of
from core.formats.streams.json_stream import json_document, json_items
from core.formats.streams.utf8 import as_utf8, looked_into

_HEAD_BYTES = 64 * 1024
_SAMPLE = 200
_COLUMNS_MAXIMUM = 1000
_DEPTH_MAXIMUM = 4
_LIST = "list"
_OF_LISTS = ("tasks", "items", "todos", "cards", "issues", "entries")

_Item = tuple[int, dict[str, Any], Source] | BadRow


def recognise(head: Head) -> Certainty:
    """Objects in a list, or anywhere else with a member that is called as titles are."""
    shape = shape_of(head.text)
    if shape.top == "array":
        return 1 if shape.keys("[]") or (head.is_whole and not shape.members) else 0
    paths = [path for path in shape.members if "[]" in path or shape.top == "lines"]
    return 1 if any(_is_title(name) for path in paths for name in shape.keys(path)) else 0


def read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    """A row an object."""
    items = _items(stream, options, report)
    sample = list(islice(items, _SAMPLE))
    if not sample:
        raise ImportRefused("import-empty", "The file holds no objects.")
    known = [_cells_of(_without_reason(item[1])) for item in sample if not isinstance(item, BadRow)]
    header = list(dict.fromkeys(name for cells in known for name in cells))
    if len(header) > _COLUMNS_MAXIMUM:
        raise ImportRefused(
            "import-too-large", f"The objects have {len(header):,} members; at most {_COLUMNS_MAXIMUM:,} are read."
        )
    mapping = options.mapping
    if mapping is None:
        rows = [[cells.get(name, "") for name in header] for cells in known]
        mapping = report.mapping = {name: value for name, value in guess(header, rows).items() if name != "header"}
    positions = {name: [position] for position, name in enumerate(header)}
    is_guess = options.mapping is None
    reader = TaskReader(plan_columns(mapping, positions, len(header)), options, is_guess=is_guess)
    for item in chain(sample, items):
        if isinstance(item, BadRow):
            yield item
            continue
        number, content, source = item
        cells = _cells_of(_without_reason(content))
        task = reader.parse([cells.pop(name, "") for name in header])
        if is_guess:
            for name, cell in cells.items():  # members that the first objects do not have
                task.fact(name, cell)
        yield task.row(number, excerpt(content), reader.names, source)


def _items(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Iterator[_Item]:
    data, text = looked_into(as_utf8(stream, options.encoding), _HEAD_BYTES)
    beginning = data.decode(errors="replace").strip()
    top = shape_of(beginning).top
    if top != "lines" and top != "object":
        yield from json_items(text, None)
    elif _is_followed(beginning):
        if top == "lines":
            report.frame = IN_LINES
            yield from json_lines(text, lambda number, content: (number, content, content))
        else:
            yield from json_items(text, None)
    else:
        yield from _inside(json_document(text, None))


def _is_followed(text: str) -> bool:
    """Whether more follows the first object; one whose end is not there is taken for the whole document."""
    try:
        _, end = json.JSONDecoder(parse_int=float).raw_decode(text)
    except (json.JSONDecodeError, RecursionError):
        return False
    return bool(text[end:].strip())


def _inside(document: Any) -> Iterator[_Item]:
    """The objects of the longest list in a document; without one it is an object of its own."""
    entries, list_name = _longest_list(document, 0)
    number = 0
    for entry in entries if entries else [document]:
        for name, content in _opened(entry, list_name):
            number += 1
            if isinstance(content, dict):
                content = {**content, _LIST: name} if name and _LIST not in content else content
                yield number, content, content
            else:
                yield BadRow(number, None, "Not an object.", excerpt(content), source=content)


def _longest_list(value: Any, depth: int) -> tuple[list[Any], str]:
    """The longest list of objects in an object, and the name of what holds it."""
    best: tuple[list[Any], str] = ([], "")
    if depth == _DEPTH_MAXIMUM or not isinstance(value, dict):
        return best
    for inner in value.values():
        if isinstance(inner, list) and any(isinstance(entry, dict) for entry in inner):
            found = inner, _name_of(value)
        else:
            found = _longest_list(inner, depth + 1)
        if len(found[0]) > len(best[0]):
            best = found
    return best


def _opened(entry: Any, list_name: str) -> Iterator[tuple[str, Any]]:
    """A task with its list's name; of a list of tasks, each of them."""
    if isinstance(entry, dict):
        for name in _OF_LISTS:
            tasks = entry.get(name)
            if isinstance(tasks, list) and tasks and all(isinstance(task, dict) for task in tasks):
                yield from ((_name_of(entry), task) for task in tasks)
                return
    yield list_name, entry


def _name_of(content: Mapping[str, Any]) -> str:
    return next((value for name in ("name", "title") if isinstance(value := content.get(name), str)), "")


def _without_reason(content: dict[str, Any]) -> dict[str, Any]:
    """An object without the reason that our own file of failed rows has added: its first member, a sentence."""
    if next(iter(content), None) != ERROR:
        return content
    reason = content[ERROR]
    is_ours = isinstance(reason, str) and reason.endswith(".")
    return {name: value for name, value in content.items() if name != ERROR} if is_ours else content


def _cells_of(content: Mapping[str, Any], path: str = "", depth: int = 0) -> dict[str, str]:
    """Member, by its path → what it says."""
    cells: dict[str, str] = {}
    for name, value in content.items():
        column = f"{path}.{name}" if path else name
        if value is None:
            continue
        if isinstance(value, dict) and depth < _DEPTH_MAXIMUM and text_in(value) is None:
            cells.update(_cells_of(value, column, depth + 1))
        elif (cell := text_in(value)) is not None:
            cells[column] = cell
    return cells


def _is_title(name: str) -> bool:
    return word_of(name) in RANKS["title"]


FORMAT = Format("json", "JSON of any program", recognise, read)
