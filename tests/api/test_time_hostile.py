"""Channels, deliveries, notifications, reminders and what admins order, asked by those who mean no good."""

from dataclasses import dataclass
from typing import Any

import pytest
from yarl import URL

from core import clock
from core.ids import MAXIMUM_ID
from tests.api.problems import assert_problem
from tests.api.test_hostile_input import BROKEN, JSON
from tests.factories import create_task
from tests.harness import Answer, Service, User

HOOK = "https://example.com/hook"

# Method, path and a body that is taken; in the paths stand alice's own.
WITH_BODY: dict[str, tuple[str, str, dict[str, Any]]] = {
    "make a channel": ("POST", "/channels", {"url": HOOK}),
    "change a channel": ("PATCH", "/channels/{channel}", {"state": "active"}),
    "mark a notification": ("PATCH", "/notifications/{notification}", {"read": True}),
    "set reminders": ("PUT", "/tasks/{task}/reminders", {"reminders": ["P1D"]}),
    "set offsets": ("PATCH", "/user/me", {"reminder_offsets": ["P1D"]}),
    "make a recurring task": ("POST", "/tasks", {"title": "x", "recurrence": "FREQ=DAILY"}),
    "make a partition": ("POST", "/admin/partitions", {"year": 2030}),
}
WITHOUT_BODY: dict[str, tuple[str, str]] = {
    "delete a channel": ("DELETE", "/channels/{channel}"),
    "try a channel": ("POST", "/channels/{channel}/test"),
    "change a secret": ("POST", "/channels/{channel}/secret"),
    "deliver again": ("POST", "/deliveries/{delivery}/redeliver"),
    "detach": ("POST", "/admin/partitions/tasks_2021/detach"),
    "attach": ("POST", "/admin/partitions/tasks_2021/attach"),
    "maintain": ("POST", "/admin/maintenance/keep_partitions"),
}
READS: dict[str, tuple[str, str]] = {
    "list channels": ("GET", "/channels"),
    "read a channel": ("GET", "/channels/{channel}"),
    "list deliveries": ("GET", "/deliveries"),
    "read a delivery": ("GET", "/deliveries/{delivery}"),
    "list notifications": ("GET", "/notifications"),
    "read reminders": ("GET", "/tasks/{task}/reminders"),
    "list partitions": ("GET", "/admin/partitions"),
    "list maintenance": ("GET", "/admin/maintenance"),
}
EVERYTHING: dict[str, tuple[str, str, Any]] = {
    **WITH_BODY,
    **{name: (*found, None) for name, found in {**WITHOUT_BODY, **READS}.items()},
}
WRITES = [*WITH_BODY, *WITHOUT_BODY]
OF_SOMEBODY = [name for name, (_, path, _) in EVERYTHING.items() if "{" in path]
OF_ADMINS = [name for name, (_, path, _) in EVERYTHING.items() if path.startswith("/admin")]


@dataclass
class Belongings:
    """What alice has."""

    channel: int
    delivery: int
    notification: int
    task: int

    def path(self, template: str) -> str:
        return template.format(**vars(self))


@pytest.fixture
async def hers(service: Service) -> Belongings:
    channel = (await service.alice.post("/channels", {"url": HOOK})).json["id"]
    delivery = (await service.alice.post(f"/channels/{channel}/test")).json["id"]
    [notification] = await service.rows(
        "INSERT INTO notifications (user_id, event, text) VALUES ($1, 'task.reminder', 'x') RETURNING id",
        service.alice.id,
    )
    task = await create_task(service.alice, due_date="2099-01-01T00:00:00Z")
    return Belongings(channel, delivery, notification["id"], task["id"])


def caller(service: Service, name: str) -> User:
    """Who may do it."""
    return service.admin if name in OF_ADMINS else service.alice


async def ask(user: User, hers: Belongings, name: str, **options: Any) -> Answer:
    method, path, body = EVERYTHING[name]
    if body is not None and "data" not in options:
        options.setdefault("json", body)
    return await user.request(method, options.pop("path", hers.path(path)), **options)


async def everything_of(service: Service) -> list[dict[str, Any]]:
    """What a request that is refused must leave as it is."""
    return await service.rows(
        "SELECT row_to_json(c)::text AS row FROM channels AS c UNION ALL"
        " SELECT row_to_json(d)::text FROM deliveries AS d UNION ALL"
        " SELECT row_to_json(n)::text FROM notifications AS n UNION ALL"
        " SELECT row_to_json(r)::text FROM reminders AS r UNION ALL"
        " SELECT row_to_json(t)::text FROM tasks AS t UNION ALL"
        " SELECT row_to_json(u)::text FROM users AS u UNION ALL"
        " SELECT name FROM task_partitions WHERE is_attached UNION ALL"
        " SELECT name FROM maintenance_runs WHERE job_id IS NOT NULL AND finished_at IS NULL"
    )


# -- who asks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERYTHING)
async def test_nobody_is_let_in_without_a_token(service: Service, hers: Belongings, name: str) -> None:
    method, path, _ = EVERYTHING[name]
    assert (await service.anonymous.request(method, hers.path(path))).status == 401


@pytest.mark.parametrize("stranger", ["charlie", "admin"])
@pytest.mark.parametrize("name", OF_SOMEBODY)
async def test_what_is_anothers_answers_as_what_does_not_exist(
    service: Service, hers: Belongings, name: str, stranger: str
) -> None:
    if stranger == "admin" and "/tasks/" in EVERYTHING[name][1]:
        pytest.skip("an admin may see and change all tasks")
    before = await everything_of(service)
    user = getattr(service, stranger)
    problem = assert_problem(await ask(user, hers, name), 404, "not-found")
    nobodys = Belongings(*(number + 1000 for number in vars(hers).values()))
    missing = assert_problem(await ask(user, nobodys, name), 404, "not-found")
    assert problem["detail"] == missing["detail"]
    assert await everything_of(service) == before


async def test_lists_hold_nothing_of_anothers(service: Service, hers: Belongings) -> None:
    for path in ("/channels", "/deliveries", "/notifications", f"/deliveries?channel_id={hers.channel}"):
        assert len((await service.alice.get(path)).items) == 1, path
        assert (await service.charlie.get(path)).items == [], path
        assert (await service.admin.get(path)).items == [], path


@pytest.mark.parametrize("body", [b"", b"{}", b"nonsense", b'{"year": 2030}'])
@pytest.mark.parametrize("name", OF_ADMINS)
async def test_whatever_it_is_only_admins_may_do_it(service: Service, hers: Belongings, name: str, body: bytes) -> None:
    options = {} if name in READS else {"data": body, "headers": JSON}
    assert_problem(await ask(service.alice, hers, name, **options), 403, "forbidden")


async def test_nobody_learns_from_a_refusal_which_partitions_there_are(service: Service) -> None:
    answers = [
        assert_problem(await service.alice.post(f"/admin/partitions/{name}/detach"), 403, "forbidden")
        for name in (f"tasks_{clock.now().year}", "tasks_1999")
    ]
    assert answers[0]["detail"] == answers[1]["detail"]


# -- what is sent ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_BODY)
async def test_a_body_that_is_no_json_is_400(service: Service, hers: Belongings, name: str) -> None:
    before = await everything_of(service)
    for body in BROKEN.values():
        answer = await ask(caller(service, name), hers, name, data=body, headers=JSON)
        assert_problem(answer, 400, "invalid-json")
    assert await everything_of(service) == before


@pytest.mark.parametrize("body", [b"[]", b"null", b"true", b"1", b'"x"', b'[{"url": "https://example.com"}]'])
@pytest.mark.parametrize("name", WITH_BODY)
async def test_a_body_that_is_no_object_is_422(service: Service, hers: Belongings, name: str, body: bytes) -> None:
    answer = await ask(caller(service, name), hers, name, data=body, headers=JSON)
    assert_problem(answer, 422, "validation-error")


@pytest.mark.parametrize("unknown", ["colour", "", "id", "user_id", "secret", "__proto__", "a\x00b"])
@pytest.mark.parametrize("name", WITH_BODY)
async def test_a_field_that_nobody_knows_is_422(service: Service, hers: Belongings, name: str, unknown: str) -> None:
    body = {**EVERYTHING[name][2], unknown: 1}
    problem = assert_problem(await ask(caller(service, name), hers, name, json=body), 422, "validation-error")
    assert (unknown or "body") in problem["errors"]


@pytest.mark.parametrize("name", EVERYTHING)
async def test_a_query_parameter_that_nobody_knows_is_422(service: Service, hers: Belongings, name: str) -> None:
    before = await everything_of(service)
    for query in ("colour=red", "force", "user_id=1", "%00=1", "dry_run=true"):
        path = URL(f"{hers.path(EVERYTHING[name][1])}?{query}", encoded=True)
        answer = await ask(caller(service, name), hers, name, path=path)
        assert_problem(answer, 422, "validation-error")
    assert await everything_of(service) == before


@pytest.mark.parametrize("path", ["/channels", "/deliveries", "/notifications"])
@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=1001", "limit=99999999999999999999", "limit=1e3", "limit=%D9%A1", "limit=",
     "limit=1_0", "limit=1&limit=1", "cursor=", "cursor=%00", "cursor=%FF", "cursor=W10", "cursor=" + "A" * 513,
     "cursor=x&cursor=x"],
)  # fmt: skip
async def test_a_page_that_is_none_is_refused(service: Service, path: str, query: str) -> None:
    answer = await service.alice.get(URL(f"{path}?{query}", encoded=True))
    assert answer.status in (400, 422), answer
    assert_problem(answer, answer.status, {400: "invalid-cursor", 422: "validation-error"}[answer.status])


@pytest.mark.parametrize(
    "query",
    ["state=", "state=delivered,", "state=Delivered", "state=%00", "state=pending&state=", "channel_id=0",
     "channel_id=-1", "channel_id=9223372036854775808", "channel_id=x", "channel_id=1,2"],
)  # fmt: skip
async def test_a_filter_of_deliveries_that_is_none_is_refused(service: Service, query: str) -> None:
    assert_problem(await service.alice.get(URL(f"/deliveries?{query}", encoded=True)), 422, "validation-error")


@pytest.mark.parametrize("query", ["unread=", "unread=1", "unread=yes", "unread=TRUE", "unread=%00"])
async def test_a_filter_of_notifications_that_is_none_is_refused(service: Service, query: str) -> None:
    assert_problem(await service.alice.get(URL(f"/notifications?{query}", encoded=True)), 422, "validation-error")


async def test_a_cursor_of_another_list_or_other_filters_is_refused(service: Service, hers: Belongings) -> None:
    await service.alice.post("/channels", {"url": HOOK})
    cursor = (await service.alice.get("/channels?limit=1")).json["next_cursor"]
    for path in ("/deliveries?", "/notifications?", "/jobs?"):
        assert_problem(await service.alice.get(f"{path}cursor={cursor}"), 400, "invalid-cursor")
    await service.alice.post(f"/channels/{hers.channel}/test")
    cursor = (await service.alice.get("/deliveries?limit=1")).json["next_cursor"]
    for query in ("state=dead&", f"channel_id={hers.channel}&"):
        assert_problem(await service.alice.get(f"/deliveries?{query}cursor={cursor}"), 400, "invalid-cursor")


@pytest.mark.parametrize("name", WRITES)
async def test_two_idempotency_keys_or_one_that_is_none_are_400(service: Service, hers: Belongings, name: str) -> None:
    before = await everything_of(service)
    many = [[("Idempotency-Key", "a"), ("Idempotency-Key", "b")], *([("Idempotency-Key", k)] for k in ("", "a b", "é"))]
    for headers in [*many, [("Idempotency-Key", "k" * 256)]]:
        answer = await ask(caller(service, name), hers, name, headers=headers)
        assert_problem(answer, 400, "invalid-header")
    assert await everything_of(service) == before


@pytest.mark.parametrize("name", ["make a channel", "set reminders", "make a partition", "maintain"])
async def test_a_key_that_was_used_for_something_else_is_422(service: Service, hers: Belongings, name: str) -> None:
    user, headers = caller(service, name), {"Idempotency-Key": "k"}
    assert (await user.post("/tasks", {"title": "first"}, headers=headers)).status == 201
    assert_problem(await ask(user, hers, name, headers=headers), 422, "idempotency-key-reuse")


async def test_a_body_over_the_limit_is_413(service: Service, hers: Belongings) -> None:
    giant = b'{"url": "' + b"x" * (service.settings.max_body_bytes + 1) + b'"}'
    for name in WRITES:
        answer = await ask(caller(service, name), hers, name, data=giant, headers=JSON)
        assert_problem(answer, 413, "payload-too-large")


# -- values ---------------------------------------------------------------------------------------------------


NUL = "a\x00b"


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("make a channel", {"url": f"{HOOK}{NUL}"}, "url"),
        ("make a channel", {"url": HOOK, "kind": NUL}, "kind"),
        ("make a channel", {"url": HOOK, "events": [NUL]}, "events.0"),
        ("make a channel", {"url": HOOK, "events": {"task.created": 1}}, "events"),
        ("make a channel", {"url": HOOK, "events": ["task.created"] * 1000}, "events"),
        ("make a channel", {"url": HOOK, "quiet_hours": {"start": "22:00\x00", "end": "07:00"}}, "quiet_hours.start"),
        ("make a channel", {"url": HOOK, "quiet_hours": {"start": "22:00", "end": "24:00"}}, "quiet_hours.end"),
        ("make a channel", {"url": HOOK, "quiet_hours": {"start": "22:00\n", "end": "07:00"}}, "quiet_hours.start"),
        ("make a channel", {"url": HOOK, "quiet_hours": []}, "quiet_hours.body"),
        ("make a channel", {"url": ["https://example.com"]}, "url"),
        ("make a channel", {"url": 1 << 63}, "url"),
        ("change a channel", {"state": NUL}, "state"),
        ("change a channel", {"state": "deleted"}, "state"),
        ("change a channel", {"state": None}, "state"),
        ("change a channel", {"events": None}, "events"),
        ("mark a notification", {"read": 1}, "read"),
        ("mark a notification", {"read": "true"}, "read"),
        ("mark a notification", {"read": None}, "read"),
        ("set reminders", {"reminders": [NUL]}, "reminders.0"),
        ("set reminders", {"reminders": ["P1D\x00"]}, "reminders.0"),
        ("set reminders", {"reminders": ["P1D P2D"]}, "reminders.0"),
        ("set reminders", {"reminders": ["-P1D"]}, "reminders.0"),
        ("set reminders", {"reminders": ["P99999D"]}, "reminders.0"),
        ("set reminders", {"reminders": ["PT9999999999H"]}, "reminders.0"),
        ("set reminders", {"reminders": ["P٣D"]}, "reminders.0"),
        ("set reminders", {"reminders": ["infinity"]}, "reminders.0"),
        ("set reminders", {"reminders": ["now"]}, "reminders.0"),
        ("set reminders", {"reminders": ["99999-01-01T00:00:00Z"]}, "reminders.0"),
        ("set reminders", {"reminders": ["2026-01-01T00:00:00"]}, "reminders.0"),
        ("set reminders", {"reminders": [["P1D"]]}, "reminders.0"),
        ("set reminders", {"reminders": "P1D"}, "reminders"),
        ("set reminders", {"reminders": [f"PT{n}M" for n in range(1000)]}, "reminders"),
        ("set offsets", {"reminder_offsets": [NUL]}, "reminder_offsets.0"),
        ("set offsets", {"reminder_offsets": ["P1D'; DROP TABLE users; --"]}, "reminder_offsets.0"),
        ("set offsets", {"reminder_offsets": None}, "reminder_offsets"),
        ("set offsets", {"reminder_offsets": {"P1D": 1}}, "reminder_offsets"),
        ("set offsets", {"time_zone": "Mars/Olympus"}, "time_zone"),
        ("set offsets", {"time_zone": "../../etc/passwd"}, "time_zone"),
        ("set offsets", {"time_zone": "/etc/localtime"}, "time_zone"),
        ("set offsets", {"time_zone": "Europe/Berlin\x00"}, "time_zone"),
        ("set offsets", {"time_zone": "europe/berlin"}, "time_zone"),
        ("make a recurring task", {"title": "x", "recurrence": NUL}, "recurrence"),
        ("make a recurring task", {"title": "x", "recurrence": "FREQ=SECONDLY"}, "recurrence"),
        ("make a recurring task", {"title": "x", "recurrence": "FREQ=DAILY;INTERVAL=0"}, "recurrence"),
        ("make a recurring task", {"title": "x", "recurrence": "FREQ=DAILY;UNTIL=20000101T000000Z"}, "recurrence"),
        ("make a recurring task", {"title": "x", "recurrence": "FREQ=DAILY;" * 100}, "recurrence"),
        ("make a recurring task", {"title": "x", "recurrence": {"freq": "daily"}}, "recurrence"),
    ],
)  # fmt: skip
async def test_a_value_that_is_none_is_422_and_named(
    service: Service, hers: Belongings, name: str, body: dict[str, Any], field: str
) -> None:
    before = await everything_of(service)
    problem = assert_problem(await ask(service.alice, hers, name, json=body), 422, "validation-error")
    assert field in problem["errors"]
    assert await everything_of(service) == before


@pytest.mark.parametrize(
    "number",
    ["0", "-1", "+1", "1.0", "1e3", "x", "%00", "1%00", "%FF", "%ED%A0%80", "%20", "9007199254740993",
     "9223372036854775808", "18446744073709551616", "9" * 400, "%EF%BC%91", "1_0", "0x1", "null", "1;DROP", "'",
     str(MAXIMUM_ID)],
)  # fmt: skip
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/channels/{}"),
        ("PATCH", "/channels/{}"),
        ("DELETE", "/channels/{}"),
        ("POST", "/channels/{}/test"),
        ("POST", "/channels/{}/secret"),
        ("GET", "/deliveries/{}"),
        ("POST", "/deliveries/{}/redeliver"),
        ("PATCH", "/notifications/{}"),
        ("GET", "/tasks/{}/reminders"),
        ("PUT", "/tasks/{}/reminders"),
    ],
)
async def test_what_is_no_id_is_404(service: Service, method: str, path: str, number: str) -> None:
    bodies = {"/channels/{}": {"state": "disabled"}, "/notifications/{}": {"read": True}}
    body = bodies.get(path, {"reminders": []})
    options = {"json": body} if method in ("PATCH", "PUT") else {}
    answer = await service.alice.request(method, URL(path.format(number), encoded=True), **options)
    assert_problem(answer, 404, "not-found")
