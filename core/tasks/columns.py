"""The JSON form of a task, in SQL: one text for what writes answer and for what reads answer."""

from core.tasks.fields import FIELDS

TASK_COLUMNS = tuple(field.name for field in FIELDS)


def task_json(table: str) -> str:
    """SQL for the finished JSON text of a row of `table` (a name of ours, never a client's)."""
    columns = ", ".join(f"{table}.{column}" for column in TASK_COLUMNS)
    return f"(SELECT row_to_json(task)::text FROM (SELECT {columns}) AS task)"  # noqa: S608
