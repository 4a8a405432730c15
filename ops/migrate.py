"""`tenfold migrate`: says what it does, asks before it removes anything, and prints what others must do."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import typer
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from core.settings import Settings
from migrations.access import Access, give_access_now, logins_of, missing_roles
from migrations.run import connected_tiers, downgrade, pending, require_version, revisions, upgrade
from ops.faults import Fault

LEFT_TO_DO = 3
"""The exit status where somebody else must make roles before the service can run."""


def go_up(settings: Settings, revision: str, *, forget_keys: bool = False, show_sql: bool = False) -> int:
    """Applies what is missing up to `revision`, and gives both tiers what they need to get in.

    Args:
        show_sql: what only a superuser can do is printed in full in any case, and not just when something is new.

    Returns:
        The exit status: 0, or `LEFT_TO_DO`.
    """
    with _told_plainly():
        require_version(settings.owner_url)
        if wanted := asyncio.run(missing_roles(settings)):
            _hand_over(
                "the database's owner may not make or grant these roles, which belong to the whole server (another "
                "installation on it may have made some): nothing was done. Somebody who may, should do",
                wanted,
            )
            return LEFT_TO_DO
        before = pending(settings.owner_url)
        upgrade(settings.owner_url, revision)
        left = pending(settings.owner_url)
        applied = len(before) - len(left)
        told = f"applied {applied} migration{'' if applied == 1 else 's'}"
        typer.echo(told if before else "the database is up to date")
        if left:  # somewhere on the way
            return 0
        access = give_access_now(settings, forget_keys=forget_keys)
        return _tell(access, in_full=show_sql or applied > 0 or access.made_logins)


def _tell(access: Access, *, in_full: bool) -> int:
    for line in (*access.done, *access.known):
        typer.echo(line)
    if access.advised and not in_full:
        typer.echo("something is left that only a superuser can do: `tenfold migrate --show-sql` prints it")
    elif access.advised:
        _hand_over("what only a superuser can do, and should, once, in this database", access.advised)
    if access.wanted:
        _hand_over(
            "the database's owner may not make or change these logins. Somebody who may, should do", access.wanted
        )
        return LEFT_TO_DO
    return 0


def _hand_over(what: str, statements: list[str]) -> None:
    typer.echo(f"\n-- {what}:\n")
    for statement in statements:
        typer.echo(statement)
    typer.echo()


def go_down(settings: Settings, revision: str, *, confirmed: bool, forced: bool = False) -> None:
    """Goes back to `revision`, which loses what later revisions had room for.

    Args:
        confirmed: nobody is asked.
        forced: also while tiers are connected.
    """
    if revision == "head":
        raise Fault("say where to go back to: tenfold migrate --down REVISION (`base` removes everything)")
    with _told_plainly():
        connected = [
            f"{application or 'a pooler'} ({login}, {count} connection{'' if count == 1 else 's'})"
            for application, login, count in connected_tiers(
                settings.owner_url, [login.name for login in logins_of(settings)]
            )
        ]
    told = f"connected to the database: {', '.join(connected)}"
    if connected and not forced:
        raise Fault(f"{told}. Stop them first; or repeat it with --force, which says what will happen to them")
    if connected:
        typer.echo(
            f"{told}. Until it is migrated up again, the API will answer 503, and what was accepted waits; "
            "work that is under way may fail, and begins anew then"
        )
    if not confirmed:
        if not sys.stdin.isatty():
            raise Fault("going back can lose data: repeat it with --yes")
        typer.confirm(f"Going back to {revision} can lose data. Go on?", abort=True)
    with _told_plainly():
        downgrade(settings.owner_url, revision)
    typer.echo(f"the database is at {revision}")


def show_revisions(settings: Settings) -> None:
    """Prints every revision, oldest first, whether it is applied, and what it adds."""
    with _told_plainly():
        found = revisions(settings.owner_url)
    for revision, what, is_applied in found:
        typer.echo(f"{revision}  {'applied' if is_applied else 'to come':<7}  {what}")


@contextmanager
def _told_plainly() -> Iterator[None]:
    try:
        yield
    except (CommandError, RevisionError) as error:
        raise Fault(f"{error}: is the code older than the database?") from None
    except (DBAPIError, asyncpg.PostgresError) as error:
        refusal = error.orig if isinstance(error, DBAPIError) else error
        raise Fault(f"the database refused: {refusal}; see `tenfold check`") from None
    except ValueError as error:
        raise Fault(str(error)) from None
