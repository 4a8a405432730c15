"""`make bench`: how fast this is, beside what the machine can do at most, measured in the same minutes."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.status import Status

from ops.bench.dataset import Dataset
from ops.bench.measure import Extent, measure
from ops.bench.report import as_json, facts, show, verdicts
from ops.bench.rig import raised
from ops.bench.rows import ROWS, Findings, Row, no_errors
from ops.dev.run import Stopped, stopped_by_signals
from ops.dev.servers import ServerError
from ops.environment import home_folder, merged_environment
from ops.faults import FAILED, INTERRUPTED, Fault, told_plainly
from ops.signals import ignore_signals

WIDTH = 240
"""Columns of the table where the output is no terminal: no row's title is broken in two."""
FULL = Extent(seconds=3, rounds=3, slow_seconds=20, warmup=1, settle=3, bulk_rows=1_000_000)
QUICK = Extent(seconds=1, rounds=1, slow_seconds=2, warmup=0.3, settle=0.5, bulk_rows=50_000)
QUICK_TASKS, QUICK_USERS = 20_000, 50

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def main(
    quick: Annotated[bool, typer.Option("--quick", help="A smoke test: few tasks, one short round.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Measure this row alone; may be repeated.")] = None,
    tasks: Annotated[int | None, typer.Option(min=1, help="How many are in the database. [1000000]")] = None,
    users: Annotated[int | None, typer.Option(min=1, help="How many have tasks. [1000]")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.5, max=600, help="Of each measurement. [3]")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, max=100, help="The table has their medians. [3]")] = None,
    json: Annotated[Path | None, typer.Option(dir_okay=False, help="Write the figures to a file, too.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Load the tasks again, even if they are there.")] = False,
    home: Annotated[Path | None, typer.Option(help="Where data is kept. [TENFOLD_HOME/bench]")] = None,
) -> None:
    """Measure Tenfold and what it stands on. Exits with 1 if a target was missed or an answer was wrong."""
    with told_plainly(ServerError):
        rows = _chosen(only)
        usual = QUICK if quick else FULL
        extent = replace(usual, seconds=seconds or usual.seconds, rounds=rounds or usual.rounds)
        dataset = Dataset(
            tasks or (QUICK_TASKS if quick else 1_000_000),
            users or (QUICK_USERS if quick else 1000),
        )
        folder = home or home_folder(merged_environment()) / "bench"
        console, progress = Console(), Console(stderr=True)
        if not console.is_terminal:
            console = Console(width=WIDTH)
        try:
            with stopped_by_signals():
                told, findings = _run(folder, dataset, rows, extent, fresh, progress)
        except Stopped:
            raise typer.Exit(INTERRUPTED) from None
        show(console, told, rows, findings, judged=not quick)
        if json is not None:
            json.write_bytes(as_json(told, rows, findings))
        raise typer.Exit(0 if _is_well(rows, findings, quick) else FAILED)


def _chosen(only: list[str] | None) -> list[Row]:
    names = [row.name for row in ROWS]
    if unknown := sorted(set(only or ()) - set(names)):
        raise Fault(f"there is no row {', '.join(unknown)}: choose from {', '.join(names)}")
    return [row for row in ROWS if not only or row.name in only]


def _run(
    folder: Path, dataset: Dataset, rows: list[Row], extent: Extent, fresh: bool, console: Console
) -> tuple[dict[str, str], Findings]:
    with Status("", console=console) as status:

        def say(line: str) -> None:
            if console.is_terminal:
                status.update(line)
            else:
                console.print(line, highlight=False)

        try:
            with raised(folder, dataset, anew=fresh, say=say) as rig:
                try:
                    return facts(rig, extent), measure(rig, rows, extent, say)
                finally:
                    say("stopping")
                    ignore_signals()
        except KeyboardInterrupt:
            raise Stopped from None


def _is_well(rows: list[Row], findings: Findings, quick: bool) -> bool:
    """Targets are judged in full runs only; wrong answers and lost writes in all."""
    if quick:
        return all(no_errors(row, findings).passed for row in rows)
    return all(verdict.passed is not False for row in rows for verdict in verdicts(row, findings))


if __name__ == "__main__":
    app()
