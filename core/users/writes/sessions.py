"""Writes of sessions, and of where users logged in from."""

from collections.abc import Sequence

from core.commands.effects import Effect
from core.commands.kinds import OpenSession, Operation, RevokeSession, RotateSession
from core.database.pools import Connection, Pool
from core.database.transactions import delete_in_chunks
from core.users.writes.accounts import no_such_user

_SESSION = """
    (SELECT row_to_json(session)::text
     FROM   (SELECT sessions.id AS session_id, generation, json_moment(refreshed_at)::json AS issued_at,
                    json_moment(expires_at)::json AS expires_at, users.role) AS session)
"""

# The role is read now, since the login may have waited in its lane. Where the user logged in from is kept beside the
# session, for `logged_in_from`.
_OPEN_SESSION = f"""
WITH opened AS (
    INSERT INTO sessions (id, user_id, expires_at)
    SELECT $1::uuid, id, $3::text::timestamptz
    FROM   users
    WHERE  id = $2
    RETURNING *
), remembered AS (
    INSERT INTO login_places (user_id, place)
    SELECT user_id, $4::text
    FROM   opened
    WHERE  $4::text IS NOT NULL
    ON CONFLICT (user_id, place) DO UPDATE SET last_login_at = now()
)
SELECT {_SESSION}
FROM   opened AS sessions JOIN users ON users.id = sessions.user_id
"""  # noqa: S608

# Only the newest generation may be exchanged; the next one takes its place.
_ROTATE = f"""
UPDATE sessions
SET    generation = generation + 1, refreshed_at = now(), expires_at = $4::text::timestamptz
FROM   users
WHERE  sessions.id = $1::uuid AND sessions.user_id = $2 AND users.id = sessions.user_id
AND    generation = $3 AND revoked_at IS NULL AND expires_at > now()
RETURNING {_SESSION}
"""  # noqa: S608

# The generation before the newest, shortly after its exchange: tokens follow from the row, so the same row gives the
# same tokens again. Once the newest was exchanged, the one before it gets nothing: its holder has had the answer.
_AGAIN = f"""
SELECT {_SESSION}
FROM   sessions JOIN users ON users.id = sessions.user_id
WHERE  sessions.id = $1::uuid AND sessions.user_id = $2
AND    generation = $3::bigint + 1 AND revoked_at IS NULL AND expires_at > now()
AND    refreshed_at > now() - make_interval(secs => $4)
"""  # noqa: S608

_REVOKE = "UPDATE sessions SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1::uuid AND user_id = $2"


async def open_sessions(connection: Connection, logins: Sequence[Operation[OpenSession]]) -> list[Effect]:
    """Starts refresh-token families."""
    effects = []
    for login in logins:
        wanted = login.payload
        session = await connection.fetchval(
            _OPEN_SESSION, wanted["session_id"], login.user_id, wanted["expires_at"], wanted.get("place")
        )
        effects.append(Effect(200, session) if session is not None else no_such_user())
    return effects


async def rotate_sessions(connection: Connection, refreshes: Sequence[Operation[RotateSession]]) -> list[Effect]:
    """Exchanges refresh tokens.

    One that was just exchanged gets the same again: two tabs hold it, or its answer was lost. Any other token that was
    exchanged before is in two hands: its whole family is revoked (RFC 9700, 4.14.2).
    """
    effects = []
    for refresh in refreshes:
        wanted = refresh.payload
        token = (wanted["session_id"], refresh.user_id, wanted["generation"])
        session = await connection.fetchval(_ROTATE, *token, wanted["expires_at"])
        if session is None:
            session = await connection.fetchval(_AGAIN, *token, wanted.get("grace_seconds", 0))
        if session is None:
            await connection.execute(_REVOKE, wanted["session_id"], refresh.user_id)
            effects.append(
                Effect.rejected(
                    "invalid-token",
                    "The refresh token was used before, revoked, or has expired: log in again.",
                )
            )
        else:
            effects.append(Effect(200, session))
    return effects


async def revoke_sessions(connection: Connection, logouts: Sequence[Operation[RevokeSession]]) -> list[Effect]:
    """Ends refresh-token families. Ending one twice is no fault."""
    for logout in logouts:
        await connection.execute(_REVOKE, logout.payload["session_id"], logout.user_id)
    return [Effect(204) for _ in logouts]


_PURGE_SESSIONS = """
DELETE FROM sessions
WHERE  id = ANY (ARRAY(SELECT id FROM sessions WHERE expires_at < now() - make_interval(days => $1) LIMIT $2))
"""

# A family is kept for a day after its end, so that a late reuse of its tokens can be told from a made-up token.
_SESSION_AFTERLIFE_DAYS = 1


async def purge_sessions(pool: Pool, *, chunk: int = 5000) -> int:
    """Deletes expired sessions, `chunk` rows a transaction; returns how many."""
    return await delete_in_chunks(pool, _PURGE_SESSIONS, _SESSION_AFTERLIFE_DAYS, chunk=chunk)


_PURGE_LOGIN_PLACES = """
DELETE FROM login_places
WHERE  (user_id, place) IN (SELECT user_id, place FROM login_places
                            WHERE last_login_at < now() - interval '30 days' LIMIT $1)
"""


async def purge_login_places(pool: Pool, *, chunk: int = 5000) -> int:
    """Forgets where users logged in from more than 30 days ago, `chunk` rows a transaction; returns how many."""
    return await delete_in_chunks(pool, _PURGE_LOGIN_PLACES, chunk=chunk)
