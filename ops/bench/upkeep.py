"""Partitions that come and go while creates run."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta

import asyncpg

from ops.bench.rig import Rig
from ops.faults import Fault

PAUSE_SECONDS = 0.1
PATIENCE_SECONDS = 30.0
# Each spans a day, at a time that has no tasks.
FIRST_DAY = date(2020, 1, 1)
DAYS_MAXIMUM = 365
LAST_DAY = FIRST_DAY + timedelta(days=DAYS_MAXIMUM)

_OURS = "SELECT name FROM task_partitions WHERE lower >= $1::date AND upper <= $2::date"


@contextmanager
def partitions_come_and_go(rig: Rig) -> Iterator[None]:
    """Makes, detaches, attaches and detaches partitions beside the body; in the end they are gone.

    Raises:
        Fault: not even one has come and gone.
    """
    stop = threading.Event()
    gone: list[date] = []
    faults: list[Exception] = []

    def run() -> None:
        try:
            asyncio.run(_come_and_go(rig.database_url, stop, gone))
        except Exception as error:
            faults.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
        asyncio.run(_drop(rig.database_url))
    if faults:
        raise faults[0]
    if not gone:
        raise Fault("no partition has come and gone beside the creates")


async def _come_and_go(url: str, stop: threading.Event, gone: list[date]) -> None:
    connection = await asyncpg.connect(url, server_settings={"timezone": "UTC"})  # in which a date is a moment
    try:
        for number in range(DAYS_MAXIMUM):
            day = FIRST_DAY + timedelta(days=number)
            name = f"tasks_{day:%Y%m%d}_{day + timedelta(days=1):%Y%m%d}"
            await _done(connection, "SELECT create_task_partition($1::date, $1::date + 1)", day)
            for act in ("detach", "attach", "detach"):
                await asyncio.sleep(PAUSE_SECONDS)
                await _done(connection, f"SELECT {act}_task_partition($1)", name)
            gone.append(day)
            if stop.is_set():
                return
    finally:
        await connection.close()


async def _done(connection: asyncpg.Connection, sql: str, argument: object) -> None:
    """Does it as maintenance does: again and again until it gets its locks."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fate = await connection.fetchval(sql, argument)
            break
        except asyncpg.LockNotAvailableError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(PAUSE_SECONDS)
    if fate != "done":
        raise Fault(f"{sql} with {argument} came to: {fate}")


async def _drop(url: str) -> None:
    connection = await asyncpg.connect(url, server_settings={"timezone": "UTC"})
    try:
        for row in await connection.fetch(_OURS, FIRST_DAY, LAST_DAY):
            await connection.execute(f"DROP TABLE {row['name']}")
    finally:
        await connection.close()
