"""Cursors: they come back as they were given out, and whatever else comes is refused in one way."""

import base64
import contextlib
import uuid
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.database.read_pool import ReadPool
from core.errors import AnchorGone, CursorInvalid
from core.ids import MAXIMUM_ID
from core.pagination import decode_cursor, encode_cursor, scope_digest
from core.tasks.queries import SORTS, Caller, TaskFilter, TaskQuery, list_tasks
from tests.core.conftest import Cast

BOUNDED = settings(deadline=None, max_examples=200)
integers = st.integers(-MAXIMUM_ID, MAXIMUM_ID)
moments = st.one_of(
    st.datetimes(timezones=st.just(UTC)).map(str), st.sampled_from(("infinity", "-infinity", "2026-01-31 12:00:00+00"))
)
scopes = st.builds(scope_digest, st.integers(), st.text(max_size=5))


@BOUNDED
@given(scopes, integers, moments, st.uuids().map(str))
def test_a_position_comes_back_as_it_was(scope: str, number: int, moment: str, identifier: str) -> None:
    cursor = encode_cursor(scope, number, moment, identifier)
    assert decode_cursor(cursor, scope, int, datetime, uuid.UUID) == [number, moment, identifier]
    assert cursor.isascii()
    assert not set(cursor) & set("+/=&?# "), "it goes into a URL as it is"


@BOUNDED
@given(scopes, integers, st.data())
def test_a_mutilated_cursor_is_refused_and_raises_nothing_else(scope: str, number: int, data: st.DataObject) -> None:
    cursor = encode_cursor(scope, number)
    place = data.draw(st.integers(0, len(cursor) - 1))
    replacement = data.draw(st.text(max_size=3))
    mutilated = cursor[:place] + replacement + cursor[place + data.draw(st.integers(0, 4)) :]
    with contextlib.suppress(CursorInvalid):
        assert len(decode_cursor(mutilated, scope, int)) == 1


@BOUNDED
@given(st.text(max_size=600))
def test_any_text_is_refused_as_a_cursor(text: str) -> None:
    with pytest.raises(CursorInvalid):
        decode_cursor(text, scope_digest("x"), int)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)


@BOUNDED
@given(json_values, st.sampled_from(((int,), (datetime, int), (datetime, uuid.UUID))))
def test_any_json_is_refused_as_a_cursor(content: Any, kinds: tuple[type, ...]) -> None:
    with pytest.raises(CursorInvalid):
        decode_cursor(base64.urlsafe_b64encode(orjson.dumps(content)).decode(), scope_digest("x"), *kinds)


@pytest.mark.parametrize("kind", [int, datetime, uuid.UUID])
@pytest.mark.parametrize("value", [None, True, 1.5, "x", [], {}, MAXIMUM_ID + 1, "2026-01-31", "2026-01-31T12:00:00"])
def test_a_position_of_another_kind_is_refused(value: Any, kind: type) -> None:
    with pytest.raises(CursorInvalid, match="damaged"):
        decode_cursor(encode_cursor("scope", value), "scope", kind)


def test_a_cursor_of_another_list_is_refused_in_words_of_its_own() -> None:
    with pytest.raises(CursorInvalid, match="other filters or another sort"):
        decode_cursor(encode_cursor(scope_digest("a"), 1), scope_digest("b"), int)


def test_a_deeply_nested_cursor_is_refused() -> None:
    with pytest.raises(CursorInvalid):
        decode_cursor(base64.urlsafe_b64encode(b"[" * 380).decode(), "scope", int)


# -- over real rows


async def walk(reads: ReadPool, caller: Caller, sort: str, limit: int, **filters: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    for _ in range(100):
        page = await list_tasks(reads, caller, TaskQuery(TaskFilter(**filters), sort=sort, limit=limit, cursor=cursor))
        found += orjson.loads(page.items)
        cursor = page.next_cursor
        if cursor is None:
            return found
    raise AssertionError("the walk has no end")


@pytest.fixture
async def tasks(owner: Any, cast: Cast) -> Cast:
    """Many equal keys, and moments with and without fractions of a second."""
    await owner.execute(
        """
        INSERT INTO tasks (user_id, title, priority, due_date, created_at, updated_at)
        SELECT CASE WHEN n % 5 = 0 THEN $2::bigint ELSE $1 END, 'title ' || n, 1 + n % 3,
               CASE WHEN n % 4 > 0 THEN timestamptz '2026-02-01' + (n % 3) * interval '0.1 seconds' END,
               timestamptz '2026-01-01' + (n % 6) * interval '0.000001 seconds', timestamptz '2026-01-01'
        FROM   generate_series(1, 40) AS n
        """,
        cast.alice,
        cast.bob,
    )
    return cast


def expected_order(tasks: list[dict[str, Any]], sort: str) -> list[int]:
    name, descending = sort.removeprefix("-"), sort.startswith("-")
    last = "" if descending else "~"  # no date comes last in both directions

    def key(task: dict[str, Any]) -> tuple[Any, int]:
        value = task[name] if task[name] is not None else last
        # Without its Z, a whole second is the beginning of its fractions.
        return (value.removesuffix("Z") if isinstance(value, str) else value, task["id"])

    return [task["id"] for task in sorted(tasks, key=key, reverse=descending)]


@pytest.mark.parametrize("sort", sorted(SORTS))
@pytest.mark.parametrize("whose", ["own", "all"])
async def test_a_walk_in_small_pages_meets_every_task_once_in_order(
    reads: ReadPool, tasks: Cast, sort: str, whose: str
) -> None:
    caller = Caller(tasks.alice) if whose == "own" else Caller(tasks.admin, is_admin=True)
    whole = await walk(reads, caller, sort, 1000)
    assert len(whole) == (32 if whose == "own" else 40)
    assert [task["id"] for task in whole] == expected_order(whole, sort)
    for limit in (1, 3, len(whole)):
        assert [task["id"] for task in await walk(reads, caller, sort, limit)] == [task["id"] for task in whole]


@pytest.mark.parametrize("sort", sorted(SORTS))
async def test_starting_after_a_task_is_going_on_behind_it(reads: ReadPool, tasks: Cast, sort: str) -> None:
    whole = await walk(reads, Caller(tasks.alice), sort, 1000)
    for place in (0, 7, len(whole) - 1):
        query = TaskQuery(TaskFilter(), sort=sort, last_id=whole[place]["id"])
        page = await list_tasks(reads, Caller(tasks.alice), query)
        assert orjson.loads(page.items) == whole[place + 1 :]


async def test_a_task_of_another_user_is_no_place_to_start_after(reads: ReadPool, tasks: Cast) -> None:
    [foreign, *_] = await walk(reads, Caller(tasks.bob), "id", 10)
    with pytest.raises(AnchorGone):
        await list_tasks(reads, Caller(tasks.alice), TaskQuery(TaskFilter(), last_id=foreign["id"]))


async def test_a_cursor_gives_no_sight_of_another_users_tasks(reads: ReadPool, tasks: Cast) -> None:
    first = await list_tasks(reads, Caller(tasks.bob), TaskQuery(TaskFilter(), limit=1))
    page = await list_tasks(reads, Caller(tasks.alice), TaskQuery(TaskFilter(), cursor=first.next_cursor))
    assert {task["user_id"] for task in orjson.loads(page.items)} <= {tasks.alice}


@pytest.mark.parametrize("sort", ["priority", "due_date", "id"])
@pytest.mark.parametrize("value", [1 << 40, -(1 << 62), "2026-W05-6T12:00+00:00", "infinity", "0001-01-01 00:00:00+23"])
async def test_a_forged_position_gives_a_page_or_is_refused(
    reads: ReadPool, tasks: Cast, sort: str, value: Any
) -> None:
    scope = scope_digest(TaskFilter(), sort, False)
    position = [value] if SORTS[sort].key is None else [value, 1]
    query = TaskQuery(TaskFilter(), sort=sort, cursor=encode_cursor(scope, *position))
    with contextlib.suppress(CursorInvalid):
        await list_tasks(reads, Caller(tasks.alice), query)
