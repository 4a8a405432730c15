"""Health: alive, and ready with a line for each dependency."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from api.app import create_app
from core.settings import Settings, SettingsError
from tests.conftest import MakeService, MakeSettings
from tests.harness import PASSWORD, Answer, Servers, Service, away, eventually, tier_urls
from worker.main import serve


def states(answer: Answer) -> dict[str, str]:
    return {dependency["name"]: dependency["status"] for dependency in answer.json["dependencies"]}


async def test_a_process_that_answers_is_alive(service: Service) -> None:
    answer = await service.anonymous.get("/health/live")
    assert (answer.status, answer.json) == (200, {"status": "alive"})


async def test_it_is_ready_with_a_line_per_dependency(service: Service) -> None:
    answer = await service.anonymous.get("/health/ready")
    assert answer.status == 200
    assert answer.json["status"] == "ready"
    assert states(answer) == {"database": "ok", "queue": "ok", "cache": "ok", "migrations": "ok", "lanes": "ok"}
    assert {dependency["detail"] for dependency in answer.json["dependencies"]} == {None}


async def test_without_the_cache_it_still_serves(make_service: MakeService, breakable_servers: Servers) -> None:
    service = await make_service(on=breakable_servers)
    async with away(breakable_servers.cache):
        answer = await service.anonymous.get("/health/ready")
        assert (answer.status, answer.json["status"]) == (200, "degraded")
        assert states(answer) == {
            "database": "ok",
            "queue": "ok",
            "cache": "degraded",
            "migrations": "ok",
            "lanes": "ok",
        }
    await ready_again(service)


async def test_without_the_queue_it_is_not_ready(make_service: MakeService, breakable_servers: Servers) -> None:
    service = await make_service(on=breakable_servers)
    async with away(breakable_servers.queue):
        answer = await service.anonymous.get("/health/ready")
        assert (answer.status, answer.json["status"]) == (503, "unavailable")
        assert states(answer)["queue"] == "failed"
        assert states(answer)["database"] == "ok"
        assert (await service.anonymous.get("/health/live")).status == 200
    await ready_again(service)


async def test_without_the_database_it_is_not_ready(make_service: MakeService, breakable_servers: Servers) -> None:
    service = await make_service(on=breakable_servers)
    async with away(breakable_servers.postgres):
        answer = await service.anonymous.get("/health/ready")
        assert (answer.status, answer.json["status"]) == (503, "unavailable")
        assert states(answer) == {
            "database": "failed",
            "queue": "ok",
            "cache": "ok",
            "migrations": "failed",
            "lanes": "ok",
        }
        for secret in (breakable_servers.postgres.password, "asyncpg", "Traceback", "127.0.0.1"):
            assert secret not in answer.body.decode()
        assert (await service.anonymous.get("/health/live")).status == 200
    await ready_again(service)


async def test_an_old_schema_is_not_ready_and_says_what_to_do(make_service: MakeService) -> None:
    service = await make_service()
    await service.rows("UPDATE alembic_version SET version_num = '0000'")
    answer = await service.anonymous.get("/health/ready")
    assert answer.status == 503
    [line] = [line for line in answer.json["dependencies"] if line["name"] == "migrations"]
    assert line["status"] == "failed"
    assert "tenfold migrate" in line["detail"]


async def test_a_newer_schema_serves_this_code_too(make_service: MakeService) -> None:
    service = await make_service()
    await service.rows("UPDATE alembic_version SET version_num = '9999'")
    assert (await service.anonymous.get("/health/ready")).status == 200


async def test_a_queue_that_does_not_keep_its_promises_is_not_ready(
    make_service: MakeService, breakable_servers: Servers
) -> None:
    service = await make_service(on=breakable_servers)
    async with service.queue() as queue:
        await queue.config_set("appendfsync", "everysec")
        try:
            answer = await service.anonymous.get("/health/ready")
        finally:
            await queue.config_set("appendfsync", "always")
    assert answer.status == 503
    [line] = [line for line in answer.json["dependencies"] if line["name"] == "queue"]
    assert "appendfsync" in line["detail"]


async def ready_again(service: Service) -> None:
    async def is_ready() -> Any:
        return (await service.anonymous.get("/health/ready")).json["status"] == "ready"

    await eventually(is_ready)


async def test_a_lane_that_is_not_drained_makes_it_degraded_and_is_named(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await make_service(with_worker=False)
    monkeypatch.setattr("core.lanes.STALE_SECONDS", 0.3)
    for body in ({"title": "x"}, {"operations": [{"op": "create", "fields": {"title": "x"}}]}):
        path = "/tasks" if "title" in body else "/tasks/batch"
        await service.alice.post(path, body, headers={"Prefer": "respond-async"})

    async def degraded() -> Answer | None:
        answer = await service.anonymous.get("/health/ready")
        told = str([one["detail"] for one in answer.json["dependencies"] if one["name"] == "lanes"])
        return answer if " 0 (1 entries" in told and "batches-0 (1 entries" in told else None

    answer = await eventually(degraded)
    assert (answer.status, answer.json["status"]) == (200, "degraded"), "reads go on: it stays in its balancer"
    await service.worker.start()

    async def ready() -> bool:
        answer = await service.anonymous.get("/health/ready")
        return bool(answer.json["status"] == "ready")

    await eventually(ready)


# -- who the service is to the database


async def test_a_key_that_the_database_does_not_know_is_told_and_nothing_is_said_not_to_exist(
    make_service: MakeService,
) -> None:
    first = await make_service()
    task = (await first.alice.post("/tasks", {"title": "there"})).json
    await first.rows("DELETE FROM identity_keys")
    answer = await first.anonymous.get("/health/ready")
    assert (answer.status, states(answer)["database"]) == (503, "failed")
    [detail] = [found["detail"] for found in answer.json["dependencies"] if found["name"] == "database"]
    assert "does not know the key" in detail
    assert "tenfold migrate" in detail
    for path in (f"/tasks/{task['id']}/reminders", "/tasks?status=pending", "/jobs", "/user/me"):
        refused = await first.alice.get(path)
        assert (refused.status, refused.json["type"]) == (503, "/problems/database-unavailable"), path
    login = await first.anonymous.post("/auth/login", {"username": "alice", "password": PASSWORD})
    assert login.status == 503


@pytest.mark.parametrize("tier", ["API", "WORKER"])
async def test_in_production_no_tier_starts_without_a_login_of_its_own(make_settings: MakeSettings, tier: str) -> None:
    settings = await make_settings(**{f"{tier}_DATABASE_URL": ""})
    with pytest.raises(SettingsError, match=rf"{tier}_DATABASE_URL is not set: .*tenfold migrate"):
        await start(settings, tier)


@pytest.mark.parametrize("tier", ["API", "WORKER"])
async def test_in_production_no_tier_starts_as_the_owner_or_a_superuser(
    make_settings: MakeSettings, servers: Servers, tier: str
) -> None:
    name = (await make_settings()).database_url.rpartition("/")[2]
    for url, told in (
        (servers.postgres.url(name), "tenfold owns the database"),
        (servers.postgres.superuser_url(name), "postgres is a superuser"),
    ):
        settings = await make_settings(**{f"{tier}_DATABASE_URL": url})
        with pytest.raises(SettingsError, match=told):
            await start(settings, tier)


async def start(settings: Settings, tier: str) -> None:
    if tier == "WORKER":
        await serve(settings, [])
        return
    runner = web.AppRunner(create_app(settings))
    try:
        await runner.setup()
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("tier", ["API", "WORKER"])
async def test_what_keeps_a_tier_from_its_work_is_told_in_one_line_when_it_starts(
    make_settings: MakeSettings, servers: Servers, tier: str
) -> None:
    settings = await make_settings(**{f"{tier}_DATABASE_URL": "postgresql://nobody:wrong@127.0.0.1:1/tenfold"})
    [line] = await told_at_start(settings, tier)
    assert line["event"] == f"the database of {tier}_DATABASE_URL cannot be reached"
    assert line["server"] == "127.0.0.1:1/tenfold"

    sound = await make_settings()
    wrong = urlsplit(sound.api_database_url if tier == "API" else sound.worker_database_url)
    refused = wrong._replace(netloc=f"{wrong.username}:wrong@{wrong.hostname}:{wrong.port}").geturl()
    [line] = await told_at_start(await make_settings(**{f"{tier}_DATABASE_URL": refused}), tier)
    assert line["log_level"] == "error"
    assert line["event"].startswith(f"the login of {tier}_DATABASE_URL is not let in: correct it, or run `tenfold mig")

    async with servers.database("tenfold_unmigrated") as owner:
        urls = {"DATABASE_URL": owner, **tier_urls(owner)}
        [line] = await told_at_start(await make_settings(**urls), tier)
    assert (line["log_level"], line["event"]) == ("error", "the schema is missing: run `tenfold migrate`")


async def told_at_start(settings: Settings, tier: str) -> list[Any]:
    with capture_logs() as lines:
        await start(settings, tier)
    return [line for line in lines if line["log_level"] in ("warning", "error") and "outage" not in line["event"]]


async def test_a_refused_login_is_told_with_its_remedy_and_not_as_a_server_that_is_away(
    make_service: MakeService,
) -> None:
    service = await make_service()
    url = urlsplit(service.settings.api_database_url)
    refused = url._replace(netloc=f"{url.username}:wrong@{url.hostname}:{url.port}").geturl()
    service = await make_service(settings=replace(service.settings, api_database_url=refused), with_worker=False)
    answer = await service.anonymous.get("/health/ready")
    details = {line["name"]: line["detail"] for line in answer.json["dependencies"]}
    assert answer.status == 503
    assert details["database"] == (
        "does not let the login of API_DATABASE_URL in: correct it, or run `tenfold migrate`"
    )
    assert details["migrations"] == "not known: the database does not let the login in"


async def test_in_development_one_login_for_all_serves_and_is_told(make_service: MakeService) -> None:
    service = await make_service(TENFOLD_ENV="development", API_DATABASE_URL="", WORKER_DATABASE_URL="")
    answer = await service.anonymous.get("/health/ready")
    assert (answer.status, answer.json["status"], states(answer)["database"]) == (200, "degraded", "degraded")
    assert "tenfold owns the database: give api a login of its own" in answer.body.decode()
    assert (await service.alice.post("/tasks", {"title": "x"})).status == 201
    assert len((await service.alice.get("/tasks")).items) == 1


async def test_neither_tier_needs_the_owners_url(make_service: MakeService) -> None:
    with_owner = await make_service()
    settings = replace(with_owner.settings, database_url="")
    service = await make_service(settings=settings)
    answer = await service.anonymous.get("/health/ready")
    assert (answer.status, answer.json["status"]) == (200, "ready"), answer.json
