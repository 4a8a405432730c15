"""The wire form of commands and outcomes: what was sent is what is read, and garbage is told apart."""

import uuid
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.commands.effects import REJECTIONS, Effect, decode_outcomes, encode_outcomes
from core.commands.wire import Command, UnreadableEntry, decode_entry, encode_batch
from core.ids import MAXIMUM_ID, is_job_id, job_id_for_key, new_job_id
from core.jobs.outcomes import StoredOutcome, outcome_message, state_of

text = st.text(st.characters(blacklist_characters="\x00", blacklist_categories=("Cs",)), max_size=20)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), text),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)),
    max_leaves=8,
)
commands = st.builds(
    Command,
    id=st.uuids().map(str),
    kind=text,
    user_id=st.integers(0, MAXIMUM_ID),
    payload=st.dictionaries(text, values, max_size=4),
    created_at=st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat(timespec="microseconds")),
    request_id=st.none() | text,
    fingerprint=st.none() | text,
    token=st.integers(0, 1 << 60),
)


@settings(deadline=None, max_examples=100)
@given(st.lists(commands, max_size=5), st.text(st.characters(blacklist_categories=("Cs",)), max_size=30))
def test_a_batch_is_read_as_it_was_written(batch: list[Command], origin: str) -> None:
    body = encode_batch([command.encode() for command in batch])
    entry = decode_entry(b"1-0", {b"origin": origin.encode(), b"commands": body})
    assert (entry.id, entry.origin, entry.commands) == (b"1-0", origin, batch)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from((b"origin", b"commands", b"x")), st.binary(max_size=40), max_size=3))
def test_garbage_is_unreadable_and_nothing_else(fields: dict[bytes, bytes]) -> None:
    try:
        decode_entry(b"1-0", fields)
    except UnreadableEntry:
        return
    assert orjson.loads(fields[b"commands"]) in ([], {}), "of garbage only a list of nothing can be read"


@settings(deadline=None, max_examples=200)
@given(st.recursive(values, lambda inner: st.lists(inner, max_size=3), max_leaves=4))
def test_json_that_is_no_batch_is_unreadable(content: Any) -> None:
    if content in ([], {}, ""):
        return
    with pytest.raises(UnreadableEntry):
        decode_entry(b"1-0", {b"origin": b"x", b"commands": orjson.dumps(content)})


@settings(deadline=None, max_examples=100)
@given(commands, st.data())
def test_a_command_cut_off_anywhere_is_unreadable(command: Command, data: st.DataObject) -> None:
    body = encode_batch([command.encode()])
    length = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(UnreadableEntry):
        decode_entry(b"1-0", {b"origin": b"x", b"commands": body[:length]})


def test_an_outcome_is_heard_as_it_was_told() -> None:
    command = Command(new_job_id(), "task.create", 7, {}, "2026-01-31T12:00:00.000000+00:00", token=5)
    effect = Effect(201, '{"id": 9007199254740991, "title": "é\\u0001"}', task_id=9007199254740991, version=1)
    refused = Effect.rejected("version-conflict", "no", current_version=3)
    lane, [first, second] = decode_outcomes(
        encode_outcomes(3, [outcome_message(command, effect), outcome_message(command, refused, replayed=True)])
    )
    assert lane == 3
    assert (first.id, first.token, first.status_code) == (command.id, 5, 201)
    assert (first.result, first.error, first.replayed) == (effect.result, None, False)
    assert (first.task_id, first.version) == (9007199254740991, 1)
    assert (second.result, second.version, second.replayed) == (None, None, True)
    assert second.error is not None
    assert (second.error["type"], second.error["current_version"]) == ("/problems/version-conflict", 3)


@pytest.mark.parametrize("name", REJECTIONS)
def test_a_refusal_is_a_whole_problem_with_its_status(name: str) -> None:
    effect = Effect.rejected(name, "why", task_id=4)
    assert effect.error is not None
    assert set(effect.error) == {"type", "title", "status", "detail"}
    assert effect.error["type"] == f"/problems/{name}"
    assert effect.error["status"] == effect.status_code
    assert state_of(effect) == ("failed" if effect.status_code >= 500 else "rejected")


def test_a_second_delivery_is_no_replay_and_a_repeat_is_one() -> None:
    command = Command(new_job_id(), "x", 7, {}, "2026-01-31T12:00:00.000000+00:00", fingerprint="f")
    stored = StoredOutcome(201, "{}", None, None, "f", command.created_at)
    assert stored.answer_to(command)["replayed"] is False
    later = StoredOutcome(201, "{}", None, None, "f", "2026-01-31T11:59:59.000000+00:00")
    assert later.answer_to(command)["replayed"] is True
    other = StoredOutcome(201, "{}", None, None, "g", command.created_at)
    assert other.answer_to(command)["status_code"] == 422


@pytest.mark.parametrize(
    ("result", "task_id", "version"),
    [
        ('{"id": 4, "version": 3}', 4, 3),
        ('{"reminders": []}', 4, None),
        ('{"version": 3}', None, None),
        (None, 4, None),
    ],
)
def test_a_repeat_tells_the_version_where_the_result_is_a_task(
    result: str | None, task_id: int | None, version: int | None
) -> None:
    command = Command(new_job_id(), "x", 7, {}, "2026-01-31T12:00:00.000000+00:00")
    stored = StoredOutcome(200, result, None, task_id, None, command.created_at)
    assert (stored.answer_to(command)["result"], stored.answer_to(command)["version"]) == (result, version)


# -- ids


def test_job_ids_are_ordered_by_their_time_and_are_canonical_uuids() -> None:
    ids = [new_job_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
    assert all(str(uuid.UUID(job_id)) == job_id and is_job_id(job_id) for job_id in ids)


@settings(deadline=None)
@given(st.integers(0, MAXIMUM_ID), st.text(min_size=1, max_size=30), st.integers(0, MAXIMUM_ID), st.text(max_size=30))
def test_a_key_leads_to_one_job_for_each_user(user: int, key: str, other_user: int, other_key: str) -> None:
    assert job_id_for_key(user, key) == job_id_for_key(user, key)
    if (user, key) != (other_user, other_key):
        assert job_id_for_key(user, key) != job_id_for_key(other_user, other_key)


@pytest.mark.parametrize(
    "text", ["", "x", "5d0f7b5e9c7d4c0a8a350d8e4a1f6c10", "{5d0f7b5e-9c7d-4c0a-8a35-0d8e4a1f6c10}"]
)
def test_what_is_no_uuid_in_canonical_form_is_no_job_id(text: str) -> None:
    assert not is_job_id(text)
