"""Reads of a database that hangs: given up in time, refused at once, and carried out again as soon as it answers."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from core.database.pools import API_ROLE, create_pool, pool_counts
from core.database.read_pool import SUSPECT_WAIT_SECONDS, ReadPool
from core.database.reads import fetch_rows
from core.errors import DatabaseUnavailable
from core.identity import Identities
from core.settings import Settings
from tests.conftest import MakeSettings
from tests.harness import Servers, eventually, frozen

SECONDS = 0.5
PLACES = 4


@contextlib.asynccontextmanager
async def pool_of(settings: Settings, *, places: int = PLACES) -> AsyncIterator[ReadPool]:
    inner = await create_pool(
        settings.database_url, settings, role=API_ROLE, application="tenfold api", size=places, seconds=SECONDS
    )
    pool = ReadPool(inner, Identities.of(settings), seconds=SECONDS)
    try:
        yield pool
    finally:
        await asyncio.wait_for(pool.close(), 10)


@pytest.fixture
async def breakable(breakable_servers: Servers, make_settings: MakeSettings) -> AsyncIterator[ReadPool]:
    async with pool_of(await make_settings(on=breakable_servers)) as pool:
        yield pool


async def read(pool: ReadPool) -> Any:
    """What became of a read, and how long it took."""
    started = time.monotonic()
    try:
        became: Any = (await fetch_rows(pool, "SELECT 7"))[0][0]
    except DatabaseUnavailable as error:
        became = type(error)
    return became, time.monotonic() - started


async def use_all_places(pool: ReadPool) -> None:
    await asyncio.gather(*(pool.fetch("SELECT pg_sleep(0.05)") for _ in range(PLACES)))


@pytest.mark.parametrize("is_connected", [True, False], ids=["connected", "not connected"])
async def test_a_read_of_a_server_that_hangs_is_given_up_in_time(
    breakable: ReadPool, breakable_servers: Servers, is_connected: bool
) -> None:
    if is_connected:
        await use_all_places(breakable)
    with frozen(breakable_servers.postgres):
        # More than there are places: those who wait for one are not kept for longer.
        for became, seconds in await asyncio.gather(*(read(breakable) for _ in range(3 * PLACES))):
            assert became is DatabaseUnavailable
            assert 0.9 * SECONDS < seconds < SECONDS + 0.4


async def test_while_a_server_hangs_reads_are_refused_at_once_and_then_work_again_at_once(
    breakable: ReadPool, breakable_servers: Servers
) -> None:
    await use_all_places(breakable)
    with frozen(breakable_servers.postgres):
        await read(breakable)
        until = time.monotonic() + 4 * SECONDS  # so that looks are given up and begun again
        while time.monotonic() < until:
            for became, seconds in await asyncio.gather(*(read(breakable) for _ in range(50))):
                assert became is DatabaseUnavailable
                assert seconds < SUSPECT_WAIT_SECONDS + 0.2
    thawed = time.monotonic()
    await eventually(lambda: _answers(breakable), timeout=2)
    assert time.monotonic() - thawed < 1
    for became, _ in await asyncio.gather(*(read(breakable) for _ in range(50))):
        assert became == 7


async def _answers(pool: ReadPool) -> bool:
    return bool((await read(pool))[0] == 7)


async def test_a_server_that_hung_leaves_no_place_taken(breakable: ReadPool, breakable_servers: Servers) -> None:
    await use_all_places(breakable)
    with frozen(breakable_servers.postgres):
        await asyncio.gather(*(read(breakable) for _ in range(3 * PLACES)))
        await asyncio.sleep(2 * SECONDS)
        await asyncio.gather(*(read(breakable) for _ in range(3 * PLACES)))
    await eventually(lambda: _answers(breakable), timeout=2)

    async def all_idle() -> bool:
        return pool_counts(breakable)["busy"] == 0

    await eventually(all_idle, timeout=2)
    rows = await asyncio.gather(*(breakable.fetch("SELECT pg_backend_pid(), pg_sleep(0.1)") for _ in range(PLACES)))
    assert len({row[0] for [row] in rows}) == PLACES


async def test_an_outage_is_told_once_at_its_beginning_and_once_at_its_end(
    breakable: ReadPool, breakable_servers: Servers
) -> None:
    await use_all_places(breakable)
    with capture_logs() as lines:
        with frozen(breakable_servers.postgres):
            for _ in range(8):
                await asyncio.gather(*(read(breakable) for _ in range(10)))
        await eventually(lambda: _answers(breakable), timeout=2)
    assert [line["event"] for line in lines] == ["outage begins", "outage is over"]
    assert lines[1]["seconds"] >= SUSPECT_WAIT_SECONDS


async def test_a_statement_that_takes_too_long_is_ended_and_makes_nobody_doubt_the_server(
    settings: Settings,
) -> None:
    async with pool_of(settings) as pool:
        slow = asyncio.create_task(pool.fetch("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.1)
        with capture_logs() as lines:
            await read(pool)
            with pytest.raises(TimeoutError):
                await slow
            assert (await read(pool))[0] == 7
        assert lines == []
        count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%' AND state = 'active'"

        async def is_ended() -> bool:
            return bool((await pool.fetch(count))[0][0] == 0)

        await eventually(is_ended, timeout=2)


async def test_after_one_that_took_too_long_alone_the_next_reads_only_look_first(settings: Settings) -> None:
    async with pool_of(settings) as pool:
        with pytest.raises(TimeoutError):
            await pool.fetch("SELECT pg_sleep(60)")
        for became, _ in await asyncio.gather(*(read(pool) for _ in range(20))):
            assert became == 7


async def test_a_read_that_was_given_up_is_not_waited_for(breakable: ReadPool, breakable_servers: Servers) -> None:
    await use_all_places(breakable)
    with frozen(breakable_servers.postgres):
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await breakable.fetch("SELECT 1")
        assert time.monotonic() - started < 0.3


async def test_who_waits_longest_for_a_place_gets_it_first(settings: Settings) -> None:
    async with pool_of(settings, places=1) as pool:
        done: list[int] = []

        async def one(number: int) -> None:
            await pool.fetch("SELECT pg_sleep(0.005)")
            done.append(number)

        await asyncio.gather(*(one(number) for number in range(20)))
        assert done == list(range(20))
