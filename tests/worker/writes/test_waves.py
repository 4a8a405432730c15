"""A batch is cut into waves: each operation once, each subject's in their order, and as few as that allows."""

from collections import Counter, defaultdict
from typing import Any

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from core.commands.kinds import DELETE_TASK, UPDATE_TASK
from core.tasks.folding import AnswerBudget
from tests.worker.commands import batch, command
from worker.writes.operations import PlannedOperation, cut_into_waves, plan

BUDGETS = (AnswerBudget(), AnswerBudget())  # of two batches


def operation(
    kind: str, payload: dict[str, Any], user_id: int = 1, budget: AnswerBudget | None = None
) -> PlannedOperation:
    [planned] = plan(command(kind, user_id, payload)).operations
    planned.budget = budget
    return planned


operations = st.lists(
    st.one_of(
        st.builds(lambda n: operation("task.create", {"number": n}), st.integers()),
        st.builds(
            lambda k, i, b: operation(k, {"id": i}, budget=b),
            st.sampled_from(("task.update", "task.update", "task.delete", "task.reminders")),
            st.integers(1, 4),
            st.sampled_from((None, None, *BUDGETS)),
        ),
        st.builds(lambda n: operation("user.register", {"username": n}), st.sampled_from(("ada", "ADA", "bo"))),
        st.builds(
            lambda k, u: operation(k, {}, user_id=u),
            st.sampled_from(("user.update", "session.open", "session.rotate", "session.revoke")),
            st.integers(1, 3),
        ),
    ),
    max_size=40,
)


@hypothesis.settings(deadline=None, max_examples=200)
@given(operations)
def test_waves_hold_every_operation_once_and_each_subject_in_its_order(sequence: list[PlannedOperation]) -> None:
    waves = cut_into_waves(sequence)
    assert Counter(id(operation) for wave in waves for operation in wave) == Counter(map(id, sequence))
    assert all(waves)
    for subject in {operation.subject for operation in sequence} - {None}:
        in_waves = [operation for wave in waves for operation in wave if operation.subject == subject]
        assert list(map(id, in_waves)) == [id(operation) for operation in sequence if operation.subject == subject]


@hypothesis.settings(deadline=None, max_examples=200)
@given(operations)
def test_a_wave_has_a_subject_once_or_changes_of_one_task_that_share_a_budget(sequence: list[PlannedOperation]) -> None:
    for wave in cut_into_waves(sequence):
        for subject in {operation.subject for operation in wave} - {None}:
            same = [operation for operation in wave if operation.subject == subject]
            assert len(same) == 1 or {operation.kind for operation in same} <= {UPDATE_TASK, DELETE_TASK}
            assert len({id(operation.budget) for operation in same}) == 1


@hypothesis.settings(deadline=None, max_examples=200)
@given(operations)
def test_there_are_no_more_waves_than_the_busiest_subject_needs(sequence: list[PlannedOperation]) -> None:
    runs: dict[Any, list[Any]] = defaultdict(list)  # what can be in one wave, of each subject
    for operation in sequence:
        run = (operation.kind in {UPDATE_TASK, DELETE_TASK}, id(operation.budget))
        if operation.subject is not None and not (run[0] and runs[operation.subject][-1:] == [run]):
            runs[operation.subject].append(run)
    longest = max(map(len, runs.values()), default=1 if sequence else 0)
    assert len(cut_into_waves(sequence)) == longest


def test_a_thousand_changes_of_one_task_in_one_batch_are_one_wave() -> None:
    changes = [{"op": op, "id": 1, "fields": {}} for op in ("update", "delete") * 500]
    assert len(cut_into_waves(plan(command("task.batch", 7, {"operations": changes})).operations)) == 1


def test_new_tasks_all_go_into_the_first_wave() -> None:
    assert len(cut_into_waves([operation("task.create", {}) for _ in range(1000)])) == 1


def test_names_that_differ_in_case_alone_are_one_subject() -> None:
    pair = [operation("user.register", {"username": name}) for name in ("Ada", "aDA")]
    assert len(cut_into_waves(pair)) == 2


def test_a_plan_never_lets_a_payload_name_another_user() -> None:
    single = plan(command("task.update", 7, {"id": 1, "fields": {}, "user_id": 8}))
    many = plan(command("task.batch", 7, {"operations": [{"op": "delete", "id": 1, "user_id": 8, "any_owner": True}]}))
    for work in (single, many):
        assert work.operations[0].user_id == 7
    assert many.operations[0].any_owner is False


def test_an_operation_that_the_api_refused_has_its_effect_already() -> None:
    error = {"type": "/problems/validation-error", "status": 422}
    [operation] = plan(batch(7, {"error": error})).operations
    assert operation.effect is not None
    assert operation.effect.error == error
