"""What PostgreSQL itself can do at most, measured with pgbench: single-row writes, and the service's own SELECTs."""

import asyncio
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from core.database.read_pool import ReadPool
from core.identity import Identities
from core.tasks.queries import Caller, TaskFilter, TaskQuery, list_tasks
from ops.bench.dataset import LIMIT_ROWS, Dataset
from ops.bench.rig import Rig
from ops.faults import Fault

CLIENTS = 32
SLACK_SECONDS = 30.0
PAGE_USERS = 4
"""How many scripts: few, since each client of pgbench prepares each, and plans it anew the first times."""
_TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)


def insert_script(dataset: Dataset) -> str:
    """One task a transaction, into a table with the columns, checks and indexes of `tasks`."""
    return f"""\\set user random(1, {dataset.users})
\\set priority random(1, 10)
INSERT INTO bench_rows (id, user_id, title, description, priority)
VALUES (next_task_id(), :user, 'Renew the TLS certificates of the mail gateway', 'Expires this quarter.', :priority)
RETURNING row_to_json(bench_rows);
"""  # noqa: S608 - a number of ours


def update_script(dataset: Dataset) -> str:
    """One change of one task a transaction."""
    rows = min(LIMIT_ROWS, dataset.tasks)
    return f"""\\set number random(1, {rows})
\\set priority random(1, 10)
UPDATE bench_rows SET priority = :priority, version = version + 1, updated_at = now()
WHERE  user_id = 1 + :number % {dataset.users} AND id = :number
RETURNING row_to_json(bench_rows);
"""  # noqa: S608 - numbers of ours


def page_scripts(dataset: Dataset, identities: Identities, limit: int) -> list[str]:
    """The service's own statement, one script for each of some users: pgbench cannot sign who asks."""
    users = range(1, min(dataset.users, PAGE_USERS) + 1)
    return [asyncio.run(_page_script(identities, user, limit)) for user in users]


async def _page_script(identities: Identities, user: int, limit: int) -> str:
    """What the API sends for a page by priority."""
    recorder = _Recorder(identities)
    query = TaskQuery(TaskFilter(), sort="priority", limit=limit)
    await list_tasks(cast(ReadPool, recorder), Caller(user), query)
    identity, *others = recorder.arguments
    sql, lines = recorder.sql.replace("$1", f"'{identity}'"), []
    for number, value in enumerate(others, 2):
        assert isinstance(value, int), f"${number} cannot be a variable of pgbench: {value!r}"
        lines.append(f"\\set p{number} {value}")
        sql = sql.replace(f"${number}", f":p{number}")
    return "\n".join([*lines, sql.strip() + ";", ""])


class _Recorder:
    """Takes the place of a pool, and notes the statements that it is given."""

    def __init__(self, identities: Identities) -> None:
        self.identities = identities
        self.sql = ""
        self.arguments: list[Any] = []

    async def fetch(self, sql: str, *arguments: Any) -> list[dict[str, Any]]:
        self.sql, self.arguments = sql, list(arguments)
        return [{"more": False, "items": "[]", "last_key": None, "last_id": None}]


def pgbench(rig: Rig, *scripts: str, seconds: float, url: str | None = None) -> float:
    """Transactions a second of `CLIENTS` clients, which take turns with the scripts at random.

    Args:
        url: whose login it is; the owner's unless given.
    """
    parts = urlsplit(url or rig.database_url)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "PGPASSWORD": parts.password or ""}
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{number}.sql") for number in range(len(scripts))]
        for file, script in zip(files, scripts, strict=True):
            file.write_text(script)
        where = ["-h", str(parts.hostname), "-p", str(parts.port), "-U", str(parts.username)]
        how = ["-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "2", "-T", str(max(1, round(seconds)))]
        what = [argument for file in files for argument in ("-f", str(file))]
        done = subprocess.run(
            [rig.postgres.bin_dir / "pgbench", *where, *how, *what, parts.path.lstrip("/")],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds + SLACK_SECONDS,
            start_new_session=True,
            check=False,
        )
    found = _TPS.search(done.stdout)
    if done.returncode != 0 or found is None:
        raise Fault(f"pgbench failed:\n{(done.stderr or done.stdout).strip()}")
    return float(found.group(1))
