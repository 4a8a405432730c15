"""What goes wrong, told in a line or two that say what to do; a traceback is for faults of ours."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import typer
from redis.exceptions import RedisError

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
    told: tuple[type[Exception], ...] = (Fault, TenfoldError, *expected)
    try:
        yield
    except SettingsError as error:
        for fault in error.faults:
            complain(fault)
        raise typer.Exit(MISCONFIGURED) from None
    except told as error:
        complain(str(error))
        raise typer.Exit(FAILED) from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        complain(f"the database refused: {error}; see `tenfold check`")
        raise typer.Exit(FAILED) from None
    except RedisError as error:
        complain(f"a Redis server refused: {error}; see `tenfold check`")
        raise typer.Exit(FAILED) from None
    except BrokenPipeError:
        # `tenfold users list | head`: who read us has had enough. At exit nothing can be written either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None
    except (OSError, TimeoutError) as error:
        complain(f"{str(error) or type(error).__name__}; see `tenfold check`")
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def complain(line: str) -> None:
    typer.secho(f"tenfold: {line}", err=True, fg=typer.colors.RED)
