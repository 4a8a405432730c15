"""What a person sees while a client command works; nothing of it where standard error is no terminal."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column, Table
from rich.text import Text

console = Console(stderr=True, soft_wrap=True, highlight=False)
"""Standard output is for what was asked for."""

_BAR_WIDTH = 20


class _RowSpeed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="progress.data.speed")


@contextmanager
def byte_bars() -> Iterator[Progress]:
    """For files on their way."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        yield progress


@contextmanager
def row_bars(*, with_estimates: bool) -> Iterator[Progress]:
    """For rows that a worker reads or writes; each task's field `counts` is shown beside its bar.

    Args:
        with_estimates: of speed and time, where the server makes none.
    """
    # The bar keeps its width; where a terminal is narrow, the counts end in dots.
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(_BAR_WIDTH, table_column=Column(min_width=_BAR_WIDTH, no_wrap=True)),
        TaskProgressColumn(),
    )
    estimates = (_RowSpeed(), TimeRemainingColumn()) if with_estimates else ()
    counts = TextColumn("{task.fields[counts]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
    with Progress(
        *columns, counts, *estimates, console=console, transient=True, expand=True, disable=not console.is_terminal
    ) as progress:
        yield progress


def summary(rows: Iterable[tuple[str, object]]) -> None:
    """Prints names and values; numbers with separators."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    for name, value in rows:
        table.add_row(name, Text(f"{value:,}" if isinstance(value, int) else str(value)))
    console.print(table)


def say(line: str) -> None:
    """A line among the bars."""
    console.print(Text(line, style="yellow"))
