"""`tenfold migrate`: says what it does, and asks before it takes anything away."""

import sys

import typer
from alembic.util import CommandError

from core.settings import Settings
from migrations.run import downgrade, pending, upgrade
from ops.faults import Fault


def go_up(settings: Settings, revision: str) -> None:
    """Applies what is missing up to `revision`."""
    try:
        before = pending(settings.database_url)
        if not before:
            typer.echo("the database is up to date")
            return
        upgrade(settings.database_url, revision)
        applied = len(before) - len(pending(settings.database_url))
    except CommandError as error:
        raise Fault(f"{error}: the code and the database do not belong together") from None
    typer.echo(f"applied {applied} migration{'' if applied == 1 else 's'}")


def go_down(settings: Settings, revision: str, *, confirmed: bool) -> None:
    """Goes back to `revision`, which loses what later revisions had room for."""
    if revision == "head":
        raise Fault("say where to go back to: tenfold migrate --down REVISION (`base` removes everything)")
    if not confirmed:
        if not sys.stdin.isatty():
            raise Fault("going back can lose data: repeat it with --yes")
        typer.confirm(f"Going back to {revision} can lose data. Go on?", abort=True)
    try:
        downgrade(settings.database_url, revision)
    except CommandError as error:
        raise Fault(str(error)) from None
    typer.echo(f"the database is at {revision}")
