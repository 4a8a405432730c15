"""Where the command line's settings come from: the environment, and beneath it a `.env` file."""

import difflib
import io
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import typer
from dotenv.parser import parse_stream

from core.settings import Settings, SettingsError, Tier
from ops.dev.home import Home

FILE = ".env"
DEFAULT_HOME = ".tenfold"
KNOWN = frozenset({*(field.name.upper() for field in fields(Settings)), "TENFOLD_URL", "TENFOLD_TOKEN"})
ALIKE = 0.9
"""How alike to a known name another must be (1: the same) to count as a typing error. Others may be other programs'."""


def merged_environment(**overrides: str | None) -> dict[str, str]:
    """`.env` of the current folder, over it the environment, over that what the command line names.

    An empty variable counts as unset, so it does not hide the file's. Values are taken as they stand:
    a password may contain `$`.

    Raises:
        core.settings.SettingsError: the file cannot be read, with one line per fault.
    """
    layers = (_from_file(Path(FILE)), os.environ, overrides)
    return {name: value for layer in layers for name, value in layer.items() if value}


def environment_here(**overrides: str | None) -> dict[str, str]:
    """`merged_environment`; where it names no servers and `tenfold dev` runs, those of that.

    Raises:
        core.settings.SettingsError: as `merged_environment`.
    """
    environment = merged_environment(**overrides)
    if environment.keys() & {"DATABASE_URL", "REDIS_URL"}:
        return environment
    home = Home(home_folder(environment))
    running = home.environment()
    if running:
        typer.echo(f"tenfold: on the servers of the `tenfold dev` that runs from {home.shown}", err=True)
    return {**running, **environment}


def home_folder(environment: Mapping[str, str]) -> Path:
    """TENFOLD_HOME, as given by `merged_environment`."""
    return Path(environment.get("TENFOLD_HOME", DEFAULT_HOME)).expanduser()


def nothing_runs(home: Home, instead: str) -> str:
    """What to say where a command is told of no server, and none runs here.

    Args:
        instead: what else can be named.
    """
    return f"no `make run` is running from {home.shown}: start it, set TENFOLD_HOME as it has, or name {instead}"


def load_settings(tier: Tier | None = None, **overrides: str | None) -> Settings:
    """
    Args:
        tier: whose process it is, if a tier's.

    Raises:
        core.settings.SettingsError: with one line per fault.
    """
    environment = environment_here(**overrides)
    # Who starts a tier by hand has it not from a `make run`: there each setting that is missing is told.
    if tier is None and not environment.keys() & {
        "DATABASE_URL",
        "API_DATABASE_URL",
        "WORKER_DATABASE_URL",
        "REDIS_URL",
    }:
        home = Home(home_folder(environment))
        raise SettingsError([nothing_runs(home, "other servers with DATABASE_URL and REDIS_URL")])
    return Settings.from_env(environment, tier=tier)


def _from_file(file: Path) -> dict[str, str | None]:
    try:
        # utf-8-sig: some editors begin a file with a byte order mark, which would become part of a name.
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise SettingsError([f"{file} is no text in UTF-8: save it as that"]) from None
    except OSError as error:
        raise SettingsError([f"{file} cannot be read: {error.strerror}"]) from None
    found: dict[str, str | None] = {}
    faults = []
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            faults.append(f"{file} cannot be understood in line {binding.original.line}: write NAME=value")
        elif binding.key is not None:
            found[binding.key] = binding.value
    faults += [
        f"{name} in {file} is no setting: {meant} may be meant"
        for name in sorted(found.keys() - KNOWN)
        for meant in difflib.get_close_matches(name, KNOWN, n=1, cutoff=ALIKE)
    ]
    if faults:
        raise SettingsError(faults)
    return found
