"""Workers and API processes die, freeze and stop in order, in the middle of the load."""

import asyncio
import signal
import time

import psutil
import pytest

from core import lanes
from tests.faults.checks import check_everything
from tests.faults.conftest import Measure
from tests.faults.dying_worker import FREEZE, POINTS
from tests.faults.harness import LANES, Installation
from tests.faults.ledger import TOLD
from tests.faults.load import load, wait_for_all_lanes

pytestmark = [pytest.mark.faults, pytest.mark.timeout(150)]

ANSWERS = {*TOLD, 202}
TAKEOVER_SECONDS = 30.0


async def test_without_any_fault_the_ledger_is_right(system: Installation, measure: Measure) -> None:
    await asyncio.gather(system.start_api(), system.start_worker())
    async with load(system) as running:
        await running.run_for(5)
        await check_everything(system, running)
        assert set(running.ledger.answers()) <= ANSWERS
        measure("writes", len(running.ledger.writes))


async def test_workers_are_killed_again_and_again(system: Installation, measure: Measure) -> None:
    _, worker = await asyncio.gather(system.start_api(), system.start_worker())
    async with load(system) as running:
        await running.run_for(2)
        for pause in (1.0, 0.0):
            worker.kill()
            killed = time.monotonic()
            worker = await system.start_worker()
            found = await wait_for_all_lanes(running, killed, within=TAKEOVER_SECONDS)
            measure("lanes run again after a worker's death, seconds", found)
            await running.run_for(pause)
        await check_everything(system, running)
        assert set(running.ledger.answers()) <= ANSWERS  # nobody but the worker was hurt


async def test_workers_die_before_and_after_commit(system: Installation, measure: Measure) -> None:
    await asyncio.gather(system.start_api(), system.start_worker())
    async with load(system) as running:
        await running.run_for(1)
        dying = await asyncio.gather(*(system.start_worker(dying=point) for point in POINTS))
        # Drains go to whoever is quickest: they live until each has had its batches.
        statuses = await asyncio.gather(*(worker.ended(within=60) for worker in dying), running.run_for(8))
        assert statuses[:-1] == [-signal.SIGKILL] * len(POINTS)
        died = time.monotonic()
        measure("lanes run again, seconds", await wait_for_all_lanes(running, died, within=TAKEOVER_SECONDS))
        await check_everything(system, running)
        assert set(running.ledger.answers()) <= ANSWERS


async def test_the_api_is_killed_again_and_again(system: Installation, measure: Measure) -> None:
    api, _ = await asyncio.gather(system.start_api(), system.start_worker())
    async with load(system) as running:
        for _ in range(3):
            await running.run_for(1.5)
            api.kill()
            api = await system.start_api()
            back = time.monotonic()
            measure("lanes run again, seconds", await wait_for_all_lanes(running, back, within=5))
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
        found = await wait_for_all_lanes(running, killed, within=TAKEOVER_SECONDS)
        measure("lanes run again, seconds", found)
        await check_everything(system, running)


async def test_a_frozen_worker_is_replaced_and_does_no_harm_when_it_wakes(
    system: Installation, measure: Measure
) -> None:
    _, frozen = await asyncio.gather(system.start_api(), system.start_worker(dying=FREEZE))
    async with load(system) as running:
        while psutil.Process(frozen.pid).status() != psutil.STATUS_STOPPED:  # in a transaction that holds its lane
            await running.run_for(0.1)
        stopped = time.monotonic()
        await system.start_worker()
        found = await wait_for_all_lanes(running, stopped, within=TAKEOVER_SECONDS)
        measure("lanes run again, seconds", found)
        assert time.monotonic() - stopped > 10, "it was frozen for less than its jobs' timeout"
        await running.run_for(1)
        frozen.send(signal.SIGCONT)
        await running.run_for(4)
        assert frozen.is_running
        await check_everything(system, running, known_errors=("TimeoutError",))  # its jobs' timeout had passed
        assert set(running.ledger.answers()) <= ANSWERS


async def test_sigterm_lets_requests_in_flight_finish(system: Installation, measure: Measure) -> None:
    api, worker = await asyncio.gather(system.start_api(), system.start_worker())
    async with load(system) as running:
        await running.run_for(2)
        asked = time.monotonic()
        status = await api.end(within=20)
        measure("API gone after SIGTERM, seconds", round(time.monotonic() - asked, 2))
        assert status == 0
        # A tenth of a second before the signal: what was sent later may have met a closed door.
        broken = [a for a in running.ledger.attempts if a.started < asked - 0.1 and isinstance(a.answer, str)]
        assert not broken, broken
        await system.start_api()
        await running.run_for(1)

        successor = await system.start_worker()
        asked = time.monotonic()
        status = await worker.end(within=20)
        measure("worker gone after SIGTERM, seconds", round(time.monotonic() - asked, 2))
        assert status == 0
        handed_over = time.monotonic()
        measure("lanes run on, seconds", await wait_for_all_lanes(running, handed_over, within=2))
        assert running.ledger.longest_silence(asked) < 2
        assert successor.is_running
        await check_everything(system, running)


GARBAGE: list[dict[bytes, bytes]] = [
    {b"rubbish": b"\xff\x00"},
    {b"origin": b"nobody", b"commands": b"[{"},
    {b"origin": b"\xff", b"commands": b"[]"},
    {b"origin": b"nobody", b"commands": b'"text"'},
    {b"origin": b"nobody", b"commands": b"[[]]"},
]


async def test_garbage_in_a_lane_is_set_aside_and_stops_nobody(system: Installation, measure: Measure) -> None:
    await asyncio.gather(system.start_api(), system.start_worker())
    async with load(system) as running, system.queue_client() as queue:
        await running.run_for(1)
        for garbage in GARBAGE:
            for lane in range(LANES):
                await queue.xadd(lanes.stream(lane), garbage)  # type: ignore[arg-type]
            await running.run_for(0.3)
        thrown = time.monotonic()
        measure("lanes run on, seconds", await wait_for_all_lanes(running, thrown, within=5))
        await check_everything(system, running, dead_letters=len(GARBAGE) * LANES, known_errors=("set aside",))
        assert set(running.ledger.answers()) <= ANSWERS
        letters = await queue.xrange(lanes.DEAD_LETTERS)
        assert {letter[b"lane"] for _, letter in letters} == {b"0", b"1", b"2", b"3"}
