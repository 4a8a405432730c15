"""`GET /labels`: the caller's labels, most used first, in pages; what is dear is not counted again and again."""

import asyncio

import pytest

from api.keys import LABEL_COUNTS, POOL
from core.pagination import encode_cursor, scope_digest
from core.tasks import labels
from tests.api.problems import assert_problem
from tests.api.test_cache import in_use
from tests.factories import create_task, create_tasks
from tests.harness import Client, Service


async def labels_of(client: Client, query: str = "") -> list[tuple[str, int]]:
    answer = await client.get(f"/labels{query}")
    assert answer.status == 200
    return [(item["name"], item["open"]) for item in answer.items]


async def test_labels_are_told_with_their_open_tasks_most_used_first(service: Service) -> None:
    await create_tasks(
        service.alice,
        [
            {"labels": ["home", "garden"]},
            {"labels": ["garden"], "status": "in_progress"},
            {"labels": ["garden", "attic"], "status": "blocked"},
            {"labels": ["garden", "old"], "status": "completed"},
            {"labels": ["older"], "status": "cancelled"},
            {},
        ],
    )
    await create_task(service.bob, labels=["office"])
    assert await labels_of(service.alice) == [("garden", 3), ("attic", 1), ("home", 1), ("old", 0), ("older", 0)]
    assert await labels_of(service.bob) == [("office", 1)]
    for client in (service.charlie, service.admin):
        assert (await client.get("/labels")).json == {"items": [], "next_cursor": None}


async def test_labels_come_in_pages(service: Service) -> None:
    names = ["a", "ä", "B", "读", "☕", "two words", "x" * 50, "𝔘" * 50]
    await create_tasks(service.alice, [{"labels": names[number:]} for number in range(len(names))])
    whole = await labels_of(service.alice)
    assert [count for _, count in whole] == list(range(len(names), 0, -1))
    found: list[tuple[str, int]] = []
    address: str | None = "/labels?limit=3"
    while address:
        page = await service.alice.get(address)
        found += [(item["name"], item["open"]) for item in page.items]
        address = page.headers["Link"].removeprefix("<").partition(">")[0] if page.json["next_cursor"] else None
    assert found == whole
    assert "Link" not in page.headers


async def test_labels_with_equal_counts_are_ordered_by_name_over_pages(service: Service) -> None:
    await create_task(service.alice, labels=["c", "a", "d", "b"])
    first = await service.alice.get("/labels?limit=2")
    second = await service.alice.get(f"/labels?limit=2&cursor={first.json['next_cursor']}")
    assert [item["name"] for item in first.items + second.items] == ["a", "b", "c", "d"]
    assert second.json["next_cursor"] is None


@pytest.mark.parametrize(
    "position", [(), (1,), ("a", 1), (1, "a", 2), (1, "a\x00"), (True, "a"), (-(1 << 63), "a"), (1, None)]
)
async def test_a_damaged_cursor_is_refused(service: Service, position: tuple[object, ...]) -> None:
    cursor = encode_cursor(scope_digest("labels"), *position)
    assert_problem(await service.alice.get(f"/labels?cursor={cursor}"), 400, "invalid-cursor")


async def test_a_cursor_of_another_list_and_other_parameters_are_refused(service: Service) -> None:
    cursor = encode_cursor(scope_digest("notifications", False), 1)
    assert_problem(await service.alice.get(f"/labels?cursor={cursor}"), 400, "invalid-cursor")
    for query in ("limit=0", "limit=1001", "colour=red", "user_id=1"):
        assert_problem(await service.alice.get(f"/labels?{query}"), 422, "validation-error")


async def test_labels_are_cached_and_never_stale(service: Service) -> None:
    await in_use(service)
    task = await create_task(service.alice, labels=["home"])
    assert await labels_of(service.alice) == [("home", 1)]
    # Behind everybody's back: what is read now did not come from the database.
    await service.rows("UPDATE tasks SET labels = '{}'")
    assert await labels_of(service.alice) == [("home", 1)]
    await service.alice.patch(f"/tasks/{task['id']}", {"labels": ["garden"]})
    assert await labels_of(service.alice) == [("garden", 1)]


async def test_a_dear_count_is_told_again_for_a_while_and_then_counted_anew(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "DEAR_OVER_USES", 2)
    monkeypatch.setattr(labels, "KEPT_TIMES", 100_000)
    await in_use(service)
    await create_task(service.alice, labels=["home"])
    await create_task(service.alice, labels=["home"])
    assert await labels_of(service.alice) == [("home", 2)]
    await create_task(service.alice, labels=["home"])
    assert await labels_of(service.alice) == [("home", 3)], "the count before was a cheap one"
    await create_task(service.alice, labels=["home"])
    assert await labels_of(service.alice) == [("home", 3)]
    assert await labels_of(service.alice, "?limit=5") == [("home", 4)], "another page is counted"
    counted = service.app[LABEL_COUNTS]._kept
    for key, (_, kept) in list(counted.items()):
        counted[key] = (0.0, kept)
    assert await labels_of(service.alice) == [("home", 4)], "what was told again was not cached as if it were new"
    assert len(counted) <= labels.KEPT_PAGES


async def test_of_one_user_one_count_goes_on_at_a_time(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    going_on = most = 0
    fetch_row = labels.fetch_row

    async def watched(*arguments: object) -> object:
        nonlocal going_on, most
        going_on += 1
        most = max(most, going_on)
        try:
            return await fetch_row(*arguments)  # type: ignore[arg-type]
        finally:
            going_on -= 1

    monkeypatch.setattr(labels, "fetch_row", watched)
    counts, pool = service.app[LABEL_COUNTS], service.app[POOL]
    await asyncio.gather(*(counts.page(pool, service.alice.id, after=None, limit=n) for n in range(1, 8)))
    assert most == 1
    await asyncio.gather(*(counts.page(pool, user.id, after=None, limit=1) for user in (service.alice, service.bob)))
    assert most == 2
    assert len(counts._counting) == 0, "nothing is kept of who asked"
