"""Workers and API processes die, freeze and stop in order, in the middle of the load."""

import asyncio
import signal
import time
from dataclasses import asdict
from typing import Any

import aiohttp
import orjson
import psutil
import pytest

from core import clock, lanes
from core.commands.wire import Command, encode_batch
from core.ids import new_job_id
from core.jobs.pending import PENDING
from tests.faults.checks import check_everything
from tests.faults.client import Client
from tests.faults.conftest import Measure
from tests.faults.dying_worker import FREEZE, POINTS
from tests.faults.harness import LANES, Installation, User
from tests.faults.ledger import TOLD, Ledger
from tests.faults.load import load, wait_for_all_lanes

pytestmark = [pytest.mark.faults, pytest.mark.timeout(150)]

ANSWERS = {*TOLD, 202}
# Of a lane whose worker was killed, and of one whose worker was frozen in the middle of a transaction, while another
# worker is there; and where one has still to be started.
AFTER_DEATH_SECONDS = 3.0
AFTER_FREEZING_SECONDS = 6.0
TAKEOVER_SECONDS = 10.0


async def test_without_any_fault_the_ledger_is_right(system: Installation, measure: Measure) -> None:
    await asyncio.gather(system.start_api(), system.start_worker())
    async with load(system) as running:
        await running.run_for(5)
        await running.finish()
        await system.wait_until_quiet()
        async with system.queue_client() as queue:  # those who were told 202 leave nothing behind
            assert await queue.keys(f"{PENDING}*") == []
        await check_everything(system, running)
        assert set(running.ledger.answers()) <= ANSWERS
        measure("writes", len(running.ledger.writes))


async def test_workers_are_killed_again_and_again(system: Installation, measure: Measure) -> None:
    _, worker = await asyncio.gather(system.start_api(), system.start_worker())
    async with load(system) as running:
        await running.run_for(2)
        for times in (1, 3):
            for _ in range(times):
                worker.kill()
                killed = time.monotonic()
                worker = await system.start_worker()
            found = await wait_for_all_lanes(running, killed, within=TAKEOVER_SECONDS)
            measure("lanes run again, seconds", found)
            await running.run_for(0.5)
        await check_everything(system, running)
        assert set(running.ledger.answers()) <= ANSWERS  # nobody but the worker was hurt


async def test_workers_die_before_and_after_commit(system: Installation, measure: Measure) -> None:
    await system.start_api()
    async with load(system) as running:
        for point in POINTS:  # each alone, so that every lane is its own
            dying = await system.start_worker(dying=point)
            assert await dying.ended(within=30) == -signal.SIGKILL
        died = time.monotonic()
        await system.start_worker()
        measure("lanes run again, seconds", await wait_for_all_lanes(running, died, within=TAKEOVER_SECONDS))
        await running.run_for(1)
        await check_everything(system, running)
        assert set(running.ledger.answers()) <= ANSWERS


@pytest.mark.parametrize("told_by", ["the job", "the list"])
async def test_no_cached_page_contradicts_a_job(system: Installation, told_by: str) -> None:
    """A worker dies when it has committed and the cache has not forgotten: the row knows of the write, the page not."""
    _, worker = await asyncio.gather(system.start_api(), system.start_worker())
    async with aiohttp.ClientSession() as session:
        client = Client(system.url, system.users[0], Ledger(), session)
        created = await client.ask("POST", "/tasks", body={"title": "old"}, is_write=True)
        path = f"/tasks/{created.body['id']}"
        assert await worker.end(within=20) == 0
        for page in (path, "/user/tasks"):
            await client.ask("GET", page)  # from here on it is cached
        dying = await system.start_worker(dying="after-commit", batch=1)
        promised = await client.ask("PATCH", path, body={"title": "new"}, is_write=True, Prefer="respond-async")
        assert promised.status == 202
        await dying.ended(within=20)
        if told_by == "the job":
            job = (await client.ask("GET", promised.headers["Location"])).body
        else:
            [job] = (await client.ask("GET", "/jobs?kind=task.update&state=succeeded")).body["items"]
        assert job["state"] == "succeeded"
        assert (await client.ask("GET", path)).body["title"] == "new"
        assert [task["title"] for task in (await client.ask("GET", "/user/tasks")).body["items"]] == ["new"]


async def test_the_api_is_killed_again_and_again(system: Installation, measure: Measure) -> None:
    api, _ = await asyncio.gather(system.start_api(), system.start_worker())
    async with load(system) as running:
        for _ in range(2):
            await running.run_for(1.5)
            api.kill()
            api = await system.start_api()
            back = time.monotonic()
            measure("lanes run again, seconds", await wait_for_all_lanes(running, back, within=10))
        await check_everything(system, running)


async def test_one_of_two_apis_and_one_of_two_workers_are_killed(system: Installation, measure: Measure) -> None:
    api, _, worker, _ = await asyncio.gather(
        system.start_api(share_port=True),
        system.start_api(share_port=True),
        system.start_worker(),
        system.start_worker(),
    )
    async with load(system) as running:
        await running.run_for(2)
        api.kill()
        await running.run_for(1)
        worker.kill()
        killed = time.monotonic()
        found = await wait_for_all_lanes(running, killed, within=AFTER_DEATH_SECONDS)
        measure("lanes run again, seconds", found)
        await check_everything(system, running)


async def test_a_frozen_worker_is_replaced_and_does_no_harm_when_it_wakes(
    system: Installation, measure: Measure
) -> None:
    _, frozen, _ = await asyncio.gather(system.start_api(), system.start_worker(dying=FREEZE), system.start_worker())
    async with load(system) as running:
        while psutil.Process(frozen.pid).status() != psutil.STATUS_STOPPED:  # in a transaction that holds its lane
            await running.run_for(0.1)
        stopped = time.monotonic()
        found = await wait_for_all_lanes(running, stopped, within=AFTER_FREEZING_SECONDS)
        measure("lanes run again, seconds", found)
        await running.run_for(1)
        frozen.send(signal.SIGCONT)
        await running.run_for(4)
        assert frozen.is_running
        await check_everything(system, running)
        assert set(running.ledger.answers()) <= ANSWERS


async def test_sigterm_to_the_api_lets_requests_in_flight_finish(system: Installation, measure: Measure) -> None:
    api, worker = await asyncio.gather(system.start_api(), system.start_worker())
    async with load(system) as running:
        await running.run_for(1)
        worker.send(signal.SIGSTOP)  # so that writes are surely in flight
        await running.run_for(1.5)
        asked = time.monotonic()
        api.send(signal.SIGTERM)
        await asyncio.sleep(0.5)
        worker.send(signal.SIGCONT)
        assert await api.ended(within=20) == 0
        measure("API gone after SIGTERM, seconds", round(time.monotonic() - asked, 2))
        await system.start_api()
        await running.run_for(1)
        # What was sent in the last moment before the signal may have met a closed door.
        in_flight = [a.answer for a in running.ledger.attempts if a.started < asked - 0.3 and a.ended > asked]
        assert len(in_flight) > 3
        assert set(in_flight) <= TOLD, "whoever was there had to be served"
        await check_everything(system, running)


async def test_sigterm_to_a_worker_hands_its_lanes_over(system: Installation, measure: Measure) -> None:
    _, worker = await asyncio.gather(system.start_api(), system.start_worker())
    async with load(system) as running:
        await running.run_for(1)
        await system.start_worker()
        asked = time.monotonic()
        assert await worker.end(within=20) == 0
        measure("worker gone after SIGTERM, seconds", round(time.monotonic() - asked, 2))
        await wait_for_all_lanes(running, time.monotonic(), within=5)
        silence = running.ledger.longest_silence(asked)
        measure("longest silence of a lane, seconds", silence)
        assert silence < 5
        await check_everything(system, running)
        assert set(running.ledger.answers()) <= ANSWERS


GARBAGE: tuple[dict[bytes, bytes], ...] = (
    {b"rubbish": b"\xff\x00"},
    {b"origin": b"nobody", b"commands": b"[{"},
    {b"origin": b"\xff", b"commands": b"[]"},
    {b"origin": b"nobody", b"commands": b'"text"'},
    {b"origin": b"nobody", b"commands": b"[[]]"},
)
# Parts that no command of ours has; each in a command that is else sound.
UNREADABLE: tuple[dict[str, Any], ...] = (
    {"id": "no UUID"},
    {"created_at": "yesterday"},
    {"user_id": 1 << 63},
    {"request_id": "\0"},
    {"payload": []},
    {"unknown": 1},
)
# What can be read and recorded, but not be carried out.
POISONOUS: tuple[dict[str, Any], ...] = (
    {"kind": "task.explode"},
    {"kind": "task.batch", "payload": {"operations": 5}},
    {"kind": "task.update", "payload": {}},
    {"payload": {"fields": {"title": "with a NUL: \0"}}},
    {"payload": {"fields": {"title": 5}}},
    {"payload": {"fields": {"title": "t", "priority": 1 << 40}}},
    {"payload": {"fields": {"title": "t", "status": "eaten"}}},
)


def entry(user: User, changes: dict[str, Any]) -> dict[bytes, bytes]:
    """A lane entry with one command, as an API process makes it, but for the changes."""
    command = Command(
        new_job_id(), "task.create", user.id, {"fields": {"title": "t"}}, clock.now().isoformat(timespec="microseconds")
    )
    return {b"origin": b"nobody", b"commands": encode_batch([orjson.dumps({**asdict(command), **changes})])}


async def test_garbage_and_poison_in_a_lane_stop_nobody(system: Installation, measure: Measure) -> None:
    await asyncio.gather(system.start_api(), system.start_worker())
    async with load(system) as running, system.queue_client() as queue:
        await running.run_for(1)
        garbage = [*GARBAGE, *(entry(system.users[0], changes) for changes in UNREADABLE)]
        for fields in garbage:
            for lane in map(str, range(LANES)):
                await queue.xadd(lanes.stream(lane), fields)  # type: ignore[arg-type]
            await running.run_for(0.1)
        for changes in POISONOUS:
            for user in system.users:
                await queue.xadd(lanes.stream(user.lane), entry(user, changes))  # type: ignore[arg-type]
            await running.run_for(0.1)
        thrown = time.monotonic()
        measure("lanes run on, seconds", await wait_for_all_lanes(running, thrown, within=5))
        await check_everything(
            system,
            running,
            dead_letters=len(garbage) * LANES,
            known_jobs=len(POISONOUS) * len(system.users),
            known_errors=("set aside", "could not be read"),
        )
        assert set(running.ledger.answers()) <= ANSWERS
        letters = await queue.xrange(lanes.DEAD_LETTERS)
        assert {letter[b"lane"] for _, letter in letters} == {b"0", b"1", b"2", b"3"}
