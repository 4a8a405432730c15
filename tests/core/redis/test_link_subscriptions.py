"""Messages that a server sends unasked come in order, until the connection ends."""

import asyncio

from tests.core.redis.harness import client_of, cut, linked, on_both_loops, own_id
from tests.harness import eventually


@on_both_loops
async def test_messages_come_in_order_while_pings_are_answered(url: str) -> None:
    heard: list[bytes] = []
    async with linked(url, on_message=heard.append, repeats=False) as link, client_of(url) as other:
        assert await link.send(("SUBSCRIBE", "channel")) == [[b"subscribe", b"channel", 1]]
        published = [other.publish("channel", f"{number}") for number in range(300)]
        pings = [link.send(("PING",)) for _ in range(20)]
        for number, publishing in enumerate(published):
            await publishing
            if number % 30 == 0:
                pings.append(link.send(("PING",)))
        assert await asyncio.gather(*pings) == [[[b"pong", b""]]] * 30

        async def has_heard_all() -> bool:
            return len(heard) >= 300

        await eventually(has_heard_all)
        assert heard == [b"%d" % number for number in range(300)]


@on_both_loops
async def test_a_subscription_ends_with_its_connection(url: str) -> None:
    heard: list[bytes] = []
    async with linked(url, on_message=heard.append, repeats=False) as link, client_of(url) as other:
        connection_id = await own_id(link)
        await link.send(("SUBSCRIBE", "channel"))
        await cut(other, connection_id)
        await link.wait_until_lost()
        assert await link.send(("PING",)) == [b"PONG"], "as of a connection without a subscription"
        assert await other.publish("channel", "nobody hears") == 0
