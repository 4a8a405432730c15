"""`tenfold migrate`: says what it does, and asks before it takes anything away."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from core.settings import Settings
from migrations.run import downgrade, pending, upgrade
from ops.faults import Fault


def go_up(settings: Settings, revision: str) -> None:
    """Applies what is missing up to `revision`."""
    with _told_plainly():
        before = pending(settings.database_url)
        upgrade(settings.database_url, revision)
        applied = len(before) - len(pending(settings.database_url))
    told = f"applied {applied} migration{'' if applied == 1 else 's'}"
    typer.echo(told if before else "the database is up to date")


def go_down(settings: Settings, revision: str, *, confirmed: bool) -> None:
    """Goes back to `revision`, which loses what later revisions had room for."""
    if revision == "head":
        raise Fault("say where to go back to: tenfold migrate --down REVISION (`base` removes everything)")
    if not confirmed:
        if not sys.stdin.isatty():
            raise Fault("going back can lose data: repeat it with --yes")
        typer.confirm(f"Going back to {revision} can lose data. Go on?", abort=True)
    with _told_plainly():
        downgrade(settings.database_url, revision)
    typer.echo(f"the database is at {revision}")


@contextmanager
def _told_plainly() -> Iterator[None]:
    try:
        yield
    except (CommandError, RevisionError) as error:
        raise Fault(f"{error}: is the code older than the database?") from None
    except DBAPIError as error:
        raise Fault(f"the database refused: {error.orig}; see `tenfold check`") from None
