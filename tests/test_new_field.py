"""A new field of tasks is a row in `core/tasks/fields.py` and a migration."""

import asyncio
import pickle
import sys
from pathlib import Path

from core.settings import Settings
from core.tasks.columns import TASK_COLUMNS
from tests.harness import connection

ROOT = Path(__file__).parents[1]

MIGRATION = f"""
ALTER TABLE tasks ADD COLUMN venue text CONSTRAINT tasks_venue_check CHECK (char_length(venue) BETWEEN 1 AND 100);
CREATE OR REPLACE VIEW labelled_tasks AS
SELECT {", ".join(TASK_COLUMNS)}, venue
FROM   tasks
WHERE  labels <> '{{}}' AND (SELECT current_app_user_is_admin());
"""


async def test_a_row_in_the_list_and_a_column_make_a_field_of_everything(settings: Settings) -> None:
    async with connection(settings.database_url) as owner:
        await owner.execute(MIGRATION)
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.new_field", cwd=ROOT, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await program.communicate(pickle.dumps(settings))
    assert program.returncode == 0, told.decode()[-4000:]
