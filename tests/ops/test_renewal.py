"""Tiers that run while their tables, grants and roles go and come back: they serve again by themselves."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.settings import Settings
from migrations.access import give_access
from migrations.run import upgrade
from ops.dev.servers import PostgresServer
from ops.faults import Fault
from ops.migrate import go_down
from tests.conftest import MakeService
from tests.harness import POSTGRES_PARAMETERS, Service, connection, eventually, tier_urls


@pytest.fixture(scope="module")
async def postgres() -> AsyncIterator[PostgresServer]:
    """A server with one database alone: its roles go with it."""
    with (
        tempfile.TemporaryDirectory(prefix="tenfold-renewal-") as name,
        PostgresServer(Path(name) / "postgres", parameters=POSTGRES_PARAMETERS) as server,
    ):
        yield server


@pytest.fixture(params=["logins of their own", "assumed roles"])
async def serving(
    request: pytest.FixtureRequest, postgres: PostgresServer, settings: Settings, make_service: MakeService
) -> Service:
    urls = tier_urls(postgres.url()) if request.param == "logins of their own" else {}
    there = replace(
        settings,
        database_url=postgres.url(),
        api_database_url=urls.get("API_DATABASE_URL"),
        worker_database_url=urls.get("WORKER_DATABASE_URL"),
        tenfold_env="development",
        cache_ttl_seconds=0,
    )
    await asyncio.to_thread(upgrade, postgres.url())
    await give_access(there)
    service = await make_service(settings=there, queues=("writes", "time", "bulk"))
    await service.recast()
    return service


async def works(service: Service) -> bool:
    made = await service.alice.post("/tasks", {"title": "renewed"})
    read = await service.alice.get("/tasks")
    return (made.status, read.status) == (201, 200)


async def test_after_a_way_down_and_up_again(serving: Service, capsys: pytest.CaptureFixture[str]) -> None:
    assert await works(serving)
    url = serving.settings.owner_url
    with pytest.raises(Fault, match=r"tenfold api \(\w+, \d+ connections?\), tenfold worker \(.* --force") as refused:
        await asyncio.to_thread(go_down, serving.settings, "base", confirmed=True)
    assert "Stop them first" in str(refused.value)
    assert await works(serving), "nothing was changed"
    await asyncio.to_thread(go_down, serving.settings, "base", confirmed=True, forced=True)
    told = capsys.readouterr().out
    assert told.index("the API will answer 503") < told.index("the database is at base")
    assert (await serving.alice.get("/tasks")).status == 503
    await asyncio.to_thread(upgrade, url)
    await give_access(serving.settings)
    await serving.recast()
    await eventually(lambda: works(serving), timeout=15)
    for _ in range(30):  # on every connection
        assert await works(serving)


async def test_after_grants_were_taken_and_given_back(serving: Service, postgres: PostgresServer) -> None:
    assert await works(serving)
    async with connection(postgres.superuser_url()) as superuser:
        grants = await superuser.fetch(
            "SELECT format('GRANT %s ON %s TO %s', privilege_type, table_name, grantee) AS sql"
            " FROM information_schema.table_privileges WHERE grantee LIKE 'tenfold\\_%'"
        )
        await superuser.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM tenfold_api, tenfold_worker")
        assert (await serving.alice.get("/tasks")).status == 503
        for grant in grants:
            await superuser.execute(grant["sql"])
    await eventually(lambda: works(serving), timeout=15)


async def test_after_logins_were_dropped_and_made_again(serving: Service, postgres: PostgresServer) -> None:
    assert await works(serving)
    async with connection(postgres.superuser_url()) as superuser:
        for tier in ("api", "worker"):
            await superuser.execute(f"DROP ROLE IF EXISTS tenfold_{tier}_login")
    await give_access(serving.settings)
    await eventually(lambda: works(serving), timeout=15)
