"""Lists of tasks: pages that neither skip nor repeat, in each sort."""

import base64
import json
import re
from typing import Any

import orjson
import pytest
from yarl import URL

from tests.api.pages import everything, pages, titles
from tests.api.problems import assert_problem
from tests.factories import create_task, create_tasks
from tests.harness import Service

LINK = re.compile(r'<(?P<target>[^>]+)>; rel="next"\Z')


# -- the page -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/tasks", "/user/tasks"])
async def test_an_empty_list_is_a_page_without_a_next_one(service: Service, path: str) -> None:
    answer = await service.alice.get(path)
    assert answer.status == 200
    assert answer.json == {"items": [], "next_cursor": None}
    assert "Link" not in answer.headers
    assert answer.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("path", ["/tasks", "/user/tasks"])
async def test_a_list_holds_the_same_task_as_its_own_address(service: Service, path: str) -> None:
    task = await create_task(service.alice, description="All of it", due_date="2031-05-06T07:08:09Z")
    assert (await service.alice.get(path)).items == [task]


async def test_the_list_is_ordered_by_id_unless_told_otherwise(service: Service) -> None:
    made = await create_tasks(service.alice, [{"priority": 9}, {"priority": 1}, {"priority": 5}])
    assert [task["id"] for task in (await service.alice.get("/tasks")).items] == [task["id"] for task in made]


async def test_a_page_has_100_tasks_unless_told_otherwise(service: Service) -> None:
    await create_tasks(service.alice, [{}] * 101)
    answer = await service.alice.get("/tasks")
    assert len(answer.items) == 100
    assert answer.json["next_cursor"] is not None


async def test_a_full_last_page_is_known_to_be_the_last(service: Service) -> None:
    await create_tasks(service.alice, [{}] * 4)
    found = [page async for page in pages(service.alice, "/tasks", {"limit": 2})]
    assert [len(page.items) for page in found] == [2, 2]


async def test_the_next_page_stands_in_a_link_that_works(service: Service) -> None:
    made = await create_tasks(service.alice, [{"priority": 3, "title": f"a & b {n}"} for n in range(5)])
    await create_task(service.alice, priority=4)
    answer = await service.alice.get("/tasks", params={"limit": 2, "priority": "3", "q": "a &", "sort": "-id"})
    seen = answer.items
    while answer.json["next_cursor"] is not None:
        match = LINK.match(answer.headers["Link"])
        assert match is not None
        assert URL(match["target"]).query["cursor"] == answer.json["next_cursor"]
        answer = await service.alice.get(URL(match["target"], encoded=True))
        assert answer.status == 200, answer
        seen = seen + answer.items
    assert [task["id"] for task in seen] == [task["id"] for task in reversed(made)]
    assert "Link" not in answer.headers


async def test_the_largest_page_holds_1000(service: Service) -> None:
    await create_tasks(service.alice, [{}] * 1000)
    await create_task(service.alice)
    answer = await service.alice.get("/tasks?limit=1000")
    assert len(answer.items) == 1000
    assert_problem(await service.alice.get("/tasks?limit=1001"), 422, "validation-error")


async def test_page_sizes_are_settings(make_service: Any) -> None:
    service = await make_service(DEFAULT_PAGE_SIZE="3", MAX_PAGE_SIZE="5")
    await create_tasks(service.alice, [{}] * 6)
    assert len((await service.alice.get("/tasks")).items) == 3
    assert len((await service.alice.get("/tasks?limit=5")).items) == 5
    problem = assert_problem(await service.alice.get("/tasks?limit=6"), 422, "validation-error")
    assert list(problem["errors"]) == ["limit"]


# -- sorts ----------------------------------------------------------------------------------------------------


ROWS = [
    # title, priority, due_date
    ("a", 3, "2031-03-01T00:00:00Z"),
    ("b", 1, None),
    ("c", 3, "2031-01-01T00:00:00Z"),
    ("d", 2, "2031-01-01T00:00:00Z"),
    ("e", 1, None),
    ("f", 10, "2031-02-01T00:00:00Z"),
]
ORDERS = {
    "": "abcdef",
    "sort=id": "abcdef",
    "sort=-id": "fedcba",
    "sort=priority": "bedacf",
    "sort_by_priority=true": "bedacf",
    "sort_by_priority=false": "abcdef",
    "sort_by_priority=true&sort=priority": "bedacf",
    "sort=-priority": "fcadeb",
    "sort=due_date": "cdfabe",
    "sort=-due_date": "afdceb",
    "sort=created_at": "abcdef",
    "sort=-updated_at": "bcdefa",
    "sort=updated_at": "afedcb",
}


@pytest.mark.parametrize(("query", "expected"), ORDERS.items(), ids=ORDERS)
async def test_each_sort_is_total_over_all_page_sizes(service: Service, query: str, expected: str) -> None:
    await insert_sortable(service)
    for limit in (1, 2, 3, 6, 7):
        params = dict(URL(f"/?{query}").query)
        found = await everything(service.alice, limit=limit, **params)
        assert "".join(task["title"] for task in found) == expected, limit


@pytest.mark.parametrize("path", ["/tasks", "/user/tasks"])
@pytest.mark.parametrize("sort", ["id", "-id", "priority", "due_date", "-updated_at"])
async def test_last_id_starts_after_that_task_in_the_same_sort(service: Service, path: str, sort: str) -> None:
    ids = await insert_sortable(service)
    order = ORDERS[f"sort={sort}"]
    for place, title in enumerate(order):
        answer = await service.alice.get(path, params={"sort": sort, "last_id": ids[title]})
        assert "".join(titles(answer)) == order[place + 1 :]


async def insert_sortable(service: Service) -> dict[str, int]:
    """Puts `ROWS` in, "a" changed last and then in the order of the alphabet backwards."""
    tasks = [{"title": title, "priority": priority, "due_date": due} for title, priority, due in ROWS]
    made = await create_tasks(service.alice, tasks)
    ids = {task["title"]: task["id"] for task in made}
    for age, title in enumerate("bcdef"):
        await service.rows(
            "UPDATE tasks SET updated_at = updated_at - make_interval(mins => $2) WHERE id = $1", ids[title], age + 1
        )
    await service.rows("UPDATE tasks SET updated_at = updated_at - interval '1 hour' WHERE id = $1", ids["a"])
    return ids


async def test_timestamps_alike_to_the_microsecond_are_paged_by_id(service: Service) -> None:
    await create_tasks(service.alice, [{"due_date": "2031-01-01T00:00:00.123456Z"}] * 7)
    await service.rows("UPDATE tasks SET updated_at = '2026-01-02T03:04:05.000001Z'")
    for sort in ("due_date", "-updated_at", "created_at"):
        found = await everything(service.alice, limit=2, sort=sort)
        ids = [task["id"] for task in found]
        assert ids == sorted(ids, reverse=sort.startswith("-"))
        assert len(ids) == 7


@pytest.mark.parametrize(("sort", "sees_new"), [("id", True), ("-id", False), ("priority", True)])
async def test_paging_neither_skips_nor_repeats_while_tasks_come_and_go(
    service: Service, sort: str, sees_new: bool
) -> None:
    made = await create_tasks(service.alice, [{"priority": 1 + number % 3} for number in range(20)])
    seen: list[int] = []
    added: list[int] = []
    async for page in pages(service.alice, "/tasks", {"limit": 3, "sort": sort}):
        seen += [task["id"] for task in page.items]
        if len(added) < 5:
            added.append((await create_task(service.alice, priority=10))["id"])
            # What was seen already goes; what the cursor points at is among it.
            await service.alice.delete(f"/tasks/{page.items[-1]['id']}")
    assert len(seen) == len(set(seen))
    assert set(seen) >= {task["id"] for task in made}
    assert (set(seen) >= set(added)) == sees_new


# -- cursors --------------------------------------------------------------------------------------------------


async def test_a_cursor_does_not_depend_on_the_size_of_the_page(service: Service) -> None:
    made = await create_tasks(service.alice, [{}] * 5)
    cursor = (await service.alice.get("/tasks?limit=2")).json["next_cursor"]
    answer = await service.alice.get(f"/tasks?limit=1&cursor={cursor}")
    assert [task["id"] for task in answer.items] == [made[2]["id"]]


@pytest.mark.parametrize(
    "other",
    ["sort=-id", "sort=priority", "priority=5", "priority_min=2", "status=pending", "q=a", "overdue=true",
     "due_before=2031-01-01T00:00:00Z", "label=red"],
)  # fmt: skip
async def test_a_cursor_of_other_filters_or_another_sort_is_400(service: Service, other: str) -> None:
    await create_tasks(service.alice, [{}] * 3)
    cursor = (await service.alice.get("/tasks?limit=1")).json["next_cursor"]
    answer = await service.alice.get(f"/tasks?limit=1&{other}&cursor={cursor}")
    assert_problem(answer, 400, "invalid-cursor")
    narrowed = await service.alice.get(f"/tasks?limit=1&priority_max=9&cursor={cursor}")
    assert_problem(narrowed, 400, "invalid-cursor")


async def test_a_cursor_of_somebody_else_grants_nothing(service: Service) -> None:
    await create_tasks(service.alice, [{}] * 3)
    cursor = (await service.alice.get("/tasks?limit=1")).json["next_cursor"]
    answer = await service.bob.get(f"/tasks?limit=1&cursor={cursor}")
    assert answer.status in (200, 400)
    assert answer.status == 400 or answer.items == []


def forged(*content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    ["x", "null", "[]", "%00", "%FF%FE", "ü", "A" * 512, "====", "W10", "bnVsbA", "W1tbW1tbW10", "a.b.c", "../../etc"],
)
async def test_a_damaged_cursor_is_400(service: Service, cursor: str) -> None:
    for path in ("/tasks", "/user/tasks", "/jobs"):
        answer = await service.alice.get(URL(f"{path}?cursor={cursor}", encoded=cursor.startswith("%")))
        assert_problem(answer, 400, "invalid-cursor")


@pytest.mark.parametrize("sort", ["id", "priority", "due_date", "-updated_at"])
async def test_a_cursor_with_a_forged_position_is_400_and_never_500(service: Service, sort: str) -> None:
    await create_tasks(service.alice, [{"due_date": "2031-01-01T00:00:00Z"}] * 3)
    cursor = (await service.alice.get(f"/tasks?limit=1&sort={sort}")).json["next_cursor"]
    scope, *position = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    assert position
    values: list[Any] = [
        None, True, "", "x", 0.5, -1, 1 << 15, 1 << 31, (1 << 63) - 1, 1 << 63, -(1 << 63), 1 << 64, [], {}, "\x00",
        "infinity", "2031-W05-6", "2031-01-01", "2031-01-01T00:00:00", "20310101T000000Z", "0001-01-01 00:00:00+14:00",
        "2031-01-01 00:00:00+00:00:01", "epoch", "now", "9" * 200,
    ]  # fmt: skip
    for value in values:
        for place in range(len(position)):
            changed = [*position]
            changed[place] = value
            answer = await service.alice.get(f"/tasks?limit=1&sort={sort}&cursor={forged(scope, *changed)}")
            assert answer.status in (200, 400), (value, answer)
            if answer.status == 400:
                assert_problem(answer, 400, "invalid-cursor")
    for content in ([scope], [scope, *position, 1], [], [None, *position], ["0" * 12, *position]):
        answer = await service.alice.get(f"/tasks?limit=1&sort={sort}&cursor={forged(*content)}")
        assert_problem(answer, 400, "invalid-cursor")


async def test_a_last_id_that_is_gone_is_400_and_names_the_cursor(service: Service) -> None:
    task = await create_task(service.alice)
    await service.alice.delete(f"/tasks/{task['id']}")
    problem = assert_problem(await service.alice.get(f"/tasks?last_id={task['id']}"), 400, "invalid-cursor")
    assert "cursor" in problem["detail"]


async def test_a_last_id_of_somebody_else_is_400_as_one_that_is_gone(service: Service) -> None:
    task = await create_task(service.alice)
    theirs = (await service.bob.get(f"/tasks?last_id={task['id']}")).json
    gone = (await service.bob.get("/tasks?last_id=4711")).json
    assert theirs["status"] == gone["status"] == 400
    assert theirs["detail"].replace(str(task["id"]), "N") == gone["detail"].replace("4711", "N")
