"""`tenfold lanes`: what waits to be written, and how to take a job out."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from arq.connections import ArqRedis
from redis.exceptions import RedisError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core.database.faults import is_transient
from core.database.pools import Pool, worker_pool
from core.lanes import STALE_SECONDS, LaneState, states_of_all
from core.lanes.queries import lane_claims
from core.lanes.repair import Dropped, WaitingCommand, drop, waiting_commands
from core.redis.clients import queue_client
from core.settings import Settings
from ops.faults import Fault

T = TypeVar("T")

LISTED_COMMANDS = 50
TABLE_WIDTH = 160


async def overview(settings: Settings) -> tuple[list[LaneState], dict[str, str]]:
    """How each lane stands, and who claimed it last; nobody is known while PostgreSQL is away."""

    async def look(pool: Pool, queue: ArqRedis) -> tuple[list[LaneState], dict[str, str]]:
        states = await states_of_all(queue, settings.write_lanes)
        try:
            return states, await lane_claims(pool)
        except Exception as error:
            if not is_transient(error):
                raise
            return states, {}

    return await _with_servers(settings, look)


async def commands_of(settings: Settings, lane: str) -> list[WaitingCommand]:
    """The first commands that wait in a lane.

    Raises:
        Fault: there is no such lane.
    """

    async def look(_pool: Pool, queue: ArqRedis) -> list[WaitingCommand]:
        names = [state.name for state in await states_of_all(queue, settings.write_lanes)]
        if lane not in names:
            raise Fault(f"there is no lane {lane}: {', '.join(names)}")
        return await waiting_commands(queue, lane, limit=LISTED_COMMANDS)

    return await _with_servers(settings, look)


async def drop_from_lane(settings: Settings, wanted: str, reason: str) -> Dropped:
    """As `core.lanes.repair.drop`."""

    async def do(pool: Pool, queue: ArqRedis) -> Dropped:
        return await drop(pool, queue, wanted, reason=reason)

    return await _with_servers(settings, do)


async def _with_servers(settings: Settings, work: Callable[[Pool, ArqRedis], Awaitable[T]]) -> T:
    pool, queue = await worker_pool(settings, size=1), queue_client(settings.queue_redis_url)
    try:
        return await work(pool, queue)
    except RedisError as error:
        raise Fault(f"the queue server cannot be reached: {type(error).__name__}") from None
    finally:
        await pool.close()
        await queue.aclose(close_connection_pool=True)


def show_lanes(states: list[LaneState], claims: dict[str, str]) -> None:
    table = Table("lane", "entries", "oldest", "tries", "drained by", box=None, pad_edge=False)
    now = time.time()
    for state in states:
        age = state.age_seconds(now)
        oldest = "" if state.oldest is None else f"{age:.0f} s{'  STALE' if age > STALE_SECONDS else ''}"
        table.add_row(state.name, str(state.entries), oldest, str(state.tries), escape(claims.get(state.name, "")))
    _print(table)


def show_commands(commands: list[WaitingCommand]) -> None:
    table = Table("entry", "job", "kind", "user", "taken at", "tries", box=None, pad_edge=False)
    for one in commands:
        user = "" if one.user_id is None else str(one.user_id)
        table.add_row(
            one.entry,
            one.job or "cannot be read",
            escape(one.kind or ""),
            user,
            one.created_at or "",
            str(one.tries),
        )
    _print(table)


def _print(table: Table) -> None:
    """Ids are there to be copied, so they are never cut: they go on in the next line of a narrow terminal."""
    for column in table.columns:
        column.no_wrap = True
    Console(width=max(Console().width, TABLE_WIDTH), soft_wrap=True, highlight=False).print(table)
