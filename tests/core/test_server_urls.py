"""URLs of servers as people paste them: kept, brought into the driver's form, or refused with the cure."""

import re

import asyncpg
import pytest

from core.database.pools import api_pool, worker_pool
from core.server_urls import place, postgres_url, redis_url
from core.settings import Settings, SettingsError
from ops.ports import free_port
from tests.conftest import MakeSettings
from tests.harness import Servers, tier_urls

BASE = "postgresql://u:p%40ss@h:5432/d"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (BASE, BASE),
        ("postgres+asyncpg://h/d".replace("postgres+", "postgresql+"), "postgresql://h/d"),
        (f"{BASE}?sslmode=verify-full&sslrootcert=/ca.pem", f"{BASE}?sslmode=verify-full&sslrootcert=%2Fca.pem"),
        (f"{BASE}?connect_timeout=10&application_name=x&keepalives=1", BASE),
        (f"{BASE}?channel_binding=prefer&gssencmode=disable", BASE),
        (f"{BASE}?search_path=public", BASE),
        (f"{BASE}?target_session_attrs=any", BASE),
        (f"{BASE}?options=-csearch_path%3Dpublic", f"{BASE}?options=-csearch_path%3Dpublic"),
        (f"{BASE}?options=-c%20work_mem%3D8MB", f"{BASE}?options=-c+work_mem%3D8MB"),
        ("postgresql://h1:1,h2:2/d", "postgresql://h1:1,h2:2/d?target_session_attrs=primary"),
        ("postgresql://h1,[::1]:2/d", "postgresql://h1,[::1]:2/d?target_session_attrs=primary"),
        ("postgresql://h1,h2/d?target_session_attrs=any", "postgresql://h1,h2/d?target_session_attrs=primary"),
        (f"{BASE}?target_session_attrs=read-write", f"{BASE}?target_session_attrs=primary"),
    ],
)
def test_a_url_of_postgresql_is_taken_as_it_is_meant(given: str, taken: str) -> None:
    assert postgres_url(given) == taken


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("channel_binding=require", "channel_binding=require, which cannot be used: the driver has none"),
        (
            "options=-csearch_path%3Dtenfold",
            "search_path=tenfold, which cannot be used: Tenfold's tables are in the schema public",
        ),
        ("options=--search-path%3Dx", "search_path=x"),
        ("search_path=x", "search_path=x"),
        ("schema=x", "schema=x"),
        ("gssencmode=require", "use sslmode=verify-full instead"),
        ("target_session_attrs=prefer-standby", "say target_session_attrs=primary"),
        ("target_session_attrs=nonsense", "say target_session_attrs=primary"),
        ("sslmode=on", "an sslmode that there is not: choose from disable, allow"),
        ("ssl=true", "use sslmode=require"),
        ("pgbouncer=true", "PgBouncer in transaction mode needs none"),
        ("statement_cache_size=0", "leave it out"),
        ("pool_size=5", "use DATABASE_POOL_SIZE"),
        ("unheard_of=1", "has the option unheard_of, which cannot be used: leave it out"),
    ],
)
def test_an_option_that_cannot_work_is_refused_with_the_cure(query: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as refused:
        postgres_url(f"{BASE}?{query}")
    assert "p%40ss" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:6379/0",
        "rediss://:p@h/0?ssl_cert_reqs=none&ssl_ca_certs=/ca.pem",
        "redis://h?db=3&client_name=x&protocol=2",
        "unix:///run/valkey.sock?db=1",
        "redis://[::1]:6379",
    ],
)
def test_a_url_of_a_redis_server_is_taken(url: str) -> None:
    assert redis_url(url) == url


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis+sentinel://h:26379/mymaster", "names Sentinels, which cannot be asked yet: name the primary itself"),
        ("rediss-sentinel://h:26379/mymaster", "names Sentinels"),
        ("redis+cluster://h:6379", "names a cluster"),
        ("redis://h1:6379,h2:6379/0", "names several servers"),
        ("redis://h:port/0", "names a port"),
        ("redis://h/cache", "names no number of a database"),
        ("redis://h?db=cache", "db that is no number"),
        ("redis://h?ssl_cert_reqs=none", "needs TLS: begin it with rediss://"),
        ("rediss://h?ssl_cert_reqs=maybe", "it can be none or optional or required"),
        ("redis://h?protocol=3", "protocol=3: it can be 2"),
        ("redis://h?decode_responses=true", "has the option decode_responses, which cannot be used"),
        ("redis://h?virtual_host=x", "has the option virtual_host"),
        ("http://h", "must be a URL that begins with redis:// or rediss:// or unix://"),
    ],
)
def test_a_url_of_a_redis_server_that_cannot_work_is_refused(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        redis_url(url)


def test_a_bad_option_is_a_fault_of_the_settings_told_with_its_variable() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_env(
            {
                "DATABASE_URL": f"{BASE}?unheard_of=1",
                "REDIS_URL": "redis://:hunter2@h?foo=1",
                "TENFOLD_ENV": "development",
            }
        )
    assert [line.split()[0] for line in refused.value.faults if "option" in line] == ["DATABASE_URL", "REDIS_URL"]
    assert "hunter2" not in str(refused.value)


def test_a_place_has_no_secrets_and_all_hosts() -> None:
    assert place("postgresql://u:p@h1:1,h2:2/d?sslmode=require") == "h1:1,h2:2/d"
    assert place("unix:///run/valkey.sock?db=1") == "/run/valkey.sock"


async def test_both_tiers_find_the_primary_among_several_hosts(servers: Servers, make_settings: MakeSettings) -> None:
    away = f"127.0.0.1:{free_port()}"
    first = await make_settings()

    def several(url: str) -> str:
        name, _, rest = url.partition("@")
        return f"{name}@{away},{rest}?connect_timeout=5&channel_binding=prefer"

    logins = {name: several(url) for name, url in tier_urls(first.owner_url).items()}
    settings = await make_settings(**logins)
    for make, login in ((api_pool, "tenfold_api_login"), (worker_pool, "tenfold_worker_login")):
        pool = await make(settings)
        assert await pool.fetchval("SELECT current_user") == login
        await pool.close()
    owner = await asyncpg.connect(postgres_url(several(first.owner_url)))
    await owner.close()
