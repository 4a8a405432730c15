"""What is measured, beside which limit, and what it must reach.

Long because it is one table of rows, each with its course.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from core.identity import Identities
from ops.bench.bulk import copy_in, copy_out, export_rows, import_rows, importing
from ops.bench.client import Request, Result
from ops.bench.limits import insert_script, page_scripts, pgbench, update_script
from ops.bench.neighbours import batch_of_new_tasks, batch_of_one_task, busy_neighbour, logins
from ops.bench.reminders import Course, remind
from ops.bench.rig import Process, Rig
from ops.bench.sample import Sample
from ops.bench.traffic import CACHED_REQUESTS, Traffic
from ops.bench.upkeep import partitions_come_and_go
from ops.faults import Fault

EMPTY_WARMUP_SECONDS = 0.3
NO_ERRORS = "none"


@dataclass
class Findings:
    """All samples of all rows and limits."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)
    limits: dict[str, list[float]] = field(default_factory=dict)

    def rate(self, row: str) -> float:
        return median(sample.rate or 0.0 for sample in self.samples[row])

    def limit(self, limit: str) -> float:
        return median(self.limits[limit])

    def figure(self, row: str, name: str) -> float | None:
        """The median of what the samples of a row have under a name."""
        values = [value for sample in self.samples[row] if (value := getattr(sample, name)) is not None]
        return median(values) if values else None

    def disturbance(self) -> float:
        """The median of the cores that others used while ours was measured."""
        cores = [s.cores["others"] for samples in self.samples.values() for s in samples if "others" in s.cores]
        return median(cores) if cores else 0.0

    def errors(self, row: str) -> dict[str, int]:
        total: dict[str, int] = {}
        for sample in self.samples[row]:
            for reason, count in sample.errors.items():
                total[reason] = total.get(reason, 0) + count
        return total


@dataclass(frozen=True)
class Stage:
    """What a row is measured with."""

    rig: Rig
    traffic: Traffic
    api: Process
    bulk: Process
    empty: Process
    seconds: float
    bulk_rows: int


@dataclass(frozen=True)
class Limit:
    """What the machine can do at most: right answers, or transactions, a second."""

    name: str
    title: str
    measure: Callable[[Stage], float]


@dataclass(frozen=True)
class Verdict:
    """A figure, what it should be, and whether it is; None where nothing is asked of it."""

    figure: str
    target: str = ""
    passed: bool | None = None


Check = Callable[["Row", Findings], Verdict]


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        api: settings of the API process that differ; rows with the same share one process.
        once: measured once instead of once in every round.
        slow: takes longer than `--seconds`.
        bulk: measures something else than requests, once.
    """

    name: str
    title: str
    requests: Callable[[Traffic], list[Request]] | None
    connections: int = 32
    limits: Sequence[Limit] = ()
    checks: Sequence[Check] = ()
    api: Mapping[str, str] = field(default_factory=dict)
    once: bool = False
    interval: float = 0.0
    slow: bool = False
    bulk: Callable[[Stage], Sample] | None = None


# -- limits -----------------------------------------------------------------------------------------------


def empty_handler(connections: int) -> Limit:
    def measure(stage: Stage) -> float:
        result, _ = stage.rig.load(
            stage.empty,
            stage.traffic.empty(),
            connections=connections,
            seconds=stage.seconds,
            warmup=EMPTY_WARMUP_SECONDS,
        )
        if result.errors or not result.rate:
            raise Fault(f"the empty handler was not measured: {result.errors or 'no answer'}")
        return result.rate

    return Limit(f"empty-{connections}", f"empty handler, {connections}", measure)


PG_INSERTS = Limit(
    "pg-insert",
    "pgbench inserts, 32",
    lambda stage: pgbench(stage.rig, insert_script(stage.rig.dataset), seconds=stage.seconds),
)
PG_UPDATES = Limit(
    "pg-update",
    "pgbench updates, 32",
    lambda stage: pgbench(stage.rig, update_script(stage.rig.dataset), seconds=stage.seconds),
)


def pg_page(limit: int) -> Limit:
    return Limit(
        f"pg-page-{limit}",
        "pgbench, the same SELECT, 32",
        lambda stage: pgbench(
            stage.rig,
            *page_scripts(stage.rig.dataset, Identities.of(stage.rig.settings), limit),
            seconds=stage.seconds,
            url=stage.rig.settings.api_database_url,
        ),
    )


PG_COPY_IN = Limit("copy-in", "COPY FROM", lambda stage: copy_in(stage.rig, stage.bulk_rows))
PG_COPY_OUT = Limit("copy-out", "COPY TO", lambda stage: copy_out(stage.rig, stage.bulk_rows))


# -- checks -----------------------------------------------------------------------------------------------


def share_of(limit: Limit, least: float | None = None) -> Check:
    def check(row: Row, findings: Findings) -> Verdict:
        share = findings.rate(row.name) / findings.limit(limit.name)
        figure = f"{share:.3f} of {findings.limit(limit.name):,.0f} ({limit.title})"
        return Verdict(figure) if least is None else Verdict(figure, f"≥ {least:g}", share >= least)

    return check


def at_most(name: str, label: str, most: float, unit: str) -> Check:
    def check(row: Row, findings: Findings) -> Verdict:
        value = findings.figure(row.name, name)
        shown = "none" if value is None else f"{value:.1f}"
        return Verdict(f"{label} {shown} {unit}".strip(), f"≤ {most:g} {unit}", value is not None and value <= most)

    return check


def times_row(other: str, least: float) -> Check:
    def check(row: Row, findings: Findings) -> Verdict:
        if other not in findings.samples:
            return Verdict(f"{other} was not measured")
        times = findings.rate(row.name) / max(findings.rate(other), 0.001)
        return Verdict(f"{times:.2f} × {other}", f"≥ {least:g}", times >= least)

    return check


def p99_times_row(other: str, most: float) -> Check:
    def check(row: Row, findings: Findings) -> Verdict:
        own = findings.figure(row.name, "p99_ms") or 0.0
        theirs = (findings.figure(other, "p99_ms") or 0.0) if other in findings.samples else 0.0
        if not theirs:
            return Verdict(f"{other} was not measured")
        return Verdict(f"p99 {own / theirs:.2f} × that of {other}", f"< {most:g}", own / theirs < most)

    return check


def no_errors(row: Row, findings: Findings) -> Verdict:
    errors = findings.errors(row.name)
    shown = ", ".join(f"{count} × {reason}" for reason, count in sorted(errors.items()))
    return Verdict(f"errors: {shown}" if errors else "no errors", NO_ERRORS, not errors)


# -- the rows ---------------------------------------------------------------------------------------------

UNCACHED = {"CACHE_TTL_SECONDS": "0"}
EMPTY = {connections: empty_handler(connections) for connections in (1, 32, 128, 512)}
PG_PAGES = {limit: pg_page(limit) for limit in (20, 100)}


def _creates(connections: int, *checks: Check, also: Sequence[Limit] = ()) -> Row:
    limits = (EMPTY[connections], *also)
    return Row(
        f"create-{connections}",
        f"create, {connections} connection{'' if connections == 1 else 's'}",
        Traffic.creates,
        connections,
        limits,
        checks,
    )


def _pages(limit: int, least: float | None) -> Row:
    return Row(
        f"page-{limit}",
        f"page of {limit}, uncached",
        lambda traffic: traffic.pages(limit),
        limits=(PG_PAGES[limit],),
        checks=(share_of(PG_PAGES[limit], least),),
        api=UNCACHED,
    )


def _cached_pages(limit: int) -> Row:
    return Row(
        f"page-{limit}-cached",
        f"page of {limit}, cached",
        lambda traffic: traffic.pages(limit, count=CACHED_REQUESTS),
        limits=(EMPTY[32],),
        checks=(share_of(EMPTY[32]),),
    )


def _compressed_pages(limit: int) -> Row:
    return Row(
        f"page-{limit}-compressed",
        f"the same, compressed (page of {limit})",
        lambda traffic: traffic.compressed_pages(limit, count=CACHED_REQUESTS),
        checks=(times_row(f"page-{limit}-cached", 0.8),),
    )


CALM_CONNECTIONS = 16
CALM_INTERVAL = 0.25
LOGINS = 30


def _import(name: str, title: str, form: str, times: int = 1) -> Row:
    return Row(
        name,
        title,
        None,
        limits=(PG_COPY_IN,),
        checks=(share_of(PG_COPY_IN, 0.4), at_most("memory_mb", "worker", 250, "MB"), no_errors),
        once=True,
        bulk=lambda stage: import_rows(stage.rig, stage.api, stage.bulk, form, stage.bulk_rows * times),
    )


def _sample_of(result: Result, cores: dict[str, float]) -> Sample:
    return Sample(
        rate=result.rate,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        longest_ms=result.longest_ms,
        errors=result.errors,
        cores=cores,
    )


def _calm_creates(stage: Stage, seconds: float) -> Sample:
    """Creates of ordinary users while something else goes on."""
    result, cores = stage.rig.load(
        stage.api,
        stage.traffic.creates(),
        connections=CALM_CONNECTIONS,
        seconds=seconds,
        warmup=0.0,
        interval=CALM_INTERVAL,
    )
    return _sample_of(result, cores)


def _creates_beside_import(stage: Stage) -> Sample:
    """Creates of ordinary users while somebody else's giant import goes on."""
    with importing(stage.rig, stage.api, stage.bulk, "tenfold-ndjson", stage.bulk_rows):
        return _calm_creates(stage, stage.bulk_rows / 125_000)


def _creates_beside_neighbour(stage: Stage) -> Sample:
    """Creates of ordinary users while one user sends batches, imports and exports without a pause."""
    with busy_neighbour(stage.rig, stage.api):
        return _calm_creates(stage, max(4.0, stage.bulk_rows / 125_000))


def _logins_beside_neighbour(stage: Stage) -> Sample:
    with busy_neighbour(stage.rig, stage.api):
        return logins(stage.rig, stage.api, count=LOGINS)


REMINDERS_OF_A_USER = 20


def _reminders(name: str, title: str, course: Callable[[int], Course], *checks: Check) -> Row:
    """A tenth as many as the rows of an import."""
    return Row(
        name,
        title,
        None,
        checks=(*checks, no_errors),
        once=True,
        bulk=lambda stage: remind(stage.rig, course(stage.bulk_rows // 10)),
    )


def _creates_beside_partitions(stage: Stage) -> Sample:
    """Creates while partitions are made, detached and attached."""
    with partitions_come_and_go(stage.rig):
        result, cores = stage.rig.load(
            stage.api, stage.traffic.creates(), connections=32, seconds=max(2.0, stage.seconds), warmup=0.0
        )
    return _sample_of(result, cores)


ROWS: tuple[Row, ...] = (
    Row("idle", "idle: API and workers", None, checks=(at_most("idle_percent", "", 3, "% of a core"),), once=True,
        slow=True),
    _creates(1, at_most("p50_ms", "p50", 6, "ms"), share_of(EMPTY[1])),
    _creates(32, share_of(EMPTY[32], 0.13), share_of(PG_INSERTS, 0.18), also=(PG_INSERTS,)),
    _creates(128, share_of(EMPTY[128])),
    _creates(512, times_row("create-32", 2), share_of(EMPTY[512])),
    Row("update", "update", Traffic.updates, limits=(PG_UPDATES,), checks=(share_of(PG_UPDATES),)),
    _cached_pages(20),
    _compressed_pages(20),
    _cached_pages(100),
    _compressed_pages(100),
    Row("task-cached", "one task, cached", lambda traffic: traffic.single_tasks(count=CACHED_REQUESTS),
        limits=(EMPTY[32],), checks=(share_of(EMPTY[32], 0.2),)),
    Row("crowd", "1,000 connections, each once a second", Traffic.mixed, 1000,
        checks=(at_most("p99_ms", "p99", 250, "ms"), at_most("memory_mb", "API process", 200, "MB")),
        once=True, interval=1.0, slow=True),
    _pages(20, 0.2),
    _pages(100, None),
    Row("task", "one task, uncached", Traffic.single_tasks, limits=(EMPTY[32],), checks=(share_of(EMPTY[32], 0.2),),
        api=UNCACHED),
    Row("admin-page", "all users' tasks by priority, page of 100", Traffic.admin_pages, 1,
        checks=(at_most("p99_ms", "p99", 100, "ms"),), api=UNCACHED),
    Row("create-calm", "create, 16 connections, each four times a second", Traffic.creates, CALM_CONNECTIONS,
        interval=CALM_INTERVAL, once=True, slow=True),
    Row("create-beside-import", "the same, while a file is imported", None, once=True,
        checks=(p99_times_row("create-calm", 4), no_errors), bulk=_creates_beside_import),
    Row("create-beside-neighbour", "the same, beside a user who sends batches, imports and exports", None, once=True,
        checks=(p99_times_row("create-calm", 4), no_errors), bulk=_creates_beside_neighbour),
    Row("login-beside-neighbour", "logins, one after the other, beside the same", None, once=True,
        checks=(at_most("longest_ms", "longest", 1000, "ms"), no_errors), bulk=_logins_beside_neighbour),
    Row("batch-creates", "one batch: 1,000 new tasks, 20 reminders each, 50 channels", None,
        checks=(at_most("seconds", "done in", 2, "s"), no_errors),
        bulk=lambda stage: batch_of_new_tasks(stage.rig, stage.api)),
    Row("batch-one-task", "one batch: 1,000 changes of one task of the same", None,
        checks=(at_most("seconds", "done in", 2, "s"), no_errors),
        bulk=lambda stage: batch_of_one_task(stage.rig, stage.api)),
    Row("create-beside-partitions", "create, 32 connections, while partitions come and go", None, once=True,
        checks=(at_most("longest_ms", "longest", 500, "ms"), no_errors), bulk=_creates_beside_partitions),
    _reminders("reminders", "100,000 reminders due at once, one webhook", Course,
        at_most("seconds", "all delivered in", 60, "s")),
    _reminders("reminders-users", "the same of 5,000 users, each with a webhook",
        lambda number: Course(number, users=number // REMINDERS_OF_A_USER),
        at_most("seconds", "all delivered in", 60, "s")),
    _reminders("reminders-steady", "reminders, 500 due each second", lambda number: Course(number // 10, a_second=500),
        at_most("p99_ms", "p99", 5000, "ms")),
    _import("import-ndjson", "import of 1,000,000 rows, NDJSON", "tenfold-ndjson"),
    _import("import-csv", "import of 1,000,000 rows, CSV", "tenfold-csv"),
    _import("import-ndjson-3", "import of 3,000,000 rows, NDJSON", "tenfold-ndjson", times=3),
    Row("export-csv", "export of 1,000,000 tasks, CSV", None, limits=(PG_COPY_OUT,), once=True,
        checks=(share_of(PG_COPY_OUT, 0.4), at_most("memory_mb", "worker", 250, "MB"), no_errors),
        bulk=lambda stage: export_rows(stage.rig, stage.api, stage.bulk, "csv", stage.bulk_rows)),
    Row("export-ndjson", "export of 1,000,000 tasks, NDJSON", None, limits=(PG_COPY_OUT,), once=True,
        checks=(share_of(PG_COPY_OUT, 0.4), at_most("memory_mb", "worker", 250, "MB"), no_errors),
        bulk=lambda stage: export_rows(stage.rig, stage.api, stage.bulk, "ndjson", stage.bulk_rows)),
)  # fmt: skip
