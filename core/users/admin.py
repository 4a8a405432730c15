"""Users by the command line: an operator's changes, applied at once with the workers' rights."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
from marshmallow import ValidationError

from core.cache import CacheInvalidator
from core.database.pools import Connection, worker_pool
from core.redis.clients import cache_client, queue_client
from core.settings import Settings
from core.users.passwords import hash_password
from core.users.queries import all_users, user_named
from core.users.schemas import ProfileUpdate, Register
from core.users.writes.accounts import give_role, register_user, update_user


class UserFault(Exception):
    """What the operator asked for cannot be done; the message says why."""


@contextlib.asynccontextmanager
async def _connection(settings: Settings) -> AsyncIterator[Connection]:
    pool = await worker_pool(settings, size=1)
    try:
        async with pool.acquire() as connection, connection.transaction():
            yield connection
    finally:
        await pool.close()


async def create_user(
    settings: Settings, username: str, email: str, password: str, role: str = "user"
) -> dict[str, Any]:
    """Makes a user and returns the profile.

    Raises:
        UserFault: the name is taken, or a value is not valid.
    """
    try:
        wanted = Register().load({"username": username, "email": email, "password": password})
    except ValidationError as error:
        raise UserFault(_in_words(error)) from None
    async with _connection(settings) as connection:
        effect = await register_user(
            connection,
            {
                "username": username,
                "email": wanted["email"],
                "password_hash": hash_password(password),
                "role": role,
            },
        )
    if effect.error is not None:
        raise UserFault(effect.error["detail"])
    profile: dict[str, Any] = orjson.loads(effect.result or "{}")
    return profile


async def list_users(settings: Settings) -> list[dict[str, Any]]:
    """Every user: `id`, `username`, `email`, `role`, `created_at`."""
    async with _connection(settings) as connection:
        return await all_users(connection)


async def promote(settings: Settings, username: str, role: str = "admin") -> None:
    """Gives a user a role. What an admin may do ends at once with it; a new admin waits for half a minute at the most.

    Raises:
        UserFault: there is no such user.
    """
    async with _connection(settings) as connection:
        user_id = await give_role(connection, username, role)
    if user_id is None:
        raise UserFault(f"There is no user {username}.")
    await _forget(settings, user_id)


async def set_password(settings: Settings, username: str, password: str) -> None:
    """Gives a user a new password and ends all of their sessions.

    Raises:
        UserFault: there is no such user, or the password is too short or too long.
    """
    try:
        ProfileUpdate(only=("password",)).fields["password"].deserialize(password)
    except ValidationError as error:
        raise UserFault(f"password: {' '.join(map(str, error.messages))}") from None
    async with _connection(settings) as connection:
        user_id = await user_named(connection, username)
        if user_id is None:
            raise UserFault(f"There is no user {username}.")
        await update_user(connection, user_id, {"password_hash": hash_password(password)})


async def _forget(settings: Settings, user_id: int) -> None:
    """Drops the user's cached pages. Where that fails, they live for CACHE_TTL_SECONDS at the most."""
    cache, queue = cache_client(settings.redis_url), queue_client(settings.queue_redis_url)
    try:
        await CacheInvalidator(cache, queue).forget_users([user_id])
    finally:
        await cache.aclose(close_connection_pool=True)
        await queue.aclose(close_connection_pool=True)


def _in_words(error: ValidationError) -> str:
    assert isinstance(error.messages, dict)
    return "; ".join(f"{field}: {' '.join(messages)}" for field, messages in error.messages.items())
