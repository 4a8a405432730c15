"""What each command comes to when its batch is carried out, and what is answered."""

import uuid
from typing import Any

import asyncpg

from core.commands.effects import REJECTIONS
from core.commands.kinds import KINDS, OPERATIONS_OF_BATCHES, WRITE_BATCH
from core.commands.wire import ANONYMOUS
from core.jobs.tables import STATES
from tests.worker.commands import apply, batch, command, create, delete, insert_task, new_user, update
from tests.worker.writes.harness import problem_of, titles
from worker.runner import Services
from worker.writes.table import WRITES

# -- what one command comes to


async def test_create_update_and_delete_of_one_task_in_one_batch_keep_their_order(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice, title="old")
    outcomes = await apply(
        services,
        update(alice, task, {"title": "new"}),
        update(alice, task, {"priority": 1}, if_versions=[2]),
        delete(alice, task, if_versions=[3]),
        update(alice, task, {"title": "too late"}),
    )
    assert [outcome["status_code"] for outcome in outcomes] == [200, 200, 204, 404]
    assert outcomes[1]["result"]["title"] == "new"
    assert outcomes[1]["result"]["version"] == 3
    assert await titles(owner, alice) == []


async def test_a_version_that_is_not_the_tasks_is_a_conflict_that_tells_it(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice, title="old", version=3)
    [changed, deleted] = await apply(
        services, update(alice, task, {"title": "new"}, if_versions=[1, 2]), delete(alice, task, if_versions=[4])
    )
    for outcome in (changed, deleted):
        assert (outcome["status_code"], problem_of(outcome)) == (412, "version-conflict")
        assert outcome["error"]["current_version"] == 3
    assert await titles(owner, alice) == ["old"]


async def test_no_field_is_touched_that_was_not_sent_and_a_null_clears(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice, title="t", description="d", priority=2)
    [first, second] = await apply(
        services, update(alice, task, {"priority": 9}), update(alice, task, {"description": None})
    )
    assert (first["result"]["title"], first["result"]["description"], first["result"]["priority"]) == ("t", "d", 9)
    assert (second["result"]["description"], second["result"]["priority"]) == (None, 9)


async def test_each_new_task_of_a_batch_has_its_own_labels_however_many(services: Services, alice: int) -> None:
    labels: list[list[str]] = [
        [],
        ["one"],
        ["one", "two"],
        [str(n) for n in range(20)],
        ['"', "\\", "{}", "NULL", "次回"],
    ]
    made = await apply(services, *(create(alice, labels=some) for some in labels), create(alice))
    assert [one["result"]["labels"] for one in made] == [*labels, []]
    one_by_one = [{"op": "create", "fields": {"title": "x", "labels": some}} for some in labels]
    [many] = await apply(services, batch(alice, *one_by_one))
    assert [one["task"]["labels"] for one in many["result"]["results"]] == labels


async def test_an_update_replaces_all_labels_or_leaves_them(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice, labels=["old", "older"])
    kept, replaced, emptied = await apply(
        services,
        update(alice, task, {"title": "x"}),
        update(alice, task, {"labels": ["b", "a", '"', "次回"]}),
        update(alice, task, {"labels": []}),
    )
    assert kept["result"]["labels"] == ["old", "older"]
    assert replaced["result"]["labels"] == ["b", "a", '"', "次回"]
    assert emptied["result"]["labels"] == []
    assert emptied["result"]["version"] == 4


async def test_an_update_that_names_nothing_changes_nothing_not_even_the_version(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice)
    before = await owner.fetchrow("SELECT * FROM tasks WHERE id = $1", task)
    [outcome] = await apply(services, update(alice, task, {}))
    assert (outcome["status_code"], outcome["result"]["version"]) == (200, 1)
    assert await owner.fetchrow("SELECT * FROM tasks WHERE id = $1", task) == before


async def test_completed_at_follows_the_status(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    [made] = await apply(services, create(alice, status="completed"))
    task, completed_at = made["result"]["id"], made["result"]["completed_at"]
    assert completed_at is not None
    again, renamed, opened = await apply(
        services,
        update(alice, task, {"status": "completed"}),
        update(alice, task, {"title": "x"}),
        update(alice, task, {"status": "pending"}),
    )
    assert again["result"]["completed_at"] == renamed["result"]["completed_at"] == completed_at
    assert opened["result"]["completed_at"] is None


async def test_a_foreign_task_is_answered_as_one_that_does_not_exist(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    task = await insert_task(owner, bob, title="bob's")
    foreign, missing = await apply(services, update(alice, task, {"title": "x"}), update(alice, 1, {"title": "x"}))
    assert foreign["error"] == missing["error"]
    [deleted] = await apply(services, delete(alice, task, if_versions=[1]))
    assert deleted["error"] == missing["error"]
    assert await titles(owner, bob) == ["bob's"]


async def test_an_admin_changes_and_deletes_any_task_and_creates_only_own(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    first, second = await insert_task(owner, bob), await insert_task(owner, bob)
    admin = await new_user(owner, role="admin")
    changed, deleted, missing = await apply(
        services,
        update(admin, first, {"title": "by the admin"}, any_owner=True),
        delete(admin, second, any_owner=True),
        delete(admin, second, any_owner=True),
    )
    assert (changed["status_code"], changed["result"]["user_id"]) == (200, bob)
    assert (deleted["status_code"], missing["status_code"]) == (204, 404)
    made = command("task.batch", admin, {"operations": [{"op": "create", "fields": {"title": "x"}}], "any_owner": True})
    [outcome] = await apply(services, made)
    assert outcome["result"]["results"][0]["task"]["user_id"] == admin


async def test_a_batch_answers_each_operation_in_its_place(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice)
    error = {"type": "/problems/validation-error", "title": "x", "status": 422, "detail": "x"}
    [outcome] = await apply(
        services,
        batch(
            alice,
            {"op": "delete", "id": task},
            {"error": error},
            {"op": "create", "fields": {"title": "new"}},
            {"op": "update", "id": task, "fields": {"title": "too late"}},
        ),
    )
    assert outcome["status_code"] == 207
    results = outcome["result"]["results"]
    assert [result["status"] for result in results] == [204, 422, 201, 404]
    assert results[0] == {"status": 204}
    assert results[1] == {"status": 422, "error": error}
    assert results[2]["task"]["title"] == "new"


async def test_created_tasks_are_answered_in_the_order_of_their_commands(services: Services, alice: int) -> None:
    outcomes = await apply(services, *(create(alice, f"title {number}") for number in range(300)))
    assert [outcome["result"]["title"] for outcome in outcomes] == [f"title {number}" for number in range(300)]
    assert len({outcome["result"]["id"] for outcome in outcomes}) == 300


# -- users and sessions


def registration(name: str, **more: Any) -> Any:
    return command(
        "user.register", ANONYMOUS, {"username": name, "email": "a@example.com", "password_hash": "h"}, **more
    )


async def test_of_two_registrations_of_one_name_in_a_batch_the_first_has_it(services: Services) -> None:
    name = f"ada-{uuid.uuid4().hex[:8]}"
    first, second = await apply(services, registration(name), registration(name.upper()))
    assert (first["status_code"], second["status_code"]) == (201, 409)
    assert problem_of(second) == "username-taken"
    assert "password_hash" not in first["result"]


def session(kind: str, user_id: int, session_id: str, generation: int = 0) -> Any:
    payload = {"session_id": session_id, "generation": generation, "expires_at": "2099-01-01T00:00:00+00:00"}
    return command(f"session.{kind}", user_id, {**payload, "role": "user"})


async def test_a_refresh_token_is_good_once_and_its_reuse_ends_the_family(services: Services, alice: int) -> None:
    one = str(uuid.uuid4())
    outcomes = await apply(
        services,
        session("open", alice, one),
        session("rotate", alice, one, 0),
        session("rotate", alice, one, 1),
        session("rotate", alice, one, 1),
        session("rotate", alice, one, 2),
    )
    assert [outcome["status_code"] for outcome in outcomes] == [200, 200, 200, 401, 401]
    assert [outcome["result"]["generation"] for outcome in outcomes[:3]] == [0, 1, 2]


async def test_a_new_password_and_a_logout_end_sessions_and_another_users_do_not(
    services: Services, alice: int, bob: int
) -> None:
    ids = [str(uuid.uuid4()) for _ in range(3)]
    await apply(services, session("open", alice, ids[0]), session("open", alice, ids[1]), session("open", bob, ids[2]))
    await apply(services, session("revoke", bob, ids[0]))  # not his: without effect
    [still] = await apply(services, session("rotate", alice, ids[0], 0))
    assert still["status_code"] == 200
    await apply(services, session("revoke", alice, ids[0]))
    [ended] = await apply(services, session("rotate", alice, ids[0], 1))
    await apply(services, command("user.update", alice, {"password_hash": "new"}))
    [other] = await apply(services, session("rotate", alice, ids[1], 0))
    [bobs] = await apply(services, session("rotate", bob, ids[2], 0))
    assert (ended["status_code"], other["status_code"], bobs["status_code"]) == (401, 401, 200)


def test_every_kind_that_is_declared_has_a_handler_and_every_state_and_refusal_is_known() -> None:
    assert set(KINDS) - {WRITE_BATCH.name} == set(WRITES)
    assert all(KINDS[name] is write.kind for name, write in WRITES.items())
    assert {kind.name for kind in OPERATIONS_OF_BATCHES.values()} <= set(WRITES)
    assert {"succeeded", "rejected", "failed"} <= set(STATES)
    assert all(400 <= status < 600 for status, _ in REJECTIONS.values())
