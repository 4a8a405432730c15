"""The formats that can be imported: each a module that tells whether a file is its own and reads it, row by row."""

from operator import itemgetter

from core.formats.programs import (
    any_csv,
    any_json,
    github,
    google_tasks,
    gtg,
    ical,
    jira,
    jira_xml,
    microsoft_todo,
    taskwarrior,
    tenfold_csv,
    tenfold_json,
    tenfold_ndjson,
    ticktick,
    todoist,
    toodledo,
    trello,
    wekan,
)
from core.formats.rows import Format, Head
from core.formats.streams.utf8 import encoding_of

# Where two are equally certain, the earlier has it; `any_json` and `any_csv` take what nobody else does.
FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (
        tenfold_csv,
        tenfold_ndjson,
        tenfold_json,
        todoist,
        trello,
        github,
        jira,
        jira_xml,
        ical,
        taskwarrior,
        microsoft_todo,
        google_tasks,
        ticktick,
        toodledo,
        wekan,
        gtg,
        any_json,
        any_csv,
    )
}
"""Name, as clients say it → format."""


def recognise(head: Head) -> Format | None:
    """The format that is most certain to be that of a file which begins so; None: none of ours."""
    certainty, best = max(((format_.recognise(head), format_) for format_ in FORMATS.values()), key=itemgetter(0))
    return best if certainty > 0 else None


def head_of(data: bytes, filename: str, is_whole: bool) -> Head:
    """A file's beginning, as formats want it.

    Args:
        data: the first bytes, decompressed; they may end within a character.
        filename: as the client called the file; may be empty.
        is_whole: whether that is the whole file.
    """
    encoding, mark_bytes = encoding_of(data)
    text = data[mark_bytes:].decode(encoding or "utf-8", errors="replace")
    if encoding is None and "�" in text[:-1]:
        text = data.decode("windows-1252", errors="replace")
    return Head(data, text, filename.lower(), is_whole)
