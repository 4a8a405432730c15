"""The options of `tenfold import` and `tenfold export`; what they do is imported when they run."""

import errno
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.client.login import PasswordStdin, ServerUrl, Token, Username, run_on_server
from ops.faults import Fault, told_plainly

if TYPE_CHECKING:
    from ops.client.server import Server


class OnConflict(StrEnum):
    skip = "skip"
    update = "update"
    error = "error"


class ListsAs(StrEnum):
    text = "text"
    labels = "labels"


class ColumnsAs(StrEnum):
    text = "text"
    statuses = "statuses"


def import_file(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE...", help="What to import; - is standard input.")
    ] = None,
    format_: Annotated[str | None, typer.Option("--format", help="Instead of finding it out.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look at every row, and change nothing.")] = False,
    watch: Annotated[bool, typer.Option("--watch/--no-watch", help="Wait until it has ended.")] = True,
    on_conflict: Annotated[
        OnConflict | None, typer.Option(help="What to do with rows that were imported before; skip, unless given.")
    ] = None,
    mapping: Annotated[
        str | None, typer.Option(help="Which column is which field, for a CSV: JSON, or a file that holds it.")
    ] = None,
    time_zone: Annotated[str | None, typer.Option(help="Of dates without one, such as Europe/Berlin.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Of a CSV: one character, or tab.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Of a text, such as windows-1252.")] = None,
    lists_as: Annotated[
        ListsAs | None, typer.Option(help="What lists, columns, projects become; text, unless given.")
    ] = None,
    columns_as: Annotated[
        ColumnsAs | None, typer.Option(help="What columns such as Done become; text, unless given.")
    ] = None,
    pull_requests: Annotated[bool, typer.Option("--pull-requests", help="Also GitHub's pull requests.")] = False,
    max_errors: Annotated[int | None, typer.Option(min=0, help="Give up after so many rows that failed.")] = None,
    errors: Annotated[
        str | None, typer.Option(help="Where rows that failed go; - is the output; of several files a folder.")
    ] = None,
    import_id: Annotated[str | None, typer.Option("--id", help="Watch an import that was begun before.")] = None,
    undo_id: Annotated[
        str | None, typer.Option("--undo", help="Take an import back: what it made and nobody has changed since.")
    ] = None,
    server: ServerUrl = None,
    token: Token = None,
    username: Username = None,
    password_stdin: PasswordStdin = False,
) -> None:
    """Import tasks from files of Tenfold or of another program; or take an import back."""
    with told_plainly():
        if [bool(files), import_id is not None, undo_id is not None].count(True) != 1:
            raise Fault("name files to import, or - for standard input; or one import, with --id or --undo")
        _require_readable(files or [], password_stdin=password_stdin)
        from ops.client.files import require_folder, require_writable
        from ops.client.imports import Sending, follow, import_files, mapping_of, undo

        if errors is not None:
            (require_writable if len(files or []) < 2 else require_folder)(errors)
        given = {
            "format": format_,
            "on_conflict": on_conflict.value if on_conflict else None,
            "mapping": mapping_of(mapping) if mapping is not None else None,
            "time_zone": time_zone,
            "delimiter": delimiter,
            "encoding": encoding,
            "max_errors": None if max_errors is None else str(max_errors),
            "dry_run": "true" if dry_run else None,
            "pull_requests": "true" if pull_requests else None,
            "lists_as": lists_as.value if lists_as else None,
            "columns_as": columns_as.value if columns_as else None,
        }
        options = {name: value for name, value in given.items() if value is not None}

        async def work(server: "Server") -> int:
            if undo_id is not None:
                return await undo(server, undo_id)
            if import_id is not None:
                return await follow(server, import_id, errors=errors)
            return await import_files(server, files or [], Sending(options, watch, errors))

        raise typer.Exit(run_on_server(work, server, token, username, password_stdin))


def _require_readable(files: list[str], *, password_stdin: bool) -> None:
    """Looks for the files before a password is asked for.

    Raises:
        Fault: one of them is not there, or standard input is named twice.
    """
    if files.count("-") + password_stdin > 1:
        raise Fault("standard input cannot be both the file and the password, nor two files")
    for file in files:
        if file != "-" and not Path(file).exists():
            raise Fault(f"{file} cannot be read: {os.strerror(errno.ENOENT)}")


def export_tasks(
    output: Annotated[str, typer.Option("--output", "-o", help="Where to; - is standard output.")],
    format_: Annotated[str | None, typer.Option("--format", help="csv, ndjson, json or ics; else by the name.")] = None,
    priority: Annotated[str | None, typer.Option(help="One, or several with commas.")] = None,
    priority_min: Annotated[int | None, typer.Option()] = None,
    priority_max: Annotated[int | None, typer.Option()] = None,
    status: Annotated[str | None, typer.Option(help="One, or several with commas.")] = None,
    label: Annotated[str | None, typer.Option(help="One, or several with commas.")] = None,
    due_before: Annotated[str | None, typer.Option(help="Such as 2026-01-31T17:00:00+01:00.")] = None,
    due_after: Annotated[str | None, typer.Option()] = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only what is due in the past and still open.")] = False,
    q: Annotated[str | None, typer.Option("--search", "-q", help="Words in title or description.")] = None,
    sort: Annotated[str | None, typer.Option(help="Such as priority or -updated_at.")] = None,
    user_id: Annotated[int | None, typer.Option(help="One user's, for admins.")] = None,
    bom: Annotated[bool, typer.Option("--bom", help="Begin a CSV with the mark that spreadsheets want.")] = False,
    export_id: Annotated[str | None, typer.Option("--id", help="Fetch an export that was ordered before.")] = None,
    server: ServerUrl = None,
    token: Token = None,
    username: Username = None,
    password_stdin: PasswordStdin = False,
) -> None:
    """Export tasks to a file."""
    with told_plainly():
        from ops.client.exports import export, format_of, resume
        from ops.client.files import require_writable

        given: dict[str, Any] = {
            "priority": priority,
            "priority_min": priority_min,
            "priority_max": priority_max,
            "status": status,
            "label": label,
            "due_before": due_before,
            "due_after": due_after,
            "overdue": overdue or None,
            "q": q,
            "sort": sort,
            "user_id": user_id,
            "bom": bom or None,
        }
        filters = {name: value for name, value in given.items() if value is not None}
        export_format = "" if export_id is not None else format_of(output, format_)
        require_writable(output)

        async def work(server: "Server") -> int:
            if export_id is not None:
                return await resume(server, output, export_id)
            return await export(server, output, export_format, filters)

        raise typer.Exit(run_on_server(work, server, token, username, password_stdin))
