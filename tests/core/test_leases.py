"""Leases: kept while the work goes on, and the work stopped when they are lost."""

import asyncio
import contextlib

import pytest

from core import leases
from core.errors import QueueUnavailable
from core.leases import LeaseLost, kept_lease, new_lease_owner


async def test_a_lease_is_renewed_as_long_as_the_work_goes_on_and_not_longer() -> None:
    renewals = 0

    async def renew() -> bool:
        nonlocal renewals
        renewals += 1
        return True

    async with kept_lease(renew, every_seconds=0.01):
        await asyncio.sleep(0.1)
    assert renewals >= 3
    before = renewals
    await asyncio.sleep(0.05)
    assert renewals == before


async def test_work_whose_lease_is_lost_is_interrupted() -> None:
    async def renew() -> bool:
        return False

    with pytest.raises(LeaseLost):
        async with asyncio.timeout(5), kept_lease(renew, every_seconds=0.01):
            await asyncio.Event().wait()


async def test_a_fault_that_passes_loses_no_lease() -> None:
    outcomes = iter([OSError("away"), OSError("away"), True])

    async def renew() -> bool:
        outcome = next(outcomes, True)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async with kept_lease(renew, every_seconds=0.01):
        await asyncio.sleep(0.1)
    assert next(outcomes, None) is None


async def test_a_database_that_stays_away_loses_the_lease_when_it_has_lapsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.2)

    async def hang() -> bool:
        await asyncio.Event().wait()
        return True

    async def fail() -> bool:
        raise OSError("away")

    for renew in (hang, fail):
        began = asyncio.get_running_loop().time()
        with pytest.raises(LeaseLost):
            async with asyncio.timeout(5), kept_lease(renew, every_seconds=0.01):
                await asyncio.Event().wait()
        assert 0.15 < asyncio.get_running_loop().time() - began < 2


async def test_a_fault_of_ours_ends_the_work_and_is_told() -> None:
    async def renew() -> bool:
        raise QueueUnavailable("nothing that passes for this")

    with pytest.raises(QueueUnavailable):
        async with asyncio.timeout(5), kept_lease(renew, every_seconds=0.01):
            await asyncio.Event().wait()


async def test_what_the_work_raises_comes_through() -> None:
    async def renew() -> bool:
        return True

    for error in (ValueError("the work's own"), TimeoutError("the work's own")):
        with pytest.raises(type(error), match="the work's own"):
            async with kept_lease(renew, every_seconds=0.01):
                raise error


async def test_a_cancellation_of_the_work_is_one() -> None:
    async def renew() -> bool:
        return True

    async def work() -> None:
        async with kept_lease(renew, every_seconds=0.01):
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    await asyncio.sleep(0.05)
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    assert working.cancelled()


def test_each_claim_has_a_name_of_its_own() -> None:
    assert len({new_lease_owner() for _ in range(1000)}) == 1000
