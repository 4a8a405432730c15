"""The tables' metadata, and the revision that the code needs.

SQLAlchemy Core declares the tables; asyncpg executes the statements.
"""

from sqlalchemy import MetaData

from core.database.pools import AnyPool
from core.database.reads import fetch_row
from core.errors import SchemaUnready

SCHEMA_REVISION = "0012"
"""The Alembic revision that this code needs; a test holds it to the newest migration."""

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)


async def applied_revision(pool: AnyPool) -> str | None:
    """The Alembic revision of the database; None where it was never migrated.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    try:
        row = await fetch_row(pool, "SELECT version_num FROM alembic_version")
    except SchemaUnready:
        return None
    return None if row is None else row["version_num"]
