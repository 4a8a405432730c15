"""A task's JSON, as the database makes it."""

from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.tasks.columns import TASK_COLUMNS
from tests.harness import require_plain_json

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30)
moments = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59), timezones=st.just(UTC))
tasks = st.fixed_dictionaries(
    {
        "id": st.integers(1, 2**53 - 1),
        "user_id": st.integers(1, 2**53 - 1),
        "title": texts,
        "description": st.none() | texts,
        "priority": st.integers(1, 10),
        "status": st.just("pending"),
        "due_date": st.none() | moments,
        "labels": st.lists(texts, max_size=3),
        "created_at": moments,
        "updated_at": moments,
        "completed_at": st.none() | moments,
        "version": st.integers(1, 2**31 - 1),
        "recurrence": st.none() | texts,
        "recurrence_from": st.just("due_date"),
        "due_day": st.none() | st.dates(),
    }
)

MADE = "SELECT task_json(t) FROM jsonb_populate_record(NULL::tasks, $1) AS t"
PLAIN = {
    "id": 1, "user_id": 1, "priority": 5, "status": "pending", "version": 1, "recurrence_from": "due_date",
    "created_at": "2030-01-31T17:00:00Z", "updated_at": "2030-01-31T17:00:00Z",
}  # fmt: skip


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tasks)
async def test_it_says_every_field_as_it_is_with_times_in_utc(owner: asyncpg.Connection, task: dict[str, Any]) -> None:
    text = await owner.fetchval(MADE, orjson.dumps(task).decode())
    told = orjson.loads(text)
    assert list(told) == list(TASK_COLUMNS)
    for name, value in task.items():
        if isinstance(value, datetime):
            assert told[name].endswith("Z")
            assert datetime.fromisoformat(told[name]) == value
        else:
            assert told[name] == (value.isoformat() if isinstance(value, date) else value)


async def test_a_text_that_looks_like_a_time_stays_as_it_is(owner: asyncpg.Connection) -> None:
    title = '2030-01-31T17:00:00+00:00","due_date":"2030-01-31T17:00:00+00:00'
    task = PLAIN | {"title": title, "labels": ["2030-01-31 17:00:00+00"], "due_date": "2030-01-31T17:00:00+02:00"}
    await owner.execute("SET timezone = 'Asia/Kathmandu'")
    told = orjson.loads(await owner.fetchval(MADE, orjson.dumps(task).decode()))
    assert (told["title"], told["labels"]) == (title, ["2030-01-31 17:00:00+00"])
    assert told["due_date"] == "2030-01-31T15:00:00Z", "whatever the session's zone is"


async def test_it_has_no_spaces_but_in_texts(owner: asyncpg.Connection) -> None:
    task = PLAIN | {"title": "a  b", "labels": ["c d", "e"]}
    require_plain_json((await owner.fetchval(MADE, orjson.dumps(task).decode())).encode())
