"""Reads of users.

Every sub-query that depends on the identity ends in a LIMIT: PostgreSQL may otherwise pull it up and scan the table
before the identity is set, and row-level security would then show nothing.
"""

from dataclasses import dataclass
from typing import Any

from core.database.pools import Connection
from core.database.read_pool import ReadPool
from core.database.reads import fetch_row
from core.identity import ME, MY_ID

_CREDENTIALS = "SELECT id, username, role, password_hash FROM credentials_of($1, $2)"

_PROFILE = f"""
SELECT row_to_json(u)::text AS profile
FROM   {ME},
       LATERAL (SELECT id, username, email, role, time_zone, reminder_offsets,
                       all_day_reminder_time, json_moment(created_at)::json AS created_at,
                       json_moment(updated_at)::json AS updated_at
                FROM   users WHERE id = {MY_ID} LIMIT 1) AS u
"""  # noqa: S608

_ROLE = f"""
SELECT u.role
FROM   {ME},
       LATERAL (SELECT role FROM users WHERE id = {MY_ID} LIMIT 1) AS u
"""  # noqa: S608

_OWN_HASH = "SELECT own_password_hash($1, $2) AS password_hash"

_LOGGED_IN_FROM = "SELECT logged_in_from($1, $2) AS is_known"

_ALL = "SELECT id, username, email, role, created_at FROM users ORDER BY id"
_NAMED = "SELECT id FROM users WHERE lower(username) = lower($1)"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a login is checked against."""

    user_id: int
    username: str
    role: str
    password_hash: str


async def credentials_of(pool: ReadPool, username: str) -> Credentials | None:
    """For a login; the name's case does not matter.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _CREDENTIALS, username, pool.identities.login(username))
    return None if row is None else Credentials(row["id"], row["username"], row["role"], row["password_hash"])


async def read_profile(pool: ReadPool, user_id: int) -> str | None:
    """The user's own profile as JSON; None for a user who does not exist (any more)."""
    row = await fetch_row(pool, _PROFILE, pool.identities.user(user_id))
    return None if row is None else row["profile"]


async def current_role(pool: ReadPool, user_id: int) -> str | None:
    """The role that the user has now; None for a user who does not exist (any more)."""
    row = await fetch_row(pool, _ROLE, pool.identities.user(user_id))
    return None if row is None else row["role"]


async def own_password_hash(pool: ReadPool, user_id: int) -> str | None:
    """For a change of password, to check the old one."""
    row = await fetch_row(pool, _OWN_HASH, user_id, pool.identities.own_login(user_id))
    return None if row is None else row["password_hash"]


async def logged_in_from(pool: ReadPool, username: str, place: str) -> bool:
    """Whether this name has logged in from a place within the last 30 days.

    Args:
        pool: to read from.
        username: its case does not matter.
        place: a keyed digest of name and address: whoever can run SQL cannot ask for one that he was not given.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _LOGGED_IN_FROM, username, place)
    return row is not None and row["is_known"]


async def all_users(connection: Connection) -> list[dict[str, Any]]:
    """For operators, every user: `id`, `username`, `email`, `role`, `created_at`."""
    return [dict(row) for row in await connection.fetch(_ALL)]


async def user_named(connection: Connection, username: str) -> int | None:
    """For operators, the id of a user, whose name's case does not matter; None where there is no such user."""
    user_id: int | None = await connection.fetchval(_NAMED, username)
    return user_id
