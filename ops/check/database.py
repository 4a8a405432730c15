"""PostgreSQL: is it there, current, and can each tier be what it should be and no more?"""

from collections.abc import Iterator
from datetime import UTC, datetime

import asyncpg
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from core.database import API_ROLE, WORKER_ROLE
from core.encryption import KEY_BYTES, SecretBox
from core.settings import Settings
from migrations.run import pending
from ops.check.findings import CONNECT_SECONDS, Finding, fault, note, ok, place, told

OLDEST_POSTGRESQL = 17  # transaction_timeout
LARGEST_SKEW_SECONDS = 5.0
WRITTEN_TABLES = ("users", "sessions", "tasks", "jobs")
UNREACHABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, DBAPIError, ValueError)


async def check_database(settings: Settings) -> list[Finding]:
    try:
        connection = await _connect(settings.database_url)
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
        ]
    finally:
        await connection.close()
    for tier, role, url in (
        ("API", API_ROLE, settings.api_database_url),
        ("WORKER", WORKER_ROLE, settings.worker_database_url),
    ):
        findings.append(await _tier(settings, tier, role, url))
    return findings


async def _connect(url: str, role: str | None = None) -> asyncpg.Connection:
    server_settings = {"application_name": "tenfold check", "timezone": "UTC"}
    if role is not None:
        server_settings["role"] = role
    return await asyncpg.connect(
        url, timeout=CONNECT_SECONDS, command_timeout=CONNECT_SECONDS, server_settings=server_settings
    )


async def _server(settings: Settings, connection: asyncpg.Connection) -> Finding:
    version = connection.get_server_version()
    # asyncpg tells the number behind the point as the third.
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


async def _tier(settings: Settings, tier: str, role: str, url: str | None) -> Finding:
    """Whether a tier can connect as what it should be, and is no more than that."""
    subject = f"{tier.lower()} role"
    how = f"in {tier}_DATABASE_URL" if url else f"assumed as {role}"
    try:
        connection = await _connect(url or settings.database_url, None if url else role)
    except UNREACHABLE as error:
        remedy = "run: tenfold migrate" if not url else f"correct {tier}_DATABASE_URL"
        return fault(subject, f"cannot be {how}: {told(error)}", remedy)
    try:
        who = await connection.fetchval("SELECT current_user")
        too_mighty = await connection.fetchval(
            "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
        )
        if too_mighty:
            return fault(
                subject,
                f"{who} passes by row-level security",
                f"use a login that is a member of {role} and nothing else",
            )
        writes = await connection.fetchval(
            """
            SELECT bool_or(has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE'))
            FROM   pg_class c
            WHERE  c.oid IN (SELECT to_regclass(name) FROM unnest($1::text[]) AS name)
            """,
            list(WRITTEN_TABLES),
        )
    finally:
        await connection.close()
    if writes is None:
        return fault(subject, "there are no tables yet", "run: tenfold migrate")
    if tier == "API" and writes:
        return fault(subject, f"{who} may write", f"grant it {API_ROLE} and nothing else: the API only reads")
    if tier == "WORKER" and not writes:
        return fault(subject, f"{who} may not write", f"grant it {WORKER_ROLE}")
    return ok(subject, f"{who}, {'which reads only' if tier == 'API' else 'which writes'}")


def check_migrations(settings: Settings) -> Iterator[Finding]:
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
