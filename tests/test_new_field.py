"""A new field of tasks is a row in `core/tasks/fields.py` and a migration."""

import asyncio
import pickle
import sys
from pathlib import Path

from core.settings import Settings
from tests.harness import connection

ROOT = Path(__file__).parents[1]

ADDED = (
    "ALTER TABLE tasks ADD COLUMN venue text CONSTRAINT tasks_venue_check CHECK (char_length(venue) BETWEEN 1 AND 100)"
)
TOLD = "SELECT pg_get_functiondef('task_json'::regproc)"


async def test_a_row_in_the_list_and_a_column_make_a_field_of_everything(settings: Settings) -> None:
    async with connection(settings.database_url) as owner:
        await owner.execute(ADDED)
        as_it_is: str = await owner.fetchval(TOLD)
        before, end, after = as_it_is.rpartition("'}')")
        await owner.execute(f"{before}',\"venue\":', coalesce(to_json((t).venue), 'null'), {end}{after}")
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.new_field", cwd=ROOT, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await program.communicate(pickle.dumps(settings))
    assert program.returncode == 0, told.decode()[-4000:]
