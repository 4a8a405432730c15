"""Tables for people on a terminal; plain lines where nobody reads them but a program."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ops.check import Finding, Verdict

COLOURS = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.FAULT: "red"}
USER_COLUMNS = ("id", "username", "email", "role", "created_at")


def show(findings: Iterable[Finding]) -> bool:
    """Prints each finding as it is made.

    Returns:
        Whether nothing is at fault.
    """
    console = Console(soft_wrap=True, highlight=False)
    faults = 0
    for finding in findings:
        faults += finding.verdict is Verdict.FAULT
        colour = COLOURS[finding.verdict]
        console.print(f"[bold {colour}]{finding.verdict:<5}[/]  {finding.subject:<12} {escape(finding.detail)}")
        if finding.remedy:
            console.print(f"{'':<20}→ {escape(finding.remedy)}")
    console.print(f"{faults} fault{'' if faults == 1 else 's'}" if faults else "all is well")
    return faults == 0


def show_users(users: Iterable[Mapping[str, Any]]) -> None:
    table = Table(*USER_COLUMNS, box=None, pad_edge=False)
    for user in users:
        table.add_row(*(escape(str(user[column])) for column in USER_COLUMNS))
    Console(soft_wrap=True, highlight=False).print(table)
