"""SQL of migrations from the ninth on, in files: `0009_due_day.up.sql` and `.down.sql` here are what
`versions/0009_due_day.py` runs.

A file holds any number of statements. It takes no parameters and loops over nothing: what it does to the schema can be
read from it, and tools that know SQL can read it, too.
"""

from pathlib import Path
from typing import Literal

from alembic import op
from sqlalchemy import AdaptedConnection


def up(migration: str) -> None:
    """Runs the file that goes to the revision, in the transaction of the migration.

    Args:
        migration: `__file__` of the module in `versions/`.

    Raises:
        asyncpg.PostgresError: the database refused a statement; nothing of the file stays.
    """
    _run(migration, "up")


def down(migration: str) -> None:
    """Runs the file that goes back from the revision, as `up` does."""
    _run(migration, "down")


def _run(migration: str, direction: Literal["up", "down"]) -> None:
    path = Path(migration)
    script = (path.parents[1] / "sql" / f"{path.stem}.{direction}.sql").read_text(encoding="utf-8")
    connection = op.get_bind().connection.dbapi_connection
    assert isinstance(connection, AdaptedConnection)
    # asyncpg itself takes several statements at a time, where SQLAlchemy would prepare them as one.
    connection.run_async(lambda driver: driver.execute(script))
