"""One batch: its waves, what is refused in it and what lives beside that, repeats, and whom it concerns."""

import asyncio
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.commands import ANONYMOUS, REJECTIONS
from core.database.pools import worker_pool
from core.jobs.queries import stored_outcomes
from core.jobs.tables import STATES
from core.lanes.writes import LaneLease, LaneLost, claim_lane, lane_transaction
from core.tasks.folding import AnswerBudget
from tests.worker.commands import (
    LANE,
    TAKEN_LATER,
    apply,
    as_heard,
    batch,
    command,
    create,
    delete,
    insert_task,
    new_user,
    update,
)
from worker.runner import Services
from worker.writes.applying import apply_batch
from worker.writes.operations import COMMAND_KINDS, HANDLERS, Operation, cut_into_waves, plan


@pytest.fixture
async def gone(owner: asyncpg.Connection) -> int:
    """A user who was deleted."""
    user_id = await new_user(owner)
    await owner.execute("DELETE FROM users WHERE id = $1", user_id)
    return user_id


async def titles(owner: asyncpg.Connection, user_id: int) -> list[str]:
    return [row[0] for row in await owner.fetch("SELECT title FROM tasks WHERE user_id = $1 ORDER BY title", user_id)]


def problem_of(outcome: dict[str, Any]) -> str:
    name: str = outcome["error"]["type"].rpartition("/")[2]
    return name


# -- waves

BUDGETS = (AnswerBudget(), AnswerBudget())  # of two batches

operations = st.lists(
    st.one_of(
        st.builds(lambda n: Operation("task.create", {"number": n}), st.integers()),
        st.builds(
            lambda k, i, b: Operation(k, {"id": i}, budget=b),
            st.sampled_from(("task.update", "task.update", "task.delete", "task.reminders")),
            st.integers(1, 4),
            st.sampled_from((None, None, *BUDGETS)),
        ),
        st.builds(lambda n: Operation("user.register", {"username": n}), st.sampled_from(("ada", "ADA", "bo"))),
        st.builds(
            lambda k, u: Operation(k, {"user_id": u}),
            st.sampled_from(("user.update", "session.open", "session.rotate", "session.revoke")),
            st.integers(1, 3),
        ),
    ),
    max_size=40,
)


@hypothesis.settings(deadline=None, max_examples=200)
@given(operations)
def test_waves_hold_every_operation_once_and_each_subject_in_its_order(sequence: list[Operation]) -> None:
    waves = cut_into_waves(sequence)
    assert Counter(id(operation) for wave in waves for operation in wave) == Counter(map(id, sequence))
    assert all(waves)
    for subject in {operation.subject for operation in sequence} - {None}:
        in_waves = [operation for wave in waves for operation in wave if operation.subject == subject]
        assert list(map(id, in_waves)) == [id(operation) for operation in sequence if operation.subject == subject]


@hypothesis.settings(deadline=None, max_examples=200)
@given(operations)
def test_a_wave_has_a_subject_once_or_changes_of_one_task_that_share_a_budget(sequence: list[Operation]) -> None:
    for wave in cut_into_waves(sequence):
        for subject in {operation.subject for operation in wave} - {None}:
            same = [operation for operation in wave if operation.subject == subject]
            assert len(same) == 1 or {operation.kind for operation in same} <= {"task.update", "task.delete"}
            assert len({id(operation.budget) for operation in same}) == 1


@hypothesis.settings(deadline=None, max_examples=200)
@given(operations)
def test_there_are_no_more_waves_than_the_busiest_subject_needs(sequence: list[Operation]) -> None:
    runs: dict[Any, list[Any]] = defaultdict(list)  # what can be in one wave, of each subject
    for operation in sequence:
        run = (operation.kind in {"task.update", "task.delete"}, id(operation.budget))
        if operation.subject is not None and not (run[0] and runs[operation.subject][-1:] == [run]):
            runs[operation.subject].append(run)
    longest = max(map(len, runs.values()), default=1 if sequence else 0)
    assert len(cut_into_waves(sequence)) == longest


def test_a_thousand_changes_of_one_task_in_one_batch_are_one_wave() -> None:
    changes = [{"op": op, "id": 1, "fields": {}} for op in ("update", "delete") * 500]
    assert len(cut_into_waves(plan(command("task.batch", 7, {"operations": changes})).operations)) == 1


def test_new_tasks_all_go_into_the_first_wave() -> None:
    assert len(cut_into_waves([Operation("task.create", {}) for _ in range(1000)])) == 1


def test_names_that_differ_in_case_alone_are_one_subject() -> None:
    pair = [Operation("user.register", {"username": name}) for name in ("Ada", "aDA")]
    assert len(cut_into_waves(pair)) == 2


def test_a_plan_never_lets_a_payload_name_another_user() -> None:
    single = plan(command("task.update", 7, {"id": 1, "fields": {}, "user_id": 8}))
    many = plan(command("task.batch", 7, {"operations": [{"op": "delete", "id": 1, "user_id": 8, "any_owner": True}]}))
    for work in (single, many):
        assert work.operations[0].arguments["user_id"] == 7
    assert many.operations[0].arguments["any_owner"] is False


def test_an_operation_that_the_api_refused_has_its_effect_already() -> None:
    error = {"type": "/problems/validation-error", "status": 422}
    [operation] = plan(batch(7, {"error": error})).operations
    assert operation.effect is not None
    assert operation.effect.error == error


# -- what one command comes to


async def test_create_update_and_delete_of_one_task_in_one_batch_keep_their_order(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice, title="old")
    outcomes = await apply(
        services,
        update(alice, task, {"title": "new"}),
        update(alice, task, {"priority": 1}, if_versions=[2]),
        delete(alice, task, if_versions=[3]),
        update(alice, task, {"title": "too late"}),
    )
    assert [outcome["status_code"] for outcome in outcomes] == [200, 200, 204, 404]
    assert outcomes[1]["result"]["title"] == "new"
    assert outcomes[1]["result"]["version"] == 3
    assert await titles(owner, alice) == []


async def test_a_version_that_is_not_the_tasks_is_a_conflict_that_tells_it(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice, title="old", version=3)
    [changed, deleted] = await apply(
        services, update(alice, task, {"title": "new"}, if_versions=[1, 2]), delete(alice, task, if_versions=[4])
    )
    for outcome in (changed, deleted):
        assert (outcome["status_code"], problem_of(outcome)) == (412, "version-conflict")
        assert outcome["error"]["current_version"] == 3
    assert await titles(owner, alice) == ["old"]


async def test_no_field_is_touched_that_was_not_sent_and_a_null_clears(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice, title="t", description="d", priority=2)
    [first, second] = await apply(
        services, update(alice, task, {"priority": 9}), update(alice, task, {"description": None})
    )
    assert (first["result"]["title"], first["result"]["description"], first["result"]["priority"]) == ("t", "d", 9)
    assert (second["result"]["description"], second["result"]["priority"]) == (None, 9)


async def test_each_new_task_of_a_batch_has_its_own_labels_however_many(services: Services, alice: int) -> None:
    labels: list[list[str]] = [
        [],
        ["one"],
        ["one", "two"],
        [str(n) for n in range(20)],
        ['"', "\\", "{}", "NULL", "次回"],
    ]
    made = await apply(services, *(create(alice, labels=some) for some in labels), create(alice))
    assert [one["result"]["labels"] for one in made] == [*labels, []]
    one_by_one = [{"op": "create", "fields": {"title": "x", "labels": some}} for some in labels]
    [many] = await apply(services, batch(alice, *one_by_one))
    assert [one["task"]["labels"] for one in many["result"]["results"]] == labels


async def test_an_update_replaces_all_labels_or_leaves_them(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice, labels=["old", "older"])
    kept, replaced, emptied = await apply(
        services,
        update(alice, task, {"title": "x"}),
        update(alice, task, {"labels": ["b", "a", '"', "次回"]}),
        update(alice, task, {"labels": []}),
    )
    assert kept["result"]["labels"] == ["old", "older"]
    assert replaced["result"]["labels"] == ["b", "a", '"', "次回"]
    assert emptied["result"]["labels"] == []
    assert emptied["result"]["version"] == 4


async def test_an_update_that_names_nothing_changes_nothing_not_even_the_version(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice)
    before = await owner.fetchrow("SELECT * FROM tasks WHERE id = $1", task)
    [outcome] = await apply(services, update(alice, task, {}))
    assert (outcome["status_code"], outcome["result"]["version"]) == (200, 1)
    assert await owner.fetchrow("SELECT * FROM tasks WHERE id = $1", task) == before


async def test_completed_at_follows_the_status(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    [made] = await apply(services, create(alice, status="completed"))
    task, completed_at = made["result"]["id"], made["result"]["completed_at"]
    assert completed_at is not None
    again, renamed, opened = await apply(
        services,
        update(alice, task, {"status": "completed"}),
        update(alice, task, {"title": "x"}),
        update(alice, task, {"status": "pending"}),
    )
    assert again["result"]["completed_at"] == renamed["result"]["completed_at"] == completed_at
    assert opened["result"]["completed_at"] is None


async def test_a_foreign_task_is_answered_as_one_that_does_not_exist(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    task = await insert_task(owner, bob, title="bob's")
    foreign, missing = await apply(services, update(alice, task, {"title": "x"}), update(alice, 1, {"title": "x"}))
    assert foreign["error"] == missing["error"]
    [deleted] = await apply(services, delete(alice, task, if_versions=[1]))
    assert deleted["error"] == missing["error"]
    assert await titles(owner, bob) == ["bob's"]


async def test_an_admin_changes_and_deletes_any_task_and_creates_only_own(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    first, second = await insert_task(owner, bob), await insert_task(owner, bob)
    admin = await new_user(owner, role="admin")
    changed, deleted, missing = await apply(
        services,
        update(admin, first, {"title": "by the admin"}, any_owner=True),
        delete(admin, second, any_owner=True),
        delete(admin, second, any_owner=True),
    )
    assert (changed["status_code"], changed["result"]["user_id"]) == (200, bob)
    assert (deleted["status_code"], missing["status_code"]) == (204, 404)
    made = command("task.batch", admin, {"operations": [{"op": "create", "fields": {"title": "x"}}], "any_owner": True})
    [outcome] = await apply(services, made)
    assert outcome["result"]["results"][0]["task"]["user_id"] == admin


async def test_a_batch_answers_each_operation_in_its_place(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice)
    error = {"type": "/problems/validation-error", "title": "x", "status": 422, "detail": "x"}
    [outcome] = await apply(
        services,
        batch(
            alice,
            {"op": "delete", "id": task},
            {"error": error},
            {"op": "create", "fields": {"title": "new"}},
            {"op": "update", "id": task, "fields": {"title": "too late"}},
        ),
    )
    assert outcome["status_code"] == 207
    results = outcome["result"]["results"]
    assert [result["status"] for result in results] == [204, 422, 201, 404]
    assert results[0] == {"status": 204}
    assert results[1] == {"status": 422, "error": error}
    assert results[2]["task"]["title"] == "new"


async def test_created_tasks_are_answered_in_the_order_of_their_commands(services: Services, alice: int) -> None:
    outcomes = await apply(services, *(create(alice, f"title {number}") for number in range(300)))
    assert [outcome["result"]["title"] for outcome in outcomes] == [f"title {number}" for number in range(300)]
    assert len({outcome["result"]["id"] for outcome in outcomes}) == 300


# -- what is refused, and what lives beside it

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
@given(kind=st.sampled_from(sorted(COMMAND_KINDS)), payload=payloads)
async def test_no_payload_whatsoever_stops_a_batch(
    services: Services, alice: int, kind: str, payload: dict[str, Any]
) -> None:
    strange, good = await apply(services, command(kind, alice, payload), create(alice))
    assert good["status_code"] == 201
    assert strange["status_code"] in {200, 201, 204, 207, 401, 403, 404, 409, 412, 422, 500}


# -- repeats


async def test_a_command_delivered_twice_in_one_batch_has_one_effect_and_one_outcome(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    once = create(alice, "once")
    first, second = await apply(services, once, command(once.kind, alice, once.payload, id=once.id, token=2))
    assert first["result"] == second["result"]
    assert (first["replayed"], second["replayed"]) == (False, False)
    assert (first["token"], second["token"]) == (0, 2)
    assert await titles(owner, alice) == ["once"]


async def test_a_repeat_behind_other_commands_does_not_move_the_first(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice)
    deletion = delete(alice, task)
    again = command(deletion.kind, alice, deletion.payload, id=deletion.id)
    outcomes = await apply(services, deletion, update(alice, task, {"title": "late"}), again)
    assert [outcome["status_code"] for outcome in outcomes] == [204, 404, 204]


async def test_a_clients_repeat_gets_the_first_outcome_and_is_told_so(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    first = create(alice, "first", fingerprint="f")
    repeat = command(first.kind, alice, first.payload, id=first.id, fingerprint="f", created_at=TAKEN_LATER)
    [one] = await apply(services, first)
    [two] = await apply(services, repeat)
    assert (one["replayed"], two["replayed"]) == (False, True)
    assert one["result"] == two["result"]
    assert await titles(owner, alice) == ["first"]


async def test_a_repeat_of_a_refused_command_is_refused_alike_though_it_would_now_succeed(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice)
    refused = update(alice, task, {"title": "x"}, if_versions=[2])
    [one] = await apply(services, refused)
    await owner.execute("UPDATE tasks SET version = 2 WHERE id = $1", task)
    [two] = await apply(services, refused)
    assert one == two
    assert one["status_code"] == 412


async def test_a_key_used_for_another_request_is_refused_and_changes_nothing(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    first = create(alice, "first", fingerprint="f")
    other = create(alice, "other", id=first.id, fingerprint="g", created_at=TAKEN_LATER)
    one, two = await apply(services, first, other)
    [three] = await apply(services, other)
    assert one["status_code"] == 201
    for reuse in (two, three):
        assert (reuse["status_code"], problem_of(reuse)) == (422, "idempotency-key-reuse")
    assert await titles(owner, alice) == ["first"]
    [row] = await owner.fetch("SELECT fingerprint, status_code FROM jobs WHERE user_id = $1", alice)
    assert tuple(row) == ("f", 201)


async def test_one_command_in_two_lanes_at_a_time_has_one_effect(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    """Its lane may have changed with WRITE_LANES, or with a client's repeat while the first is still on its way."""
    for _ in range(5):
        once = create(alice, "once")
        outcomes = await asyncio.gather(*(apply(services, once, lane=lane) for lane in ("0", "1", "2", "accounts")))
        assert len({outcome["result"]["id"] for [outcome] in outcomes}) == 1
    assert await titles(owner, alice) == ["once"] * 5


async def test_whoever_claims_a_lane_waits_for_the_transaction_of_the_drain_before(
    services: Services, alice: int
) -> None:
    lease = await claim_lane(services.pool, LANE)
    async with services.pool.acquire() as other, lane_transaction(other, lease):
        blocked = asyncio.create_task(apply(services, delete(alice, 1)))
        await asyncio.sleep(0.1)
        assert not blocked.done()
        [free] = await apply(services, delete(alice, 1), lane="1")
        assert free["status_code"] == 404
    [outcome] = await blocked
    assert outcome["status_code"] == 404


async def test_a_drain_that_was_presumed_dead_finds_its_lane_claimed_and_changes_nothing(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice, title="before")
    presumed_dead = await claim_lane(services.pool, LANE)
    await claim_lane(services.pool, LANE)
    for one in (update(alice, task, {"title": "x"}), batch(alice, {"op": "delete", "id": task})):
        with pytest.raises(LaneLost):
            await apply_batch(services, presumed_dead, [one])
    assert await titles(owner, alice) == ["before"]


async def test_new_tasks_alone_wait_for_no_turn_and_are_made_once_all_the_same(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    commands = [create(alice, "one"), create(alice, "two")]
    async with services.pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM lanes WHERE name = $1 FOR UPDATE", LANE)
        firsts = [as_heard(one.outcome) for one in await apply_batch(services, LaneLease(LANE, 0), commands)]
    repeats = await apply(services, *commands)
    assert [outcome["result"] for outcome in repeats] == [outcome["result"] for outcome in firsts]
    assert await titles(owner, alice) == ["one", "two"]


async def test_a_task_deleted_by_another_lane_meanwhile_is_not_found_and_not_a_conflict(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice)
    async with owner.transaction():
        await owner.execute("DELETE FROM tasks WHERE id = $1", task)
        waiting = asyncio.create_task(apply(services, update(alice, task, {"title": "x"})))
        await asyncio.sleep(0.2)
        assert not waiting.done()
    [outcome] = await waiting
    assert outcome["status_code"] == 404


# -- rows, and faults


async def test_a_job_row_holds_what_the_command_was_and_came_to(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    one = create(alice, "x", request_id="r-1", fingerprint="f")
    [outcome] = await apply(services, one)
    row = await owner.fetchrow("SELECT * FROM jobs WHERE id = $1", uuid.UUID(one.id))
    assert row is not None
    assert (row["kind"], row["user_id"], row["state"], row["status_code"]) == ("task.create", alice, "succeeded", 201)
    assert (row["request_id"], row["fingerprint"]) == ("r-1", "f")
    assert row["task_id"] == outcome["result"]["id"]
    assert row["created_at"].isoformat(timespec="microseconds") == one.created_at


async def test_a_failed_transaction_changes_nothing_and_can_be_repeated(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    one = create(alice, "once")
    pool = await worker_pool(services.settings, size=1)
    crippled = replace(services, pool=pool)
    async with pool.acquire() as connection:
        await connection.execute("SET statement_timeout = '1ms'")
    try:
        async with owner.transaction():
            await owner.execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(asyncpg.QueryCanceledError):
                await apply_batch(crippled, LaneLease(LANE, 0), [one])
        assert await titles(owner, alice) == []
        assert await owner.fetchval("SELECT count(*) FROM jobs WHERE user_id = $1", alice) == 0
        async with pool.acquire() as connection:
            assert not connection.is_in_transaction()
            await connection.execute("SET statement_timeout = 0")
        [outcome] = await apply(crippled, one)
        assert outcome["status_code"] == 201
    finally:
        await pool.close()


async def test_a_cancelled_batch_leaves_its_connection_fit_and_the_lane_free(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    async with owner.transaction():
        await owner.execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
        stuck = asyncio.create_task(apply(services, create(alice)))
        await asyncio.sleep(0.1)
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck
    [outcome] = await apply(services, create(alice))
    assert outcome["status_code"] == 201
    assert services.pool.get_size() == services.pool.get_idle_size()


async def test_the_statements_of_a_clean_batch_do_not_grow_with_it(services: Services, alice: int) -> None:
    seen: list[str] = []
    pool = await worker_pool(services.settings, size=1)
    lease = await claim_lane(services.pool, LANE)
    try:
        async with pool.acquire() as connection:
            lent = _Lent(connection)
            counted = replace(services, pool=lent)  # type: ignore[arg-type]
            await apply(
                counted, create(alice), delete(alice, 1), lease=lease
            )  # asyncpg asks for the types that it meets first
            connection.add_query_logger(lambda record: seen.append(record.query))
            for count in (2, 200):
                seen.clear()
                await apply(counted, *(create(alice) for _ in range(count)), lease=lease)
                await asyncio.sleep(0)  # asyncpg tells of a statement a little later
                assert len(seen) == 1, "tasks and jobs together"
                seen.clear()
                await apply(counted, *(create(alice) for _ in range(count)), delete(alice, 1), lease=lease)
                await asyncio.sleep(0)
                assert len(seen) == 5, "begin and lock, one insert of tasks, one delete, one insert of jobs, commit"
    finally:
        await pool.close()


class _Lent:
    """A pool of one connection that somebody watches."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def acquire(self) -> "_Lent":
        return self

    async def __aenter__(self) -> Any:
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        return None


async def test_those_whose_rows_changed_are_told(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    task, admin = await insert_task(owner, bob), await new_user(owner, role="admin")
    applied = await apply_batch(
        services,
        await claim_lane(services.pool, LANE),
        [create(alice), update(admin, task, {"title": "x"}, any_owner=True)],
    )
    assert [one.owners for one in applied] == [{alice}, {bob}]
    # Carried out before: whose task it was cannot be told any more if it is gone, so nothing cached may be trusted.
    [again] = await apply_batch(services, await claim_lane(services.pool, LANE), [applied[1].command])
    assert again.owners is None
    [again] = await apply_batch(services, await claim_lane(services.pool, LANE), [applied[0].command])
    assert again.owners == {alice}


# -- users and sessions


def registration(name: str, **more: Any) -> Any:
    return command(
        "user.register", ANONYMOUS, {"username": name, "email": "a@example.com", "password_hash": "h"}, **more
    )


async def test_of_two_registrations_of_one_name_in_a_batch_the_first_has_it(services: Services) -> None:
    name = f"ada-{uuid.uuid4().hex[:8]}"
    first, second = await apply(services, registration(name), registration(name.upper()))
    assert (first["status_code"], second["status_code"]) == (201, 409)
    assert problem_of(second) == "username-taken"
    assert "password_hash" not in first["result"]


def session(kind: str, user_id: int, session_id: str, generation: int = 0) -> Any:
    payload = {"session_id": session_id, "generation": generation, "expires_at": "2099-01-01T00:00:00+00:00"}
    return command(f"session.{kind}", user_id, {**payload, "role": "user"})


async def test_a_refresh_token_is_good_once_and_its_reuse_ends_the_family(services: Services, alice: int) -> None:
    one = str(uuid.uuid4())
    outcomes = await apply(
        services,
        session("open", alice, one),
        session("rotate", alice, one, 0),
        session("rotate", alice, one, 1),
        session("rotate", alice, one, 1),
        session("rotate", alice, one, 2),
    )
    assert [outcome["status_code"] for outcome in outcomes] == [200, 200, 200, 401, 401]
    assert [outcome["result"]["generation"] for outcome in outcomes[:3]] == [0, 1, 2]


async def test_a_new_password_and_a_logout_end_sessions_and_another_users_do_not(
    services: Services, alice: int, bob: int
) -> None:
    ids = [str(uuid.uuid4()) for _ in range(3)]
    await apply(services, session("open", alice, ids[0]), session("open", alice, ids[1]), session("open", bob, ids[2]))
    await apply(services, session("revoke", bob, ids[0]))  # not his: without effect
    [still] = await apply(services, session("rotate", alice, ids[0], 0))
    assert still["status_code"] == 200
    await apply(services, session("revoke", alice, ids[0]))
    [ended] = await apply(services, session("rotate", alice, ids[0], 1))
    await apply(services, command("user.update", alice, {"password_hash": "new"}))
    [other] = await apply(services, session("rotate", alice, ids[1], 0))
    [bobs] = await apply(services, session("rotate", bob, ids[2], 0))
    assert (ended["status_code"], other["status_code"], bobs["status_code"]) == (401, 401, 200)


# -- the table of kinds


def test_every_kind_of_operation_has_a_handler_and_every_state_and_refusal_is_known() -> None:
    assert COMMAND_KINDS - {"task.batch"} == set(HANDLERS)
    assert {"succeeded", "rejected", "failed"} <= set(STATES)
    assert all(400 <= status < 600 for status, _ in REJECTIONS.values())


async def test_writes_wait_for_a_schema_that_is_behind_the_code(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    wanted = create(alice, "patient")
    await owner.execute("ALTER TABLE tasks RENAME COLUMN description TO details")
    try:
        with pytest.raises(asyncpg.UndefinedColumnError):
            await apply(services, wanted)
        assert await owner.fetchval("SELECT count(*) FROM jobs") == 0
    finally:
        await owner.execute("ALTER TABLE tasks RENAME COLUMN details TO description")
    [outcome] = await apply(services, wanted)
    assert (outcome["status_code"], await titles(owner, alice)) == (201, ["patient"])


async def test_what_another_drain_records_in_between_is_found_at_the_second_look(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = create(alice, "once")
    [first] = await apply_batch(services, await claim_lane(services.pool, LANE), [command])
    looks: list[int] = []

    async def too_early_at_first(connection: Any, ids: Sequence[str]) -> dict[str, Any]:
        looks.append(len(ids))
        return {} if len(looks) == 1 else await stored_outcomes(connection, ids)

    monkeypatch.setattr("worker.writes.applying.stored_outcomes", too_early_at_first)
    [again] = await apply_batch(services, await claim_lane(services.pool, LANE), [command])
    assert looks == [1, 1]
    assert again.outcome["status_code"] == first.outcome["status_code"] == 201
    assert await owner.fetchval("SELECT count(*) FROM tasks") == 1
