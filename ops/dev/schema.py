"""`make schema`: writes down what all migrations come to, for people to read and for diffs to show."""

import re
import subprocess
import tempfile
from pathlib import Path

import migrations
from core.database.pools import API_ROLE, WORKER_ROLE
from migrations.run import upgrade
from ops.dev.postgres import PostgresServer

SCHEMA = Path(migrations.__file__).with_name("schema.sql")

HEAD = """\
-- What the migrations come to in an empty database: made by `make schema`, compared by a test, read by nothing else.
-- Left out: partitions of tasks, whose names depend on the year, and what `tenfold migrate` does besides
-- (migrations/access.py).
"""


def write_schema() -> None:
    """Runs all migrations on a server of its own and writes `migrations/schema.sql`."""
    with tempfile.TemporaryDirectory(prefix="tenfold-schema-") as folder:
        server = PostgresServer(Path(folder) / "postgres", parameters={"fsync": "off"})
        server.start()
        try:
            upgrade(server.url())
            SCHEMA.write_text(schema_of(server, server.DATABASE))
        finally:
            server.stop()


def schema_of(server: PostgresServer, database: str) -> str:
    """Roles, tables, functions, policies and grants of a migrated database, in pg_dump's order."""
    return f"{HEAD}\n{_roles(server)}\n{_objects(server, database)}"


def _roles(server: PostgresServer) -> str:
    """Of the tiers alone: roles belong to the whole server."""
    dump = _run(server, "pg_dumpall", "--roles-only", "--no-role-passwords", f"--dbname={server.superuser_url()}")
    tiers = re.compile(rf"(CREATE|ALTER) ROLE ({API_ROLE}|{WORKER_ROLE})[; ]")
    return "".join(line for line in dump.splitlines(keepends=True) if tiers.match(line))


def _objects(server: PostgresServer, database: str) -> str:
    dump = _run(
        server,
        "pg_dump",
        "--schema-only",
        "--no-owner",
        "--exclude-table=alembic_version",
        "--exclude-table=tasks_[0-9]*",
        f"--dbname={server.url(database)}",
    )
    for noise in (
        r"^\\(un)?restrict .*\n",  # psql's, with a key that is another each time
        r"^--\n-- .*\n(-- .*\n)*--\n",  # the heading of each object; comments in functions stay
        r"^-- Dumped (from|by) .*\n",
        r"^SET \w+ = .*;\n",
        r"^SELECT pg_catalog\.set_config\(.*\n",
    ):
        dump = re.sub(noise, "", dump, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", dump).strip() + "\n"


def _run(server: PostgresServer, program: str, *arguments: str) -> str:
    return subprocess.run(
        [server.bin_dir / program, *arguments], check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout


if __name__ == "__main__":
    write_schema()
