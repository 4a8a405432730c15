"""Lists of tasks: what each filter leaves, and the parameters that are refused."""

import pytest
from yarl import URL

from tests.api.pages import everything, titles
from tests.api.problems import assert_problem
from tests.factories import create_task, create_tasks, insert_tasks
from tests.harness import Service

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
