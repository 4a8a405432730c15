"""Reads of channels: the caller's own, as finished JSON, without addresses and secrets."""

from dataclasses import dataclass

from core.database.read_pool import ReadPool
from core.database.reads import fetch_row, fetch_rows
from core.identity import ME, MY_ID

CHANNEL_JSON = """
    (SELECT row_to_json(channel)::text
     FROM   (SELECT c.id, c.name, c.kind, c.url_masked AS url, c.events, c.quiet_hours, c.state,
                    json_moment(c.failing_since)::json AS failing_since,
                    json_moment(c.created_at)::json AS created_at) AS channel)
"""
_COLUMNS = "id, name, kind, url_masked, events, quiet_hours, state, failing_since, created_at"

_ONE = f"""
SELECT {CHANNEL_JSON} AS channel, c.kind
FROM   {ME},
       LATERAL (SELECT {_COLUMNS} FROM channels
                WHERE  user_id = {MY_ID} AND id = $2 AND state <> 'deleted'
                LIMIT  1) AS c
"""  # noqa: S608

_LIST = f"""
SELECT c.id, {CHANNEL_JSON} AS channel
FROM   {ME},
       LATERAL (SELECT {_COLUMNS} FROM channels
                WHERE  user_id = {MY_ID} AND id > $2 AND state <> 'deleted'
                ORDER  BY id
                LIMIT  $3) AS c
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A channel as its owner sees it: finished JSON."""

    body: str
    kind: str


@dataclass(frozen=True, slots=True)
class ListedChannel:
    """A channel in a list, with its place in the order (oldest first)."""

    body: str
    id: int


async def read_channel(pool: ReadPool, user_id: int, channel_id: int) -> ChannelView | None:
    """The user's own channel; None where there is none.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _ONE, pool.identities.user(user_id), channel_id)
    return None if row is None else ChannelView(row["channel"], row["kind"])


async def list_channels(pool: ReadPool, user_id: int, *, after: int, limit: int) -> list[ListedChannel]:
    """The user's own channels behind the one with the id `after`, oldest first.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    rows = await fetch_rows(pool, _LIST, pool.identities.user(user_id), after, limit)
    return [ListedChannel(row["channel"], row["id"]) for row in rows]
