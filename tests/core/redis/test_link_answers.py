"""What is sent over one connection is answered in order, to whoever asked."""

import asyncio
import os
import time

import redis
from redis.exceptions import ResponseError

from tests.core.redis.harness import also_gathering, linked, on_both_loops, outcome_of, own_id


@on_both_loops
async def test_the_commands_of_one_send_are_answered_in_their_order(url: str) -> None:
    async with linked(url) as link:
        replies = await link.send(("SET", "a", "x"), ("GET", "a"), ("INCR", "b"), ("INCR", "b"))
        assert replies == [b"OK", b"x", 1, 2]


@on_both_loops
async def test_nil_and_nothing_and_naught_are_replies(url: str) -> None:
    async with linked(url) as link:
        replies = await link.send(("GET", "no"), ("EXISTS", "no"), ("LRANGE", "no", 0, -1), ("ECHO", ""), ("PING",))
        assert replies == [None, 0, [], b"", b"PONG"]
        assert await link.send(("EXISTS", "no")) == [0]


@on_both_loops
async def test_texts_bytes_and_numbers_are_arguments(url: str) -> None:
    async with linked(url) as link:
        replies = await link.send(*(("ECHO", argument) for argument in ("ü", bytes(range(256)), -7, 1.5)))
        assert replies == ["ü".encode(), bytes(range(256)), b"-7", b"1.5"]


@on_both_loops
@also_gathering
async def test_an_error_reaches_its_own_question_alone(url: str, gathers: bool) -> None:
    async with linked(url, gathers=gathers) as link:
        before = await own_id(link)
        asked = [
            link.send(("SET", "text", "x")),
            link.send(("ECHO", "one"), ("INCR", "text"), ("NONSENSE",), ("ECHO", "two")),
            link.send(("GET", "text")),
        ]
        first, wrong, last = [await outcome_of(question) for question in asked]
        assert (first, last) == ([b"OK"], [b"x"])
        assert isinstance(wrong, ResponseError)
        assert "not an integer" in str(wrong), "the first error, and not the second"
        assert await own_id(link) == before


@on_both_loops
@also_gathering
async def test_many_sends_at_once_are_answered_in_their_order(url: str, gathers: bool) -> None:
    resolved: list[int] = []
    async with linked(url, gathers=gathers) as link:
        asked = []
        for number in range(1000):
            asked.append(link.send(("ECHO", number), ("ECHO", -number)))
            asked[-1].add_done_callback(lambda _, number=number: resolved.append(number))  # type: ignore[misc]
        replies = await asyncio.gather(*asked)
        assert replies == [[b"%d" % number, b"%d" % -number] for number in range(1000)]
        await asyncio.sleep(0)
        assert resolved == list(range(1000))


@on_both_loops
@also_gathering
async def test_what_is_sent_while_connecting_keeps_its_order(url: str, gathers: bool) -> None:
    async with linked(url, gathers=gathers) as link:
        asked = []
        for number in range(200):
            asked.append(link.send(("RPUSH", "list", number)))
            if number % 10 == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*asked)
        assert await link.send(("LRANGE", "list", 0, -1)) == [[b"%d" % number for number in range(200)]]


@on_both_loops
async def test_a_command_is_on_its_way_when_send_returns(url: str) -> None:
    async with linked(url) as link:
        await link.send(("PING",))
        asked = [link.send(("INCR", "sent")) for _ in range(3)]
        with redis.Redis.from_url(url) as meanwhile:  # the event loop has no turn
            deadline = time.monotonic() + 2
            while meanwhile.get("sent") != b"3":
                assert time.monotonic() < deadline
        assert await asyncio.gather(*asked) == [[1], [2], [3]]


@on_both_loops
async def test_where_it_gathers_nothing_leaves_before_the_end_of_the_turn(url: str) -> None:
    async with linked(url, gathers=True) as link:
        for _ in range(2):
            await link.send(("DEL", "sent"))
            asked = [link.send(("INCR", "sent")) for _ in range(3)]
            with redis.Redis.from_url(url) as meanwhile:  # the event loop has no turn
                assert [meanwhile.get("sent") for _ in range(200)] == [None] * 200
            assert await asyncio.gather(*asked) == [[1], [2], [3]]


@on_both_loops
async def test_what_was_gathered_when_the_connection_was_lost_goes_over_the_next(url: str) -> None:
    async with linked(url, gathers=True) as link:
        before = await own_id(link)
        with redis.Redis.from_url(url) as meanwhile:
            meanwhile.client_kill_filter(_id=str(before))
            asked = [link.send(("INCR", "sent")) for _ in range(3)]
        assert await asyncio.gather(*asked) == [[1], [2], [3]]
        assert await own_id(link) != before


@on_both_loops
@also_gathering
async def test_who_does_not_wait_any_more_takes_no_answer_from_others(url: str, gathers: bool) -> None:
    async with linked(url, gathers=gathers) as link:
        for is_open in (False, True):
            asked = [link.send(("ECHO", number)) for number in range(20)]
            for question in asked[::2]:
                question.cancel()
            replies = await asyncio.gather(*asked, return_exceptions=True)
            assert replies[1::2] == [[b"%d" % number] for number in range(1, 20, 2)], is_open
            assert all(isinstance(reply, asyncio.CancelledError) for reply in replies[::2])


@on_both_loops
@also_gathering
async def test_large_values_go_and_come_whole_and_hold_nothing_out_of_order(url: str, gathers: bool) -> None:
    value = os.urandom(1 << 20) * 8
    async with linked(url, gathers=gathers) as link:
        asked = [
            link.send(("SET", "large", value)),
            link.send(("ECHO", "between")),
            link.send(("GET", "large"), ("DEL", "large")),
            link.send(("ECHO", "after")),
        ]
        stored, between, [got, deleted], after = await asyncio.gather(*asked)
        assert (stored, between, deleted, after) == ([b"OK"], [b"between"], 1, [b"after"])
        assert got == value


@on_both_loops
async def test_everything_goes_over_one_connection_that_idleness_does_not_end(url: str) -> None:
    async with linked(url, timeout=0.05) as link:
        first = await own_id(link)
        await asyncio.sleep(0.2)
        assert set(await asyncio.gather(*(own_id(link) for _ in range(10)))) == {first}


@on_both_loops
async def test_an_empty_list_is_an_answer_also_where_messages_are_heard(url: str) -> None:
    async with linked(url, on_message=print) as link:
        assert await link.send(("LRANGE", "no such list", 0, -1)) == [[]]
