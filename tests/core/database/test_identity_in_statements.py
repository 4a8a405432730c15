"""An identity travels inside the statement: each read has it, however it is planned, and leaves it nowhere."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from core.commands.wire import Command
from core.database.pools import Pool
from core.database.read_pool import ReadPool
from core.jobs.queries import find_outcome, list_jobs, read_job
from core.tasks.queries import Caller, TaskFilter, TaskQuery, list_tasks, read_task
from core.users.queries import current_role, own_password_hash, read_profile
from tests.core.conftest import Cast
from tests.harness import PASSWORD_HASH

Read = Callable[[ReadPool, Cast, dict[int, Any]], Awaitable[Any]]


def _listing(sort: str, *, whose: str = "alice", cursor: bool = False, task_filter: TaskFilter | None = None) -> Read:
    async def read(api: ReadPool, cast: Cast, rows: dict[int, Any]) -> Any:
        caller = Caller(getattr(cast, whose), whose == "admin")
        last_id = None
        if cursor:
            # Sorted downwards everything that is visible to all, and to alice nothing, comes behind the last task.
            owner = cast.bob if whose == "admin" else cast.alice
            last_id = rows[owner]["task"]
        query = TaskQuery(task_filter or TaskFilter(), sort=sort, last_id=last_id)
        page = await list_tasks(api, caller, query)
        return page.items.count('"id"')

    return read


FULL_FILTER = TaskFilter(
    priority=(5,), priority_min=1, priority_max=10, status=("pending",), words=("title",), due_after=None
)

# Name → the read, and what it gives to alice (or the admin).
READS: dict[str, tuple[Read, Any]] = {
    "a profile": (lambda api, cast, rows: _found(read_profile(api, cast.alice)), True),
    "a role": (lambda api, cast, rows: current_role(api, cast.alice), "user"),
    "an own hash": (lambda api, cast, rows: own_password_hash(api, cast.alice), PASSWORD_HASH),
    "an own task": (lambda api, cast, rows: _found(read_task(api, Caller(cast.alice), rows[cast.alice]["task"])), True),
    "a foreign task": (
        lambda api, cast, rows: _found(read_task(api, Caller(cast.alice), rows[cast.bob]["task"])),
        False,
    ),
    "any task": (
        lambda api, cast, rows: _found(read_task(api, Caller(cast.admin, True), rows[cast.bob]["task"])),
        True,
    ),
    "an own job": (lambda api, cast, rows: _found(read_job(api, cast.alice, str(rows[cast.alice]["job"]))), True),
    "a foreign job": (lambda api, cast, rows: _found(read_job(api, cast.alice, str(rows[cast.bob]["job"]))), False),
    "an outcome": (lambda api, cast, rows: _found(find_outcome(api, _command(cast.alice, rows))), True),
    "jobs": (lambda api, cast, rows: _count_jobs(api, cast.alice), 1),
    "filtered tasks": (_listing("priority", task_filter=FULL_FILTER), 1),
    "filtered tasks of all": (_listing("priority", whose="admin", task_filter=FULL_FILTER), 2),
    **{f"tasks by {sort}": (_listing(sort), 1) for sort in ("id", "-id", "priority", "due_date", "-updated_at")},
    **{f"all tasks by {sort}": (_listing(sort, whose="admin"), 2) for sort in ("id", "-id", "priority", "due_date")},
    "tasks behind one": (_listing("id", cursor=True), 0),
    "all tasks behind one": (_listing("-id", whose="admin", cursor=True), 1),
}


async def _found(read: Awaitable[Any]) -> bool:
    return await read is not None


async def _count_jobs(api: ReadPool, user_id: int) -> int:
    return len(await list_jobs(api, user_id, kinds=None, states=None, after=None, limit=10))


def _command(user_id: int, rows: dict[int, Any]) -> Command:
    return Command(str(rows[user_id]["job"]), "x", user_id, {}, "2026-01-01T00:00:00+00:00")


@pytest.mark.parametrize("plans", ["auto", "force_generic_plan", "force_custom_plan"])
async def test_each_read_has_its_identity_however_it_is_planned(
    api: Pool, reads: ReadPool, cast: Cast, rows: dict[int, Any], plans: str
) -> None:
    async with api.acquire() as connection:
        await connection.execute(f"SET plan_cache_mode = {plans}")
    for name, (read, expected) in READS.items():
        # From the sixth execution of a prepared statement on PostgreSQL may choose a generic plan.
        for execution in range(8):
            assert await read(reads, cast, rows) == expected, f"{name}, execution {execution + 1}"
    assert api.get_size() == 1, "all of it went through the connection with this plan_cache_mode"


async def test_no_statement_leaves_its_identity_behind(reads: ReadPool, cast: Cast, rows: dict[int, Any]) -> None:
    for read, _ in READS.values():
        await read(reads, cast, rows)
        [left] = await reads.fetch("SELECT current_setting('app.identity', true) AS me, (SELECT count(*) FROM tasks)")
        assert (left["me"] or "", left["count"]) == ("", 0)
    assert reads.get_size() == 1


def test_every_read_that_core_declares_is_tried_here() -> None:
    from core.jobs import queries as job_queries
    from core.tasks import queries as task_queries
    from core.users import queries as user_queries

    declared = {
        name
        for module in (job_queries, task_queries, user_queries)
        for name, thing in vars(module).items()
        if re.match(r"(read|list|find|current|own|credentials)_", name)
        and getattr(thing, "__module__", "") == module.__name__
    }
    assert declared == {
        "read_profile", "current_role", "own_password_hash", "credentials_of", "read_task", "list_tasks", "read_job",
        "list_jobs", "find_outcome",
    }  # fmt: skip
