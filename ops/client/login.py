"""Which server a client command works on, and as whom: the address, a token, or a name and a password."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.dev.home import Home
from ops.environment import home_folder, merged_environment, nothing_runs
from ops.faults import Fault

if TYPE_CHECKING:
    from ops.client.server import Credentials, Server

ServerUrl = Annotated[
    str | None, typer.Option("--server", help="The server's address; else TENFOLD_URL, or a running `make run`.")
]
Token = Annotated[str | None, typer.Option(help="An access token; else TENFOLD_TOKEN.")]
Username = Annotated[str | None, typer.Option(help="Log in by this name instead; asks for the password.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input instead of asking.")
]


def run_on_server(
    work: "Callable[[Server], Awaitable[int]]",
    url: str | None,
    token: str | None,
    username: str | None,
    password_stdin: bool,
) -> int:
    """Does some work as whom the command line or the environment says; returns its exit status.

    Where they name no server, and `tenfold dev` runs from here, it is done there; where they name nobody either, as
    its demo user.

    Raises:
        ops.faults.Fault: no server or nobody is named, or the server refused.
    """
    from ops.client.bars import say
    from ops.client.server import Server

    environment = merged_environment(TENFOLD_URL=url, TENFOLD_TOKEN=token)
    home = Home(home_folder(environment))
    running = "" if "TENFOLD_URL" in environment else home.environment().get("TENFOLD_URL", "")
    if not running and "TENFOLD_URL" not in environment:
        raise Fault(nothing_runs(home, "a server with --server or TENFOLD_URL"))
    who = _credentials(environment, username, password_stdin, is_demo=bool(running))
    if running:
        named = f", as {who.username}" if who.username else ""
        typer.echo(f"tenfold: on the `tenfold dev` that runs from {home.shown}{named}", err=True)

    async def connected() -> int:
        async with Server(running or environment["TENFOLD_URL"], who, say=say) as server:
            return await work(server)

    return asyncio.run(connected())


def _credentials(
    environment: Mapping[str, str], username: str | None, password_stdin: bool, *, is_demo: bool
) -> "Credentials":
    from ops.client.server import Credentials

    token = environment.get("TENFOLD_TOKEN", "")
    if username is None and not token and is_demo:
        from ops.dev.demo import USERS

        demo = next(user for user in USERS if user.role == "user")
        return Credentials(username=demo.username, password=demo.password)
    if username is None and not token and not password_stdin and sys.stdin.isatty():
        username = typer.prompt("Username", err=True)
    if username is None:
        return Credentials(token=token)
    if not password_stdin:
        require_terminal("or a token with --token or TENFOLD_TOKEN")
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else _ask_password()
    return Credentials(username=username, password=password)


def require_terminal(*others: str) -> None:
    """Looks whether there is somebody to ask for a password.

    Args:
        others: ways to do without one.

    Raises:
        Fault: there is nobody.
    """
    with contextlib.suppress(OSError), Path("/dev/tty").open("rb"):  # which is there also where a file is piped in
        return
    if not sys.stdin.isatty():
        raise Fault(
            f"there is no terminal to ask for the password: {', '.join(('give it with --password-stdin', *others))}"
        )


def _ask_password() -> str:
    text: str = typer.prompt("Password", hide_input=True, err=True)
    return text
