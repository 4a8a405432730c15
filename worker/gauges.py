"""Keeps the gauges of lanes, queues, the pool and the event loop; every worker tells the same of the queue server."""

import asyncio
import time

from core import clock, lanes, metrics
from core.database.faults import is_unavailable
from core.database.pools import pool_counts
from core.database.reads import within
from core.deliveries.writes.fan_outs import events_to_fan_out
from core.imports.waiting import unfinished_imports
from core.jobs.queues import QUEUES
from core.maintenance.queries import last_successes
from core.partitions.queries import partition_bounds, time_left
from core.redis.clients import REDIS_FAULTS
from worker.runner import Services

MEASURE_SECONDS = 5.0


async def measure_forever(services: Services) -> None:
    """Measures every few seconds, as long as the process lives."""
    while True:
        before = time.monotonic()
        await asyncio.sleep(MEASURE_SECONDS)
        metrics.EVENT_LOOP_LAG.labels("worker").set(max(0.0, time.monotonic() - before - MEASURE_SECONDS))
        for state, count in pool_counts(services.pool).items():
            metrics.DATABASE_POOL.labels("worker", state).set(count)
        outage = services.outages["queue server, to observe it"]
        try:
            await _measure_queue_server(services)
            outage.over()
        except REDIS_FAULTS as error:
            outage.noticed(error)
        for name, measurement in (
            ("imports", _measure_imports),
            ("deliveries", _measure_deliveries),
            ("maintenance", _measure_maintenance),
        ):
            outage = services.outages[f"database, to observe {name}"]
            try:
                await within(MEASURE_SECONDS, measurement(services))
                outage.over()
            except Exception as error:
                if not is_unavailable(error):
                    raise
                outage.noticed(error)


async def _measure_maintenance(services: Services) -> None:
    """As the database has it, so that every worker tells the same, one that has just been started too."""
    for name, moment in (await last_successes(services.pool)).items():
        metrics.MAINTENANCE_LAST_SUCCESS.labels(name).set(moment)
    left = time_left(await partition_bounds(services.pool), clock.now())
    metrics.PARTITIONS_LEFT.labels("tasks").set(left.total_seconds())


async def _measure_imports(services: Services) -> None:
    found = await unfinished_imports(services.pool)
    for state in ("queued", "processing"):
        imports, _ = found.get(state, (0, 0.0))
        metrics.IMPORTS.labels(state).set(imports)
    metrics.IMPORTS_OLDEST_AGE.set(found.get("queued", (0, 0.0))[1])


async def _measure_deliveries(services: Services) -> None:
    metrics.FAN_OUT_EVENTS.set(await events_to_fan_out(services.pool))


async def _measure_queue_server(services: Services) -> None:
    now_ms = time.time() * 1000
    for state in await lanes.states_of_all(services.queue, services.settings.write_lanes):
        metrics.LANE_ENTRIES.labels(state.name).set(state.entries)
        metrics.LANE_OLDEST_AGE.labels(state.name).set(state.age_seconds(now_ms / 1000))
    metrics.DEAD_LETTER_ENTRIES.set(await services.queue.xlen(lanes.DEAD_LETTERS))
    for name, queue in QUEUES.items():
        oldest_job = await services.queue.zrange(queue, 0, 0, withscores=True)
        age_ms = now_ms - oldest_job[0][1] if oldest_job else 0
        metrics.QUEUE_DEPTH.labels(name).set(await services.queue.zcard(queue))
        metrics.QUEUE_OLDEST_AGE.labels(name).set(max(0.0, age_ms / 1000))
