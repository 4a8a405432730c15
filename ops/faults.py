"""Expected faults as a line or two that say what to do. A traceback is for faults of ours."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from core.errors import TenfoldError
from core.settings import SettingsError

FAILED = 1
MISCONFIGURED = 2
INTERRUPTED = 130


class Fault(Exception):
    """A command cannot do its work; the message is for whoever typed it."""


@contextmanager
def told_plainly(*expected: type[Exception]) -> Iterator[None]:
    """Turns expected faults, those of `expected` among them, into lines on standard error and an exit status."""
    try:
        yield
    except SettingsError as error:
        for fault in error.faults:
            complain(fault)
        raise typer.Exit(MISCONFIGURED) from None
    except BrokenPipeError:
        # `tenfold users list | head`: who read us has had enough. At exit nothing can be written either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        line = in_a_line(error, expected)
        if line is None:
            raise
        complain(line)
        raise typer.Exit(FAILED) from None


def in_a_line(error: Exception, expected: tuple[type[Exception], ...] = ()) -> str | None:
    """What to tell of an expected error; None for an unexpected one."""
    # Imported here: the drivers take longer to import than `tenfold --help` should take.
    from asyncpg import InterfaceError, PostgresError
    from redis.exceptions import RedisError

    if isinstance(error, (Fault, TenfoldError, *expected)):
        return str(error)
    if isinstance(error, PostgresError | InterfaceError):
        return f"the database refused: {error}; see `tenfold check`"
    if isinstance(error, RedisError):
        return f"a Redis server refused: {error}; see `tenfold check`"
    if isinstance(error, OSError):
        return f"{str(error) or type(error).__name__}; see `tenfold check`"
    return None


def complain(line: str) -> None:
    typer.secho(f"tenfold: {line}", err=True, fg=typer.colors.RED)
