"""Whether a file is an export of Tenfold's own: told by what nobody else writes, for a title is everybody's.

Many programs write `id,title,status`. A file that is taken for ours without being so loses its rows to others with the
same ids, or has them refused for words that are not ours. So it needs proof, and what has none is left to the formats
that guess; whoever names the format need not prove anything.
"""

from collections.abc import Collection, Iterable, Set

from core import clock
from core.tasks.fields import FIELDS, IMPORTED

MEMBERS = frozenset({*(field.name for field in IMPORTED), "external_id"})
"""What an import sets."""

IGNORED = tuple(field.name for field in FIELDS if not field.is_imported and field.name != "id")
"""What a task is answered with besides, and says nothing to an import."""

KNOWN = MEMBERS.union(IGNORED, {"id"})

OWN_PREFIX = "tenfold:"
"""Of the external ids of tasks that come from a Tenfold, this one or another."""

# An id is the milliseconds since 2020 and a number of 12 bits (`next_task_id()`); there was no Tenfold before 2024.
_EPOCH = 1_577_836_800
_FIRST_SECOND = 1_704_067_200 - _EPOCH
_NUMBER_BITS = 12
_DAY = 86_400


def is_own(names: Set[str], ids: Collection[str], external_ids: Iterable[str] = ()) -> bool:
    """Whether columns or members are those of an export of ours.

    Args:
        names: of the columns.
        ids: those in the file's beginning. One that is no task's id of a Tenfold is proof to the contrary.
        external_ids: those in the file's beginning.
    """
    if "title" not in names or not names <= KNOWN or not all(map(_is_task_id, ids)):
        return False
    return bool(
        ids
        or "recurrence_from" in names
        or {"version", "completed_at"} <= names
        or any(one.startswith(OWN_PREFIX) for one in external_ids)
    )


def _is_task_id(text: str) -> bool:
    if not (text.isascii() and text.isdecimal() and len(text) <= 16):
        return False
    seconds = (int(text) >> _NUMBER_BITS) / 1000
    return _FIRST_SECOND <= seconds <= clock.now().timestamp() - _EPOCH + _DAY
