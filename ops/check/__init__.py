"""`tenfold check`: every setting and connection, one finding each, with what to do about it.

Nothing is changed (a small file is stored and deleted again), and no secret is shown.
"""

import asyncio
from collections.abc import Iterator, Mapping

from core.settings import Settings, SettingsError
from ops.check.database import check_database, check_migrations
from ops.check.findings import Finding, Verdict, fault, ok
from ops.check.local import check_key, check_ports, check_secrets
from ops.check.redis import check_cache, check_queue
from ops.check.storage import check_storage

__all__ = ["Finding", "Verdict", "check_everything"]


def check_everything(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yields findings as they are made, so that a slow connection is seen to be slow."""
    try:
        settings = Settings.from_env(environment)
    except SettingsError as error:
        for line in error.faults:
            what, _, remedy = line.partition(": ")
            yield fault("settings", what, remedy or "see .env.example")
        return
    yield ok("settings", f"complete, for {settings.tenfold_env}")
    yield check_key(settings)
    yield check_secrets(settings)
    yield from asyncio.run(check_database(settings))
    yield from check_migrations(settings)
    yield from check_queue(settings)
    yield from check_cache(settings)
    yield check_storage(settings)
    yield from check_ports(settings)
