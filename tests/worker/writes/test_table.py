"""Commands on the wire: an entry that another version has left in a lane is planned like one of this version."""

import orjson
import pytest

from core.commands.kinds import KINDS, WRITE_BATCH
from core.commands.wire import decode_entry
from worker.writes.operations import plan, plan_safely

JOB = "019b0d3c-7e3a-7cc0-8000-000000000001"
EXPORT = "019b0d3c-7e3a-7cc0-8000-000000000002"

# Kind → (payload as its bytes are in a lane, what the operation is about). Never to be changed: such entries lie in the
# lanes of those who upgrade. A key that is new comes into another line.
ON_THE_WIRE: list[tuple[str, str, object]] = [
    ("task.create", '{"fields":{"title":"Buy milk","priority":2,"due_date":"2026-02-01T08:00:00Z"}}', None),
    ("task.update", '{"id":5,"fields":{"title":"x"},"if_versions":null}', ("task", 5)),
    ("task.update", '{"id":5,"fields":{},"if_versions":[3],"any_owner":true}', ("task", 5)),
    ("task.delete", '{"id":5,"if_versions":[1,2]}', ("task", 5)),
    ("task.reminders", '{"id":5,"reminders":["-PT15M"]}', ("task", 5)),
    ("task.reminders", '{"id":5,"reminders":null,"any_owner":true}', ("task", 5)),
    ("user.register", '{"username":"Ada","email":"ada@example.com","password_hash":"$argon2id$"}', ("name", "ada")),
    ("user.update", '{"time_zone":"Europe/Berlin","reminder_offsets":["-PT1H"]}', ("user", 7)),
    (
        "session.open",
        f'{{"session_id":"{EXPORT}","expires_at":"2026-03-01T00:00:00","role":"user"}}',
        ("user", 7),
    ),
    ("session.rotate", f'{{"session_id":"{EXPORT}","generation":4,"expires_at":"2026-03-01T00:00:00"}}', ("user", 7)),
    (
        "session.rotate",
        f'{{"session_id":"{EXPORT}","generation":4,"expires_at":"2026-03-01T00:00:00","grace_seconds":10}}',
        ("user", 7),
    ),
    ("session.revoke", f'{{"session_id":"{EXPORT}"}}', ("user", 7)),
    ("export", '{"format":"csv","filters":{"status":["pending"],"sort":"created_at"},"all_users":false}', ("job", JOB)),
    ("export", '{"format":"csv","filters":{},"all_users":false,"bom":true}', ("job", JOB)),
    ("export.cancel", f'{{"id":"{EXPORT}"}}', ("job", EXPORT)),
    ("export.cancel", f'{{"id":"{EXPORT}","with_file":true}}', ("job", EXPORT)),
    (
        "import",
        '{"format":"todoist","filename":null,"dry_run":false,"options":{},"object":"imports/x","digest":"d","bytes":9}',
        ("job", JOB),
    ),
    ("import.cancel", f'{{"id":"{EXPORT}"}}', ("job", EXPORT)),
    ("import.undo", f'{{"id":"{EXPORT}"}}', ("job", EXPORT)),
    ("maintenance", '{"name":"purge_events","arguments":{}}', ("job", JOB)),
    (
        "channel.create",
        '{"kind":"webhook","url":"c2VhbGVk","masked":"https://…","secret":null,"events":[],"quiet_hours":null}',
        ("user", 7),
    ),
    (
        "channel.create",
        '{"kind":"slack","url":"c2VhbGVk","masked":"…","secret":null,"events":[],"quiet_hours":null,"name":"On call"}',
        ("user", 7),
    ),
    ("channel.update", '{"id":3,"name":null}', ("user", 7)),
    ("channel.update", '{"id":3,"state":"active","url":"c2VhbGVk","masked":"https://…"}', ("user", 7)),
    ("channel.rotate", '{"id":3,"secret":"c2VhbGVk"}', ("user", 7)),
    ("channel.delete", '{"id":3}', ("user", 7)),
    ("channel.test", '{"id":3}', ("user", 7)),
    ("delivery.redeliver", '{"id":3}', ("user", 7)),
    ("notification.update", '{"id":3,"read":true}', ("user", 7)),
    ("notification.read_all", "{}", ("user", 7)),
]


def entry(kind: str, payload: str) -> dict[bytes, bytes]:
    body = (
        f'[{{"id":"{JOB}","kind":"{kind}","user_id":7,"payload":{payload},'
        '"created_at":"2026-01-31T12:00:00.000000+00:00","request_id":null,"fingerprint":null,"token":0}]'
    )
    return {b"origin": b"api-1", b"commands": body.encode()}


@pytest.mark.parametrize(("kind", "payload", "subject"), ON_THE_WIRE)
def test_a_command_on_the_wire_is_one_operation_and_is_written_as_it_was(
    kind: str, payload: str, subject: object
) -> None:
    fields = entry(kind, payload)
    [command] = decode_entry(b"1-0", fields).commands
    assert b"[" + command.encode() + b"]" == fields[b"commands"]
    [operation] = plan(command).operations
    assert operation.kind is KINDS[kind]
    assert (operation.user_id, operation.job_id, operation.subject) == (7, JOB, subject)
    assert operation.payload == orjson.loads(payload)
    assert operation.any_owner is ("any_owner" in payload)


def test_a_batch_on_the_wire_is_its_operations() -> None:
    payload = (
        '{"operations":[{"op":"create","fields":{"title":"x"}},{"op":"update","id":5,"fields":{},"if_versions":null},'
        '{"op":"delete","id":6,"if_versions":[1]},{"error":{"type":"/problems/validation-error","status":422}}]}'
    )
    [command] = decode_entry(b"1-0", entry("task.batch", payload)).commands
    work = plan(command)
    assert [operation.kind.name for operation in work.operations[:3]] == ["task.create", "task.update", "task.delete"]
    assert [operation.subject for operation in work.operations[:3]] == [None, ("task", 5), ("task", 6)]
    assert [effect.status_code for effect in work.effects()] == [422]


def test_every_kind_is_among_them() -> None:
    assert {kind for kind, _, _ in ON_THE_WIRE} == set(KINDS) - {WRITE_BATCH.name}


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("task.nonsense", "{}"),
        ("task.update", '{"id":"5","fields":{}}'),
        ("export.cancel", '{"id":"no job"}'),
        ("task.batch", '{"operations":[{"op":"reminders","id":5}]}'),
        ("task.batch", '{"operations":["create"]}'),
        ("task.batch", "{}"),
    ],
)
def test_what_cannot_be_read_is_refused_whole(kind: str, payload: str) -> None:
    [command] = decode_entry(b"1-0", entry(kind, payload)).commands
    work = plan_safely(command)
    assert work.is_refused_whole
    assert work.effect().status_code == 500
