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


def end_of(day: str, *, user_id: str) -> str:
    """The end of a day in the time zone of a user; that is looked up only where there is a day."""
    return f"day_end({day}, (SELECT held_time_zone({user_id})))"


def changed_due(
    *, date_is_given: str, date: str, day_is_given: str, day: str, user_id: str, day_wins: bool = False
) -> dict[str, str]:
    """What a change makes of `due_date` and `due_day` of `t`. An equal due date changes nothing, another ends the day.

    Args:
        date_is_given, day_is_given: SQL, whether the change names them.
        date, day: SQL of what it says; null where it does not.
        user_id: SQL.
        day_wins: of a day and a due date that do not agree; else that is an error.
    """
    is_same = f"{day} = t.due_day AND t.due_date IS NOT NULL"
    end = end_of(day, user_id=user_id)
    if not day_wins:
        is_same += f" AND (NOT {date_is_given} OR {date} = t.due_date)"
        end = f"agreed_due_date({end}, {date})"
    return {
        "due_date": f"CASE WHEN {day} IS NOT NULL THEN CASE WHEN {is_same} THEN t.due_date ELSE {end} END "
        f"WHEN {date_is_given} THEN {date} WHEN {day_is_given} THEN NULL ELSE t.due_date END",
        "due_day": f"CASE WHEN {day} IS NOT NULL THEN {day} "
        f"WHEN {day_is_given} OR {date_is_given} AND {date} IS DISTINCT FROM t.due_date THEN NULL ELSE t.due_day END",
    }


def insert_tasks(fields: Sequence[Field], *, user_id: str, day_wins: bool = False) -> str:
    """INSERT of tasks; a FROM has to follow, whose rows `r` have an `id` and the parameters of `fields`.

    Args:
        fields: that may be given.
        user_id: SQL.
        day_wins: of a day and a due date that do not agree; else that is an error.
    """
    values = {"id": "r.id", "user_id": user_id}
    for field in fields:
        value = stored(field, f"r.{field.name}")
        values[field.name] = value if field.made is None else f"coalesce({value}, {field.made})"
    due_date, end = values["due_date"], end_of(values["due_day"], user_id=user_id)
    end = end if day_wins else f"agreed_due_date({end}, {due_date})"
    values["due_date"] = f"CASE WHEN r.due_day IS NULL THEN {due_date} ELSE {end} END"
    completed_at = f"coalesce({values['completed_at']}, now())" if "completed_at" in values else "now()"
    values["completed_at"] = f"CASE WHEN r.status = 'completed' THEN {completed_at} END"
    return f"INSERT INTO tasks AS t ({', '.join(values)}) SELECT {', '.join(values.values())}"
