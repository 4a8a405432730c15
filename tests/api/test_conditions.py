"""Entity tags: `If-Match` keeps updates from being lost, `If-None-Match` keeps what is known from being sent."""

import asyncio
from typing import Any

import pytest

from tests.api.problems import assert_problem
from tests.factories import create_task
from tests.harness import Service


async def at_version_3(service: Service) -> dict[str, Any]:
    task = await create_task(service.alice)
    for priority in (1, 2):
        task = (await service.alice.patch(f"/tasks/{task['id']}", {"priority": priority})).json
    assert task["version"] == 3
    return task


async def test_the_etag_is_the_version(service: Service) -> None:
    created = await service.alice.post("/tasks", {"title": "x"})
    path = created.headers["Location"]
    assert created.headers["ETag"] == '"1"'
    assert (await service.alice.get(path)).headers["ETag"] == '"1"'
    assert (await service.alice.patch(path, {"title": "y"})).headers["ETag"] == '"2"'
    assert (await service.alice.get(path)).headers["ETag"] == '"2"'
    assert (await service.alice.request("HEAD", path)).headers["ETag"] == '"2"'


@pytest.mark.parametrize(
    "condition", ['"3"', "*", '"1", "3"', '"x","3"', ' "3" ', '"3",', '"1"\t, "3"', 'W/"1",W/"3"', 'W/"3"']
)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_write_goes_through_where_the_condition_names_the_version(
    service: Service, method: str, condition: str
) -> None:
    task = await at_version_3(service)
    body = {} if method == "DELETE" else {"json": {"title": "changed"}}
    answer = await service.alice.request(method, f"/tasks/{task['id']}", headers={"If-Match": condition}, **body)
    assert answer.status == (204 if method == "DELETE" else 200)


@pytest.mark.parametrize(
    "condition",
    ['"2"', '"4"', '"1", "2"', 'W/"2"', '""', '"x"', '"03"', '"+3"', '"99999999999999999999"', '"3 "', '"３"'],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_another_version_is_412_and_nothing_changes(service: Service, method: str, condition: str) -> None:
    task = await at_version_3(service)
    body = {} if method == "DELETE" else {"json": {"title": "changed"}}
    answer = await service.alice.request(method, f"/tasks/{task['id']}", headers={"If-Match": condition}, **body)
    if (answer.status == 400 and " " in condition) or "３" in condition:
        assert_problem(answer, 400, "invalid-header")  # no entity tag has a space or another script's digit in it
    else:
        problem = assert_problem(answer, 412, "version-conflict")
        assert answer.headers["ETag"] == '"3"'
        assert problem["current_version"] == 3
    assert (await service.alice.get(f"/tasks/{task['id']}")).json == task


async def test_conditions_in_two_headers_are_one_list(service: Service) -> None:
    task = await at_version_3(service)
    answer = await service.alice.patch(
        f"/tasks/{task['id']}", {"priority": 9}, headers=[("If-Match", '"1"'), ("If-Match", '"3"')]
    )
    assert answer.status == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_write_of_what_must_not_be_there_is_412_where_it_is_and_404_where_not(
    service: Service, method: str
) -> None:
    task = await at_version_3(service)
    body = {} if method == "DELETE" else {"json": {"title": "changed"}}
    there = await service.alice.request(method, f"/tasks/{task['id']}", headers={"If-None-Match": "*"}, **body)
    assert assert_problem(there, 412, "version-conflict")["current_version"] == 3
    assert (await service.alice.get(f"/tasks/{task['id']}")).json == task
    both = {"If-None-Match": "*", "If-Match": '"3"'}
    assert (await service.alice.request(method, f"/tasks/{task['id']}", headers=both, **body)).status == 412
    missing = await service.alice.request(method, "/tasks/4711", headers={"If-None-Match": "*"}, **body)
    assert_problem(missing, 404, "not-found")
    others = await service.bob.request(method, f"/tasks/{task['id']}", headers={"If-None-Match": "*"}, **body)
    assert_problem(others, 404, "not-found")


async def test_a_write_takes_no_other_if_none_match(service: Service) -> None:
    task = await create_task(service.alice)
    for condition in ('"1"', '"2"', "", "*, *"):
        answer = await service.alice.patch(
            f"/tasks/{task['id']}", {"priority": 1}, headers={"If-None-Match": condition}
        )
        assert_problem(answer, 400, "invalid-header")


@pytest.mark.parametrize("condition", ["3", "", '"3', '3"', "'3'", '*, "3"', "W/3", ",", '"3";x', '"3 "', '"３"'])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_what_is_no_list_of_entity_tags_is_400(service: Service, method: str, condition: str) -> None:
    task = await create_task(service.alice)
    body = {} if method == "DELETE" else {"json": {"title": "changed"}}
    answer = await service.alice.request(method, f"/tasks/{task['id']}", headers={"If-Match": condition}, **body)
    assert_problem(answer, 400, "invalid-header")
    assert (await service.alice.get(f"/tasks/{task['id']}")).json == task


@pytest.mark.parametrize("condition", ['"1"', "*"])
async def test_a_condition_on_a_missing_task_is_404(service: Service, condition: str) -> None:
    answer = await service.alice.patch("/tasks/4711", {"title": "x"}, headers={"If-Match": condition})
    assert_problem(answer, 404, "not-found")


async def test_of_many_writers_with_one_version_one_wins(service: Service) -> None:
    task = await create_task(service.alice)
    answers = await asyncio.gather(
        *(
            service.alice.patch(f"/tasks/{task['id']}", {"title": f"writer {n}"}, headers={"If-Match": '"1"'})
            for n in range(20)
        )
    )
    assert sorted(answer.status for answer in answers) == [200] + [412] * 19
    [winner] = [answer for answer in answers if answer.status == 200]
    assert (await service.alice.get(f"/tasks/{task['id']}")).json == winner.json


@pytest.mark.parametrize("condition", ['"1"', 'W/"1"', "*", '"7", "1"', '"x",W/"1"', '"1",'])
@pytest.mark.parametrize("reader", ["alice", "admin"])
async def test_a_known_version_is_304_without_a_body(service: Service, reader: str, condition: str) -> None:
    task = await create_task(service.alice)
    client = getattr(service, reader)
    for _ in range(2):  # once from the database, once from the cache
        answer = await client.get(f"/tasks/{task['id']}", headers={"If-None-Match": condition})
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["ETag"] == '"1"'


@pytest.mark.parametrize("condition", ['"2"', "1", '""', 'W/"2"', "", "nonsense"])
async def test_another_version_is_sent_whole(service: Service, condition: str) -> None:
    task = await create_task(service.alice)
    answer = await service.alice.get(f"/tasks/{task['id']}", headers={"If-None-Match": condition})
    assert (answer.status, answer.json) == (200, task)


async def test_a_changed_task_is_sent_again(service: Service) -> None:
    path = f"/tasks/{(await create_task(service.alice))['id']}"
    known = (await service.alice.get(path)).headers["ETag"]
    assert (await service.alice.get(path, headers={"If-None-Match": known})).status == 304
    await service.alice.patch(path, {"priority": 1})
    assert (await service.alice.get(path, headers={"If-None-Match": known})).status == 200
    await service.alice.delete(path)
    assert (await service.alice.get(path, headers={"If-None-Match": "*"})).status == 404
