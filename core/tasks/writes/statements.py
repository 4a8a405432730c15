"""The parts of statements that write the fields of tasks, made of their one list."""

from collections.abc import Sequence

from core.tasks.columns import stored
from core.tasks.fields import Field

# Type of a column → what of a merge patch, a jsonb called `fields`, is stored in it; others are cast.
_PATCHES = {
    "text": "fields ->> '{0}'",
    "text[]": "ARRAY(SELECT jsonb_array_elements_text(fields -> '{0}'))",
}


def patched(field: Field) -> str:
    """What a merge patch makes of the column of `t`: one that it does not name is not touched, a null clears."""
    value = _PATCHES.get(field.kind.sql, f"(fields ->> '{{0}}')::{field.kind.sql}").format(field.name)
    return f"CASE WHEN fields ? '{field.name}' THEN {value} ELSE t.{field.name} END"


def insert_tasks(fields: Sequence[Field], *, user_id: str) -> str:
    """INSERT of tasks; a FROM has to follow, whose rows `r` have an `id` and the parameters of `fields`."""
    values = {"id": "r.id", "user_id": user_id}
    for field in fields:
        value = stored(field, f"r.{field.name}")
        values[field.name] = value if field.made is None else f"coalesce({value}, {field.made})"
    completed_at = f"coalesce({values['completed_at']}, now())" if "completed_at" in values else "now()"
    values["completed_at"] = f"CASE WHEN r.status = 'completed' THEN {completed_at} END"
    return f"INSERT INTO tasks AS t ({', '.join(values)}) SELECT {', '.join(values.values())}"
