"""Lists of tasks: each filter, each sort, and pages that neither skip nor repeat."""

import base64
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from yarl import URL

from tests.api.problems import assert_problem
from tests.factories import create_task, create_tasks, insert_tasks
from tests.harness import Answer, Client, Service

LINK = re.compile(r'<(?P<target>[^>]+)>; rel="next"\Z')


def titles(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return [task["title"] for task in answer.items]


async def pages(client: Client, path: str, params: dict[str, Any]) -> AsyncIterator[Answer]:
    """Every page, by the cursors of the bodies."""
    answer = await client.get(path, params=params)
    while True:
        assert answer.status == 200, answer
        yield answer
        cursor = answer.json["next_cursor"]
        if cursor is None:
            return
        answer = await client.get(path, params={**params, "cursor": cursor})


async def everything(client: Client, path: str = "/tasks", **params: Any) -> list[dict[str, Any]]:
    return [task async for page in pages(client, path, params) for task in page.items]


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


# -- filters --------------------------------------------------------------------------------------------------

PRIORITIES = [{"title": str(number), "priority": number} for number in range(1, 11)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("priority=3", "3"),
        ("priority=3,1", "1 3"),
        ("priority=%201%20,%2010", "1 10"),
        ("priority=2,2,2", "2"),
        ("priority_min=8", "8 9 10"),
        ("priority_max=2", "1 2"),
        ("priority_min=4&priority_max=5", "4 5"),
        ("priority_min=4&priority_max=4", "4"),
        ("priority=1,5,9&priority_min=2&priority_max=8", "5"),
    ],
)
async def test_priorities_narrow_the_list(service: Service, query: str, expected: str) -> None:
    await create_tasks(service.alice, PRIORITIES)
    assert titles(await service.alice.get(URL(f"/tasks?{query}", encoded=True))) == expected.split()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=pending", "pending"),
        ("status=completed", "completed"),
        ("status=pending,blocked", "pending blocked"),
        ("status=cancelled,in_progress,cancelled", "in_progress cancelled"),
        ("status=pending,in_progress,blocked,completed,cancelled", "pending in_progress blocked completed cancelled"),
    ],
)
async def test_statuses_narrow_the_list(service: Service, query: str, expected: str) -> None:
    statuses = ["pending", "in_progress", "blocked", "completed", "cancelled"]
    await create_tasks(service.alice, [{"title": status, "status": status} for status in statuses])
    assert titles(await service.alice.get(f"/tasks?{query}")) == expected.split()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("due_before=2031-02-01T00:00:00Z", "january"),
        ("due_after=2031-02-01T00:00:00Z", "march"),
        ("due_before=2031-02-01T00:00:01Z", "january february"),
        ("due_after=2031-01-31T23:59:59Z", "february march"),
        ("due_after=2031-01-15T00:00:00Z&due_before=2031-02-15T00:00:00Z", "february"),
        ("due_after=2031-02-01T01:59:59%2B02:00&due_before=2031-02-01T02:00:01%2B02:00", "february"),
    ],
)
async def test_due_dates_narrow_the_list(service: Service, query: str, expected: str) -> None:
    months = {"january": 1, "february": 2, "march": 3}
    await create_tasks(
        service.alice,
        [{"title": name, "due_date": f"2031-{month:02}-01T00:00:00Z"} for name, month in months.items()],
    )
    await create_task(service.alice, title="without")
    assert titles(await service.alice.get(URL(f"/tasks?{query}", encoded=True))) == expected.split()


async def test_overdue_means_due_in_the_past_and_still_open(service: Service) -> None:
    past, future = "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"
    statuses = ["pending", "in_progress", "blocked", "completed", "cancelled"]
    await create_tasks(service.alice, [{"title": status, "status": status, "due_date": past} for status in statuses])
    await create_tasks(service.alice, [{"title": "later", "due_date": future}, {"title": "never"}])
    assert titles(await service.alice.get("/tasks?overdue=true")) == ["pending", "in_progress", "blocked"]
    assert len((await service.alice.get("/tasks?overdue=false")).items) == 7


async def test_a_task_becomes_overdue_by_the_clock_alone(service: Service) -> None:
    [task_id] = await insert_tasks(service, service.alice, [{"title": "soon"}])
    await service.rows("UPDATE tasks SET due_date = now() + interval '400 ms' WHERE id = $1", task_id)
    assert titles(await service.alice.get("/tasks?overdue=true")) == []
    await service.rows("SELECT pg_sleep(0.5)")
    assert titles(await service.alice.get("/tasks?overdue=true")) == ["soon"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("milk", "both title description"),
        ("MILK", "both title description"),
        ("milk bread", "both"),
        ("bread milk", "both"),
        ("  milk \t bread ", "both"),
        ("ilk", "both title description"),
        ("100%", "percent"),
        ("%", "percent"),
        ("_", "underscore"),
        ("\\", "backslash"),
        ("überweisung", "umlaut"),
        ("読み", "japanese"),
        ("' OR 1=1 --", ""),
        ("milk cheese", ""),
    ],
)
async def test_words_are_looked_for_in_title_and_description(service: Service, words: str, expected: str) -> None:
    rows = {
        "both": ("Buy milk", "and bread"),
        "title": ("Milk the cow", None),
        "description": ("Shopping", "MILK\nand butter"),
        "percent": ("100% done", None),
        "underscore": ("snake_case", None),
        "backslash": ("C:\\temp", None),
        "umlaut": ("Die Überweisung", None),
        "japanese": ("読み込み", None),
    }
    made = await create_tasks(service.alice, [{"title": title, "description": text} for title, text in rows.values()])
    names = {task["id"]: name for task, name in zip(made, rows, strict=True)}
    answer = await service.alice.get("/tasks", params={"q": words})
    assert [names[task["id"]] for task in answer.items] == expected.split()


@pytest.mark.parametrize("path", ["/tasks", "/user/tasks"])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("label=red", "red both"),
        ("label=green", "green both"),
        ("label=red,green", "red green both"),
        ("label=%20green%20,red", "red green both"),
        ("label=Red", "capital"),
        ("label=re", ""),
        ("label=on%20call", "spaced"),
        ("label=%E6%AC%A1%E5%9B%9E", "japanese"),
        ("label=%7B%7D", "braces"),
        ("label=%22red%22", ""),
        ("label=red&priority=1", "both"),
    ],
)
async def test_labels_narrow_the_list_to_tasks_with_any_of_them(
    service: Service, path: str, query: str, expected: str
) -> None:
    labels: dict[str, list[str]] = {
        "red": ["red"],
        "green": ["green", "blue"],
        "both": ["green", "red"],
        "capital": ["Red"],
        "spaced": ["on call"],
        "japanese": ["次回"],
        "braces": ["{}"],
        "none": [],
    }
    await create_tasks(
        service.alice,
        [{"title": name, "labels": some, "priority": 1 if name == "both" else 5} for name, some in labels.items()],
    )
    await create_task(service.bob, labels=["red", "green", "Red"])
    assert titles(await service.alice.get(URL(f"{path}?{query}", encoded=True))) == expected.split()


async def test_an_admins_list_of_a_label_spans_all_users_and_can_be_narrowed_to_one(service: Service) -> None:
    await create_tasks(service.alice, [{"title": "a1", "labels": ["red"]}, {"title": "a2", "labels": ["green"]}])
    await create_tasks(service.bob, [{"title": "b1", "labels": ["red", "green"], "priority": 1}, {"title": "b2"}])
    assert titles(await service.admin.get("/tasks?label=red")) == ["a1", "b1"]
    assert titles(await service.admin.get("/tasks?label=red,green&sort_by_priority=true")) == ["b1", "a1", "a2"]
    assert titles(await service.admin.get(f"/tasks?label=red&user_id={service.bob.id}")) == ["b1"]
    assert titles(await service.admin.get("/user/tasks?label=red")) == []
    [task] = (await service.admin.get("/tasks?label=green&status=pending&sort=-id&q=b1")).items
    assert task == (await service.admin.get(f"/tasks/{task['id']}")).json


@pytest.mark.parametrize("who", ["alice", "admin"])
async def test_a_list_of_a_label_pages_without_gap_or_repeat(service: Service, who: str) -> None:
    await create_tasks(
        service.alice, [{"title": str(n), "labels": ["even"] if n % 2 == 0 else ["odd"]} for n in range(20)]
    )
    client = getattr(service, who)
    found = [task["title"] for task in await everything(client, label="even", limit=3, sort="-id")]
    assert found == [str(n) for n in range(18, -1, -2)]


async def test_a_page_of_a_label_is_not_that_of_another_also_from_the_cache(service: Service) -> None:
    task = await create_task(service.alice, title="red", labels=["red"])
    for _ in range(2):
        assert titles(await service.alice.get("/tasks?label=red")) == ["red"]
        assert titles(await service.alice.get("/tasks?label=green")) == []
    await service.alice.patch(f"/tasks/{task['id']}", {"labels": ["green"]})
    assert titles(await service.alice.get("/tasks?label=red")) == []
    assert titles(await service.alice.get("/tasks?label=green")) == ["red"]


async def test_filters_narrow_together(service: Service) -> None:
    await create_tasks(
        service.alice,
        [
            {"title": "milk", "priority": 1, "status": "blocked", "due_date": "2031-01-01T00:00:00Z"},
            {"title": "milk", "priority": 2, "status": "blocked", "due_date": "2031-01-01T00:00:00Z"},
            {"title": "milk", "priority": 1, "status": "pending", "due_date": "2031-01-01T00:00:00Z"},
            {"title": "milk", "priority": 1, "status": "blocked", "due_date": "2032-01-01T00:00:00Z"},
            {"title": "bread", "priority": 1, "status": "blocked", "due_date": "2031-01-01T00:00:00Z"},
        ],
    )
    answer = await service.alice.get("/tasks?priority=1&status=blocked&due_before=2031-06-01T00:00:00Z&q=milk")
    assert len(answer.items) == 1


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


# -- parameters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("colour=red", "colour"),
        ("Limit=1", "Limit"),
        ("user=1", "user"),
        ("priority=0", "priority"),
        ("priority=11", "priority"),
        ("priority=1,x", "priority"),
        ("priority=", "priority"),
        ("priority=1,,2", "priority"),
        ("priority=1;2", "priority"),
        ("priority=1_0", "priority"),
        ("priority=%EF%BC%91", "priority"),
        ("priority_min=0", "priority_min"),
        ("priority_max=11", "priority_max"),
        ("priority_min=5&priority_max=4", "priority_min"),
        ("status=done", "status"),
        ("status=", "status"),
        ("status=pending,done", "status"),
        ("status=%00", "status"),
        ("label=", "label"),
        ("label=red,", "label"),
        ("label=%20", "label"),
        ("label=a%00b", "label"),
        ("label=" + "x" * 51, "label"),
        ("label=" + ",".join(map(str, range(21))), "label"),
        ("labels=red", "labels"),
        ("due_before=yesterday", "due_before"),
        ("due_after=2031-01-01", "due_after"),
        ("due_after=2031-01-01T00:00:00", "due_after"),
        ("overdue=maybe", "overdue"),
        ("overdue=", "overdue"),
        ("q=", "q"),
        ("q=%20%20", "q"),
        ("q=a%00b", "q"),
        ("q=" + "x" * 201, "q"),
        ("q=" + "+".join("abcdefghijk"), "q"),
        ("sort=title", "sort"),
        ("sort=", "sort"),
        ("sort=id;DROP", "sort"),
        ("sort=-id&sort_by_priority=true", "sort"),
        ("sort_by_priority=2", "sort_by_priority"),
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("limit=1.5", "limit"),
        ("limit=1e2", "limit"),
        ("limit=1_0", "limit"),
        ("limit=%EF%BC%95", "limit"),
        ("limit=", "limit"),
        ("limit=" + "9" * 30, "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("cursor=", "cursor"),
        ("cursor=" + "A" * 513, "cursor"),
        ("last_id=0", "last_id"),
        ("last_id=-5", "last_id"),
        ("last_id=x", "last_id"),
        ("last_id=9223372036854775808", "last_id"),
        ("last_id=1&cursor=x", "last_id"),
        ("limit=1&limit=2", "limit"),
        ("sort=id&sort=id", "sort"),
        ("%00=1", "\x00"),
    ],
)
async def test_a_bad_parameter_is_422_by_its_name(service: Service, query: str, field: str) -> None:
    for path in ("/tasks", "/user/tasks"):
        answer = await service.alice.get(URL(f"{path}?{query}", encoded=True))
        assert list(assert_problem(answer, 422, "validation-error")["errors"]) == [field]


async def test_user_id_is_no_parameter_of_the_own_list(service: Service) -> None:
    answer = await service.alice.get(f"/user/tasks?user_id={service.alice.id}")
    assert list(assert_problem(answer, 422, "validation-error")["errors"]) == ["user_id"]


async def test_queries_that_only_look_alike_are_told_apart(service: Service) -> None:
    await create_tasks(service.alice, [{"title": "%FF"}, {"title": "\ufffd"}, {"title": "a&limit=1"}, {"title": "a"}])
    for query, expected in (
        ("q=%25FF", ["%FF"]),
        ("q=%EF%BF%BD", ["\ufffd"]),
        ("q=%FF", ["\ufffd"]),
        ("q=a%26limit=1", ["a&limit=1"]),
        ("q=a&limit=1", ["a&limit=1"]),
    ):
        for _ in range(2):  # the second answer may come from the cache
            assert titles(await service.alice.get(URL(f"/tasks?{query}", encoded=True))) == expected, query


async def test_a_plus_that_was_not_encoded_is_told_apart_from_a_bad_date(service: Service) -> None:
    answer = await service.raw(
        b"GET /tasks?due_after=2031-01-01T00:00:00+01:00 HTTP/1.1\r\nHost: tests\r\nAuthorization: Bearer "
        + str(service.alice.token).encode()
        + b"\r\n\r\n"
    )
    assert answer.status == 422
    assert answer.json["errors"] == {"due_after": ["The + before the offset arrived as a space: write it as %2B."]}
