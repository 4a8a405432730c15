"""Alembic's environment: the owner's connection comes from `migrations.run`, the tables from core."""

from alembic import context

import core.jobs.tables
import core.tasks.tables
import core.users.tables  # noqa: F401
from core.database.schema import metadata


def run() -> None:
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


run()
