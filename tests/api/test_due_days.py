"""Tasks that are due all day: `due_day`, and bare dates as `due_date`."""

from typing import Any

import pytest

from core.tasks.writes.days import move_some_days
from tests.api.pages import titles
from tests.factories import create_task
from tests.harness import Client, Service
from worker.days import move_days
from worker.reminders import plan_reminders

LAST_SECOND = "2030-01-31T22:59:59Z"  # in Berlin


@pytest.fixture
async def berlin(service: Service) -> Service:
    """Alice lives there."""
    await service.alice.patch("/user/me", {"time_zone": "Europe/Berlin"})
    return service


def due(task: dict[str, Any]) -> tuple[str | None, str | None]:
    return task["due_date"], task["due_day"]


@pytest.mark.parametrize(
    "fields",
    [
        {"due_day": "2030-01-31"},
        {"due_date": "2030-01-31"},
        {"due_date": "2030-01-31", "due_day": "2030-01-31"},
        {"due_date": LAST_SECOND, "due_day": "2030-01-31"},
        {"due_date": "2030-01-31T23:59:59+01:00", "due_day": "2030-01-31"},
    ],
)
async def test_a_day_is_due_at_its_last_second_in_the_users_zone(berlin: Service, fields: dict[str, Any]) -> None:
    task = await create_task(berlin.alice, **fields)
    assert due(task) == (LAST_SECOND, "2030-01-31")
    assert (await berlin.alice.get(f"/tasks/{task['id']}")).json == task
    other = await create_task(berlin.alice)
    changed = await berlin.alice.patch(f"/tasks/{other['id']}", fields)
    assert (changed.status, *due(changed.json)) == (200, LAST_SECOND, "2030-01-31")
    batch = [
        {"op": "create", "fields": {"title": "x", **fields}},
        {"op": "update", "id": other["id"], "fields": {"due_date": None}},
        {"op": "update", "id": other["id"], "fields": fields},
    ]
    results = (await berlin.alice.post("/tasks/batch", {"operations": batch})).json["results"]
    assert [result["status"] for result in results] == [201, 200, 200]
    assert [due(result["task"]) for result in results] == [
        (LAST_SECOND, "2030-01-31"), (None, None), (LAST_SECOND, "2030-01-31"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"due_date": "2030-01-31T12:00:00Z", "due_day": "2030-01-31"},
        {"due_date": "2030-01-31T23:59:59Z", "due_day": "2030-01-31"},  # in another zone it is
        {"due_date": "2030-01-30", "due_day": "2030-01-31"},
        {"due_date": None, "due_day": "2030-01-31"},
        {"due_date": "2030-01-31", "due_day": None},
    ],
)
async def test_a_day_and_a_due_date_must_agree(berlin: Service, fields: dict[str, Any]) -> None:
    task = await create_task(berlin.alice)
    path = f"/tasks/{task['id']}"
    batch = [
        {"op": "create", "fields": {"title": "x", **fields}},
        {"op": "update", "id": task["id"], "fields": fields},
        {"op": "update", "id": task["id"], "fields": fields},
        {"op": "update", "id": task["id"], "fields": {"title": "Later"}},
    ]
    for answer in (
        await berlin.alice.post("/tasks", {"title": "x", **fields}),
        await berlin.alice.patch(path, fields),
    ):
        assert (answer.status, list(answer.json["errors"])) == (422, ["due_day"])
    results = (await berlin.alice.post("/tasks/batch", {"operations": batch})).json["results"]
    assert [result["status"] for result in results] == [422, 422, 422, 200]
    assert [list(result["error"]["errors"])[-1].rpartition(".")[2] for result in results[:3]] == ["due_day"] * 3
    assert due((await berlin.alice.get(path)).json) == (None, None)


@pytest.mark.parametrize("how", ["alone", "in a batch", "twice in a batch"])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"due_date": LAST_SECOND}, None),
        ({"due_date": "2030-01-31T23:59:59+01:00"}, None),
        ({"due_day": "2030-01-31"}, None),
        ({"due_date": LAST_SECOND, "due_day": "2030-01-31"}, None),
        ({"due_date": LAST_SECOND, "due_day": None}, (LAST_SECOND, None)),
        ({"due_date": "2030-01-31T12:00:00Z"}, ("2030-01-31T12:00:00Z", None)),
        ({"due_date": "2030-02-01"}, ("2030-02-01T22:59:59Z", "2030-02-01")),
        ({"due_day": "2030-07-01"}, ("2030-07-01T21:59:59Z", "2030-07-01")),
        ({"due_day": None}, (None, None)),
        ({"due_date": None}, (None, None)),
        ({"due_date": None, "due_day": None}, (None, None)),
        ({"priority": 1}, (LAST_SECOND, "2030-01-31")),
    ],
)
async def test_what_an_update_makes_of_a_day(
    berlin: Service, how: str, fields: dict[str, Any], expected: tuple[str | None, str | None] | None
) -> None:
    task = await create_task(berlin.alice, due_day="2030-01-31", description="d")
    operation = {"op": "update", "id": task["id"], "fields": fields}
    if how == "alone":
        await berlin.alice.patch(f"/tasks/{task['id']}", fields)
    else:
        await berlin.alice.post("/tasks/batch", {"operations": [operation] * (2 if how[0] == "t" else 1)})
    found = (await berlin.alice.get(f"/tasks/{task['id']}")).json
    if expected is None:
        assert found == task, "an equal value changes nothing"
    else:
        assert due(found) == expected
        assert found["version"] == 2


@pytest.mark.parametrize(
    "value",
    ["2030-02-30", "2030-1-1", "20300101", "2030-W05-4", "0000-01-01", "10000-01-01", "", "x", 20300101, True, []],
)
@pytest.mark.parametrize("name", ["due_day", "due_date"])
async def test_what_is_no_day_is_refused(service: Service, name: str, value: Any) -> None:
    refused = await service.alice.post("/tasks", {"title": "x", name: value})
    assert (refused.status, list(refused.json["errors"])) == (422, [name])


@pytest.mark.parametrize(
    ("zone", "day", "end"),
    [
        ("UTC", "0001-01-01", "0001-01-01T23:59:59Z"),
        ("America/Los_Angeles", "9999-12-31", "9999-12-31T23:59:59Z"),  # no later moment has four digits of years
        ("Pacific/Kiritimati", "2030-01-31", "2030-01-31T09:59:59Z"),
        ("America/Sao_Paulo", "2018-11-03", "2018-11-04T02:59:59Z"),  # the next day begins at one o'clock
        ("America/Sao_Paulo", "2018-02-17", "2018-02-18T02:59:59Z"),  # its last hour comes twice
        ("Pacific/Apia", "2011-12-30", "2011-12-30T09:59:59Z"),  # there was no such day
    ],
)
async def test_a_day_ends_when_it_does_in_its_zone(service: Service, zone: str, day: str, end: str) -> None:
    await service.alice.patch("/user/me", {"time_zone": zone})
    assert due(await create_task(service.alice, due_day=day)) == (end, day)


async def test_of_anothers_task_its_owners_zone_counts(berlin: Service) -> None:
    task = await create_task(berlin.alice)
    await berlin.admin.patch("/user/me", {"time_zone": "America/New_York"})
    answer = await berlin.admin.patch(f"/tasks/{task['id']}", {"due_day": "2030-01-31"})
    assert due(answer.json) == (LAST_SECOND, "2030-01-31")


@pytest.mark.parametrize("rule", ["FREQ=DAILY", "FREQ=DAILY;BYHOUR=9,17", "FREQ=HOURLY"])
async def test_a_recurring_task_stays_all_day_when_the_clocks_change(berlin: Service, rule: str) -> None:
    task = await create_task(berlin.alice, due_day="2030-03-30", recurrence=rule)
    assert task["due_date"] == "2030-03-30T22:59:59Z"
    await berlin.alice.patch(f"/tasks/{task['id']}", {"status": "completed"})
    following = (await berlin.alice.get("/tasks?status=pending")).items
    assert [due(one) for one in following] == [("2030-03-31T21:59:59Z", "2030-03-31")]
    batch = [
        {"op": "update", "id": following[0]["id"], "fields": {"status": status}} for status in ("blocked", "completed")
    ]
    await berlin.alice.post("/tasks/batch", {"operations": batch})
    [following] = (await berlin.alice.get("/tasks?status=pending")).items
    assert due(following) == ("2030-04-01T21:59:59Z", "2030-04-01")


async def test_the_day_that_completes_a_task_is_the_one_that_is_counted_from(berlin: Service) -> None:
    task = await create_task(berlin.alice, due_date="2030-01-31T12:00:00Z", recurrence="FREQ=WEEKLY")
    await berlin.alice.patch(f"/tasks/{task['id']}", {"status": "completed", "due_day": "2030-03-01"})
    [following] = (await berlin.alice.get("/tasks?status=pending")).items
    assert due(following) == ("2030-03-08T22:59:59Z", "2030-03-08")


# -- filters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("due_before=2030-01-31", "eve"),
        ("due_before=2030-02-01", "eve day noon"),
        ("due_after=2030-01-30", "day noon after"),
        ("due_after=2030-01-31", "after"),
        ("due_after=2030-01-30&due_before=2030-02-01", "day noon"),
        ("due_before=2030-01-31T12:00:00Z", "eve noon"),
        ("due_before=0001-01-01", ""),
        ("due_after=9999-12-31", ""),
    ],
)
async def test_a_day_as_a_filter_is_one_of_the_tasks_zone(berlin: Service, query: str, expected: str) -> None:
    for title, value in (
        ("eve", "2030-01-30T22:59:59Z"), ("day", "2030-01-31"), ("noon", "2030-01-31T11:00:00Z"),
        ("after", "2030-01-31T23:00:00Z"),
    ):  # fmt: skip
        await create_task(berlin.alice, title=title, due_date=value)
    await berlin.admin.patch("/user/me", {"time_zone": "America/New_York"})
    for client, path in ((berlin.alice, "/tasks"), (berlin.alice, "/user/tasks"), (berlin.admin, "/tasks")):
        assert titles(await client.get(f"{path}?{query}")) == expected.split()
        count = await client.get(f"/tasks/count?{query}")
        assert count.json["count"] == len(expected.split())
    labelled = await create_task(berlin.alice, due_day="2030-01-31", labels=["x"])
    found = (await berlin.admin.get("/tasks?label=x&due_after=2030-01-30&due_before=2030-02-01")).items
    assert [task["id"] for task in found] == [labelled["id"]]


@pytest.mark.parametrize("value", ["2030-02-30", "2030-1-1", "20300131", "tomorrow", ""])
async def test_a_filter_that_is_no_day_is_refused(service: Service, value: str) -> None:
    answer = await service.alice.get(f"/tasks?due_before={value}")
    assert (answer.status, list(answer.json["errors"])) == (422, ["due_before"])


async def test_a_list_by_days_is_read_anew_in_another_zone(berlin: Service) -> None:
    await create_task(berlin.alice, due_date="2030-01-31T23:30:00Z")
    path = "/tasks?due_before=2030-02-01"
    assert [len((await berlin.alice.get(path)).items) for _ in range(2)] == [0, 0]
    await berlin.alice.patch("/user/me", {"time_zone": "UTC"})
    assert len((await berlin.alice.get(path)).items) == 1


async def test_pages_by_days_go_on(berlin: Service) -> None:
    for _ in range(3):
        await create_task(berlin.alice, due_day="2030-01-31")
    path = "/tasks?due_before=2030-02-01&sort=due_date&limit=2"
    first = (await berlin.alice.get(path)).json
    rest = (await berlin.alice.get(f"{path}&cursor={first['next_cursor']}")).json
    assert (len(first["items"]), len(rest["items"]), rest["next_cursor"]) == (2, 1, None)
    assert (await berlin.alice.get(f"/tasks?due_before=2030-02-02&cursor={first['next_cursor']}")).status == 400


# -- reminders ------------------------------------------------------------------------------------------------


async def reminders(client: Client, task: dict[str, Any]) -> dict[str, str]:
    found = (await client.get(f"/tasks/{task['id']}/reminders")).json["reminders"]
    return {one["rule"]: one["due_at"] for one in found}


async def test_whole_days_before_a_day_are_counted_from_the_users_time_for_it(berlin: Service) -> None:
    profile = (await berlin.alice.patch("/user/me", {"reminder_offsets": ["P1D", "P1W", "P0D", "PT1H", "P1DT1H"]})).json
    assert profile["all_day_reminder_time"] == "09:00"
    task = await create_task(berlin.alice, due_day="2030-03-31")  # the day on which the clocks change
    assert await reminders(berlin.alice, task) == {
        "P1W": "2030-03-24T08:00:00Z", "P1D": "2030-03-30T08:00:00Z", "P0D": "2030-03-31T07:00:00Z",
        "PT1H": "2030-03-31T20:59:59Z", "P1DT1H": "2030-03-30T21:59:59Z",
    }  # fmt: skip
    await berlin.alice.patch(f"/tasks/{task['id']}", {"due_date": task["due_date"], "due_day": None})
    assert (await reminders(berlin.alice, task))["P1D"] == "2030-03-30T22:59:59Z", "a moment is one"


async def test_the_time_for_days_can_be_chosen(berlin: Service) -> None:
    await berlin.alice.patch("/user/me", {"reminder_offsets": ["P1D"]})
    task = await create_task(berlin.alice, due_day="2030-01-31")
    answer = await berlin.alice.patch("/user/me", {"all_day_reminder_time": "18:30"})
    assert (answer.status, answer.json["all_day_reminder_time"]) == (200, "18:30")
    assert (await berlin.alice.get("/user/me")).json["all_day_reminder_time"] == "18:30"

    await plan_reminders(berlin.worker.services)
    assert await reminders(berlin.alice, task) == {"P1D": "2030-01-30T17:30:00Z"}
    for wrong in ("24:00", "9:00", "09:60", "09:00:00", "", None, 9, "0९:00"):
        refused = await berlin.alice.patch("/user/me", {"all_day_reminder_time": wrong})
        assert (refused.status, list(refused.json["errors"])) == (422, ["all_day_reminder_time"])


# -- another zone ---------------------------------------------------------------------------------------------


async def test_days_move_with_their_user_to_another_zone(berlin: Service) -> None:
    await berlin.alice.patch("/user/me", {"reminder_offsets": ["P1D"]})
    day = await create_task(berlin.alice, due_day="2030-01-31")
    done = await create_task(berlin.alice, due_day="2030-01-31", status="completed")
    moment = await create_task(berlin.alice, due_date=LAST_SECOND)
    others = await create_task(berlin.bob, due_day="2030-01-31")
    assert due((await berlin.alice.get("/tasks")).items[0]) == (LAST_SECOND, "2030-01-31")
    await berlin.alice.patch("/user/me", {"time_zone": "Asia/Tokyo"})
    await move_days(berlin.worker.services)
    for task in (day, done):
        found = (await berlin.alice.get(f"/tasks/{task['id']}")).json
        assert (*due(found), found["version"]) == ("2030-01-31T14:59:59Z", "2030-01-31", 2)
        assert found["updated_at"] > task["updated_at"]
    assert due((await berlin.alice.get("/tasks")).items[0]) == ("2030-01-31T14:59:59Z", "2030-01-31"), (
        "not a cached page"
    )
    assert (await berlin.alice.get(f"/tasks/{moment['id']}")).json == moment
    assert (await berlin.bob.get(f"/tasks/{others['id']}")).json == others
    assert await reminders(berlin.alice, day) == {"P1D": "2030-01-30T00:00:00Z"}
    await move_days(berlin.worker.services)
    assert (await berlin.alice.get(f"/tasks/{day['id']}")).json["version"] == 2, "once"


async def test_the_same_zone_again_moves_nothing(berlin: Service) -> None:
    await move_days(berlin.worker.services)
    task = await create_task(berlin.alice, due_day="2030-01-31")
    await berlin.alice.patch("/user/me", {"time_zone": "Europe/Berlin", "email": "a@example.org"})
    assert await move_some_days(berlin.worker.services.pool) is None
    assert (await berlin.alice.get(f"/tasks/{task['id']}")).json == task


# -- until a day ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "fields", "rule", "expected"),
    [
        # Half past nine in the evening of the 30th: the 31st is still in it.
        ("America/New_York", {"due_date": "2029-12-31T02:30:00Z"}, "FREQ=DAILY;UNTIL=20291231", "2030-01-01T02:30:00Z"),
        # Noon of the 31st, on which it is the 30th in UTC.
        ("Pacific/Auckland", {"due_date": "2029-12-30T23:00:00Z"}, "FREQ=DAILY;UNTIL=20291231", None),
        ("Pacific/Auckland", {"due_date": "2029-12-29T23:00:00Z"}, "FREQ=DAILY;UNTIL=20291231", "2029-12-30T23:00:00Z"),
        # A time by the clocks of the zone, and a moment.
        ("America/New_York", {"due_date": "2029-12-31T02:30:00Z"}, "FREQ=DAILY;UNTIL=20291231T213000",
         "2030-01-01T02:30:00Z"),
        ("America/New_York", {"due_date": "2029-12-31T02:30:00Z"}, "FREQ=DAILY;UNTIL=20300101T023000Z",
         "2030-01-01T02:30:00Z"),
        ("Europe/Berlin", {"due_day": "2029-12-30"}, "FREQ=DAILY;UNTIL=20291231", "2029-12-31T22:59:59Z"),
        ("Europe/Berlin", {"due_day": "2029-12-30"}, "FREQ=DAILY;UNTIL=20291231T000000Z", "2029-12-31T22:59:59Z"),
        ("Pacific/Auckland", {"due_day": "2029-12-30"}, "FREQ=DAILY;UNTIL=20291230T120000Z", "2029-12-31T10:59:59Z"),
    ],
)  # fmt: skip
async def test_until_a_day_has_all_of_the_day_in_the_users_zone(
    service: Service, zone: str, fields: dict[str, Any], rule: str, expected: str | None
) -> None:
    await service.alice.patch("/user/me", {"time_zone": zone})
    task = await create_task(service.alice, recurrence=rule, **fields)
    await service.alice.patch(f"/tasks/{task['id']}", {"status": "completed"})
    following = (await service.alice.get("/tasks?status=pending")).items
    assert [one["due_date"] for one in following] == ([] if expected is None else [expected])


async def test_a_rule_that_ends_on_the_day_of_the_task_is_refused(service: Service) -> None:
    for until in ("20300131", "20300130"):
        fields = {"title": "x", "due_day": "2030-01-31", "recurrence": f"FREQ=DAILY;UNTIL={until}"}
        refused = await service.alice.post("/tasks", fields)
        assert (refused.status, list(refused.json["errors"])) == (422, ["recurrence"])
