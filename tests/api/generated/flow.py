# mypy: ignore-errors
"""What a program does through the client that openapi-python-client makes from the document.

It runs in an environment of its own, where that client is.
"""

import io
import os
import uuid

from tenfold_client import AuthenticatedClient, Client
from tenfold_client.api.auth import login, register
from tenfold_client.api.exports import create_export, get_export, get_export_file
from tenfold_client.api.imports import create_import, get_import
from tenfold_client.api.jobs import get_job
from tenfold_client.api.tasks import count_visible_tasks, create_task, list_visible_tasks, update_task, write_batch
from tenfold_client.models import (
    Batch,
    BatchCreate,
    BatchCreateOp,
    BatchDelete,
    BatchDeleteOp,
    BatchUpdate,
    BatchUpdateOp,
    CreateImportFormat,
    ExportCreate,
    ExportCreateFormat,
    Job,
    ListVisibleTasksStatusItem,
    Login,
    Problem,
    Register,
    Task,
    TaskCreate,
    TaskUpdate,
)
from tenfold_client.types import UNSET, File

PASSWORD = "correct horse battery staple"
url = os.environ["TENFOLD_URL"]
anonymous = Client(base_url=url, raise_on_unexpected_status=True)
registered = register.sync_detailed(
    client=anonymous, body=Register(username="python", email="py@example.com", password=PASSWORD)
)
assert registered.status_code == 201, registered
pair = login.sync(client=anonymous, body=Login(username="python", password=PASSWORD))
client = AuthenticatedClient(base_url=url, token=pair.access_token, raise_on_unexpected_status=True)

titles = ["one", "two", "three", "four", "five"]
made = []
for title in titles:
    answer = create_task.sync_detailed(client=client, body=TaskCreate.from_dict({"title": title, "priority": 2}))
    assert answer.status_code == 201, answer
    assert isinstance(answer.parsed, Task)
    made.append(answer.parsed)
accepted = create_task.sync_detailed(client=client, body=TaskCreate(title="later"), prefer="respond-async")
assert accepted.status_code == 202, accepted
assert isinstance(accepted.parsed, Job)
assert get_job.sync(accepted.parsed.id, client=client, prefer="wait=5").state == "succeeded"

found, cursor = [], UNSET
while cursor is not None:
    statuses = [ListVisibleTasksStatusItem.PENDING, ListVisibleTasksStatusItem.BLOCKED]
    page = list_visible_tasks.sync(client=client, status=statuses, limit=2, cursor=cursor)
    found += [task.title for task in page.items]
    cursor = page.next_cursor
assert found == [*titles, "later"], found
counted = count_visible_tasks.sync(client=client)
assert (counted.count, counted.estimated) == (6, False)

change = TaskUpdate.from_dict({"status": "in_progress", "due_date": None})
patched = update_task.sync_detailed(made[0].id, client=client, body=change, if_match='"1"')
assert (patched.status_code, patched.parsed.version) == (200, 2), patched
stale = update_task.sync_detailed(made[0].id, client=client, body=change, if_match='"1"')
assert (stale.status_code, stale.parsed.type_) == (412, "/problems/version-conflict"), stale
assert isinstance(stale.parsed, Problem)

operations = [
    BatchCreate(op=BatchCreateOp.CREATE, fields=TaskCreate(title="of a batch")),
    BatchUpdate(op=BatchUpdateOp.UPDATE, id=made[0].id, fields=TaskUpdate(priority=1), if_version=2),
    BatchDelete(op=BatchDeleteOp.DELETE, id=made[1].id),
]
batch = write_batch.sync_detailed(client=client, body=Batch(operations=operations))
assert (batch.status_code, [result.status for result in batch.parsed.results]) == (207, [201, 200, 204]), batch

file = File(payload=io.BytesIO(b"title,priority\nimported,3\n"), file_name="tasks.csv")
imported = create_import.sync_detailed(client=client, body=file, format_=CreateImportFormat.CSV)
assert imported.status_code == 202, imported
assert get_import.sync(imported.parsed.id, client=client, prefer="wait=5").created == 1

order = ExportCreate(format_=ExportCreateFormat.CSV, priority=[3])
export = create_export.sync(client=client, body=order)
assert get_export.sync(export.id, client=client, prefer="wait=5").state == "succeeded"
exported = get_export_file.sync_detailed(uuid.UUID(str(export.id)), client=client)
assert b"imported" in exported.content
print("the flow passed")  # noqa: T201 - for whoever started it
