"""Nobody sees or changes what is another's; an admin sees all."""

from typing import Any

import pytest

from tests.api.problems import assert_problem
from tests.factories import create_task, create_tasks
from tests.harness import Answer, Service


def comparable(answer: Answer, task_id: int) -> tuple[int, dict[str, str], dict[str, Any]]:
    """An answer without what differs from request to request, and with the task's id made anonymous."""
    body = {name: value for name, value in answer.json.items() if name != "request_id"}
    body["instance"] = body["instance"].replace(str(task_id), "N")
    headers = {name.lower(): value for name, value in answer.headers.items()}
    del headers["x-request-id"], headers["date"]
    headers["content-length"] = str(int(headers["content-length"]) - len(str(task_id)))
    return answer.status, headers, body


@pytest.mark.parametrize("stranger", ["bob", "charlie"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("GET", {}),
        ("HEAD", {}),
        ("GET", {"headers": {"If-None-Match": "*"}}),
        ("PUT", {"json": {"title": "mine now"}}),
        ("PATCH", {"json": {"title": "mine now"}}),
        ("PATCH", {"json": {"title": "mine now"}, "headers": {"If-Match": '"1"'}}),
        ("PATCH", {"json": {"title": "mine now"}, "headers": {"If-Match": '"2"'}}),
        ("DELETE", {}),
        ("DELETE", {"headers": {"If-Match": '"1"'}}),
    ],
)
async def test_anothers_task_answers_exactly_as_one_that_does_not_exist(
    service: Service, stranger: str, method: str, options: dict[str, Any]
) -> None:
    task = await create_task(service.alice)
    await service.alice.get(f"/tasks/{task['id']}")  # into alice's cache
    client = getattr(service, stranger)
    theirs = await client.request(method, f"/tasks/{task['id']}", **options)
    missing = await client.request(method, f"/tasks/{task['id'] + 1}", **options)
    assert theirs.status == missing.status == 404
    if method != "HEAD":
        assert comparable(theirs, task["id"]) == comparable(missing, task["id"] + 1)
        assert_problem(theirs, 404, "not-found")
    assert (await service.alice.get(f"/tasks/{task['id']}")).json == task


@pytest.mark.parametrize("path", ["/tasks", "/user/tasks"])
async def test_lists_hold_only_the_callers_own(service: Service, path: str) -> None:
    hers = await create_tasks(service.alice, [{"title": "hers"}] * 3)
    his = await create_tasks(service.bob, [{"title": "his"}] * 2)
    for _ in range(2):  # the second time from the cache
        assert (await service.alice.get(path)).items == hers
        assert (await service.bob.get(path)).items == his
        assert (await service.charlie.get(path)).items == []


async def test_user_id_does_not_widen_what_a_user_sees(service: Service) -> None:
    await create_tasks(service.alice, [{}] * 3)
    his = await create_tasks(service.bob, [{}] * 2)
    assert (await service.bob.get(f"/tasks?user_id={service.alice.id}")).items == []
    assert (await service.bob.get(f"/tasks?user_id={service.bob.id}")).items == his


async def test_an_admin_lists_everybodys_tasks_and_can_narrow_them_to_a_user(service: Service) -> None:
    hers = await create_tasks(service.alice, [{"priority": 2}, {"priority": 1}])
    his = await create_tasks(service.bob, [{"priority": 1}, {"priority": 3}])
    own = [await create_task(service.admin, priority=9)]
    assert (await service.admin.get("/tasks")).items == [*hers, *his, *own]
    assert (await service.admin.get(f"/tasks?user_id={service.alice.id}")).items == hers
    assert (await service.admin.get(f"/tasks?user_id={service.bob.id}&priority=1")).items == his[:1]
    assert (await service.admin.get("/tasks?user_id=4711")).items == []
    by_priority = (await service.admin.get("/tasks?sort_by_priority=true")).items
    assert [task["id"] for task in by_priority] == [task["id"] for task in (hers[1], his[0], hers[0], his[1], own[0])]


async def test_an_admins_pages_span_all_users(service: Service) -> None:
    made = [
        *await create_tasks(service.alice, [{"priority": n % 3 + 1} for n in range(5)]),
        *await create_tasks(service.bob, [{"priority": n % 2 + 1} for n in range(4)]),
    ]
    for sort in ("id", "-id", "priority", "due_date", "-updated_at"):
        seen: list[int] = []
        cursor: str | None = ""
        while cursor is not None:
            tail = f"&cursor={cursor}" if cursor else ""
            answer = await service.admin.get(f"/tasks?limit=2&sort={sort}{tail}")
            seen += [task["id"] for task in answer.items]
            cursor = answer.json["next_cursor"]
        assert sorted(seen) == sorted(task["id"] for task in made), sort
    answer = await service.admin.get(f"/tasks?last_id={made[0]['id']}&limit=1000")
    assert len(answer.items) == 8


async def test_an_admins_own_list_is_the_admins_own(service: Service) -> None:
    await create_task(service.alice)
    own = await create_task(service.admin)
    assert (await service.admin.get("/user/tasks")).items == [own]


async def test_an_admin_reads_changes_and_deletes_anybodys_task(service: Service) -> None:
    task = await create_task(service.alice)
    path = f"/tasks/{task['id']}"
    assert (await service.admin.get(path)).json == task
    changed = await service.admin.patch(path, {"priority": 1}, headers={"If-Match": '"1"'})
    assert (changed.status, changed.json["user_id"], changed.json["priority"]) == (200, service.alice.id, 1)
    assert (await service.alice.get(path)).json == changed.json
    conflict = await service.admin.delete(path, headers={"If-Match": '"1"'})
    assert_problem(conflict, 412, "version-conflict")
    assert (await service.admin.delete(path)).status == 204
    assert (await service.alice.get(path)).status == 404
    assert (await service.alice.get("/tasks")).items == []


async def test_a_new_task_is_the_callers_own_also_for_an_admin(service: Service) -> None:
    assert (await create_task(service.admin))["user_id"] == service.admin.id


async def test_the_role_of_the_users_table_counts_and_not_the_tokens(service: Service) -> None:
    await create_task(service.alice)
    pretender = service.with_token(service.mint(service.bob.id, role="admin"))
    assert (await pretender.get("/tasks")).items == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/tasks"), ("GET", "/tasks/1"), ("GET", "/user/tasks"), ("GET", "/user/me"), ("GET", "/jobs"),
     ("POST", "/tasks"), ("POST", "/tasks/batch"), ("PUT", "/tasks/1"), ("PATCH", "/tasks/1"),
     ("DELETE", "/tasks/1"), ("PATCH", "/user/me"), ("DELETE", "/jobs/00000000-0000-0000-0000-000000000000"),
     ("GET", "/jobs/00000000-0000-0000-0000-000000000000")],
)  # fmt: skip
async def test_without_a_token_everything_is_401(service: Service, method: str, path: str) -> None:
    assert_problem(await service.anonymous.request(method, path), 401, "authentication-required")
