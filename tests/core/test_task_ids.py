"""Task ids carry their time, and partitions are ranges of them: a lookup by id touches one partition."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson
import pytest

from core.database.pools import Pool
from core.identity import Identities, IdentityKey
from core.partitions.writes import ensure_partitions
from core.settings import Settings
from core.tasks import queries
from core.tasks.queries import SORTS
from tests.core.conftest import Cast
from tests.harness import SECRET, Servers, connection, insert_user

EPOCH_MS = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1000)
THIS_YEAR = datetime.now(UTC).year
YEARS = [THIS_YEAR, THIS_YEAR + 1, THIS_YEAR + 2]


def floor(year: int) -> int:
    return (int(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1000) - EPOCH_MS) << 12


async def new_ids(pool: Pool, count: int) -> list[int]:
    return [row[0] for row in await pool.fetch("SELECT next_task_id() FROM generate_series(1, $1)", count)]


# -- ids


async def test_an_id_carries_the_time_of_its_making(workers: Pool) -> None:
    before = datetime.now(UTC).timestamp() * 1000
    [task_id] = await new_ids(workers, 1)
    after = datetime.now(UTC).timestamp() * 1000
    assert before - 2 <= (task_id >> 12) + EPOCH_MS <= after + 2


async def test_an_id_is_exact_in_javascript_for_decades(workers: Pool) -> None:
    assert max(await new_ids(workers, 100)) < 1 << 53
    assert floor(2085) < 1 << 53


async def test_ids_are_unique_whoever_makes_them_at_the_same_time(workers: Pool) -> None:
    made = await asyncio.gather(*(new_ids(workers, 2000) for _ in range(8)))
    assert len({task_id for ids in made for task_id in ids}) == 16_000


async def test_ids_never_go_back_by_a_millisecond(workers: Pool) -> None:
    ids = await new_ids(workers, 20_000)
    milliseconds = [task_id >> 12 for task_id in ids]
    assert milliseconds == sorted(milliseconds)
    assert len(set(milliseconds)) > 1


@pytest.mark.parametrize("year", [2020, 2026, 2027, 2089])
async def test_the_floor_of_a_moment_is_the_least_id_of_it(owner: asyncpg.Connection, year: int) -> None:
    moment = datetime(year, 1, 1, tzinfo=UTC)
    assert await owner.fetchval("SELECT task_id_floor($1)", moment) == floor(year)


# -- partitions


async def bounds(owner: asyncpg.Connection) -> dict[str, str]:
    rows = await owner.fetch("""
        SELECT relname, pg_get_expr(relpartbound, oid) AS bound FROM pg_class
        WHERE  relispartition AND relkind = 'r' ORDER BY relname
    """)
    return {row["relname"]: row["bound"] for row in rows}


async def test_there_are_partitions_for_this_and_the_next_two_years_with_bounds_from_dates(
    owner: asyncpg.Connection,
) -> None:
    expected = {f"tasks_{year}": f"FOR VALUES FROM ('{floor(year)}') TO ('{floor(year + 1)}')" for year in YEARS}
    assert await bounds(owner) == expected


async def test_a_task_lies_in_the_partition_of_its_ids_year(owner: asyncpg.Connection, cast: Cast) -> None:
    edges = {floor(YEARS[0]): YEARS[0], floor(YEARS[1]) - 1: YEARS[0], floor(YEARS[1]): YEARS[1]}
    for task_id, year in edges.items():
        await owner.execute("INSERT INTO tasks (id, user_id, title) VALUES ($1, $2, 'x')", task_id, cast.alice)
        name = await owner.fetchval("SELECT tableoid::regclass::text FROM tasks WHERE id = $1", task_id)
        assert name == f"tasks_{year}"


async def test_a_new_task_lies_in_this_years_partition(owner: asyncpg.Connection, cast: Cast) -> None:
    name = await owner.fetchval(
        "INSERT INTO tasks (user_id, title) VALUES ($1, 'x') RETURNING tableoid::regclass::text", cast.alice
    )
    assert name == f"tasks_{datetime.now(UTC).year}"


async def test_missing_partitions_are_made_and_a_second_time_none(workers: Pool, owner: asyncpg.Connection) -> None:
    before = await bounds(owner)
    await owner.execute(f"DROP TABLE tasks_{YEARS[1]}, tasks_{YEARS[2]}")
    assert await ensure_partitions(workers, ahead=2) == 2
    assert await ensure_partitions(workers, ahead=2) == 0
    assert await bounds(owner) == before


async def test_many_who_make_partitions_at_once_do_not_hinder_each_other(
    workers: Pool, owner: asyncpg.Connection
) -> None:
    await owner.execute(f"DROP TABLE tasks_{YEARS[1]}, tasks_{YEARS[2]}")
    made = await asyncio.gather(*(ensure_partitions(workers, ahead=2) for _ in range(8)))
    assert sorted(made) == [0] * 7 + [2]
    assert len(await bounds(owner)) == 3


async def test_partitions_are_made_beside_writes_that_go_on(
    workers: Pool, owner: asyncpg.Connection, cast: Cast
) -> None:
    await owner.execute(f"DROP TABLE tasks_{YEARS[2]}")
    async with owner.transaction():
        await owner.execute("INSERT INTO tasks (user_id, title) VALUES ($1, 'x')", cast.alice)
        async with asyncio.timeout(5):
            assert await ensure_partitions(workers, ahead=2) == 1


# -- plans


@pytest.fixture(scope="module")
async def loaded(servers: Servers) -> AsyncIterator[Settings]:
    """60,000 tasks over three partitions: one user has a hundred, eight have the rest, and the last has none."""
    async with servers.fresh_settings({}) as settings:
        async with connection(settings.database_url) as owner:
            for number in range(10):
                await insert_user(owner, f"user-{number}", role="admin")  # where a statement says that it is an admin's
            await owner.execute("""
                INSERT INTO tasks (id, user_id, title, priority, due_date, labels)
                SELECT task_id_floor(make_timestamptz(extract(year FROM now())::int + n % 3, 3, 1, 0, 0, 0, 'UTC')) + n,
                       (SELECT min(id) FROM users) + CASE WHEN n % 600 = 0 THEN 0 ELSE 1 + (hashint4(n) & 7) END,
                       'title ' || n, 1 + n % 10, now() + n * interval '1 minute',
                       CASE WHEN n % 3000 = 1 THEN '{common,rare}' WHEN n % 10 = 0 THEN '{common}' ELSE '{}' END::text[]
                FROM   generate_series(1, 60000) AS n
            """)
            await owner.execute("VACUUM ANALYZE tasks")
        yield settings


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in nodes(child))]


def below_the_limit(plan: dict[str, Any]) -> list[dict[str, Any]]:
    [limit] = [node for node in nodes(plan) if node["Node Type"] == "Limit"]
    return nodes(limit)


async def explain(api: asyncpg.Connection, sql: str, *arguments: Any, how: str = "COSTS OFF") -> dict[str, Any]:
    text = await api.fetchval(f"EXPLAIN ({how}, FORMAT JSON) {sql}", *arguments)
    plan: dict[str, Any] = orjson.loads(text)[0]["Plan"]
    return plan


@pytest.fixture
async def as_api(loaded: Settings) -> AsyncIterator[asyncpg.Connection]:
    assert loaded.api_database_url is not None
    api = await asyncpg.connect(loaded.api_database_url, server_settings={"timezone": "UTC"})
    yield api
    await api.close()


@pytest.fixture
async def user_id(loaded: Settings) -> int:
    """Who has few tasks among many of others."""
    async with connection(loaded.database_url) as owner:
        found: int = await owner.fetchval("SELECT min(id) FROM users")
        return found


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("whose", ["own", "any"])
async def test_a_lookup_by_id_touches_one_partition(
    as_api: asyncpg.Connection, user_id: int, plans: str, whose: str
) -> None:
    sql = queries._ONE_OF_OWN if whose == "own" else queries._ONE_OF_ALL
    await as_api.execute(f"SET plan_cache_mode = {plans}")
    await as_api.execute(f"PREPARE lookup (text, bigint) AS {sql}")
    for year in YEARS:
        execution = f"EXECUTE lookup ('{signed(user_id, all_users=whose == 'any')}', {floor(year) + 1})"
        plan = await explain(as_api, execution, how="ANALYZE, COSTS OFF, TIMING OFF")
        scanned = {
            node["Relation Name"]
            for node in nodes(plan)
            if node.get("Relation Name", "").startswith("tasks") and node["Actual Loops"] > 0
        }
        assert scanned == {f"tasks_{year}"}


def signed(user_id: int, *, all_users: bool = False) -> str:
    """Who asks, as the API says it."""
    identities = Identities(IdentityKey(SECRET.encode()))
    return identities.admin(user_id) if all_users else identities.user(user_id)


def list_statement(sort: str, *, all_users: bool, from_position: bool = False, **filters: Any) -> tuple[str, list[Any]]:
    present = frozenset(filters)
    sql = queries._list_sql(present, sort, 20, from_position, all_users)
    return sql, [filters[name] for name in queries._CONDITIONS if name in filters]


def position(sort: str) -> list[Any]:
    if SORTS[sort].key is None:
        return [floor(YEARS[1])]
    return [5 if SORTS[sort].kind is int else f"{YEARS[1]}-01-01 00:00:00+00", floor(YEARS[1])]


@pytest.mark.parametrize("all_users", [False, True], ids=["own", "all"])
@pytest.mark.parametrize("from_position", [False, True], ids=["first page", "later page"])
@pytest.mark.parametrize("sort", ["id", "-id", "priority", "-priority"])
async def test_a_page_in_the_order_of_an_index_reads_neither_a_table_nor_sorts(
    as_api: asyncpg.Connection, user_id: int, sort: str, from_position: bool, all_users: bool
) -> None:
    sql, _ = list_statement(sort, all_users=all_users, from_position=from_position)
    plan = await explain(as_api, sql, signed(user_id, all_users=all_users), *(position(sort) if from_position else []))
    types = {node["Node Type"] for node in below_the_limit(plan)}
    assert not types & {"Seq Scan", "Sort", "Incremental Sort", "Bitmap Heap Scan"}, types
    assert types & {"Index Scan", "Index Only Scan"}


def rows_read(plan: dict[str, Any]) -> float:
    """Also those that were read in vain."""
    scans = [node for node in nodes(plan) if node.get("Relation Name", "").startswith("tasks")]
    assert scans
    return sum((n["Actual Rows"] + n.get("Rows Removed by Filter", 0)) * n["Actual Loops"] for n in scans)


@pytest.mark.parametrize("sort", ["id", "-id", "priority", "-priority"])
@pytest.mark.parametrize("number", [0, 9], ids=["few tasks", "no task"])
async def test_a_page_of_ones_own_tasks_never_reads_those_of_others(
    as_api: asyncpg.Connection, user_id: int, sort: str, number: int
) -> None:
    """However few one has among how many: the planner knows the average user only."""
    sql, _ = list_statement(sort, all_users=False)
    plan = await explain(as_api, sql, signed(user_id + number), how="ANALYZE, COSTS OFF, TIMING OFF")
    assert rows_read(plan) <= 100


@pytest.mark.parametrize("sort", ["id", "-id", "priority", "-priority"])
async def test_an_admins_page_of_one_users_tasks_does_not_read_those_of_others(
    as_api: asyncpg.Connection, user_id: int, sort: str
) -> None:
    sql, values = list_statement(sort, all_users=True, user_id=user_id)
    plan = await explain(
        as_api, sql, signed(user_id + 1, all_users=True), *values, how="ANALYZE, COSTS OFF, TIMING OFF"
    )
    assert rows_read(plan) <= 600


@pytest.mark.parametrize("sort", ["id", "-id", "priority", "-priority"])
async def test_an_admins_first_page_of_all_reads_a_page_and_not_the_table(
    as_api: asyncpg.Connection, user_id: int, sort: str
) -> None:
    sql, _ = list_statement(sort, all_users=True)
    plan = await explain(as_api, sql, signed(user_id, all_users=True), how="ANALYZE, COSTS OFF, TIMING OFF")
    assert 21 <= rows_read(plan) <= 21 + len(YEARS)


@pytest.mark.parametrize("sort", ["id", "-priority"])
@pytest.mark.parametrize("labels", [["rare"], ["rare", "unknown"], ["unknown"]], ids=str)
async def test_an_admins_page_of_a_rare_label_reads_those_tasks_alone_by_the_index_of_labels(
    as_api: asyncpg.Connection, user_id: int, sort: str, labels: list[str]
) -> None:
    sql, values = list_statement(sort, all_users=True, label=labels)
    plan = await explain(as_api, sql, signed(user_id, all_users=True), *values, how="ANALYZE, COSTS OFF, TIMING OFF")
    assert rows_read(plan) == (20 if "rare" in labels else 0)
    assert any("labels" in node.get("Index Name", "") and node.get("Index Cond") for node in nodes(plan))


async def test_an_admins_page_of_a_common_label_stops_when_it_is_full(as_api: asyncpg.Connection, user_id: int) -> None:
    sql, values = list_statement("id", all_users=True, label=["common"])
    plan = await explain(as_api, sql, signed(user_id, all_users=True), *values, how="ANALYZE, COSTS OFF, TIMING OFF")
    assert rows_read(plan) < 1000


@pytest.mark.parametrize("number", [0, 9], ids=["few tasks", "no task"])
@pytest.mark.parametrize("label", ["rare", "common"])
async def test_a_page_of_a_label_among_ones_own_tasks_never_reads_those_of_others(
    as_api: asyncpg.Connection, user_id: int, label: str, number: int
) -> None:
    sql, values = list_statement("id", all_users=False, label=[label])
    plan = await explain(as_api, sql, signed(user_id + number), *values, how="ANALYZE, COSTS OFF, TIMING OFF")
    assert rows_read(plan) <= 100
    assert not any("labels" in node.get("Index Name", "") for node in nodes(plan))


async def test_tasks_of_one_status_come_by_their_index(as_api: asyncpg.Connection, user_id: int) -> None:
    sql, values = list_statement("priority", all_users=False, status=["completed"])
    plan = await explain(as_api, sql, signed(user_id), *values)
    assert "Seq Scan" not in {node["Node Type"] for node in nodes(plan)}
    assert any("status" in node.get("Index Name", "") for node in nodes(plan))
