"""The table, the facts above it, and the same as JSON."""

import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core import clock
from core.version import VERSION
from ops.bench.measure import Extent
from ops.bench.rig import Rig, postgres_parameters
from ops.bench.rows import NO_ERRORS, Findings, Row, Verdict, no_errors

LIBRARIES = ("aiohttp", "uvloop", "asyncpg", "redis", "arq")
QUIET_CORES = 0.2
OWN_FIGURES = (("rate", 0), ("p50_ms", 1), ("p99_ms", 1), ("longest_ms", 0))
VERDICTS = {True: "[green]pass[/]", False: "[bold red]FAIL[/]", None: ""}


def facts(rig: Rig, extent: Extent) -> dict[str, str]:
    """What was measured, where, when and how."""
    parameters = ", ".join(f"{name}={value}" for name, value in postgres_parameters().items())
    return {
        "date": f"{clock.now():%Y-%m-%d %H:%M} UTC",
        "machine": f"{_processor()}, {os.cpu_count()} cores, {psutil.virtual_memory().total >> 20:,} MB, "
        f"{platform.system()} {platform.release()}; load {os.getloadavg()[0]:.2f} at the start",
        "software": f"Tenfold {VERSION}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
        "servers": f"{_program_version(rig.postgres.bin_dir / 'postgres')}; {_program_version(rig.queue.program)}: "
        "queue with appendfsync always, cache without a file",
        "PostgreSQL": parameters,
        "set-up": "one API process, one worker, and one for imports and exports; "
        "authentication, validation, rate limits, metrics and JSON logs on; "
        "clients, servers and limits share the machine",
        "data": f"{rig.dataset.tasks:,} tasks of {rig.dataset.users:,} users over "
        "three years' partitions; each request by any of the users",
        "method": f"medians of {extent.rounds} × {extent.seconds:g} s, limits and rows in turn; "
        "latencies as the client saw them",
    }


def show(console: Console, told: Mapping[str, str], rows: Iterable[Row], findings: Findings, *, judged: bool) -> None:
    """
    Args:
        judged: whether it was measured long enough to say that a target is met or missed.
    """
    for name, text in told.items():
        console.print(f"[bold]{name:<11}[/]{escape(text)}", highlight=False, soft_wrap=True)
    table = Table(title="Tenfold, beside what the machine can do at most", title_justify="left")
    table.add_column("what")
    for heading in ("rate /s", "p50 ms", "p99 ms", "longest"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("figure", "target", ""):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        own = [row.title, *(_number(findings.figure(row.name, name), places) for name, places in OWN_FIGURES)]
        for place, verdict in enumerate(verdicts(row, findings)):
            start = own if place == 0 else [""] * len(own)
            passed = verdict.passed if judged or verdict.target == NO_ERRORS else None
            table.add_row(*start, escape(verdict.figure), verdict.target, VERDICTS[passed])
        table.add_section()
    console.print(table)
    if findings.disturbance() > QUIET_CORES:
        console.print(
            f"[yellow]Other processes used {findings.disturbance():.1f} cores meanwhile: measure on a quiet machine."
        )


def verdicts(row: Row, findings: Findings) -> list[Verdict]:
    """Of the row's own checks, and whether there were errors."""
    asked = row.checks if row.requests is None else (*row.checks, no_errors)
    return [check(row, findings) for check in asked]


def as_json(told: Mapping[str, str], rows: Iterable[Row], findings: Findings) -> bytes:
    document: dict[str, Any] = {"facts": told, "others_cores": findings.disturbance(), "rows": []}
    for row in rows:
        medians = {
            name: findings.figure(row.name, name)
            for name in ("rate", "p50_ms", "p99_ms", "longest_ms", "memory_mb", "idle_percent")
        }
        document["rows"].append(
            {
                "name": row.name,
                "title": row.title,
                "connections": row.connections if row.requests else None,
                **medians,
                "errors": findings.errors(row.name),
                "limits": {limit.name: findings.limits[limit.name] for limit in row.limits},
                "verdicts": [asdict(verdict) for verdict in verdicts(row, findings)],
                "samples": [asdict(sample) for sample in findings.samples[row.name]],
            }
        )
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _number(value: float | None, places: int) -> str:
    return "" if value is None else f"{value:,.{places}f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _program_version(program: Path) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip().partition(" sha=")[0]
