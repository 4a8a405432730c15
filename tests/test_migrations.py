"""What the migrations come to stands in `schema.sql`, and the SQL of new ones in files of its own."""

import ast
import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from core.settings import Settings
from migrations import run
from ops.dev.schema import SCHEMA, schema_of
from ops.faults import Fault
from ops.migrate import go_up
from tests.harness import Servers, connection
from tests.test_architecture import imported

MIGRATIONS = Path(run.__file__).parent
LAST_WITH_SQL_IN_ITSELF = "0008"

COLOURS = """\
CREATE TABLE colours (name text PRIMARY KEY);

-- A body with semicolons of its own; and two in a text: ';;'.
CREATE FUNCTION first_colour() RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
    RETURN (SELECT name FROM colours ORDER BY name LIMIT 1);
END
$$;

INSERT INTO colours VALUES ('100 % green; :not, a parameter');
"""


async def test_the_schema_is_what_the_migrations_come_to(servers: Servers) -> None:
    async with servers.database("tenfold_schema") as url:
        await asyncio.to_thread(run.upgrade, url)
        schema = await asyncio.to_thread(schema_of, servers.postgres, "tenfold_schema")
    assert schema == SCHEMA.read_text(encoding="utf-8"), "`make schema` writes it anew"


# -- files


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one more migration, `9999_colours`, as the template makes it: its files are still to be written."""
    for folder in ("versions", "sql"):
        (tmp_path / folder).mkdir()
    config = run.configuration()
    locations = (MIGRATIONS / "versions", tmp_path / "versions")
    config.set_main_option("version_locations", os.pathsep.join(map(str, locations)))

    def configuration() -> Config:
        return config

    command.revision(config, "colours", rev_id="9999", version_path=tmp_path / "versions")
    monkeypatch.setattr(run, "configuration", configuration)
    return tmp_path


def write(scratch: Path, *, up: str, down: str = "") -> None:
    (scratch / "sql/9999_colours.up.sql").write_text(up)
    (scratch / "sql/9999_colours.down.sql").write_text(down)


async def test_a_migration_runs_all_that_is_in_its_files(settings: Settings, scratch: Path) -> None:
    write(scratch, up=COLOURS, down="DROP FUNCTION first_colour();\nDROP TABLE colours;\n")
    await asyncio.to_thread(run.upgrade, settings.owner_url)
    async with connection(settings.owner_url) as owner:
        assert await owner.fetchval("SELECT first_colour()") == "100 % green; :not, a parameter"
    assert await asyncio.to_thread(run.pending, settings.owner_url) == []
    await asyncio.to_thread(run.downgrade, settings.owner_url, "-1")
    async with connection(settings.owner_url) as owner:
        assert await owner.fetchval("SELECT to_regclass('colours')") is None
    assert await asyncio.to_thread(run.pending, settings.owner_url) == ["9999"]


async def test_of_a_file_that_is_refused_nothing_stays_and_the_operator_is_told_why(
    settings: Settings, scratch: Path
) -> None:
    write(scratch, up=f"{COLOURS}\nCREATE TABLE colours (name text);\n")
    with pytest.raises(Fault, match='the database refused: relation "colours" already exists'):
        await asyncio.to_thread(go_up, settings, "head")
    async with connection(settings.owner_url) as owner:
        assert await owner.fetchval("SELECT to_regclass('colours')") is None
    assert await asyncio.to_thread(run.pending, settings.owner_url) == ["9999"]


async def test_a_server_that_is_too_old_is_told_before_anything_is_done(
    servers: Servers, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "OLDEST_POSTGRESQL", 99)
    async with servers.database("tenfold_old") as url:
        with pytest.raises(Fault, match=r"this is PostgreSQL 18, and Tenfold needs 99 or later\. Nothing was done"):
            await asyncio.to_thread(go_up, replace(settings, database_url=url), "head")
        async with connection(url) as owner:
            assert await owner.fetchval("SELECT to_regclass('alembic_version')") is None


def strays(folder: Path) -> Iterator[str]:
    """What of a folder of migrations breaks the rule: SQL stands in files, two for each migration."""
    modules = {path.stem: path for path in (folder / "versions").glob("[0-9]*.py")}
    new = {name: path for name, path in modules.items() if name[:4] > LAST_WITH_SQL_IN_ITSELF}
    for name, path in new.items():
        if "alembic" in {module.split(".")[0] for module in imported(ast.parse(path.read_text()))}:
            yield f"{name} could run SQL of its own"
    wanted = {f"{name}.{direction}.sql" for name in new for direction in ("up", "down")}
    found = {path.name for path in (folder / "sql").glob("*.sql")}
    yield from (f"{name} is missing" for name in sorted(wanted - found))
    yield from (f"{name} belongs to no migration" for name in sorted(found - wanted))


def test_the_sql_of_new_migrations_stands_in_files_of_its_own() -> None:
    assert list(strays(MIGRATIONS)) == []


def test_a_migration_that_breaks_that_is_found(scratch: Path) -> None:
    write(scratch, up=COLOURS)
    assert list(strays(scratch)) == []
    (scratch / "sql/9999_colours.down.sql").rename(scratch / "sql/9999_colour.down.sql")
    with (scratch / "versions/9999_colours.py").open("a") as file:
        file.write("\nfrom alembic import op\n")
    assert list(strays(scratch)) == [
        "9999_colours could run SQL of its own",
        "9999_colours.down.sql is missing",
        "9999_colour.down.sql belongs to no migration",
    ]
