"""What is refused in a batch, whatever a client sends; and its neighbours live."""

import uuid
from typing import Any

import asyncpg
import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.commands.kinds import KINDS
from tests.worker.commands import apply, batch, command, create, insert_task, update
from tests.worker.writes.harness import problem_of, titles
from worker.runner import Services

POISON: dict[str, dict[str, Any]] = {
    "a constraint": {"title": ""},
    "a length": {"title": "x" * 256},
    "a NUL": {"title": "a\x00b"},
    "a missing value": {"title": None},
    "a number too large for its column": {"title": "x", "priority": 99_999_999},
    "a word that is no status": {"title": "x", "status": "asleep"},
    "a time that is none": {"title": "x", "due_date": "no time"},
    "a number in the place of text": {"title": 5},
    "text in the place of a number": {"title": "x", "priority": "high"},
}


@pytest.mark.parametrize("poison", POISON)
async def test_a_poisonous_command_is_refused_and_its_neighbours_live(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int, poison: str
) -> None:
    task = await insert_task(owner, alice, title="before")
    outcomes = await apply(
        services,
        create(alice, "first"),
        command("task.create", alice, {"fields": POISON[poison]}),
        update(alice, task, {"title": "changed"}),
        update(alice, task, POISON[poison]) if poison != "a number in the place of text" else create(alice, ""),
        create(bob, "bob's"),
    )
    assert [outcome["status_code"] for outcome in outcomes] == [201, 422, 200, 422, 201]
    assert problem_of(outcomes[1]) == "validation-error"
    assert await titles(owner, alice) == ["changed", "first"]
    assert await titles(owner, bob) == ["bob's"]


@pytest.mark.parametrize("poison", POISON)
async def test_a_refusal_shows_nothing_of_the_database(services: Services, alice: int, poison: str) -> None:
    [outcome] = await apply(services, command("task.create", alice, {"fields": POISON[poison]}))
    assert not any(word in str(outcome["error"]).lower() for word in ("tasks_", "constraint", "violat", "sql"))


async def test_a_poisonous_operation_of_a_batch_spares_the_others(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    [outcome] = await apply(
        services,
        batch(alice, *({"op": "create", "fields": {"title": title}} for title in ("one", "", "two"))),
    )
    assert [result["status"] for result in outcome["result"]["results"]] == [201, 422, 201]
    assert await titles(owner, alice) == ["one", "two"]


async def test_a_command_of_a_deleted_user_is_refused_and_its_neighbours_live(
    services: Services, owner: asyncpg.Connection, alice: int, gone: int
) -> None:
    session = {"session_id": str(uuid.uuid4()), "role": "user", "expires_at": "2099-01-01T00:00:00+00:00"}
    outcomes = await apply(
        services,
        create(gone),
        command("user.update", gone, {"email": "a@example.com"}),
        command("session.open", gone, session),
        create(alice, "alive"),
    )
    assert [outcome["status_code"] for outcome in outcomes] == [401, 401, 401, 201]
    assert {problem_of(outcome) for outcome in outcomes[:3]} == {"invalid-token"}
    assert await titles(owner, alice) == ["alive"]


MALFORMED: dict[str, tuple[str, dict[str, Any]]] = {
    "a kind that nobody knows": ("task.explode", {}),
    "a kind of ours that is no command": ("refused", {}),
    "no fields": ("task.create", {}),
    "fields that are none": ("task.create", {"fields": [1]}),
    "no title": ("task.create", {"fields": {}}),
    "no id": ("task.update", {"fields": {}}),
    "an id that is a list": ("task.update", {"id": [1], "fields": {}}),
    "an id that is an object, of any owner": ("task.delete", {"id": {}, "any_owner": True}),
    "an id that is text, of any owner": ("task.delete", {"id": "1", "any_owner": True}),
    "an id beyond 64 bits": ("task.delete", {"id": 1 << 63, "any_owner": True}),
    "an id that is a truth": ("task.delete", {"id": True}),
    "no operations": ("task.batch", {}),
    "operations that are a number": ("task.batch", {"operations": 5}),
    "operations that are numbers": ("task.batch", {"operations": [5]}),
    "operations that are text": ("task.batch", {"operations": "error"}),
    "an operation without a name": ("task.batch", {"operations": [{"id": 1}]}),
    "an operation that nobody knows": ("task.batch", {"operations": [{"op": "explode"}]}),
    "an operation with no id": ("task.batch", {"operations": [{"op": "delete"}]}),
    "an error that is none": ("task.batch", {"operations": [{"error": "x"}]}),
    "no name": ("user.register", {}),
    "no session": ("session.rotate", {}),
    "nothing to revoke": ("session.revoke", {}),
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_what_cannot_be_carried_out_is_an_internal_error_and_its_neighbours_live(
    services: Services, owner: asyncpg.Connection, alice: int, what: str
) -> None:
    kind, payload = MALFORMED[what]
    first, malformed, last = await apply(
        services, create(alice, "first"), command(kind, alice, payload), create(alice, "last")
    )
    assert (malformed["status_code"], problem_of(malformed)) == (500, "internal-error")
    assert malformed["result"] is None
    assert [first["status_code"], last["status_code"]] == [201, 201]
    assert await titles(owner, alice) == ["first", "last"]
    assert await owner.fetchval("SELECT count(*) FROM jobs WHERE user_id = $1 AND state = 'failed'", alice) == 1


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
payloads = st.dictionaries(
    st.sampled_from(
        (
            "id",
            "fields",
            "if_versions",
            "any_owner",
            "operations",
            "op",
            "username",
            "session_id",
            "generation",
            "email",
        )
    ),
    json_values,
    max_size=5,
)


@hypothesis.settings(
    deadline=None, max_examples=80, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@given(kind=st.sampled_from(sorted(KINDS)), payload=payloads)
async def test_no_payload_whatsoever_stops_a_batch(
    services: Services, alice: int, kind: str, payload: dict[str, Any]
) -> None:
    strange, good = await apply(services, command(kind, alice, payload), create(alice))
    assert good["status_code"] == 201
    assert strange["status_code"] in {200, 201, 204, 207, 401, 403, 404, 409, 412, 422, 500}
