"""PostgreSQL: is it there and current, and has each tier the rights that it needs and no more?"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

import asyncpg
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from cryptography.exceptions import UnsupportedAlgorithm
from sqlalchemy.exc import DBAPIError

from core.database.pools import api_pool, worker_pool
from core.database.read_pool import ReadPool
from core.database.rights import Standing, identity_fault, read_standing
from core.encryption import KEY_BYTES, SecretBox
from core.errors import DatabaseUnavailable, SchemaUnready
from core.identity import Identities
from core.server_urls import place
from core.settings import Settings, SettingsError, Tier
from migrations.access import quoted
from migrations.run import OLDEST_POSTGRESQL, pending
from ops.check.findings import CONNECT_SECONDS, Finding, Verdict, fault, note, ok, told

LARGEST_SKEW_SECONDS = 5.0
UNREACHABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, DBAPIError, ValueError)


async def check_database(settings: Settings) -> list[Finding]:
    if not settings.database_url:
        told_so = note("database", "DATABASE_URL is not set", "with it, more is checked; `tenfold migrate` needs it")
        return [told_so, *await _tiers(settings)]
    try:
        connection = await _connect(settings.database_url)
    except asyncpg.InvalidCatalogNameError as error:
        return [
            fault(
                "database",
                f"{place(settings.database_url)}: {told(error)}",
                f"as somebody who may make databases: {_making(settings.database_url)}",
            )
        ]
    except UNREACHABLE as error:
        return [
            fault(
                "database",
                f"{place(settings.database_url)}: {told(error)}",
                "is PostgreSQL running, and are address, user and password in DATABASE_URL right?",
            )
        ]
    try:
        findings = [
            await _server(settings, connection),
            await _clock(connection),
            await _zones(connection),
            *await _sealed(settings, connection),
            *await _keys(connection),
        ]
    finally:
        await connection.close()
    return [*findings, *await _tiers(settings)]


async def _tiers(settings: Settings) -> list[Finding]:
    """Of those that the settings are for: where the owner is not named, each tier may have settings of its own."""
    urls: dict[Tier, str | None] = {"API": settings.api_database_url, "WORKER": settings.worker_database_url}
    return [
        found for tier, url in urls.items() if url or settings.database_url for found in await _tier(settings, tier)
    ]


async def _connect(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(
        url,
        timeout=CONNECT_SECONDS,
        command_timeout=CONNECT_SECONDS,
        server_settings={"application_name": "tenfold check", "timezone": "UTC"},
    )


def _making(url: str) -> str:
    """SQL for the database of a URL, whose owner is there already."""
    parts = urlsplit(url)
    statement = f"CREATE DATABASE {quoted(unquote(parts.path.removeprefix('/')))}"
    return f"{statement} OWNER {quoted(unquote(parts.username))};" if parts.username else f"{statement};"


async def _server(settings: Settings, connection: asyncpg.Connection) -> Finding:
    version = connection.get_server_version()
    # asyncpg tells the minor version as the third number.
    shown = f"PostgreSQL {version.major}.{version.micro} at {place(settings.database_url)}"
    if version.major < OLDEST_POSTGRESQL:
        return fault("database", shown, f"use PostgreSQL {OLDEST_POSTGRESQL} or later")
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        return fault("database", f"{shown} holds text as {encoding}", "make the database with ENCODING 'UTF8'")
    if await connection.fetchval("SHOW fsync") == "off":
        return note(
            "database",
            f"{shown} runs with fsync=off",
            "set fsync = on: a crash of the machine loses data as it is",
        )
    return ok("database", shown)


async def _clock(connection: asyncpg.Connection) -> Finding:
    there = await connection.fetchval("SELECT clock_timestamp()")
    skew = abs((datetime.now(UTC) - there).total_seconds())
    if skew > LARGEST_SKEW_SECONDS:
        return fault("clock", f"{skew:.0f} s apart from the database's", "set both machines' clocks by NTP")
    return ok("clock", "agrees with the database's")


async def _zones(connection: asyncpg.Connection) -> Finding:
    known = await connection.fetchval("SELECT count(*) FROM pg_timezone_names WHERE name IN ('UTC', 'Europe/Berlin')")
    if known < 2:
        return fault(
            "time zones",
            "PostgreSQL does not know them",
            "install the time zone data (tzdata) beside PostgreSQL",
        )
    return ok("time zones", "known")


async def _sealed(settings: Settings, connection: asyncpg.Connection) -> list[Finding]:
    """Whether what channels hold can still be read; nothing where there are none."""
    if await connection.fetchval("SELECT to_regclass('channels')") is None:
        return []
    rows = await connection.fetch(
        "SELECT substr(url_encrypted, 1, $1) AS head, count(*) FROM channels WHERE state <> 'deleted' GROUP BY head",
        KEY_BYTES,
    )
    box = SecretBox.of(settings)
    channels = sum(row["count"] for row in rows)
    unreadable = sum(row["count"] for row in rows if not box.knows_key_of(row["head"]))
    if unreadable:
        return [
            fault(
                "channels",
                f"{unreadable} of {channels} cannot be used: SECRETS_KEY does not hold their key",
                "add the key that they were made with to SECRETS_KEY, after a comma",
            )
        ]
    return [ok("channels", f"{channels}, all of which can be used")] if channels else []


async def _tier(settings: Settings, tier: Tier) -> list[Finding]:
    """Whether a tier can connect as what it should be, and is no more than that."""
    subject = f"{tier.lower()} login"
    try:
        pool = await (api_pool(settings) if tier == "API" else worker_pool(settings))
    except SettingsError as error:
        what, _, remedy = error.faults[0].partition(": ")
        return [fault(subject, what, remedy)]
    try:
        standing = await read_standing(pool, tier)
        findings = list(_standing(settings, subject, tier, standing))
        # A login that is at fault is refused before anybody asks for identities.
        if tier == "API" and standing.has_tables and not any(found.verdict is Verdict.FAULT for found in findings):
            with suppress(ValueError, TypeError, UnsupportedAlgorithm):  # the key's own finding says it
                findings.append(await _identity(ReadPool(pool, Identities.of(settings))))
        return findings
    except SchemaUnready as error:  # the role does not exist yet
        return [fault(subject, told(error.__cause__ or error), "run: tenfold migrate")]
    except DatabaseUnavailable as error:
        cause = error.__cause__ or error
        return [
            fault(subject, f"cannot get in: {told(cause)}", f"correct {tier}_DATABASE_URL, or run: tenfold migrate")
        ]
    finally:
        pool.terminate()


def _standing(settings: Settings, subject: str, tier: Tier, standing: Standing) -> Iterator[Finding]:
    if not standing.has_tables:
        yield fault(subject, "there are no tables yet", "run: tenfold migrate")
        return
    if standing.faults:
        what, _, remedy = standing.faults[0].partition(": ")
        # In development this is no fault, but worth a note.
        yield (note if settings.in_development and standing.works else fault)(subject, what, remedy)
    elif standing.gaps:
        yield note(
            subject,
            f"{standing.login} {', '.join(standing.gaps)}",
            "run `tenfold migrate --show-sql`: what its owner cannot take away, it prints as SQL for a superuser",
        )
    else:
        yield ok(subject, f"{standing.login}, {'which reads only' if tier == 'API' else 'which writes'}")


async def _identity(pool: ReadPool) -> Finding:
    try:
        refusal = await identity_fault(pool)
    except SchemaUnready:
        return fault("identity", "the database does not verify identities yet", "run: tenfold migrate")
    if refusal is not None:
        what, _, remedy = refusal.partition(": ")
        return fault("identity", what, remedy)
    return ok("identity", "the database accepts what the API signs")


async def _keys(connection: asyncpg.Connection) -> list[Finding]:
    """Whether earlier keys are still good."""
    if await connection.fetchval("SELECT to_regclass('identity_keys')") is None:
        return []
    count = await connection.fetchval("SELECT count(*) FROM identity_keys")
    if count <= 1:
        return []
    return [
        note(
            "identity keys",
            f"{count} are accepted, of which one is in use",
            "when all API processes run with the newest: tenfold migrate --forget-keys",
        )
    ]


def check_migrations(settings: Settings) -> Iterator[Finding]:
    if not settings.database_url:
        return
    try:
        missing = pending(settings.database_url)
    except (CommandError, RevisionError) as error:
        yield fault("migrations", str(error), "the database is ahead of this code: update the code")
    except UNREACHABLE:
        return  # the database's own finding has said it
    else:
        if missing:
            yield fault("migrations", f"{len(missing)} to apply: {', '.join(missing)}", "run: tenfold migrate")
        else:
            yield ok("migrations", "up to date")
