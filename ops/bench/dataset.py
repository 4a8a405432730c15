"""The tasks that stand in the database before anything is measured; loaded once and copied for each run.

A run writes into its copy, so every run finds the same data.
"""

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

import migrations
from core import clock
from core.tasks.columns import TASK_COLUMNS
from migrations.run import upgrade
from ops.dev.demo import demo_tasks
from ops.dev.postgres import PostgresServer

LOADED = "loaded"
COPY = "bench"
SEED = 20
KINDS = 20_000
"""How many different texts the tasks have."""
CHUNK_ROWS = 5000
YEARS_BACK = 2
LIMIT_ROWS = 200_000
"""Rows of the table in which pgbench writes single rows."""
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Dataset:
    """How much there is. Users have the ids from 1 to `users`, and `admin` is the next one."""

    tasks: int
    users: int

    @property
    def admin(self) -> int:
        return self.users + 1

    def fingerprint(self) -> str:
        """A name that changes with the schema and with the data."""
        digest = hashlib.blake2b(Path(__file__).read_bytes(), digest_size=8)
        for file in sorted(Path(migrations.__file__).parent.glob("versions/*.py")):
            digest.update(file.read_bytes())
        # Partitions follow the calendar.
        return f"{self.tasks} tasks of {self.users} users, {clock.now().year}, {digest.hexdigest()}"


def fresh_copy(postgres: PostgresServer, dataset: Dataset, *, anew: bool, say: Say) -> str:
    """A database that holds the dataset and nothing else.

    Args:
        anew: load it again, even if it is there.

    Returns:
        Its URL, of the owner.
    """
    return asyncio.run(_fresh_copy(postgres, dataset, anew, say))


async def _fresh_copy(postgres: PostgresServer, dataset: Dataset, anew: bool, say: Say) -> str:
    connection = await asyncpg.connect(postgres.superuser_url("postgres"))
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {COPY} WITH (FORCE)")
        found = await connection.fetchval(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1", LOADED
        )
        if anew or found != dataset.fingerprint():
            say(f"loading {dataset.tasks:,} tasks of {dataset.users:,} users")
            await connection.execute(f"DROP DATABASE IF EXISTS {LOADED} WITH (FORCE)")
            await connection.execute(f"CREATE DATABASE {LOADED} OWNER {postgres.OWNER}")
            await asyncio.to_thread(upgrade, postgres.url(LOADED))
            await _load(postgres.url(LOADED), dataset)
            # Written last: a database that has it is whole.
            await connection.execute(f"COMMENT ON DATABASE {LOADED} IS '{dataset.fingerprint()}'")
        say("copying the loaded database")
        await connection.execute(f"CREATE DATABASE {COPY} OWNER {postgres.OWNER} TEMPLATE {LOADED} STRATEGY FILE_COPY")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
    return postgres.url(COPY)


# What `_rows` writes; the other columns have their defaults.
_FILLED = (
    "id", "user_id", "title", "description", "priority", "status", "due_date", "created_at", "updated_at",
    "completed_at", "version",
)  # fmt: skip
_USERS = """
INSERT INTO users (username, email, password_hash, role)
SELECT 'bench-' || number, 'bench-' || number || '@example.org', 'none',
       CASE WHEN number > $1 THEN 'admin' ELSE 'user' END
FROM   generate_series(1, $1 + 1) AS number
"""
_LIMIT_TABLE = f"""
CREATE TABLE bench_rows (LIKE tasks INCLUDING ALL);
INSERT INTO bench_rows ({", ".join(TASK_COLUMNS)})
SELECT number, 1 + number % (SELECT count(*) - 1 FROM users),
       {", ".join(column for column in TASK_COLUMNS if column not in ("id", "user_id"))}
FROM   (SELECT *, row_number() OVER () AS number FROM tasks LIMIT {LIMIT_ROWS}) AS numbered;
"""  # noqa: S608 - made of our own names


async def _load(url: str, dataset: Dataset) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_USERS, dataset.users)
        now = clock.now()
        for year in range(now.year - YEARS_BACK, now.year):
            bounds = [_task_id(datetime(y, 1, 1, tzinfo=UTC)) for y in (year, year + 1)]
            await connection.execute(
                f"CREATE TABLE tasks_{year} PARTITION OF tasks FOR VALUES FROM ({bounds[0]}) TO ({bounds[1]})"
            )
        await connection.copy_to_table(
            "tasks", source=_rows(dataset, now), columns=_FILLED, format="text", timeout=3600
        )
        await connection.execute(_LIMIT_TABLE, timeout=600)
        await connection.execute("VACUUM (ANALYZE, FREEZE)", timeout=3600)
    finally:
        await connection.close()


async def _rows(dataset: Dataset, now: datetime) -> AsyncIterator[bytes]:
    """Lines for COPY, the oldest task first, users mixed as in real use."""
    dice = random.Random(SEED)
    kinds = [_kind(task) for task in demo_tasks(KINDS, now, seed=SEED)]
    oldest = datetime(now.year - YEARS_BACK, 1, 1, tzinfo=UTC)
    step = (now - oldest) / (dataset.tasks + 1)
    chunk: list[str] = []
    for number in range(dataset.tasks):
        created_at = oldest + number * step
        title, rest, completed = dice.choice(kinds)
        moment = created_at.isoformat()
        chunk.append(
            f"{_task_id(created_at) + number % 4096}\t{1 + int(dice.random() * dataset.users)}\t{title} ({number})\t"
            f"{rest}\t{moment}\t{moment}\t{moment if completed else NULL}\t1\n"
        )
        if len(chunk) == CHUNK_ROWS:
            yield "".join(chunk).encode()
            chunk.clear()
    yield "".join(chunk).encode()


NULL = r"\N"


def _kind(task: dict[str, Any]) -> tuple[str, str, bool]:
    """Title, the columns from `description` to `due_date`, and whether it is completed."""
    columns = (task[column] for column in ("description", "priority", "status", "due_date"))
    return quoted(task["title"]), "\t".join(map(quoted, columns)), task["status"] == "completed"


def quoted(value: Any) -> str:
    if value is None:
        return NULL
    return re.sub(r"[\\\t\r\n]", lambda found: "\\" + found.group(), str(value))


def _task_id(moment: datetime) -> int:
    """The least id of that moment, as `task_id_floor()` has it."""
    return ((moment - EPOCH) // timedelta(milliseconds=1)) << 12
