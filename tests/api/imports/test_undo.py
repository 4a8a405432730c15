"""`DELETE /imports/{id}/tasks`: an import is taken back, and the answer waits for it as that of a write does."""

import pytest

from tests.api.imports.harness import imported, lines, sent, titles
from tests.api.problems import assert_problem
from tests.factories import create_task
from tests.harness import Service, eventually


async def test_what_an_import_made_is_taken_back(importing: Service) -> None:
    await create_task(importing.alice, title="by hand")
    done = await imported(importing.alice, lines(*({"title": f"task {number}"} for number in range(5))))
    assert len(await titles(importing.alice)) == 6
    changed = (await importing.alice.get("/user/tasks?q=task 3")).items[0]
    await importing.alice.patch(f"/tasks/{changed['id']}", {"priority": 1})
    answer = await importing.alice.delete(f"/imports/{done['id']}/tasks")
    assert (answer.status, answer.json) == (
        200,
        {"import_id": done["id"], "deleted": 4, "changed": 1, "gone": 0, "updated": 0},
    )
    assert await titles(importing.alice) == ["by hand", "task 3"]
    again = await importing.alice.delete(f"/imports/{done['id']}/tasks")
    assert (again.status, again.json["deleted"]) == (200, 0)


async def test_it_is_a_job_for_who_does_not_wait(importing: Service) -> None:
    done = await imported(importing.alice, lines({"title": "x"}))
    headers = {"Prefer": "respond-async"}
    answer = await importing.alice.delete(f"/imports/{done['id']}/tasks", headers=headers)
    assert (answer.status, answer.json["kind"], answer.json["state"]) == (202, "import.undo", "queued")
    assert answer.headers["Location"] == f"/jobs/{answer.json['id']}"
    assert answer.headers["Preference-Applied"] == "respond-async"

    async def ended() -> object:
        job = (await importing.alice.get(answer.headers["Location"])).json
        return job if job["finished_at"] else None

    job = await eventually(ended)
    assert (job["state"], job["result"]["deleted"]) == ("succeeded", 1)  # type: ignore[index]
    assert await titles(importing.alice) == []


async def test_a_repeat_with_its_key_answers_as_the_first_did(importing: Service) -> None:
    done = await imported(importing.alice, lines({"title": "x"}))
    path, headers = f"/imports/{done['id']}/tasks", {"Idempotency-Key": "k"}
    first = await importing.alice.delete(path, headers=headers)
    again = await importing.alice.delete(path, headers=headers)
    assert (first.status, again.status) == (200, 200)
    assert again.json == first.json
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_what_has_not_ended_is_not_taken_back(service: Service) -> None:
    answer = await sent(service.alice, lines({"title": "waits"}))
    assert_problem(await service.alice.delete(f"/imports/{answer.json['id']}/tasks"), 409, "not-ready")


@pytest.mark.parametrize("who", ["bob", "admin"])
async def test_what_belongs_to_another_does_not_exist(importing: Service, who: str) -> None:
    done = await imported(importing.alice, lines({"title": "x"}))
    client = getattr(importing, who)
    assert_problem(await client.delete(f"/imports/{done['id']}/tasks"), 404, "not-found")
    assert await titles(importing.alice) == ["x"]
