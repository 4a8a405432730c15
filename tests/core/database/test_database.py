"""Which faults pass, and what pools and reads do when they come."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from core.database import read_pool
from core.database.faults import is_data_fault, is_missing_reference, is_transient
from core.database.pools import API_ROLE, WORKER_ROLE, AnyPool, Pool, create_pool, pool_counts
from core.database.read_pool import ReadPool
from core.database.reads import fetch_rows
from core.database.schema import applied_revision
from core.errors import DatabaseUnavailable, SchemaUnready
from core.identity import Identities
from core.settings import Settings
from ops.ports import free_port

# error → whether it passes by itself, whether the data is to blame
FAULTS: list[tuple[BaseException, bool, bool]] = [
    (asyncpg.ConnectionDoesNotExistError("x"), True, False),
    (asyncpg.ConnectionFailureError("x"), True, False),
    (asyncpg.SerializationError("x"), True, False),
    (asyncpg.DeadlockDetectedError("x"), True, False),
    (asyncpg.TooManyConnectionsError("x"), True, False),
    (asyncpg.DiskFullError("x"), True, False),
    (asyncpg.OutOfMemoryError("x"), True, False),
    (asyncpg.AdminShutdownError("x"), True, False),
    (asyncpg.CrashShutdownError("x"), True, False),
    (asyncpg.CannotConnectNowError("x"), True, False),
    (asyncpg.QueryCanceledError("x"), True, False),
    (asyncpg.PostgresIOError("x"), True, False),
    (asyncpg.ReadOnlySQLTransactionError("x"), True, False),
    (asyncpg.LockNotAvailableError("x"), True, False),
    (asyncpg.IdleInTransactionSessionTimeoutError("x"), True, False),
    (asyncpg.InterfaceError("x"), True, False),
    (ConnectionResetError("x"), True, False),
    (OSError("x"), True, False),
    (TimeoutError("x"), True, False),
    (asyncio.IncompleteReadError(b"", 1), True, False),
    (asyncpg.UniqueViolationError("x"), False, True),
    (asyncpg.CheckViolationError("x"), False, True),
    (asyncpg.NotNullViolationError("x"), False, True),
    (asyncpg.ForeignKeyViolationError("x"), False, True),
    (asyncpg.NumericValueOutOfRangeError("x"), False, True),
    (asyncpg.InvalidDatetimeFormatError("x"), False, True),
    (asyncpg.CharacterNotInRepertoireError("x"), False, True),
    (asyncpg.DataError("x"), False, True),
    (asyncpg.UndefinedTableError("x"), False, False),
    (asyncpg.UndefinedColumnError("x"), False, False),
    (asyncpg.PostgresSyntaxError("x"), False, False),
    (asyncpg.InsufficientPrivilegeError("x"), False, False),
    (asyncpg.InvalidPasswordError("x"), False, False),
    (asyncpg.InvalidCatalogNameError("x"), False, False),
    (ValueError("x"), False, False),
    (KeyError("x"), False, False),
    (asyncio.CancelledError(), False, False),
]


@pytest.mark.parametrize(("error", "passes", "is_of_data"), FAULTS, ids=lambda value: type(value).__name__)
def test_a_fault_is_of_one_sort(error: BaseException, passes: bool, is_of_data: bool) -> None:
    assert is_transient(error) is passes
    assert is_data_fault(error) is is_of_data
    assert is_missing_reference(error) is isinstance(error, asyncpg.ForeignKeyViolationError)


async def test_a_value_that_asyncpg_cannot_send_is_a_fault_of_the_data(workers: Pool) -> None:
    for sql, value in (("SELECT $1::bigint", "x"), ("SELECT $1::text", 5), ("SELECT $1::bigint", 1 << 63)):
        with pytest.raises(Exception) as caught:
            await workers.fetch(sql, value)
        assert is_data_fault(caught.value), caught.value
        assert not is_transient(caught.value)


async def test_pools_log_in_as_their_tier_and_tell_their_name(api: Pool, workers: Pool) -> None:
    for pool, role, name in ((api, API_ROLE, "tenfold api"), (workers, WORKER_ROLE, "tenfold worker")):
        assert await pool.fetchval("SELECT session_user || ' ' || current_user") == f"{role}_login {role}_login"
        assert await pool.fetchval("SELECT pg_has_role($1::text, 'USAGE')", role)
        assert await pool.fetchval("SHOW application_name") == name
        assert await pool.fetchval("SHOW timezone") == "UTC"


async def test_a_pool_starts_while_its_server_is_away_and_says_so_when_used(settings: Settings) -> None:
    pool = await create_pool(f"postgresql://x@127.0.0.1:{free_port()}/x", settings, role=None, application="x")
    with pytest.raises(DatabaseUnavailable):
        await fetch_rows(pool, "SELECT 1")
    await pool.close()


KILL_API = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tenfold api'"
    " AND datname = current_database()"
)


async def use_three(pool: AnyPool) -> None:
    await asyncio.gather(*(pool.fetch("SELECT pg_sleep(0.1)") for _ in range(3)))


@pytest.mark.parametrize("keeps", [False, True], ids=["pool", "read pool"])
async def test_a_read_outlives_the_end_of_every_pooled_connection(
    api: Pool, reads: ReadPool, superuser: asyncpg.Connection, keeps: bool
) -> None:
    """As after a restart of the server: each connection is broken, and says so only when it is used."""
    pool: AnyPool = reads if keeps else api
    await use_three(pool)
    await superuser.execute(KILL_API)
    for _ in range(4):
        assert len(await fetch_rows(pool, "SELECT 1")) == 1
    await pool.close()


@pytest.fixture
async def reads_of_two(settings: Settings, identities: Identities) -> AsyncIterator[ReadPool]:
    pool = ReadPool(
        await create_pool(settings.database_url, settings, role=API_ROLE, application="tenfold api", size=2), identities
    )
    yield pool
    await pool.close()


async def test_one_after_the_other_are_read_on_one_connection(reads_of_two: ReadPool) -> None:
    assert len({(await reads_of_two.fetch("SELECT pg_backend_pid()"))[0][0] for _ in range(5)}) == 1
    assert pool_counts(reads_of_two) == {"idle": 1, "busy": 0, "limit": 2}


async def test_at_once_no_more_are_read_than_the_pool_has_connections(reads_of_two: ReadPool) -> None:
    rows = await asyncio.gather(*(reads_of_two.fetch("SELECT pg_backend_pid(), pg_sleep(0.02)") for _ in range(9)))
    assert len({row[0] for [row] in rows}) == 2
    assert pool_counts(reads_of_two) == {"idle": 2, "busy": 0, "limit": 2}


async def test_a_read_under_way_counts_as_busy(reads_of_two: ReadPool) -> None:
    await reads_of_two.fetch("SELECT 1")
    reading = asyncio.create_task(reads_of_two.fetch("SELECT pg_sleep(0.2)"))
    await asyncio.sleep(0.1)
    assert pool_counts(reads_of_two) == {"idle": 0, "busy": 1, "limit": 2}
    await reading


@pytest.mark.parametrize("sql", ["SELECT FROM WHERE", "SELECT 1 / 0", "SELECT * FROM nowhere"])
async def test_a_read_that_fails_takes_no_place(reads_of_two: ReadPool, sql: str) -> None:
    for _ in range(5):
        with pytest.raises(asyncpg.PostgresError):
            await reads_of_two.fetch(sql)
    await asyncio.gather(*(reads_of_two.fetch("SELECT 1") for _ in range(5)))


async def test_a_read_that_is_given_up_takes_no_place_and_leaves_nothing_behind(reads_of_two: ReadPool) -> None:
    for _ in range(5):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reads_of_two.fetch("SELECT pg_sleep(60)"), 0.05)
    rows = await asyncio.gather(*(reads_of_two.fetch("SELECT $1::int", number) for number in range(20)))
    assert [row[0] for [row] in rows] == list(range(20))


async def test_who_gives_up_waiting_for_a_connection_takes_no_place(reads_of_two: ReadPool) -> None:
    long = [asyncio.create_task(reads_of_two.fetch("SELECT pg_sleep(0.4)")) for _ in range(2)]
    await asyncio.sleep(0.1)
    for _ in range(5):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reads_of_two.fetch("SELECT 1"), 0.02)
    await asyncio.gather(*long)
    await asyncio.gather(*(reads_of_two.fetch("SELECT 1") for _ in range(5)))


async def test_a_connection_goes_back_now_and_then_so_that_the_pool_renews_it(
    settings: Settings, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_pool, "RETURNED_AFTER_READS", 5)
    async with asyncpg.create_pool(settings.database_url, min_size=0, max_size=1, max_queries=10) as renewing:
        pool = ReadPool(renewing, identities)
        pids = [(await pool.fetch("SELECT pg_backend_pid()"))[0][0] for _ in range(30)]
        await pool.close()
    assert len(set(pids)) == 3


async def test_to_close_waits_for_what_is_read(reads: ReadPool) -> None:
    pool = reads
    await pool.fetch("SELECT 1")
    reading = asyncio.create_task(pool.fetch("SELECT 7, pg_sleep(0.3)"))
    await asyncio.sleep(0.1)
    await asyncio.wait_for(pool.close(), 5)
    assert (await reading)[0][0] == 7
    with pytest.raises(DatabaseUnavailable):
        await fetch_rows(pool, "SELECT 1")


async def test_a_closed_pool_leaves_no_connection(
    settings: Settings, identities: Identities, owner: asyncpg.Connection
) -> None:
    pool = ReadPool(
        await create_pool(settings.database_url, settings, role=API_ROLE, application="to be closed"), identities
    )
    await use_three(pool)
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'to be closed'"
    assert await owner.fetchval(count) == 3
    await pool.close()
    async with asyncio.timeout(5):
        while await owner.fetchval(count):
            await asyncio.sleep(0.05)


async def test_a_fault_of_ours_is_not_told_as_one_of_the_database(api: Pool) -> None:
    with pytest.raises(asyncpg.PostgresSyntaxError):
        await fetch_rows(api, "SELECT FROM WHERE")


async def test_a_database_that_is_still_to_be_migrated_cannot_answer_yet(api: Pool) -> None:
    with pytest.raises(DatabaseUnavailable):
        await fetch_rows(api, "SELECT * FROM nowhere")


async def test_the_revision_of_a_database_without_schema_is_none(settings: Settings) -> None:
    pool = await create_pool(
        settings.database_url.rpartition("/")[0] + "/postgres", settings, role=None, application="x"
    )
    assert await applied_revision(pool) is None
    await pool.close()


async def test_a_role_that_does_not_exist_yet_is_a_schema_that_is_still_to_come(settings: Settings) -> None:
    pool = await create_pool(settings.database_url, settings, role="nobody_at_all", application="x")
    with pytest.raises(SchemaUnready):
        await fetch_rows(pool, "SELECT 1")
    await pool.close()


async def test_a_pool_tells_its_counts(workers: Pool, settings: Settings) -> None:
    assert pool_counts(workers) == {"idle": 0, "busy": 0, "limit": settings.database_pool_size}
    async with workers.acquire():
        assert pool_counts(workers)["busy"] == 1
    assert pool_counts(workers)["idle"] == 1
