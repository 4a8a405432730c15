"""What PostgreSQL itself can do at most, measured with pgbench: single-row writes, and the service's own SELECTs."""

import asyncio
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from core.database import API_ROLE, Pool
from core.tasks.queries import Caller, TaskFilter, TaskQuery, list_tasks
from ops.bench.dataset import LIMIT_ROWS, Dataset
from ops.bench.rig import Rig
from ops.faults import Fault

CLIENTS = 32
SLACK_SECONDS = 30.0
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


def page_script(dataset: Dataset, limit: int) -> str:
    """The service's own statement, by random users."""
    sql, (user, *others) = asyncio.run(_statement(limit))
    assert user == "1", f"the first parameter is whose page it is: {user}"
    lines = [f"\\set user random(1, {dataset.users})"]
    sql = sql.replace("$1", ":user")
    for number, value in enumerate(others, 2):
        assert isinstance(value, int), f"${number} cannot be a variable of pgbench: {value!r}"
        lines.append(f"\\set p{number} {value}")
        sql = sql.replace(f"${number}", f":p{number}")
    return "\n".join([*lines, sql.strip() + ";", ""])


async def _statement(limit: int) -> tuple[str, list[Any]]:
    """What the API sends for a page by priority, and with which arguments."""
    recorder = _Recorder()
    query = TaskQuery(TaskFilter(), sort="priority", limit=limit)
    await list_tasks(cast(Pool, recorder), Caller(1), query)
    return recorder.sql, recorder.arguments


class _Recorder:
    """Stands where a pool stands, and notes what it is asked."""

    sql = ""
    arguments: list[Any]

    async def fetch(self, sql: str, *arguments: Any) -> list[dict[str, Any]]:
        self.sql, self.arguments = sql, list(arguments)
        return [{"more": False, "items": "[]", "last_key": None, "last_id": None}]


def pgbench(rig: Rig, script: str, *, seconds: float, as_api: bool = False) -> float:
    """Transactions a second of `CLIENTS` clients.

    Args:
        as_api: under the API's role, so that row-level security applies.
    """
    url = urlsplit(rig.database_url)
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PGPASSWORD": url.password or "",
        "PGOPTIONS": f"-c role={API_ROLE}" if as_api else "",
    }
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        where = ["-h", str(url.hostname), "-p", str(url.port), "-U", str(url.username)]
        how = ["-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "2", "-T", str(max(1, round(seconds)))]
        done = subprocess.run(
            [rig.postgres.bin_dir / "pgbench", *where, *how, "-f", Path(file.name), url.path.lstrip("/")],
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
        raise Fault(f"pgbench failed:\n{done.stderr.strip()}")
    return float(found.group(1))
