"""Drains a lane: reads entries, applies them as batches, publishes the outcomes, removes the entries."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from core import clock, lanes, metrics
from core.commands import Command, Entry, UnreadableEntry, decode_entry, encode_outcomes
from core.jobs import LONG_WORK, call_bulk, call_maintenance, call_time
from core.logs import get_logger
from core.redislink import Link
from worker.applying import Applied, apply_batch
from worker.runner import Services

LINGER_MILLISECONDS = 100
LONGEST_DRAIN_SECONDS = 3.0
READ_ENTRIES = 16
REMOVE_SECONDS = 0.1
BATCH_MAXIMUM_OPERATIONS = 1000
CALLS_FOR_DELIVERY = frozenset({"channel.test", "delivery.redeliver"})

log = get_logger()


async def drain_lane(services: Services, lane: int) -> None:
    """Applies what waits in a lane, and lingers for more; arq runs one drain of a lane at a time.

    The first read begins at the head. What follows is read from behind the last applied entry, so that removing
    entries, which waits for the queue server's disk as appending does, can be done for many at once, beside the next
    batch. What a worker that dies has not removed is read again, and found to be done.
    """
    deadline = time.monotonic() + LONGEST_DRAIN_SECONDS
    stream = lanes.stream(lane)
    reader = services.lane_reader(lane)
    last_id = b"0"
    consumed: list[bytes] = []
    remove_at = time.monotonic() + REMOVE_SECONDS
    removal: asyncio.Task[None] | None = None
    try:
        while time.monotonic() < deadline:
            raw_entries = await _read(reader, stream, last_id)
            if not raw_entries:
                return
            consumed += await _apply_entries(services, lane, raw_entries)
            last_id = consumed[-1]
            if time.monotonic() >= remove_at:
                if removal is not None:
                    await removal
                removal = asyncio.create_task(_remove(services, stream, consumed))
                consumed = []
                remove_at = time.monotonic() + REMOVE_SECONDS
    finally:
        if removal is not None:
            await removal
        if consumed:
            await _remove(services, stream, consumed)


async def _read(reader: Link, stream: str, last_id: bytes) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries behind an id; waits a little while where there are none."""
    [found] = await reader.send(
        ("XREAD", "COUNT", READ_ENTRIES, "BLOCK", LINGER_MILLISECONDS, "STREAMS", stream, last_id)
    )
    if found is None:
        return []
    [[_, entries]] = found
    return [(entry_id, dict(zip(fields[::2], fields[1::2], strict=True))) for entry_id, fields in entries]


async def _apply_entries(
    services: Services, lane: int, raw_entries: Sequence[tuple[bytes, dict[bytes, bytes]]]
) -> list[bytes]:
    """Applies a batch's worth of entries, tells their outcomes, and returns the ids of those that may be removed."""
    started = time.perf_counter()
    entries, consumed = await _decode(services, lane, raw_entries)
    commands = [command for entry in entries for command in entry.commands]
    if commands:
        applied = await apply_batch(services, lane, commands)
        await _tell(services, lane, entries, applied)
        _log_writes(services, applied)
        metrics.BATCH_COMMANDS.observe(len(commands))
        metrics.BATCH_DURATION.observe(time.perf_counter() - started)
    return consumed


def _log_writes(services: Services, applied: Sequence[Applied]) -> None:
    """A line for each: by the request id of the API's line, and the job that clients know."""
    now = clock.now()
    for done in applied:
        command = done.command
        services.log_write(
            {
                "timestamp": now,
                "request_id": command.request_id,
                "job": command.id,
                "kind": command.kind,
                "user": command.user_id or None,
                "status": done.outcome["status_code"],
                "replayed": done.outcome["replayed"],
            }
        )


async def _remove(services: Services, stream: str, entry_ids: Sequence[bytes]) -> None:
    await services.queue.xdel(stream, *entry_ids)


async def _decode(
    services: Services, lane: int, raw_entries: Sequence[tuple[bytes, dict[bytes, bytes]]]
) -> tuple[list[Entry], list[bytes]]:
    """Reads entries up to a batch's size; what cannot be read goes to the dead letters and never stops its lane."""
    entries: list[Entry] = []
    consumed: list[bytes] = []
    operations = 0
    for entry_id, fields in raw_entries:
        try:
            entry = decode_entry(entry_id, fields)
        except UnreadableEntry as error:
            await _set_aside(services, lane, entry_id, fields, error)
            consumed.append(entry_id)
            continue
        size = sum(_count_operations(command) for command in entry.commands)
        if entries and operations + size > BATCH_MAXIMUM_OPERATIONS:
            break
        operations += size
        entries.append(entry)
        consumed.append(entry_id)
    return entries, consumed


def _count_operations(command: Command) -> int:
    operations = command.payload.get("operations")
    return len(operations) or 1 if isinstance(operations, list) else 1


async def _set_aside(
    services: Services, lane: int, entry_id: bytes, fields: dict[bytes, bytes], error: Exception
) -> None:
    log.error("unreadable lane entry set aside", lane=lane, entry=entry_id.decode(), error=str(error))
    metrics.DEAD_LETTERS.inc()
    letter: dict[Any, Any] = {b"lane": str(lane).encode(), b"entry": entry_id, b"error": str(error).encode(), **fields}
    await services.queue.xadd(lanes.DEAD_LETTERS, letter, maxlen=lanes.DEAD_LETTERS_MAXIMUM, approximate=True)


async def _tell(services: Services, lane: int, entries: Sequence[Entry], applied: Sequence[Applied]) -> None:
    """Makes the caches forget, and only then lets anybody know."""
    await _forget_owners(services, applied)
    origins = {id(command): entry.origin for entry in entries for command in entry.commands}
    messages: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for done in applied:
        messages[origins[id(done.command)]].append(done.outcome)
    *_, promised = await services.queue_link.send(
        *(
            ("PUBLISH", lanes.outcomes_channel(origin), encode_outcomes(lane, message))
            for origin, message in messages.items()
        ),
        ("HDEL", lanes.PENDING_JOBS, *(done.command.id for done in applied)),
    )
    if promised:  # few are, else a user's own list would not be worth a round trip
        await lanes.strike_off(services.queue, ((done.command.user_id, done.command.id) for done in applied))
    if any(done.command.kind == "maintenance" for done in applied):
        await call_maintenance(services.queue)
    for kind in LONG_WORK.keys() & {done.command.kind for done in applied}:
        await call_bulk(services.queue, kind)
    if CALLS_FOR_DELIVERY & {done.command.kind for done in applied}:
        await call_time(services.queue, "deliver")


async def _forget_owners(services: Services, applied: Sequence[Applied]) -> None:
    if any(done.owners is None for done in applied):
        await services.invalidator.distrust_everything()
    await services.invalidator.forget_users({owner for done in applied for owner in done.owners or ()})


async def look_again(services: Services, job_id: str) -> None:
    """Enqueues a lane's drain again if something came in while the last one ended.

    arq refuses to enqueue an id that still runs, so a command that arrived in a drain's last moment called nobody.
    """
    lane = int(job_id.removeprefix("lane:"))
    if await services.queue.xlen(lanes.stream(lane)):
        await lanes.call_drain(services.queue, lane)
