"""What an operator sees of a lane, and how a command is taken out of it."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import orjson
from arq.connections import ArqRedis

from core import lanes
from core.commands.effects import Effect
from core.commands.wire import Command, Entry, UnreadableEntry, decode_entry
from core.database.pools import Pool
from core.ids import is_job_id
from core.jobs.pending import PendingJobs
from core.jobs.writes import record_jobs
from core.redis.clients import reply

PAGE_ENTRIES = 100
_ENTRY_ID = re.compile(r"\d{1,20}-\d{1,20}\Z")


class DropFault(Exception):
    """It cannot be dropped; the message says why."""


@dataclass(frozen=True, slots=True)
class WaitingCommand:
    """A command in its lane; of an entry that cannot be read only the entry's id is known.

    Attributes:
        tries: how many workers died when they tried it alone.
    """

    entry: str
    job: str | None = None
    kind: str | None = None
    user_id: int | None = None
    created_at: str | None = None
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Dropped:
    """What was taken out of a lane: these commands are not carried out."""

    lane: str
    jobs: Sequence[str]
    carried_out_before: Sequence[str]


async def waiting_commands(queue: ArqRedis, lane: str, *, limit: int) -> list[WaitingCommand]:
    """The first commands of a lane, `limit` at the most."""
    tries = await reply(queue.hgetall(lanes.tries_key(lane)))
    found: list[WaitingCommand] = []
    async for entry_id, fields in _entries(queue, lane):
        try:
            commands = decode_entry(entry_id, fields).commands
        except UnreadableEntry:
            found.append(WaitingCommand(entry_id.decode()))
        else:
            found += [
                WaitingCommand(
                    entry_id.decode(), one.id, one.kind, one.user_id, one.created_at, int(tries.get(one.id.encode(), 0))
                )
                for one in commands
            ]
        if len(found) >= limit:
            break
    return found[:limit]


async def drop(pool: Pool, queue: ArqRedis, wanted: str, *, reason: str) -> Dropped:
    """Takes a job, or all jobs of an entry, out of its lane: each ends `rejected` with the reason.

    A copy goes to the dead letters first. What a worker carries out at the same time stays carried out.

    Args:
        pool: a worker's.
        queue: the queue server.
        wanted: a job's id, or an entry's.
        reason: shown to whoever asks for the job, and kept with the copy.

    Raises:
        DropFault: it is in no lane, or no id.
        DatabaseUnavailable, redis.RedisError: that cannot be done now.
    """
    if not (_ENTRY_ID.match(wanted) or is_job_id(wanted)):
        raise DropFault("give the id of a job (a UUID) or of an entry (such as 1764525296000-0)")
    for lane in await lanes.lanes_with_entries(queue):
        async for entry_id, fields in _entries(queue, lane):
            try:
                entry: Entry | None = decode_entry(entry_id, fields)
            except UnreadableEntry:
                entry = None
            commands = [] if entry is None else entry.commands
            if entry_id.decode() == wanted:
                return await _drop(pool, queue, lane, entry_id, fields, commands, commands, reason)
            named = [command for command in commands if command.id == wanted]
            if named:
                return await _drop(pool, queue, lane, entry_id, fields, named, commands, reason)
    raise DropFault(f"{wanted} is in no lane (any more): look at its job")


async def _drop(
    pool: Pool,
    queue: ArqRedis,
    lane: str,
    entry_id: bytes,
    fields: dict[bytes, bytes],
    named: Sequence[Command],
    commands: Sequence[Command],
    reason: str,
) -> Dropped:
    about = {b"lane": lane.encode(), b"entry": entry_id, b"error": b"dropped: " + reason.encode()}
    jobs = orjson.dumps([command.id for command in named])
    await lanes.keep_dead_letter(queue, {**fields, **about, b"dropped": jobs})
    # Its row makes a worker pass a command over, so the entry of others can stay.
    dropped: list[str] = []
    before: list[str] = []
    async with pool.acquire() as connection:
        for command in named:
            effect = Effect.rejected("dropped", f"An operator has dropped this write: {reason}")
            (dropped if await record_jobs(connection, [(command, effect)]) else before).append(command.id)
    if len(named) == len(commands):
        await queue.xdel(lanes.stream(lane), entry_id)
        await queue.delete(lanes.tries_key(lane))
        await PendingJobs(queue).strike_off((command.user_id, command.id) for command in named)
    await lanes.call_drain(queue, lane)
    return Dropped(lane, dropped, before)


async def _entries(queue: ArqRedis, lane: str) -> AsyncIterator[tuple[bytes, dict[bytes, bytes]]]:
    first = "-"
    while page := await queue.xrange(lanes.stream(lane), min=first, count=PAGE_ENTRIES):
        for entry_id, fields in page:
            yield entry_id, fields
        first = f"({page[-1][0].decode()}"
