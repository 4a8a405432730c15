"""Writes of channels. Addresses and secrets arrive sealed: neither the queue nor a job's row ever holds them."""

import base64
from collections.abc import Sequence
from typing import Any

import orjson

from core.channels.queries import CHANNEL_JSON
from core.channels.schemas import TEST_EVENT
from core.commands.effects import Effect
from core.commands.kinds import CreateChannel, DeleteChannel, Operation, RotateSecret, TestChannel, UpdateChannel
from core.database.pools import Connection, Pool
from core.database.transactions import delete_in_chunks

DELETED_AT_ONCE = 1000

_CREATE = f"""
WITH c AS (
    INSERT INTO channels (user_id, kind, url_encrypted, url_masked, secrets_encrypted, events, quiet_hours, name)
    VALUES ($1, $2, $3, $4, $5, $6::text[], $7::json, $8)
    RETURNING *
)
SELECT {CHANNEL_JSON} AS channel FROM c
"""  # noqa: S608

# A new address has not failed yet, nor has one that is switched on again.
_UPDATE = f"""
WITH c AS (
    UPDATE channels
    SET    url_encrypted = coalesce($3, url_encrypted),
           url_masked    = coalesce($4, url_masked),
           events        = coalesce($5::text[], events),
           quiet_hours   = CASE WHEN $6 THEN $7::json ELSE quiet_hours END,
           state         = coalesce($8, state),
           name          = CASE WHEN $9 THEN $10 ELSE name END,
           failing_since = CASE WHEN $3 IS NULL AND $8 IS DISTINCT FROM 'active' THEN failing_since END,
           held_until    = CASE WHEN $3 IS NULL AND $8 IS DISTINCT FROM 'active' THEN held_until END
    WHERE  id = $2 AND user_id = $1 AND state <> 'deleted'
    RETURNING *
)
SELECT {CHANNEL_JSON} AS channel FROM c
"""  # noqa: S608

# The two newest are kept: both sign for a day.
_ROTATE = f"""
WITH c AS (
    UPDATE channels
    SET    secrets_encrypted = ARRAY[$3::bytea] || secrets_encrypted[1:1]
    WHERE  id = $2 AND user_id = $1 AND state <> 'deleted' AND secrets_encrypted IS NOT NULL
    RETURNING *
)
SELECT {CHANNEL_JSON} AS channel FROM c
"""  # noqa: S608

# There may be millions of deliveries. The command deletes a few, since others wait in its lane.
_DELETE = """
UPDATE channels SET state = 'deleted' WHERE id = $2 AND user_id = $1 AND state <> 'deleted' RETURNING id
"""

_DELETE_DELIVERIES = """
DELETE FROM deliveries WHERE id = ANY (ARRAY(SELECT id FROM deliveries WHERE channel_id = $1 LIMIT $2))
"""

_DELETE_EMPTY = "DELETE FROM channels WHERE id = $1 AND NOT EXISTS (SELECT FROM deliveries WHERE channel_id = $1)"

_DELETED = "SELECT id FROM channels WHERE state = 'deleted' LIMIT 1000"

_TEST = """
WITH event AS (
    INSERT INTO events (user_id, type, data)
    SELECT c.user_id, $3, concat('{"channel":', row_to_json(told), '}')::json
    FROM   channels AS c, LATERAL (SELECT c.id, c.kind) AS told
    WHERE  c.id = $2 AND c.user_id = $1 AND c.state = 'active'
    RETURNING id, user_id, type
), d AS (
    INSERT INTO deliveries (event_id, channel_id, user_id)
    SELECT event.id, $2, event.user_id FROM event
    RETURNING *
)
SELECT (SELECT row_to_json(delivery)::text
        FROM   (SELECT d.id, d.channel_id, (SELECT name FROM channels WHERE id = $2) AS channel_name,
                       event.type AS event, d.state, d.attempts,
                       json_moment(d.next_attempt_at)::json AS next_attempt_at, d.last_error,
                       json_moment(d.created_at)::json AS created_at) AS delivery)
FROM   d, event
"""

_STATE = "SELECT state FROM channels WHERE id = $2 AND user_id = $1 AND state <> 'deleted'"


async def create_channels(connection: Connection, creations: Sequence[Operation[CreateChannel]]) -> list[Effect]:
    """Makes channels; `connection` is in a transaction."""
    effects = []
    for creation in creations:
        wanted = creation.payload
        channel = await connection.fetchval(
            _CREATE,
            creation.user_id,
            wanted["kind"],
            base64.b64decode(wanted["url"]),
            wanted["masked"],
            None if wanted["secret"] is None else [base64.b64decode(wanted["secret"])],
            wanted["events"],
            _json(wanted["quiet_hours"]),
            wanted.get("name"),
        )
        effects.append(Effect(201, channel))
    return effects


async def update_channels(connection: Connection, updates: Sequence[Operation[UpdateChannel]]) -> list[Effect]:
    """Changes channels."""
    effects = []
    for operation in updates:
        update = operation.payload
        channel = await connection.fetchval(
            _UPDATE,
            operation.user_id,
            update["id"],
            base64.b64decode(update["url"]) if "url" in update else None,
            update.get("masked"),
            update.get("events"),
            "quiet_hours" in update,
            _json(update.get("quiet_hours")),
            update.get("state"),
            "name" in update,
            update.get("name"),
        )
        effects.append(Effect(200, channel) if channel is not None else _no_such_channel())
    return effects


async def rotate_secrets(connection: Connection, rotations: Sequence[Operation[RotateSecret]]) -> list[Effect]:
    """Gives webhooks new secrets."""
    effects = []
    for rotation in rotations:
        secret = base64.b64decode(rotation.payload["secret"])
        channel = await connection.fetchval(_ROTATE, rotation.user_id, rotation.payload["id"], secret)
        effects.append(Effect(200, channel) if channel is not None else _no_such_channel())
    return effects


async def delete_channels(connection: Connection, deletions: Sequence[Operation[DeleteChannel]]) -> list[Effect]:
    """Deletes channels.

    A channel with many deliveries is hidden at once, and `purge_deleted_channels` removes the rest.
    """
    effects = []
    for deletion in deletions:
        deleted = await connection.fetchval(_DELETE, deletion.user_id, deletion.payload["id"])
        if deleted is not None:
            await connection.execute(_DELETE_DELIVERIES, deleted, DELETED_AT_ONCE)
            await connection.execute(_DELETE_EMPTY, deleted)
        effects.append(Effect(204) if deleted is not None else _no_such_channel())
    return effects


async def try_channels(connection: Connection, tests: Sequence[Operation[TestChannel]]) -> list[Effect]:
    """Lets channels say something. The result is the delivery."""
    effects = []
    for test in tests:
        delivery = await connection.fetchval(_TEST, test.user_id, test.payload["id"], TEST_EVENT)
        if delivery is not None:
            effects.append(Effect(201, delivery))
        elif await connection.fetchval(_STATE, test.user_id, test.payload["id"]) is not None:
            effects.append(channel_is_disabled())
        else:
            effects.append(_no_such_channel())
    return effects


async def purge_deleted_channels(pool: Pool, *, chunk: int = 5000) -> int:
    """Removes what is left of deleted channels, `chunk` deliveries a transaction; returns how many deliveries."""
    removed = 0
    for channel in await pool.fetch(_DELETED):
        removed += await delete_in_chunks(pool, _DELETE_DELIVERIES, channel["id"], chunk=chunk)
        await pool.execute(_DELETE_EMPTY, channel["id"])
    return removed


def channel_is_disabled() -> Effect:
    """The refusal for a disabled channel."""
    return Effect.rejected("channel-disabled", 'The channel is disabled: switch it on first, with {"state": "active"}.')


def _no_such_channel() -> Effect:
    return Effect.rejected("not-found", "There is no such channel.")


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
