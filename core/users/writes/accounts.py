"""Writes of users; passwords arrive here as hashes only."""

from collections.abc import Sequence

from core.commands.effects import Effect
from core.commands.kinds import Operation, RegisterUser, UpdateUser
from core.database.locks import Lock, number_of, statement
from core.database.pools import Connection

USER_JSON = """
    (SELECT row_to_json(u)::text
     FROM   (SELECT users.id, users.username, users.email, users.role, users.time_zone, users.reminder_offsets,
                    users.all_day_reminder_time, json_moment(users.created_at)::json AS created_at,
                    json_moment(users.updated_at)::json AS updated_at) AS u)
"""

_REGISTER = f"""
INSERT INTO users (username, email, password_hash, role)
VALUES ($1, $2, $3, $4)
ON CONFLICT (lower(username)) DO NOTHING
RETURNING {USER_JSON} AS profile
"""  # noqa: S608

_UPDATE = f"""
UPDATE users
SET    email                = coalesce($2, email),
       time_zone            = coalesce($3, time_zone),
       password_hash        = coalesce($4, password_hash),
       reminder_offsets     = coalesce($5::text[], reminder_offsets),
       all_day_reminder_time = coalesce($6, all_day_reminder_time),
       reminders_planned_to = CASE WHEN (time_zone, reminder_offsets, all_day_reminder_time)
                                        IS DISTINCT FROM (coalesce($3, time_zone), coalesce($5, reminder_offsets),
                                                          coalesce($6, all_day_reminder_time))
                                   THEN 0 ELSE reminders_planned_to END,
       days_moved_to        = CASE WHEN time_zone <> $3 THEN 0 ELSE days_moved_to END,
       updated_at           = CASE WHEN (email, time_zone, reminder_offsets, all_day_reminder_time)
                                        IS DISTINCT FROM (coalesce($2, email), coalesce($3, time_zone),
                                                          coalesce($5, reminder_offsets),
                                                          coalesce($6, all_day_reminder_time))
                                        OR $4 IS NOT NULL
                                   THEN now() ELSE updated_at END
WHERE  id = $1
RETURNING {USER_JSON} AS profile
"""  # noqa: S608

_GIVE_ROLE = "UPDATE users SET role = $2, updated_at = now() WHERE lower(username) = lower($1) RETURNING id"

_REVOKE_ALL = "UPDATE sessions SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL"


async def register_users(connection: Connection, registrations: Sequence[Operation[RegisterUser]]) -> list[Effect]:
    """Makes users."""
    return [await register_user(connection, registration.payload) for registration in registrations]


async def register_user(connection: Connection, wanted: RegisterUser) -> Effect:
    """Makes a user, with the role `user` unless another is wanted."""
    profile = await connection.fetchval(
        _REGISTER, wanted["username"], wanted["email"], wanted["password_hash"], wanted.get("role", "user")
    )
    if profile is None:
        return Effect.rejected("username-taken", f"There is a user {wanted['username']} already: choose another name.")
    return Effect(201, profile)


async def update_users(connection: Connection, updates: Sequence[Operation[UpdateUser]]) -> list[Effect]:
    """Changes profiles. A new password revokes every session of the user."""
    return [await update_user(connection, update.user_id, update.payload) for update in updates]


async def update_user(connection: Connection, user_id: int, update: UpdateUser) -> Effect:
    """Changes a profile. A new password revokes every session of the user."""
    profile = await connection.fetchval(
        _UPDATE,
        user_id,
        update.get("email"),
        update.get("time_zone"),
        update.get("password_hash"),
        update.get("reminder_offsets"),
        update.get("all_day_reminder_time"),
    )
    if update.get("time_zone"):
        # Who is writing the end of a day by the old zone is waited for, so that all such days are there to be moved.
        await connection.execute(statement(Lock.time_zones, number_of(user_id)))
    if profile is not None and update.get("password_hash"):
        await connection.execute(_REVOKE_ALL, user_id)
    return Effect(200, profile) if profile is not None else no_such_user()


async def give_role(connection: Connection, username: str, role: str) -> int | None:
    """Gives a user a role; returns the user's id, None where there is no such user."""
    user_id: int | None = await connection.fetchval(_GIVE_ROLE, username, role)
    return user_id


def no_such_user() -> Effect:
    """The refusal of what an account asks for that was removed meanwhile."""
    return Effect.rejected("invalid-token", "The user does not exist any more.")
