"""`tenfold migrate` makes the tiers' logins, and prints for others what the database's owner may not do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from yarl import URL

from core.settings import Settings
from migrations.access import logins_of, scram_verifier
from tests.harness import SECRET, Servers, connection
from tests.ops.running import tenfold
from tests.ops.test_cli import empty  # noqa: F401 - a fixture

PLAIN = "plain_owner"


@pytest.fixture
async def of_plain(servers: Servers) -> AsyncIterator[dict[str, str]]:
    """Variables for a database whose owner may make no roles, and for logins that nobody has made."""
    name = "tenfold_of_plain"
    superuser_url = servers.postgres.superuser_url("postgres")
    async with connection(superuser_url) as superuser:
        await superuser.execute(f"CREATE ROLE {PLAIN} LOGIN PASSWORD 'plain'")
        await superuser.execute(f"CREATE DATABASE {name} OWNER {PLAIN}")
    url = URL(servers.postgres.url(name))
    yield {
        "DATABASE_URL": str(url.with_user(PLAIN).with_password("plain")),
        "API_DATABASE_URL": str(url.with_user("plain-api").with_password("O'Neill \\1")),
        "WORKER_DATABASE_URL": str(url.with_user("plain_worker").with_password("Müller")),
        "REDIS_URL": servers.cache.url(),
        "QUEUE_REDIS_URL": servers.queue.url(),
        "JWT_SECRET_KEY": SECRET,
        "SUPERUSER": servers.postgres.superuser_url(name),
    }
    async with connection(superuser_url) as superuser:
        await superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")
        for role in ("plain-api", "plain_worker", PLAIN):
            with contextlib.suppress(asyncpg.UndefinedObjectError):
                await superuser.execute(f'DROP ROLE "{role}"')


async def migrate(cwd: Path, variables: dict[str, str], *more: str) -> tuple[int, str]:
    run = await asyncio.to_thread(tenfold, "migrate", *more, cwd=cwd, **variables)
    return run.returncode, run.stdout + run.stderr


def statements(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.endswith(";")]


@pytest.mark.parametrize("attribute", ["NOCREATEROLE", "CREATEROLE"])
async def test_what_the_owner_may_not_is_printed_and_done_by_somebody_else_it_is_enough(
    tmp_path: Path, of_plain: dict[str, str], attribute: str
) -> None:
    """With CREATEROLE, too: another owner has made the tiers' roles, and only who made one may grant it."""
    superuser_url = of_plain.pop("SUPERUSER")
    async with connection(superuser_url) as superuser:
        await superuser.execute(f"ALTER ROLE {PLAIN} {attribute}")
    status, output = await migrate(tmp_path, of_plain)
    assert status == 3, output
    assert "nothing was done" in output
    assert "O'Neill" not in output
    async with connection(superuser_url) as superuser:
        assert not await superuser.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        for statement in statements(output):
            password = "O''Neill \\1" if "plain-api" in statement else "Müller"
            known = statement.replace("the password of API_DATABASE_URL", password)
            await superuser.execute(known.replace("the password of WORKER_DATABASE_URL", password))
        status, output = await migrate(tmp_path, of_plain)
        assert status == 0, output
        assert "only a superuser" in output
        in_full = statements(output)
        status, output = await migrate(tmp_path, of_plain)
        assert (status, statements(output)) == (0, []), "that was told"
        assert "only a superuser can do: `tenfold migrate --show-sql` prints it\n" in output
        status, output = await migrate(tmp_path, of_plain, "--show-sql")
        assert (status, statements(output)) == (0, in_full)
        for statement in statements(output):
            await superuser.execute(statement)
    status, output = await migrate(tmp_path, of_plain)
    assert (status, output) == (0, "the database is up to date\n")
    check = await asyncio.to_thread(tenfold, "check", cwd=tmp_path, **of_plain)
    assert check.returncode == 0, check.stdout
    assert "plain-api, which reads only" in check.stdout
    assert "the database accepts what the API signs" in check.stdout


async def test_a_password_that_was_changed_in_the_settings_is_changed_in_the_database(
    tmp_path: Path, settings: Settings
) -> None:
    urls = {
        "API_DATABASE_URL": URL(settings.database_url).with_user("changing_api"),
        "WORKER_DATABASE_URL": URL(settings.database_url).with_user("changing_worker"),
    }
    base = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url, "JWT_SECRET_KEY": SECRET}
    for password in ("first", "sécond", "third with spaces"):
        variables = {**base, **{name: str(url.with_password(password)) for name, url in urls.items()}}
        status, output = await migrate(tmp_path, variables)
        assert status == 0, output
        assert ("made" if password == "first" else "changed") in output
        assert password not in output
        for url in urls.values():
            async with connection(str(url.with_password(password))) as tier:
                assert await tier.fetchval("SELECT count(*) FROM alembic_version") == 1
    assert "changing" not in (await migrate(tmp_path, variables))[1], "what works is left alone"


@pytest.mark.parametrize("comment", ["as it was made", "by hand"])
async def test_the_password_of_another_installation_s_login_is_left_alone(
    tmp_path: Path,
    settings: Settings,
    servers: Servers,
    empty: dict[str, str],  # noqa: F811
    comment: str,
) -> None:
    url = URL(settings.database_url).with_user(f"shared_{comment[0]}").with_password("first")
    variables = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url, "JWT_SECRET_KEY": SECRET}
    assert (await migrate(tmp_path, {**variables, "API_DATABASE_URL": str(url)}))[0] == 0
    other = url.with_path(URL(empty["DATABASE_URL"]).path).with_password("second")
    if comment == "by hand":  # nobody knows whose it is: it is taken as ours
        async with connection(servers.postgres.superuser_url("postgres")) as superuser:
            await superuser.execute(f"COMMENT ON ROLE {url.user} IS '{comment}'")
    status, output = await migrate(tmp_path, {**empty, "API_DATABASE_URL": str(other)})
    if comment == "by hand":
        assert (status, f"changed the login {url.user}" in output) == (0, True), output
    else:
        assert status == 1
        assert f"{url.user}, which is the login of the database {url.path[1:]}" in output
        assert "choose another name in API_DATABASE_URL" in output
        async with connection(str(url)) as first:
            assert await first.fetchval("SELECT 1") == 1
        async with connection(empty["DATABASE_URL"]) as owner:
            assert not await owner.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")


@pytest.mark.parametrize(
    ("variable", "login", "told"),
    [
        ("API_DATABASE_URL", "tenfold", "API_DATABASE_URL names tenfold: it should be a login of its own"),
        ("API_DATABASE_URL", "postgres", "more than a tier may be"),
        (
            "API_DATABASE_URL",
            "tenfold_worker_login",
            "API_DATABASE_URL and WORKER_DATABASE_URL both name tenfold_worker_login: give each a login of its own",
        ),
        ("WORKER_DATABASE_URL", "tenfold_api_login", "both name tenfold_api_login"),
    ],
)
async def test_a_login_that_is_more_than_a_tier_is_refused(
    tmp_path: Path, settings: Settings, variable: str, login: str, told: str
) -> None:
    variables = {
        "DATABASE_URL": settings.database_url,
        "API_DATABASE_URL": settings.api_database_url or "",
        "WORKER_DATABASE_URL": settings.worker_database_url or "",
        "REDIS_URL": settings.redis_url,
        "JWT_SECRET_KEY": SECRET,
    }
    variables[variable] = str(URL(settings.database_url).with_user(login).with_password("mine"))
    status, output = await migrate(tmp_path, variables)
    assert status == 1
    assert told in output
    async with connection(settings.database_url):
        pass  # nobody's password was changed


@pytest.mark.parametrize("login", ["tenfold_worker_login", "postgres"])
async def test_a_login_that_is_refused_is_refused_before_anything_is_changed(
    tmp_path: Path,
    empty: dict[str, str],  # noqa: F811
    login: str,
) -> None:
    variables = {**empty, "API_DATABASE_URL": str(URL(empty["API_DATABASE_URL"]).with_user(login))}
    del variables["WORKER_DATABASE_URL"]
    status, output = await migrate(tmp_path, variables)
    assert (status, f"API_DATABASE_URL names {login}, which is " in output) == (1, True), output
    async with connection(empty["DATABASE_URL"]) as owner:
        assert not await owner.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")


async def test_it_is_told_how_many_other_keys_are_good_until_they_are_forgotten(
    tmp_path: Path, settings: Settings
) -> None:
    base = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    variables = {**base, "JWT_SECRET_KEY": SECRET[::-1]}
    for _ in range(2):
        _, output = await migrate(tmp_path, variables)
        assert "the database accepts 1 other key of identities, too: `--forget-keys` ends that\n" in output
    assert "forgot 1 other key of identities\n" in (await migrate(tmp_path, variables, "--forget-keys"))[1]
    assert "forgot no other keys of identities\n" in (await migrate(tmp_path, variables, "--forget-keys"))[1]
    assert "accepts" not in (await migrate(tmp_path, variables))[1]


def test_the_logins_are_those_of_the_urls(settings: Settings) -> None:
    api, worker = logins_of(settings)
    assert (api.name, api.password, api.role) == ("tenfold_api_login", "of-the-api", "tenfold_api")
    assert (worker.name, worker.reads_only) == ("tenfold_worker_login", False)
    assert "of-the-api" not in repr(api)


async def test_the_server_s_log_and_catalogue_hold_no_password(servers: Servers) -> None:
    async with connection(servers.postgres.superuser_url("postgres")) as superuser:
        await superuser.execute(f"CREATE ROLE hashed LOGIN PASSWORD '{scram_verifier('pencil', iterations=17)}'")
        try:
            kept = await superuser.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = 'hashed'")
            assert kept.startswith("SCRAM-SHA-256$17:")
            assert "pencil" not in kept
            url = URL(servers.postgres.url("postgres")).with_user("hashed")
            async with connection(str(url.with_password("pencil"))) as hashed:
                assert await hashed.fetchval("SELECT current_user") == "hashed"
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(str(url.with_password("pencil ")))
        finally:
            await superuser.execute("DROP ROLE hashed")
