"""Measures rows in rounds: a limit, ours, the next limit, ours again. A machine that becomes slower slows both."""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import asyncpg

from ops.bench.rig import Process, Rig
from ops.bench.rows import Findings, Row, Stage
from ops.bench.sample import Sample
from ops.bench.traffic import Traffic

Say = Callable[[str], None]


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        seconds: of each measurement.
        rounds: of which the medians are taken.
        slow_seconds: the most for a row that has a time of its own.
        warmup: seconds before a measurement of ours.
        settle: seconds before idleness is measured, until what a start leaves to be done has been done.
        bulk_rows: of an import or export.
    """

    seconds: float
    rounds: int
    slow_seconds: float
    warmup: float
    settle: float
    bulk_rows: int


def measure(rig: Rig, rows: Sequence[Row], extent: Extent, say: Say) -> Findings:
    """Measures the rows, in their order as far as they share an API process."""
    findings = Findings()
    traffic = Traffic(rig)
    with ExitStack() as cleanup:
        worker = cleanup.enter_context(rig.tier("worker"))
        bulk = cleanup.enter_context(rig.tier("bulk"))
        empty = cleanup.enter_context(rig.empty_handler())
        for variables, group in itertools.groupby(rows, key=lambda row: row.api):
            with rig.tier("api", **variables) as api:
                stage = Stage(rig, traffic, api, bulk, empty, extent.seconds, extent.bulk_rows)
                _measure_group(stage, worker, list(group), extent, findings, say)
    return findings


def _measure_group(
    stage: Stage, worker: Process, rows: list[Row], extent: Extent, findings: Findings, say: Say
) -> None:
    for number in range(extent.rounds):
        measured: set[str] = set()
        for row in rows:
            if row.once and number > 0:
                continue
            turn = "" if row.once else f" ({number + 1} of {extent.rounds})"
            for limit in row.limits:
                if limit.name not in measured:
                    measured.add(limit.name)
                    say(f"{limit.title}{turn}")
                    findings.limits.setdefault(limit.name, []).append(limit.measure(stage))
            say(f"{row.title}{turn}")
            if row.bulk is not None:
                sample = row.bulk(stage)
            elif row.requests is None:
                sample = _idle(stage, worker, extent)
            else:
                sample = _loaded(stage, row, extent)
            findings.samples.setdefault(row.name, []).append(sample)


def _idle(stage: Stage, worker: Process, extent: Extent) -> Sample:
    seconds = extent.slow_seconds
    time.sleep(extent.settle)
    processes = (stage.api, worker, stage.bulk)
    before = [process.cpu_seconds for process in processes]
    time.sleep(seconds)
    cores = {
        process.name: (process.cpu_seconds - early) / seconds for process, early in zip(processes, before, strict=True)
    }
    return Sample(idle_percent=sum(cores.values()) * 100, cores=cores, memory_mb=stage.api.memory_mb)


def _loaded(stage: Stage, row: Row, extent: Extent) -> Sample:
    assert row.requests is not None
    before = asyncio.run(_count_tasks(stage.rig.database_url))
    result, cores = stage.rig.load(
        stage.api,
        row.requests(stage.traffic),
        connections=row.connections,
        seconds=extent.slow_seconds if row.slow else extent.seconds,
        warmup=extent.warmup,
        interval=row.interval,
    )
    memory = stage.api.memory_mb
    created = result.acknowledged.get("201", 0)
    stored = asyncio.run(_count_tasks(stage.rig.database_url)) - before
    errors = dict(result.errors)
    if stored < created:
        errors["acknowledged, but not stored"] = created - stored
    if stored > created:
        errors["stored, but not acknowledged"] = stored - created
    return Sample(
        rate=result.rate,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        longest_ms=result.longest_ms,
        created=created,
        errors=errors,
        cores=cores,
        generator=result.cpu,
        memory_mb=memory,
    )


async def _count_tasks(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM tasks"))
    finally:
        await connection.close()
