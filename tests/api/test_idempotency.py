"""`Idempotency-Key`: a repeated write has one effect, and every repeat gets the first outcome."""

import asyncio
import uuid
from typing import Any

import pytest

from tests.api.problems import assert_problem
from tests.conftest import MakeService
from tests.factories import create_task, task_fields
from tests.harness import PASSWORD, Answer, Service


def keyed(key: str | None = None, **headers: str) -> dict[str, str]:
    return {"Idempotency-Key": key or str(uuid.uuid4()), **headers}


def assert_replay(again: Answer, first: Answer) -> None:
    """The same outcome, and it says that it is a repeat."""
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.status == first.status
    for name in ("ETag", "Location", "Content-Type"):
        assert again.headers.get(name) == first.headers.get(name)
    if first.status < 400:
        assert again.body == first.body
    else:
        assert again.json | {"request_id": ""} == first.json | {"request_id": ""}


async def test_a_repeated_create_makes_one_task(service: Service) -> None:
    body, headers = task_fields(), keyed()
    first, second, third = [await service.alice.post("/tasks", body, headers=headers) for _ in range(3)]
    assert first.status == 201
    assert_replay(second, first)
    assert_replay(third, first)
    assert len((await service.alice.get("/tasks")).items) == 1


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_repeated_update_is_applied_once_and_answers_as_it_did_then(service: Service, method: str) -> None:
    task = await create_task(service.alice)
    path, headers = f"/tasks/{task['id']}", keyed()
    first = await service.alice.request(method, path, json={"title": "mine"}, headers=headers)
    await service.alice.patch(path, {"title": "changed since"})
    again = await service.alice.request(method, path, json={"title": "mine"}, headers=headers)
    assert_replay(again, first)
    assert (await service.alice.get(path)).json["title"] == "changed since"


async def test_a_repeated_delete_is_204_again(service: Service) -> None:
    path, headers = f"/tasks/{(await create_task(service.alice))['id']}", keyed()
    first = await service.alice.delete(path, headers=headers)
    assert first.status == 204
    assert_replay(await service.alice.delete(path, headers=headers), first)


async def test_a_repeated_batch_has_one_effect(service: Service) -> None:
    headers = keyed()
    body = {"operations": [{"op": "create", "fields": task_fields()}, {"op": "delete", "id": 4711}]}
    first = await service.alice.post("/tasks/batch", body, headers=headers)
    assert first.status == 207
    assert_replay(await service.alice.post("/tasks/batch", body, headers=headers), first)
    assert len((await service.alice.get("/tasks")).items) == 1


async def test_a_refusal_is_an_outcome_too(service: Service) -> None:
    task = await create_task(service.alice)
    missing, conflict = keyed(), keyed(**{"If-Match": '"7"'})
    first_missing = await service.alice.delete("/tasks/4711", headers=missing)
    first_conflict = await service.alice.patch(f"/tasks/{task['id']}", {"priority": 1}, headers=conflict)
    assert (first_missing.status, first_conflict.status) == (404, 412)
    assert_replay(await service.alice.delete("/tasks/4711", headers=missing), first_missing)
    again = await service.alice.patch(f"/tasks/{task['id']}", {"priority": 1}, headers=conflict)
    assert_replay(again, first_conflict)


async def test_a_request_that_never_became_a_write_leaves_its_key_free(service: Service) -> None:
    headers = keyed()
    refused = await service.alice.post("/tasks", {"title": ""}, headers=headers)
    assert refused.status == 422
    accepted = await service.alice.post("/tasks", {"title": "better"}, headers=headers)
    assert accepted.status == 201
    assert "Idempotent-Replayed" not in accepted.headers


async def test_the_same_key_with_another_body_is_422_and_changes_nothing(service: Service) -> None:
    headers = keyed()
    first = await service.alice.post("/tasks", {"title": "first"}, headers=headers)
    other = await service.alice.post("/tasks", {"title": "other"}, headers=headers)
    assert_problem(other, 422, "idempotency-key-reuse")
    assert [task["title"] for task in (await service.alice.get("/tasks")).items] == ["first"]
    assert_replay(await service.alice.post("/tasks", {"title": "first"}, headers=headers), first)


async def test_the_same_key_for_another_path_method_or_condition_is_422(service: Service) -> None:
    one, two = await create_task(service.alice), await create_task(service.alice)
    headers, body = keyed(), {"priority": 1}
    assert (await service.alice.patch(f"/tasks/{one['id']}", body, headers=headers)).status == 200
    others = [
        await service.alice.patch(f"/tasks/{two['id']}", body, headers=headers),
        await service.alice.put(f"/tasks/{one['id']}", body, headers=headers),
        await service.alice.patch(f"/tasks/{one['id']}", body, headers=headers | {"If-Match": '"2"'}),
        await service.alice.delete(f"/tasks/{one['id']}", headers=headers),
    ]
    for other in others:
        assert_problem(other, 422, "idempotency-key-reuse")
    assert (await service.alice.get(f"/tasks/{two['id']}")).json == two


@pytest.mark.parametrize("key", ["a", "x" * 255, '"quoted"', "!~#$%&'()*+,-./:;<=>?@[]^_`{|}"])
async def test_a_key_is_any_1_to_255_visible_characters(service: Service, key: str) -> None:
    body = task_fields()
    first = await service.alice.post("/tasks", body, headers=keyed(key))
    assert first.status == 201
    assert_replay(await service.alice.post("/tasks", body, headers=keyed(key)), first)


async def test_quoted_and_bare_are_the_same_key(service: Service) -> None:
    body = task_fields()
    first = await service.alice.post("/tasks", body, headers=keyed("key"))
    assert_replay(await service.alice.post("/tasks", body, headers=keyed('"key"')), first)


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "with space", "ü", "tab\there", "🔑", '"a b"'])
async def test_another_key_is_400_and_nothing_is_written(service: Service, key: str) -> None:
    answer = await service.alice.post("/tasks", task_fields(), headers={"Idempotency-Key": key})
    assert_problem(answer, 400, "invalid-header")
    assert await service.rows("SELECT id FROM tasks") == []


@pytest.mark.parametrize("keys", [("a", "b"), ("a", "a")])
async def test_two_keys_are_400(service: Service, keys: tuple[str, str]) -> None:
    headers = [("Idempotency-Key", key) for key in keys]
    assert_problem(await service.alice.post("/tasks", task_fields(), headers=headers), 400, "invalid-header")
    assert await service.rows("SELECT id FROM tasks") == []


async def test_20_requests_with_one_key_at_once_have_one_effect(service: Service) -> None:
    body, headers = task_fields(), keyed()
    answers = await asyncio.gather(*(service.alice.post("/tasks", body, headers=headers) for _ in range(20)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert await service.rows("SELECT count(*) AS n FROM tasks") == [{"n": 1}]
    assert await service.rows("SELECT count(*) AS n FROM jobs") == [{"n": 1}]


async def test_bodies_that_differ_with_one_key_at_once_have_one_effect(service: Service) -> None:
    headers = keyed()
    answers = await asyncio.gather(
        *(service.alice.post("/tasks", {"title": f"title {n}"}, headers=headers) for n in range(10))
    )
    assert sorted(answer.status for answer in answers) == [201] + [422] * 9
    assert await service.rows("SELECT count(*) AS n FROM tasks") == [{"n": 1}]


async def test_one_key_sent_to_two_processes_at_once_has_one_effect(
    service: Service, make_service: MakeService
) -> None:
    other = await make_service(settings=service.settings, with_worker=False)
    there = other.as_user(service.alice.id, "alice")
    for _ in range(5):
        body, headers = task_fields(), keyed()
        answers = await asyncio.gather(
            *(client.post("/tasks", body, headers=headers) for client in (service.alice, there) * 5)
        )
        assert {answer.status for answer in answers} == {201}
        assert len({answer.json["id"] for answer in answers}) == 1
        assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert await service.rows("SELECT count(*) AS n FROM tasks") == [{"n": 5}]


async def test_the_keys_of_two_users_do_not_meet(service: Service) -> None:
    body, headers = task_fields(), keyed("the-same")
    hers = await service.alice.post("/tasks", body, headers=headers)
    his = await service.bob.post("/tasks", body, headers=headers)
    assert (hers.status, his.status) == (201, 201)
    assert "Idempotent-Replayed" not in his.headers
    assert hers.json["id"] != his.json["id"]
    assert his.json["user_id"] == service.bob.id


async def test_a_repeat_after_202_gets_the_outcome(make_service: MakeService) -> None:
    service = await make_service(with_worker=False)
    body, headers = task_fields(), keyed()
    accepted = await service.alice.post("/tasks", body, headers=headers | {"Prefer": "respond-async"})
    assert accepted.status == 202
    await service.worker.start()
    repeated = await service.alice.post("/tasks", body, headers=headers)
    assert repeated.status == 201
    assert repeated.headers["Idempotent-Replayed"] == "true"
    job = await service.alice.get(accepted.headers["Location"])
    assert job.json["result"] == repeated.json
    assert await service.rows("SELECT count(*) AS n FROM tasks") == [{"n": 1}]


async def test_a_repeat_that_need_not_be_waited_for_gets_the_outcome_too(service: Service) -> None:
    body, headers = task_fields(), keyed()
    first = await service.alice.post("/tasks", body, headers=headers)
    repeated = await service.alice.post("/tasks", body, headers=headers | {"Prefer": "respond-async"})
    assert_replay(repeated, first)
    assert "Preference-Applied" not in repeated.headers


async def test_an_asynchronous_write_with_the_key_of_another_is_422_and_not_promised(service: Service) -> None:
    headers = keyed(Prefer="respond-async")
    accepted = await service.alice.post("/tasks", task_fields(), headers=headers)
    await service.alice.get(accepted.headers["Location"], headers={"Prefer": "wait=5"})
    refused = await service.alice.post("/tasks", task_fields(), headers=headers)
    assert_problem(refused, 422, "idempotency-key-reuse")


async def test_a_repeat_while_its_write_still_waits_leads_to_the_same_job(make_service: MakeService) -> None:
    service = await make_service(with_worker=False)
    body, headers = task_fields(), keyed(Prefer="respond-async")
    first, repeated = [await service.alice.post("/tasks", body, headers=headers) for _ in range(2)]
    assert (first.status, repeated.status) == (202, 202)
    assert repeated.headers["Location"] == first.headers["Location"]


@pytest.mark.parametrize("prefer", ["respond-async", "wait=0"])
async def test_a_key_whose_write_still_waits_is_promised_to_no_other(make_service: MakeService, prefer: str) -> None:
    service = await make_service(with_worker=False)
    headers = keyed(Prefer="respond-async")
    body = task_fields()
    accepted = await service.alice.post("/tasks", body, headers=headers)
    refused = await service.alice.post("/tasks", task_fields(), headers=headers | {"Prefer": prefer})
    assert_problem(refused, 422, "idempotency-key-reuse")
    await service.worker.start()
    job = await service.alice.get(accepted.headers["Location"], headers={"Prefer": "wait=5"})
    assert (job.json["state"], job.json["result"]["title"]) == ("succeeded", body["title"])
    assert len((await service.alice.get("/tasks")).items) == 1


async def test_a_condition_in_one_header_line_or_in_two_is_the_same_request(service: Service) -> None:
    path = f"/tasks/{(await service.alice.post('/tasks', task_fields())).json['id']}"
    key = ("Idempotency-Key", "lines")
    first = await service.alice.patch(path, {"priority": 1}, headers=[key, ("If-Match", '"1", "7"')])
    assert first.status == 200
    for conditions in (['"1","7"'], ['"1"', '"7"'], ['W/"1"', '"7"']):
        lines = [("If-Match", condition) for condition in conditions]
        assert_replay(await service.alice.patch(path, {"priority": 1}, headers=[key, *lines]), first)
    for others in (
        [("If-Match", '"1"')],
        [("If-Match", '"7"'), ("If-Match", '"8"')],
        [("If-Match", '"1", "7"'), ("If-None-Match", "*")],
        [("If-Match", "*")],
        [],
    ):
        answer = await service.alice.patch(path, {"priority": 1}, headers=[key, *others])
        assert_problem(answer, 422, "idempotency-key-reuse")


async def test_a_key_is_forgotten_with_its_job(service: Service) -> None:
    body, headers = task_fields(), keyed()
    first = await service.alice.post("/tasks", body, headers=headers)
    await service.rows("DELETE FROM jobs")
    again = await service.alice.post("/tasks", body, headers=headers)
    assert again.status == 201
    assert again.json["id"] != first.json["id"]


# -- users and sessions ---------------------------------------------------------------------------------------


async def test_a_repeated_registration_makes_one_user(service: Service) -> None:
    body = {"username": "ada", "email": "ada@example.com", "password": "an engine 4 analysis"}
    headers = keyed()
    first = await service.anonymous.post("/auth/register", body, headers=headers)
    assert first.status == 201
    assert_replay(await service.anonymous.post("/auth/register", body, headers=headers), first)
    assert_problem(await service.anonymous.post("/auth/register", body), 409, "username-taken")


async def test_a_registration_repeated_with_another_password_is_422(service: Service) -> None:
    body = {"username": "ada", "email": "ada@example.com", "password": "an engine 4 analysis"}
    headers = keyed()
    await service.anonymous.post("/auth/register", body, headers=headers)
    other = await service.anonymous.post("/auth/register", body | {"password": "something else"}, headers=headers)
    assert_problem(other, 422, "idempotency-key-reuse")


async def test_two_newcomers_may_choose_the_same_key(service: Service) -> None:
    headers = keyed("1")
    for name in ("ada", "grace"):
        body = {"username": name, "email": f"{name}@example.com", "password": "an engine 4 analysis"}
        assert (await service.anonymous.post("/auth/register", body, headers=headers)).status == 201


@pytest.mark.parametrize("path", ["/auth/login", "/auth/token"])
async def test_a_repeated_login_gives_the_same_tokens(service: Service, path: str) -> None:
    credentials = {"username": "alice", "password": PASSWORD}
    options: dict[str, Any] = {"json": credentials} if path == "/auth/login" else {"data": credentials}
    headers = keyed()
    first, second = [await service.anonymous.post(path, headers=headers, **options) for _ in range(2)]
    assert first.status == second.status == 200
    assert second.json == first.json
    assert second.headers["Idempotent-Replayed"] == "true"
    assert await service.rows("SELECT count(*) AS n FROM sessions") == [{"n": 1}]


async def test_a_login_repeated_with_a_wrong_password_is_401(service: Service) -> None:
    headers = keyed()
    await service.anonymous.post("/auth/login", {"username": "alice", "password": PASSWORD}, headers=headers)
    wrong = await service.anonymous.post("/auth/login", {"username": "alice", "password": "wrong"}, headers=headers)
    assert_problem(wrong, 401, "wrong-credentials")


async def test_a_repeated_refresh_gives_the_same_tokens_and_ends_no_family(service: Service) -> None:
    credentials = {"username": "alice", "password": PASSWORD}
    token = (await service.anonymous.post("/auth/login", credentials)).json["refresh_token"]
    headers = keyed()
    answers = await asyncio.gather(
        *(service.anonymous.post("/auth/refresh", {"refresh_token": token}, headers=headers) for _ in range(5))
    )
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    newest = answers[0].json["refresh_token"]
    assert (await service.anonymous.post("/auth/refresh", {"refresh_token": newest})).status == 200


async def test_a_repeated_logout_is_204_again(service: Service) -> None:
    credentials = {"username": "alice", "password": PASSWORD}
    token = (await service.anonymous.post("/auth/login", credentials)).json["refresh_token"]
    headers = keyed()
    first = await service.anonymous.post("/auth/logout", {"refresh_token": token}, headers=headers)
    assert first.status == 204
    assert_replay(await service.anonymous.post("/auth/logout", {"refresh_token": token}, headers=headers), first)
