"""`GET /tasks/count`: exactly as many as the list has, up to 10,000; above that an estimate, which says so."""

import pytest

from core.tasks import counts
from tests.api.problems import assert_problem
from tests.api.test_cache import in_use
from tests.conftest import MakeService
from tests.factories import create_task, create_tasks
from tests.harness import Service, User

MANY = """
INSERT INTO tasks (user_id, title, priority, status, labels)
SELECT $1, 'Task ' || n, 1 + n % 10, CASE WHEN n % 4 = 0 THEN 'pending' ELSE 'blocked' END,
       CASE WHEN n % 2 = 0 THEN ARRAY['even'] ELSE '{}' END
FROM   generate_series(1, $2::int) AS n
"""


async def make_many(service: Service, user: User, number: int) -> None:
    """Tasks as the owner of the database makes them, with fresh statistics."""
    await service.rows("ALTER TABLE tasks DISABLE TRIGGER USER")
    await service.rows(MANY, user.id, number)
    await service.rows("ALTER TABLE tasks ENABLE TRIGGER USER")
    await service.rows("ANALYZE tasks")


FILTERS = [
    "",
    "?status=pending,blocked",
    "?status=pending&status=completed",
    "?priority=1,2",
    "?priority_min=3&priority_max=5",
    "?label=home",
    "?label=home,office&status=completed",
    "?q=roof",
    "?due_before=2030-01-01T00:00:00Z",
    "?due_after=2029-01-01T00:00:00Z",
    "?overdue=true",
    "?overdue=false",
]


@pytest.mark.parametrize("query", FILTERS)
async def test_a_count_is_what_the_list_has(service: Service, query: str) -> None:
    await create_tasks(
        service.alice,
        [
            {"priority": 1, "labels": ["home"], "title": "Mend the roof", "due_date": "2020-01-01T00:00:00Z"},
            {"priority": 4, "labels": ["office", "home"], "status": "completed"},
            {"priority": 5, "status": "blocked", "due_date": "2029-06-01T00:00:00Z"},
            {"priority": 9, "description": "under the roof", "due_date": "2031-01-01T00:00:00Z"},
        ],
    )
    await create_task(service.bob, labels=["home"], title="Bob's roof")
    for client in (service.alice, service.bob, service.charlie, service.admin):
        listed = (await client.get(f"/tasks{query}")).items
        answer = await client.get(f"/tasks/count{query}")
        assert (answer.status, answer.json) == (200, {"count": len(listed), "estimated": False})


async def test_an_admin_counts_everybodys_or_one_users(service: Service) -> None:
    await create_tasks(service.alice, [{}] * 3)
    await create_tasks(service.bob, [{}] * 2)
    assert (await service.admin.get("/tasks/count")).json["count"] == 5
    assert (await service.admin.get(f"/tasks/count?user_id={service.bob.id}")).json["count"] == 2
    assert (await service.alice.get(f"/tasks/count?user_id={service.bob.id}")).json["count"] == 0


@pytest.mark.parametrize(
    "query", ["limit=5", "cursor=x", "last_id=1", "sort=id", "sort_by_priority=true", "colour=red"]
)
async def test_what_is_no_filter_is_refused(service: Service, query: str) -> None:
    assert_problem(await service.alice.get(f"/tasks/count?{query}"), 422, "validation-error")


async def test_a_contradiction_or_a_bad_value_is_refused_as_in_lists(service: Service) -> None:
    for query in ("priority_min=5&priority_max=4", "status=x", "priority=0", "q=%20", "due_before=yesterday"):
        told = assert_problem(await service.alice.get(f"/tasks/count?{query}"), 422, "validation-error")
        assert told["errors"] == (await service.alice.get(f"/tasks?{query}")).json["errors"]


async def test_a_count_is_exact_up_to_the_bound_and_an_estimate_above(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "EXACT_UP_TO", 100)
    await make_many(service, service.alice, 100)
    assert (await service.alice.get("/tasks/count")).json == {"count": 100, "estimated": False}
    await create_task(service.alice)
    assert (await service.alice.get("/tasks/count")).json["estimated"] is True


@pytest.mark.parametrize("others", [0, 15_000])
async def test_an_estimate_is_near_the_truth_however_many_users_there_are(service: Service, others: int) -> None:
    await make_many(service, service.bob, others)
    await make_many(service, service.alice, 40_000)
    for query, truth in (
        ("", 40_000),
        ("?status=blocked", 30_000),
        ("?label=even", 20_000),
        ("?priority=1,2,3", 12_000),
    ):
        counted = (await service.alice.get(f"/tasks/count{query}")).json
        assert counted["estimated"] is True
        assert 0.8 * truth < counted["count"] < 1.25 * truth, query
    assert (await service.alice.get("/tasks/count?priority=1")).json == {"count": 4000, "estimated": False}
    everybodys = (await service.admin.get("/tasks/count")).json
    assert 0.8 * (40_000 + others) < everybodys["count"] < 1.25 * (40_000 + others)
    assert (await service.charlie.get("/tasks/count")).json == {"count": 0, "estimated": False}


async def test_without_statistics_an_estimate_says_at_least_that_there_are_more(make_service: MakeService) -> None:
    service = await make_service()
    await service.rows(MANY, service.alice.id, 10_050)
    counted = (await service.alice.get("/tasks/count")).json
    assert counted["estimated"] is True
    assert counted["count"] >= 10_001


async def test_a_count_is_cached_and_never_stale(service: Service) -> None:
    await in_use(service)
    await create_task(service.alice)
    assert (await service.alice.get("/tasks/count")).json["count"] == 1
    # Behind everybody's back: what is read now did not come from the database.
    await service.rows("DELETE FROM tasks")
    assert (await service.alice.get("/tasks/count")).json["count"] == 1
    await create_task(service.alice)
    assert (await service.alice.get("/tasks/count")).json["count"] == 1
    await create_task(service.alice)
    assert (await service.alice.get("/tasks/count")).json["count"] == 2
    assert (await service.alice.get("/tasks/count?overdue=true")).json["count"] == 0
    await service.rows("UPDATE tasks SET due_date = now() - interval '1 day'")
    assert (await service.alice.get("/tasks/count?overdue=true")).json["count"] == 2
