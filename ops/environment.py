"""Where the command line's settings come from: the environment, and beneath it a `.env` file."""

import os
from pathlib import Path

from dotenv import dotenv_values

from core.settings import Settings

FILE = ".env"


def merged_environment(**overrides: str | None) -> dict[str, str]:
    """`.env` of the current folder, over it the environment, over that what the command line names.

    An empty variable counts as unset, so it does not hide the file's. Values are taken as they stand:
    a password may contain `$`.
    """
    # utf-8-sig: some editors begin a file with a byte order mark, which would become part of a name.
    from_file = dotenv_values(Path(FILE), interpolate=False, encoding="utf-8-sig")
    layers = (from_file, os.environ, overrides)
    return {name: value for layer in layers for name, value in layer.items() if value}


def load_settings(**overrides: str | None) -> Settings:
    """
    Raises:
        core.settings.SettingsError: with one line per fault.
    """
    return Settings.from_env(merged_environment(**overrides))
