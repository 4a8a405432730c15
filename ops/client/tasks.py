"""`tenfold tasks`: one's own tasks on a terminal; what the commands do is imported when they run."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.client.login import PasswordStdin, ServerUrl, Token, Username, run_on_server
from ops.faults import told_plainly

if TYPE_CHECKING:
    from ops.client.server import Server

commands = typer.Typer(help="Add, list, show and complete tasks on any server.", no_args_is_help=True)

TaskId = Annotated[int, typer.Argument(min=1, help="As `tenfold tasks list` shows it.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="As the server answers it, for programs.")]
Due = Annotated[str | None, typer.Option(help="today, tomorrow, 2030-01-31, or '2030-01-31 17:00' of this machine.")]


@commands.command()
def add(
    title: Annotated[str, typer.Argument(show_default=False)],
    due: Due = None,
    priority: Annotated[int | None, typer.Option("--priority", "-p", min=1, max=10, help="1 is the highest.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", "-l", help="Several times for several.")] = None,
    description: Annotated[str | None, typer.Option("--description", "-d")] = None,
    as_json: AsJson = False,
    server: ServerUrl = None,
    token: Token = None,
    username: Username = None,
    password_stdin: PasswordStdin = False,
) -> None:
    """Add a task."""
    with told_plainly():
        from ops.client import listing
        from ops.client.dates import due_of

        given: dict[str, Any] = {
            "title": title,
            "description": description,
            "priority": priority,
            "labels": label or None,
            "due_date": None if due is None else due_of(due),
        }
        fields = {name: value for name, value in given.items() if value is not None}

        async def work(server: "Server") -> int:
            return await listing.add(server, fields, as_json=as_json)

        raise typer.Exit(run_on_server(work, server, token, username, password_stdin))


@commands.command("list")
def list_tasks(
    all_: Annotated[bool, typer.Option("--all", "-a", help="Also what is completed or cancelled.")] = False,
    status: Annotated[str | None, typer.Option(help="One, or several with commas; instead of what is open.")] = None,
    priority: Annotated[str | None, typer.Option("--priority", "-p", help="One, or several with commas.")] = None,
    label: Annotated[str | None, typer.Option("--label", "-l", help="One, or several with commas.")] = None,
    due_before: Annotated[str | None, typer.Option(help="As --due of `add`.")] = None,
    due_after: Annotated[str | None, typer.Option(help="As --due of `add`.")] = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only what is due in the past and still open.")] = False,
    search: Annotated[str | None, typer.Option("--search", "-q", help="Words in title or description.")] = None,
    sort: Annotated[str, typer.Option(help="Such as priority, due_date or -updated_at.")] = "priority",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at the most.")] = 50,
    as_json: AsJson = False,
    server: ServerUrl = None,
    token: Token = None,
    username: Username = None,
    password_stdin: PasswordStdin = False,
) -> None:
    """List open tasks, the most urgent first."""
    with told_plainly():
        from ops.client import listing
        from ops.client.dates import due_of

        given: dict[str, Any] = {
            "status": status or (None if all_ or overdue else listing.OPEN),
            "priority": priority,
            "label": label,
            "due_before": None if due_before is None else due_of(due_before),
            "due_after": None if due_after is None else due_of(due_after),
            "overdue": "true" if overdue else None,
            "q": search,
            "sort": sort,
        }
        filters = {name: value for name, value in given.items() if value is not None}

        async def work(server: "Server") -> int:
            return await listing.show_list(server, filters, limit, as_json=as_json)

        raise typer.Exit(run_on_server(work, server, token, username, password_stdin))


@commands.command()
def done(
    task_ids: Annotated[list[int], typer.Argument(min=1, metavar="ID...", show_default=False)],
    as_json: AsJson = False,
    server: ServerUrl = None,
    token: Token = None,
    username: Username = None,
    password_stdin: PasswordStdin = False,
) -> None:
    """Complete tasks."""
    with told_plainly():
        from ops.client import listing

        async def work(server: "Server") -> int:
            return await listing.complete(server, task_ids, as_json=as_json)

        raise typer.Exit(run_on_server(work, server, token, username, password_stdin))


@commands.command()
def show(
    task_id: TaskId,
    as_json: AsJson = False,
    server: ServerUrl = None,
    token: Token = None,
    username: Username = None,
    password_stdin: PasswordStdin = False,
) -> None:
    """Show all of a task."""
    with told_plainly():
        from ops.client import listing

        async def work(server: "Server") -> int:
            return await listing.show_task(server, task_id, as_json=as_json)

        raise typer.Exit(run_on_server(work, server, token, username, password_stdin))
