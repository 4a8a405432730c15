"""`tenfold check`: one finding for each thing, and for each fault what to do."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from yarl import URL

from core import lanes
from core.encryption import SecretBox
from core.redis.clients import queue_client
from core.settings import Settings
from ops.check import Verdict, check_everything
from ops.ports import free_port
from tests.harness import SECRET as KEY
from tests.harness import Servers, connection, insert_user
from tests.ops.running import tenfold
from tests.ops.test_cli import empty, variables  # noqa: F401 - `empty` is a fixture


def findings(environment: dict[str, str]) -> dict[str, tuple[Verdict, str, str]]:
    return {f.subject: (f.verdict, f.detail, f.remedy) for f in check_everything(environment)}


def faults(environment: dict[str, str]) -> dict[str, str]:
    return {
        subject: f"{detail} → {remedy}"
        for subject, (verdict, detail, remedy) in findings(environment).items()
        if verdict is Verdict.FAULT
    }


@pytest.fixture
def sound(settings: Settings) -> dict[str, str]:
    return variables(settings, PORT=str(free_port()))


def test_a_sound_installation_has_no_fault(tmp_path: Path, sound: dict[str, str]) -> None:
    run = tenfold("check", cwd=tmp_path, **sound)
    assert run.returncode == 0, run.stdout
    assert run.stdout.endswith("all is well\n")
    subjects = [line.split()[1] for line in run.stdout.splitlines() if line.startswith(("OK", "NOTE"))]
    for subject in ("settings", "tokens", "database", "migrations", "queue", "cache", "storage", "port"):
        assert subject in subjects


def test_no_secret_is_shown(tmp_path: Path, sound: dict[str, str], servers: Servers) -> None:
    run = tenfold("check", cwd=tmp_path, **sound)
    for secret in (servers.postgres.password, servers.queue.password, servers.cache.password, sound["JWT_SECRET_KEY"]):
        assert secret not in run.stdout + run.stderr


def test_bad_settings_are_findings_too(tmp_path: Path) -> None:
    run = tenfold("check", cwd=tmp_path, PORT="eighty")
    assert run.returncode == 1
    assert run.stdout.count("FAULT") == 3
    assert "→ give it as redis://host:6379/0" in run.stdout
    assert run.stdout.endswith("3 faults\n")


def test_a_database_that_is_away_or_refuses_is_a_fault(sound: dict[str, str]) -> None:
    found = faults({**sound, "DATABASE_URL": "postgresql://tenfold:hunter2@127.0.0.1:1/tenfold"})
    assert list(found) == ["database"]
    assert found["database"].startswith("127.0.0.1:1/tenfold: ")
    assert "is PostgreSQL running" in found["database"]
    url = sound["DATABASE_URL"]
    wrong = url.replace(url.split(":")[2].split("@")[0], "hunter2")
    assert "password authentication failed" in faults({**sound, "DATABASE_URL": wrong})["database"]


def test_a_database_that_does_not_exist_comes_with_the_sql_that_makes_it(sound: dict[str, str]) -> None:
    url = URL(sound["DATABASE_URL"])
    found = faults({**sound, "DATABASE_URL": str(url.with_path("/prod-1"))})
    assert found["database"].endswith(
        f'"prod-1" does not exist → as somebody who may make databases: CREATE DATABASE "prod-1" OWNER "{url.user}";'
    )


def test_a_database_without_tables_wants_migrating(sound: dict[str, str], empty: dict[str, str]) -> None:  # noqa: F811
    found = faults({**sound, **empty})
    assert found["migrations"].endswith("→ run: tenfold migrate")
    assert all(line.endswith("→ run: tenfold migrate") for line in found.values())


async def test_a_database_ahead_of_the_code_is_a_fault(sound: dict[str, str]) -> None:
    async with connection(sound["DATABASE_URL"]) as owner:
        await owner.execute("UPDATE alembic_version SET version_num = 'zzzz'")
    found = await asyncio.to_thread(faults, sound)
    assert "the database is ahead of this code: update the code" in found["migrations"]


def test_an_api_login_that_may_write_is_a_fault(sound: dict[str, str], servers: Servers) -> None:
    found = faults({**sound, "API_DATABASE_URL": sound["DATABASE_URL"]})
    assert found["api login"].startswith("tenfold owns the database → give api a login of its own in API_DATABASE_URL")
    found = faults({**sound, "API_DATABASE_URL": sound["WORKER_DATABASE_URL"]})
    assert found["api login"] == (
        "tenfold_worker_login is a member of tenfold_worker, and should be one of tenfold_api alone "
        "→ REVOKE tenfold_worker FROM tenfold_worker_login, or name another login"
    )
    assert list(found) == ["api login"], "nothing is said twice"
    path = sound["DATABASE_URL"].rpartition("/")[2]
    found = faults({**sound, "WORKER_DATABASE_URL": servers.postgres.superuser_url(path)})
    assert found["worker login"].startswith("postgres is a superuser → ")


@pytest.mark.parametrize("tier", ["api", "worker"])
def test_one_login_for_all_is_a_fault_in_production_and_a_note_in_development(sound: dict[str, str], tier: str) -> None:
    alone = {**sound, f"{tier.upper()}_DATABASE_URL": ""}
    assert f"postgresql://tenfold_{tier}_login:PASSWORD@host:5432/tenfold" in faults(alone)[f"{tier} login"]
    verdict, detail, _ = findings({**alone, "TENFOLD_ENV": "development"})[f"{tier} login"]
    assert (verdict, detail) == (Verdict.NOTE, "tenfold owns the database")


async def test_what_a_login_could_do_besides_is_noted(sound: dict[str, str], servers: Servers) -> None:
    name = sound["DATABASE_URL"].rpartition("/")[2]
    assert (await asyncio.to_thread(findings, sound))["api login"][:2] == (
        Verdict.OK,
        "tenfold_api_login, which reads only",
    )
    async with connection(servers.postgres.superuser_url(name)) as superuser:
        await superuser.execute("GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint), lo_creat(integer) TO PUBLIC")
        await superuser.execute(f"GRANT TEMPORARY ON DATABASE {name} TO PUBLIC")
    verdict, detail, remedy = (await asyncio.to_thread(findings, sound))["api login"]
    assert verdict is Verdict.NOTE
    assert "can make temporary tables, can execute lo_creat, pg_advisory_lock" in detail
    assert "as SQL for a superuser" in remedy


def test_a_key_that_the_database_does_not_know_is_a_fault(sound: dict[str, str]) -> None:
    found = faults({**sound, "JWT_SECRET_KEY": KEY[::-1]})
    assert list(found) == ["identity"]
    assert "does not know the key" in found["identity"]
    assert "if the key was replaced, give this service the new one; else run `tenfold migrate`" in found["identity"]


def test_a_queue_that_forgets_is_a_fault(sound: dict[str, str]) -> None:
    found = list(check_everything({**sound, "QUEUE_REDIS_URL": sound["REDIS_URL"]}))
    told = [f"{f.detail} → {f.remedy}" for f in found if f.verdict is Verdict.FAULT]
    assert told == ["the server keeps no append-only file → set `appendonly yes`, or accepted writes can be lost"]
    assert any("is the queue too" in f.detail for f in found if f.verdict is Verdict.NOTE)


async def test_a_lane_that_nobody_drains_is_noted(sound: dict[str, str]) -> None:
    assert (await asyncio.to_thread(findings, sound))["lanes"][0] is Verdict.OK
    queue = queue_client(sound["QUEUE_REDIS_URL"])
    await queue.xadd(lanes.stream("accounts"), {"x": "y"}, id=f"{int((time.time() - 11) * 1000)}-0")
    await queue.xadd(lanes.stream("0"), {"x": "y"})
    await queue.aclose(close_connection_pool=True)
    verdict, detail, remedy = (await asyncio.to_thread(findings, sound))["lanes"]
    assert verdict is Verdict.NOTE
    assert detail.startswith("nobody drains lane accounts: the oldest entry has waited for 1")
    assert "start `tenfold worker`" in remedy


@pytest.mark.parametrize(("variable", "subject"), [("QUEUE_REDIS_URL", "queue"), ("REDIS_URL", "cache")])
def test_a_server_that_is_away_or_refuses_is_a_fault(sound: dict[str, str], variable: str, subject: str) -> None:
    assert "127.0.0.1:1/0: " in faults({**sound, variable: "redis://:hunter2@127.0.0.1:1/0"})[subject]
    wrong = f"redis://:hunter2@{sound[variable].partition('@')[2]}"
    assert variable in faults({**sound, variable: wrong})[subject]


def test_a_port_in_use_is_a_fault(sound: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", int(sound["PORT"]))):
        assert faults(sound)["port"].endswith("choose another PORT")


def test_a_key_of_the_wrong_kind_is_a_fault(tmp_path: Path, sound: dict[str, str]) -> None:
    (tmp_path / "key.pem").write_text("no key")
    found = faults({**sound, "JWT_ALGORITHM": "EdDSA", "JWT_KEY_FILE": str(tmp_path / "key.pem")})
    assert "put a private key (PEM) of that kind into JWT_KEY_FILE" in found["tokens"]


def test_a_storage_that_cannot_be_written_to_is_a_fault(sound: dict[str, str]) -> None:
    found = faults({**sound, "STORAGE_URL": "file:///proc/tenfold"})
    assert list(found) == ["storage"]
    assert found["storage"].startswith("file:///proc/tenfold: ")
    assert "mend STORAGE_URL" in found["storage"]


def test_without_a_key_for_secrets_an_operator_is_told_what_nobody_can_do(sound: dict[str, str]) -> None:
    told = findings({**sound, "TENFOLD_ENV": "production"})["secrets"]
    assert told[:2] == (Verdict.NOTE, "without SECRETS_KEY nobody can make a channel")
    assert told[2] == "make one with: openssl rand -base64 48"
    told = findings({**sound, "TENFOLD_ENV": "development"})["secrets"]
    assert told[:2] == (Verdict.NOTE, "JWT_SECRET_KEY stands in for SECRETS_KEY")
    assert findings({**sound, "SECRETS_KEY": KEY[::-1]})["secrets"][0] is Verdict.OK


@pytest.mark.parametrize("key", ["short", "changeme" * 5, f"{KEY},too-short"])
def test_a_key_for_secrets_that_is_none_is_a_fault(sound: dict[str, str], key: str) -> None:
    found = faults({**sound, "TENFOLD_ENV": "production", "SECRETS_KEY": key})
    assert list(found) == ["settings"]
    assert found["settings"].startswith("SECRETS_KEY is shorter than 32 bytes or guessable → make one with:")


async def test_channels_whose_key_is_lost_are_a_fault_and_with_the_old_key_beside_the_new_are_not(
    sound: dict[str, str],
) -> None:
    async with connection(sound["DATABASE_URL"]) as owner:
        user_id = await insert_user(owner, "alice")
        for key, state in ((KEY, "active"), (KEY[::-1], "disabled"), (KEY[::-1], "deleted")):
            sealed = SecretBox([key.encode()]).seal("https://example.com", user_id=user_id, purpose="url")
            await owner.execute(
                "INSERT INTO channels (user_id, kind, url_encrypted, url_masked, state)"
                " VALUES ($1, 'webhook', $2, '', $3)",
                user_id,
                sealed,
                state,
            )

    async def told(key: str) -> str:
        found = await asyncio.to_thread(findings, {**sound, "SECRETS_KEY": key})
        return f"{found['channels'][0]} {found['channels'][1]}"

    lost = "of 2 cannot be used: SECRETS_KEY does not hold their key"
    assert await told(KEY) == f"FAULT 1 {lost}"
    assert await told(KEY[::-1] + "x") == f"FAULT 2 {lost}"
    assert await told(f"{KEY}, {KEY[::-1]}") == "OK 2, all of which can be used"


def test_of_several_hosts_the_primary_is_checked_and_all_are_named(sound: dict[str, str]) -> None:
    several = {
        name: url.replace("@", f"@127.0.0.1:{free_port()},") if name.endswith("DATABASE_URL") else url
        for name, url in sound.items()
    }
    found = findings(several)
    subjects = ("database", "migrations", "api login", "worker login")
    assert Verdict.FAULT not in [found[subject][0] for subject in subjects]
    assert found["database"][1].count("127.0.0.1:") == 2


def test_a_bucket_without_tls_is_told_with_the_setting_that_allows_it(
    sound: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "x"}
    with answering() as port:
        for name, value in {**keys, "AWS_ENDPOINT": f"http://127.0.0.1:{port}"}.items():
            monkeypatch.setenv(name, value)
        refused = findings({**sound, "STORAGE_URL": "s3://bucket"})["storage"]
        assert refused[2] == "give AWS_ENDPOINT as https://…, or say STORAGE_ALLOW_HTTP=true"
        allowed = findings({**sound, "STORAGE_URL": "s3://bucket", "STORAGE_ALLOW_HTTP": "true"})["storage"]
    assert "403" in allowed[1], "it was asked"


@contextmanager
def answering() -> Iterator[int]:
    """A server that refuses everything; yields its port."""

    class Refusing(BaseHTTPRequestHandler):
        def refuse(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = refuse

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
