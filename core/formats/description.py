"""Descriptions, which hold what a task has no field for.

A description is made in this order, each part only where there is something: its first lines, the item's own text,
checklists, facts in lines of `Name: value`, comments. What was appended may be left out where it does not fit, and then
a line tells how much; the item's own text is cut only where it alone is longer than a description may be.
"""

from collections.abc import Sequence

from core.formats.values import trimmed
from core.tasks.fields import DESCRIPTION_MAXIMUM

_GAP = "\n\n"
_FACTS = "lines"
_FACTS_ROOM = 4000
_OMISSIONS_MAXIMUM = 120  # what the lines that tell of omissions take

_Section = tuple[str, list[str]]
"""Lines that are appended, and what they are called where some are left out."""


def description_of(
    first_lines: list[str],
    text: str,
    checklists: Sequence[tuple[str, list[str]]],
    facts: list[str],
    comments: Sequence[str],
) -> tuple[str, int]:
    """The description of a task, and how long it would be if there were room; empty where there is nothing to say.

    Args:
        first_lines: before the item's own text.
        text: the item's own.
        checklists: heading (may be empty) → lines.
        facts: each a line.
        comments: the oldest first.
    """
    beginning = ["\n".join(first_lines), trimmed(text)]
    sections: list[_Section] = [
        *(("checklist items", [heading + ":", *lines] if heading else lines) for heading, lines in checklists),
        (_FACTS, facts),
        *(("comments", [comment]) for comment in comments),
    ]
    whole = _GAP.join(filter(None, [*beginning, *("\n".join(lines) for _, lines in sections)]))
    if len(whole) <= DESCRIPTION_MAXIMUM:
        return whole, len(whole)
    own = _GAP.join(filter(None, beginning))
    if len(own) > DESCRIPTION_MAXIMUM:
        own = own[: DESCRIPTION_MAXIMUM - _OMISSIONS_MAXIMUM - _FACTS_ROOM].rstrip() + "…"
    shortened = _append_what_fits(own, sections)
    return shortened if len(shortened) <= DESCRIPTION_MAXIMUM else own, len(whole)


def _append_what_fits(text: str, sections: list[_Section]) -> str:
    """As much as a description holds."""
    # Facts are short, and say where the task comes from: what stands before them leaves them room.
    facts_room = min(_FACTS_ROOM, sum(len(line) + 1 for kind, lines in sections if kind == _FACTS for line in lines))
    for index, (kind, lines) in enumerate(sections):
        if kind == _FACTS:
            facts_room = 0
        room = DESCRIPTION_MAXIMUM - _OMISSIONS_MAXIMUM - facts_room
        for number, line in enumerate(lines):
            gap = "\n" if number else _GAP if text else ""
            if len(text) + len(gap) + len(line) > room:
                following = sections[index + 1 :]
                omitted = len(lines) - number + sum(len(others) for other, others in following if other == kind)
                rest = [section for section in following if section[0] != kind]
                return _append_what_fits(f"{text}{gap}[… {omitted} more {kind}]", rest)
            text += gap + line
    return text
