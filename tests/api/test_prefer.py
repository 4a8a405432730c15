"""`Prefer` (RFC 7240): how long a client waits for its write, and what 202 promises."""

import asyncio
import time
from datetime import datetime
from typing import Any

import pytest
from arq.connections import ArqRedis

from api.writes import gateway, promises
from core import lanes
from core.jobs.pending import PENDING
from core.redis.link import Argument, Link
from tests.api.problems import assert_problem
from tests.conftest import MakeService
from tests.factories import create_task, task_fields
from tests.harness import Answer, Servers, Service, away, eventually

JOB_FIELDS = [
    "id", "kind", "state", "created_at", "started_at", "finished_at", "progress", "status_code", "result", "error",
]  # fmt: skip
ASYNC = {"Prefer": "respond-async"}


def assert_accepted(answer: Answer, kind: str) -> None:
    """202 with the queued job as body and its address."""
    assert answer.status == 202, answer
    job = answer.json
    assert list(job) == JOB_FIELDS
    assert answer.headers["Location"] == f"/jobs/{job['id']}"
    assert int(answer.headers["Retry-After"]) > 0
    assert (job["kind"], job["state"]) == (kind, "queued")
    assert datetime.fromisoformat(job["created_at"]).utcoffset() is not None
    assert [job[name] for name in JOB_FIELDS[4:]] == [None] * 6


async def test_respond_async_is_202_and_the_job_ends_as_the_write_would_have(service: Service) -> None:
    body = task_fields()
    answer = await service.alice.post("/tasks", body, headers=ASYNC)
    assert_accepted(answer, "task.create")
    assert answer.headers["Preference-Applied"] == "respond-async"
    job = await service.alice.get(answer.headers["Location"], headers={"Prefer": "wait=5"})
    assert (job.json["state"], job.json["status_code"], job.json["error"]) == ("succeeded", 201, None)
    assert (await service.alice.get(f"/tasks/{job.json['result']['id']}")).json == job.json["result"]
    assert job.json["result"]["title"] == body["title"]


async def test_respond_async_is_202_although_the_outcome_is_heard_first(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Link.send
    late = 1.0

    async def answered_late(answered: "asyncio.Future[list[Any]]") -> list[Any]:
        await asyncio.sleep(late)
        return await answered

    def send_and_wait(link: Link, *commands: tuple[Argument, ...]) -> "asyncio.Future[list[Any]]":
        answered = send(link, *commands)
        return asyncio.ensure_future(answered_late(answered)) if commands[0][0] == "XADD" else answered

    monkeypatch.setattr(Link, "send", send_and_wait)
    answer = await service.alice.post("/tasks", task_fields(), headers=ASYNC)
    assert_accepted(answer, "task.create")
    assert answer.headers["Preference-Applied"] == "respond-async"
    job = await service.alice.get(answer.headers["Location"], headers={"Prefer": "wait=5"})
    assert job.json["status_code"] == 201
    await asyncio.sleep(late)  # no task stays behind in the service that other tests use


async def test_every_kind_of_write_can_be_asynchronous(make_service: MakeService) -> None:
    service = await make_service(with_worker=False)
    answers = [
        (await service.alice.post("/tasks", task_fields(), headers=ASYNC), "task.create"),
        (await service.alice.put("/tasks/1", {"title": "x"}, headers=ASYNC), "task.update"),
        (await service.alice.patch("/tasks/1", {"title": "x"}, headers=ASYNC), "task.update"),
        (await service.alice.delete("/tasks/1", headers=ASYNC), "task.delete"),
        (await service.alice.post("/tasks/batch", {"operations": [{"op": "delete", "id": 1}]}, headers=ASYNC),
         "task.batch"),
        (await service.alice.patch("/user/me", {"time_zone": "Asia/Tokyo"}, headers=ASYNC), "user.update"),
    ]  # fmt: skip
    for answer, kind in answers:
        assert_accepted(answer, kind)
    await service.worker.start()
    ends = [await service.alice.get(a.headers["Location"], headers={"Prefer": "wait=5"}) for a, _ in answers]
    assert [job.json["status_code"] for job in ends] == [201, 404, 404, 404, 207, 200]
    assert [job.json["state"] for job in ends] == ["succeeded", *["rejected"] * 3, *["succeeded"] * 2]


async def test_an_asynchronous_refusal_shows_in_the_job(service: Service) -> None:
    task = await create_task(service.alice)
    answer = await service.alice.patch(f"/tasks/{task['id']}", {"priority": 1}, headers=ASYNC | {"If-Match": '"7"'})
    job = (await service.alice.get(answer.headers["Location"], headers={"Prefer": "wait=5"})).json
    assert (job["state"], job["status_code"], job["result"]) == ("rejected", 412, None)
    assert job["error"]["type"] == "/problems/version-conflict"


async def test_what_is_invalid_is_422_at_once_also_asynchronously(service: Service) -> None:
    assert_problem(await service.alice.post("/tasks", {"title": ""}, headers=ASYNC), 422, "validation-error")


async def test_wait_answers_with_the_outcome_when_it_is_there(service: Service) -> None:
    started = time.monotonic()
    answer = await service.alice.post("/tasks", task_fields(), headers={"Prefer": "wait=4"})
    assert answer.status == 201
    assert answer.headers["Preference-Applied"] == "wait=4"
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("prefer", "applied", "at_least", "at_most"),
    [
        (None, None, 0.5, 1.5),
        ("wait=0", "wait=0", 0.0, 0.45),
        ("wait=100", "wait=0.5", 0.5, 1.5),
        ("respond-async, wait=100", "wait=0.5", 0.5, 1.5),
        ("respond-async", "respond-async", 0.0, 0.45),
        ('RESPOND-ASYNC; foo="bar"', "respond-async", 0.0, 0.45),
        ('wait="0"', "wait=0", 0.0, 0.45),
        ("wait=0, wait=100", "wait=0", 0.0, 0.45),
        ("return=minimal, wait=0", "wait=0", 0.0, 0.45),
        ("wait=x", None, 0.5, 1.5),
        ("wait=-1", None, 0.5, 1.5),
        ("wait", None, 0.5, 1.5),
        ("wait=９", None, 0.5, 1.5),
        (f"wait={'9' * 300}", "wait=0.5", 0.5, 1.5),
        ("nonsense;;,,==", None, 0.5, 1.5),
    ],
)
async def test_without_a_worker_the_answer_is_202_after_the_wait(
    stalled: Service, prefer: str | None, applied: str | None, at_least: float, at_most: float
) -> None:
    started = time.monotonic()
    headers = {} if prefer is None else {"Prefer": prefer}
    answer = await stalled.alice.post("/tasks", task_fields(), headers=headers)
    taken = time.monotonic() - started
    assert_accepted(answer, "task.create")
    assert answer.headers.get("Preference-Applied") == applied
    assert at_least <= taken < at_most + 1.0 * (at_least > 0), taken


@pytest.fixture
async def stalled(make_service: MakeService) -> Service:
    """A service whose worker is down and whose writes wait for half a second."""
    return await make_service(with_worker=False, WRITE_WAIT_SECONDS="0.5")


async def test_a_job_that_was_answered_202_is_queued_and_later_succeeds(stalled: Service) -> None:
    accepted = await stalled.alice.post("/tasks", task_fields())
    location = accepted.headers["Location"]
    queued = await stalled.alice.get(location)
    assert queued.status == 200
    assert queued.json == accepted.json
    assert int(queued.headers["Retry-After"]) > 0
    assert (await stalled.alice.get("/tasks")).items == []
    await stalled.worker.start()
    done = await stalled.alice.get(location, headers={"Prefer": "wait=5"})

    async def finished() -> Answer | None:
        job = await stalled.alice.get(location)
        return job if job.json["state"] == "succeeded" else None

    done = await eventually(finished)
    assert "Retry-After" not in done.headers
    assert (await stalled.alice.get("/tasks")).items == [done.json["result"]]
    # The same moment: PostgreSQL writes no zeros at the end of its microseconds.
    assert datetime.fromisoformat(done.json["created_at"]) == datetime.fromisoformat(accepted.json["created_at"])


async def test_accepted_writes_keep_their_order(stalled: Service) -> None:
    await stalled.worker.start()
    task = await create_task(stalled.alice)
    await stalled.worker.stop()
    for number in range(1, 11):
        await stalled.alice.patch(f"/tasks/{task['id']}", {"priority": number}, headers=ASYNC)
    last = await stalled.alice.patch(f"/tasks/{task['id']}", {"title": "last"}, headers=ASYNC)
    await stalled.worker.start()

    async def finished() -> bool:
        return bool((await stalled.alice.get(last.headers["Location"])).json["state"] == "succeeded")

    await eventually(finished)
    found = (await stalled.alice.get(f"/tasks/{task['id']}")).json
    assert (found["priority"], found["title"], found["version"]) == (10, "last", 12)


async def test_what_was_accepted_outlives_the_api_process(make_service: MakeService) -> None:
    service = await make_service(with_worker=False)
    accepted = await service.alice.post("/tasks", task_fields(), headers=ASYNC)
    await service.stop()
    # If the first process had no time to call the drain, the sweeper does.
    again = await make_service(settings=service.settings, queues=("writes", "maintenance"))
    alice = again.as_user(service.alice.id, "alice")

    async def finished() -> Answer | None:
        job = await alice.get(accepted.headers["Location"])
        return job if job.json["state"] != "queued" else None

    job = await eventually(finished, timeout=15)
    assert job.json["status_code"] == 201


async def test_a_stop_amid_writes_takes_no_longer_than_its_time(make_service: MakeService) -> None:
    first = await make_service(with_worker=False)
    for number in range(4):
        service = await make_service(settings=first.settings, with_worker=False)
        alice = service.as_user(first.alice.id, "alice")
        writes = [asyncio.create_task(alice.post("/tasks", task_fields(), headers=ASYNC)) for _ in range(number + 1)]
        await writes[0]
        started = time.monotonic()
        await service.stop()
        assert time.monotonic() - started < 3
        for answer in await asyncio.gather(*writes, return_exceptions=True):
            assert not isinstance(answer, Answer) or answer.status in (202, 503)


async def test_a_job_that_was_promised_is_found_by_any_process_whatever_died_meanwhile(
    make_service: MakeService, breakable_servers: Servers
) -> None:
    service = await make_service(on=breakable_servers, with_worker=False, WRITE_WAIT_SECONDS="2")
    pending = asyncio.create_task(service.alice.post("/tasks", task_fields()))
    async with service.queue() as queue:
        await eventually(lambda: queue.hlen(PENDING))  # long before the wait is over
    async with away(breakable_servers.queue):
        accepted = await pending
        assert_accepted(accepted, "task.create")
        address = accepted.headers["Location"]
        assert_problem(await service.alice.get(address), 503, "queue-unavailable")
        await service.stop()
    other = await make_service(settings=service.settings, with_worker=False)
    alice = other.as_user(service.alice.id, "alice")
    job = await alice.get(address)
    assert (job.status, job.json) == (200, accepted.json)
    await other.worker.start()
    job = await alice.get(address, headers={"Prefer": "wait=5"})
    assert job.json["state"] == "succeeded"
    async with other.queue() as queue:
        assert await queue.hlen(PENDING) == 0


async def test_a_queue_that_goes_away_with_the_entry_is_waited_for_and_then_nothing_is_promised(
    make_service: MakeService, breakable_servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promises, "LIST_AFTER_SECONDS", 3600.0)  # it goes away before the job can be listed
    monkeypatch.setattr(gateway, "LISTING_SECONDS", 3.0)
    service = await make_service(on=breakable_servers, with_worker=False, WRITE_WAIT_SECONDS="1")
    stream = lanes.stream(lanes.lane_of_user(service.alice.id, service.settings.write_lanes))
    for seconds_away, expected in ((1.0, 202), (7.0, 503)):
        async with service.queue() as queue:
            before = await queue.xlen(stream)
            pending = asyncio.create_task(service.alice.post("/tasks", task_fields()))
            await eventually(lambda queue=queue, before=before: _grown(queue, stream, before))
        async with away(breakable_servers.queue):
            await asyncio.sleep(seconds_away)
        answer = await pending
        assert answer.status == expected
        if answer.status == 202:
            other = await make_service(settings=service.settings, with_worker=False)
            job = await other.as_user(service.alice.id, "alice").get(answer.headers["Location"])
            assert job.status == 200
        else:
            assert "Idempotency-Key" in answer.json["detail"]


async def _grown(queue: ArqRedis, stream: str, before: int) -> bool:
    return bool(await queue.xlen(stream) > before)


async def test_what_was_listed_and_carried_out_in_time_does_not_stay_on_the_list(make_service: MakeService) -> None:
    service = await make_service(with_worker=False, WRITE_WAIT_SECONDS="10")
    pending = asyncio.create_task(service.alice.post("/tasks", task_fields()))
    async with service.queue() as queue:
        await eventually(lambda: queue.hlen(PENDING))
        await service.worker.start()
        assert (await pending).status == 201

        async def is_empty() -> bool:
            return await queue.hlen(PENDING) == 0 and not await queue.exists(f"{PENDING}:{service.alice.id}")

        await eventually(is_empty)
