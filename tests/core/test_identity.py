"""Identities that cannot be forged: what is not signed for this caller and hour is an error, and shows nothing."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from core.database.pools import Pool, api_pool
from core.database.read_pool import ReadPool
from core.database.rights import identity_fault
from core.errors import IdentityRefused
from core.identity import HOUR_SECONDS, ME, Identities, IdentityKey
from core.settings import Settings
from core.tasks.queries import Caller, read_task
from core.users.queries import credentials_of, own_password_hash
from migrations.access import give_access
from tests.core.conftest import Cast
from tests.core.test_settings import GOOD_SECRET
from tests.harness import PASSWORD_HASH, connection

TASKS = f"SELECT count(*) FROM {ME}, LATERAL (SELECT 1 FROM tasks WHERE me IS NOT NULL LIMIT 100) AS t"
USERS = f"SELECT count(*) FROM {ME}, LATERAL (SELECT 1 FROM users WHERE me IS NOT NULL LIMIT 100) AS u"

LABELLED = f"SELECT count(*) FROM {ME}, LATERAL (SELECT 1 FROM labelled_tasks WHERE me IS NOT NULL LIMIT 100) AS t"
CALLER = f"SELECT u FROM {ME}, LATERAL (SELECT current_app_user() AS u WHERE me IS NOT NULL LIMIT 1) AS u"


@pytest.fixture
def key(settings: Settings) -> IdentityKey:
    return IdentityKey.of(settings)


@pytest.fixture
async def task(owner: asyncpg.Connection, cast: Cast) -> int:
    """One of alice's."""
    return int(
        await owner.fetchval(
            "INSERT INTO tasks (user_id, title, labels) VALUES ($1, 'x', '{y}') RETURNING id", cast.alice
        )
    )


def this_hour() -> int:
    return int(time.time()) // HOUR_SECONDS


def with_part(text: str, place: int, value: str) -> str:
    parts = text.split(".")
    parts[place] = value
    return ".".join(parts)


FORGERIES: dict[str, Callable[[str, IdentityKey, Cast], str]] = {
    "a number, as it was before": lambda text, key, cast: str(cast.bob),
    "another user": lambda text, key, cast: with_part(text, 2, str(cast.bob)),
    "another role": lambda text, key, cast: with_part(text, 3, "admin"),
    "other projects": lambda text, key, cast: with_part(text, 4, "1"),
    "the next hour": lambda text, key, cast: with_part(text, 5, str(this_hour() + 1)),
    "another version": lambda text, key, cast: with_part(text, 0, "v2"),
    "an unknown key": lambda text, key, cast: with_part(text, 1, "00000000"),
    "no key": lambda text, key, cast: with_part(text, 1, ""),
    "truncated": lambda text, key, cast: text[:-1],
    "without a signature": lambda text, key, cast: text[:-65],
    "with a signature of nothing": lambda text, key, cast: text[:-64] + "0" * 64,
    "in capitals": lambda text, key, cast: text[:-64] + text[-64:].upper(),
    "with more behind it": lambda text, key, cast: text + "0",
    "with more before it": lambda text, key, cast: "v" + text,
    "signed by another key": lambda text, key, cast: IdentityKey(b"another").sign(str(cast.alice), "user", this_hour()),
    "signed by another key under our name": lambda text, key, cast: _signed_as(key, str(cast.alice)),
    "two hours old": lambda text, key, cast: key.sign(str(cast.alice), "user", this_hour() - 2),
    "two hours ahead": lambda text, key, cast: key.sign(str(cast.alice), "user", this_hour() + 2),
    "of another day": lambda text, key, cast: key.sign(str(cast.alice), "admin", this_hour() - 48),
    "that of a login": lambda text, key, cast: key.sign(str(cast.alice), "login", this_hour()),
    "no number for a user": lambda text, key, cast: with_part(text, 2, "1); DROP TABLE tasks"),
    "dots": lambda text, key, cast: "......",
    "a wildcard": lambda text, key, cast: "%",
}


def _signed_as(key: IdentityKey, subject: str) -> str:
    other = IdentityKey(b"another")
    other.id = key.id
    return other.sign(subject, "user", this_hour())


@pytest.mark.parametrize("plans", ["auto", "force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("what", FORGERIES)
async def test_a_forged_identity_is_an_error_and_shows_nothing(
    settings: Settings, identities: Identities, key: IdentityKey, cast: Cast, task: int, what: str, plans: str
) -> None:
    """On fresh connections: what a plan would evaluate too early is found out by the first execution alone."""
    forged = FORGERIES[what](identities.user(cast.alice), key, cast)
    assert settings.api_database_url is not None
    for sql in (TASKS, USERS, LABELLED, CALLER):
        fresh = await asyncpg.connect(settings.api_database_url)
        try:
            await fresh.execute(f"SET plan_cache_mode = {plans}")
            for _ in range(2):
                with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
                    await fresh.fetch(sql, forged)
        finally:
            await fresh.close()


@pytest.mark.parametrize("offset", [-1, 0, 1])
async def test_an_identity_of_this_hour_and_its_neighbours_is_good(
    api: Pool, key: IdentityKey, cast: Cast, task: int, offset: int
) -> None:
    assert await api.fetchval(TASKS, key.sign(str(cast.alice), "user", this_hour() + offset)) == 1
    assert await api.fetchval(TASKS, key.sign(str(cast.bob), "user", this_hour() + offset)) == 0


@pytest.mark.parametrize(
    "setting",
    [
        ("search_path", "pg_temp, pg_catalog"),
        ("DateStyle", "German, DMY"),
        ("TimeZone", "Pacific/Kiritimati"),
        ("IntervalStyle", "sql_standard"),
        ("bytea_output", "escape"),
        ("extra_float_digits", "-15"),
        ("standard_conforming_strings", "off"),
        ("app.user_id", "1"),
        ("app.role", "admin"),
        ("app.verified", "1"),
    ],
)
async def test_no_setting_of_a_session_changes_what_an_identity_shows(
    settings: Settings, identities: Identities, cast: Cast, task: int, setting: tuple[str, str]
) -> None:
    assert settings.api_database_url is not None
    fresh = await asyncpg.connect(settings.api_database_url)
    try:
        await fresh.execute("SELECT set_config($1, $2, false)", *setting)
        of_all = TASKS.replace("FROM tasks", "FROM public.tasks")
        assert await fresh.fetchval(of_all, identities.user(cast.alice)) == 1
        assert await fresh.fetchval(of_all, identities.user(cast.bob)) == 0
        assert await fresh.fetchval(of_all, identities.admin(cast.admin)) == 1
    finally:
        await fresh.close()


async def test_an_identity_that_is_injected_after_the_callers_is_worth_nothing(
    api: Pool, identities: Identities, cast: Cast, task: int
) -> None:
    """What somebody could add to a statement: another setting, within the statement of somebody else."""
    injected = (
        f"SELECT count(*) FROM {ME}, LATERAL (SELECT set_config('app.identity', $2, true) AS other"
        " WHERE me IS NOT NULL LIMIT 1) AS o,"
        " LATERAL (SELECT 1 FROM tasks WHERE other IS NOT NULL LIMIT 100) AS t"
    )
    forged = with_part(identities.user(cast.bob), 2, str(cast.alice))
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await api.fetchval(injected, identities.user(cast.bob), forged)


# -- before there is an identity


async def test_credentials_are_for_a_login_of_that_very_name(
    api: Pool, identities: Identities, key: IdentityKey, cast: Cast
) -> None:
    sql = "SELECT password_hash FROM credentials_of($1, $2)"
    assert await api.fetchval(sql, "alice", identities.login("alice")) == PASSWORD_HASH
    for given in (
        None,
        "",
        identities.user(cast.alice),
        identities.admin(cast.admin),
        identities.login("bob"),
        identities.login("Alice"),
        identities.own_login(cast.alice),
        key.sign(hashlib.sha256(b"alice").hexdigest(), "user", this_hour()),
        key.sign(hashlib.sha256(b"alice").hexdigest(), "login", this_hour() - 2),
        IdentityKey(b"another").sign(hashlib.sha256(b"alice").hexdigest(), "login", this_hour()),
    ):
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await api.fetchval(sql, "alice", given)
    for name in (None, "bob", "%"):
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await api.fetchval(sql, name, identities.login("alice"))


async def test_a_hash_is_for_a_login_of_that_very_user(api: Pool, identities: Identities, cast: Cast) -> None:
    sql = "SELECT own_password_hash($1, $2)"
    assert await api.fetchval(sql, cast.alice, identities.own_login(cast.alice)) == PASSWORD_HASH
    for given in (None, "", identities.user(cast.alice), identities.admin(cast.admin), identities.own_login(cast.bob)):
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await api.fetchval(sql, cast.alice, given)
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await api.fetchval(sql, None, identities.own_login(cast.alice))


@pytest.mark.parametrize("name", ["", "o'brien", "%", "Ünï", "admİn", "a.b.c", "x" * 5000, "v1.x.y"])
async def test_any_name_can_be_asked_for(reads: ReadPool, cast: Cast, name: str) -> None:
    assert await credentials_of(reads, name) is None


# -- keys


async def test_the_keys_text_is_the_one_that_the_database_computes(key: IdentityKey, owner: asyncpg.Connection) -> None:
    inner, outer = key.pads
    text = key.sign("7", "user", 1)
    mac = await owner.fetchval(
        "SELECT encode(sha256($1::bytea || sha256($2::bytea || convert_to($3, 'UTF8'))), 'hex')",
        outer,
        inner,
        text.rpartition(".")[0],
    )
    assert text.rpartition(".")[2] == mac


def test_nothing_is_signed_with_an_empty_key() -> None:
    with pytest.raises(ValueError, match="nothing"):
        IdentityKey(b"")


def test_other_secrets_and_other_purposes_have_other_keys(key: IdentityKey) -> None:
    texts = {IdentityKey(secret).sign("1", "user", 1) for secret in (b"a", b"b", b"a\n")}
    assert len(texts) == 3
    assert key.sign("1", "user", 1) != key.sign("1", "admin", 1) != key.sign("11", "user", 1)


@pytest.mark.parametrize("change", [lambda pem: pem, lambda pem: pem.replace(b"\n", b"\r\n"), lambda pem: b"\n" + pem])
def test_a_private_key_is_the_same_however_its_file_is_written(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    private = Ed25519PrivateKey.from_private_bytes(b"7" * 32)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = tmp_path / "key.pem"
    file.write_bytes(change(pem))
    settings = Settings.from_env(
        {
            "DATABASE_URL": "postgresql://x",
            "REDIS_URL": "redis://x",
            "JWT_ALGORITHM": "EdDSA",
            "JWT_KEY_FILE": str(file),
            "JWT_SECRET_KEY": GOOD_SECRET,
        }
    )
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert IdentityKey.of(settings).id == IdentityKey(der).id


def test_texts_of_users_are_kept_for_their_hour(key: IdentityKey, monkeypatch: pytest.MonkeyPatch) -> None:
    identities = Identities(key)
    assert identities.user(1) is identities.user(1)
    assert identities.user(1) != identities.admin(1)
    first = identities.user(1)
    later = time.time() + HOUR_SECONDS
    monkeypatch.setattr(time, "time", lambda: later)
    assert identities.user(1) != first
    assert identities.user(1).split(".")[5] == str(int(first.split(".")[5]) + 1)


async def test_a_new_key_and_the_one_before_are_good_until_it_is_forgotten(
    settings: Settings, reads: ReadPool, cast: Cast, task: int
) -> None:
    newer = Settings.from_env(
        {
            "DATABASE_URL": settings.database_url,
            "API_DATABASE_URL": settings.api_database_url or "",
            "WORKER_DATABASE_URL": settings.worker_database_url or "",
            "REDIS_URL": settings.redis_url,
            "JWT_SECRET_KEY": GOOD_SECRET,
        }
    )
    of_newer = ReadPool(await api_pool(newer), Identities.of(newer))
    with pytest.raises(IdentityRefused):
        await read_task(of_newer, Caller(cast.alice), task)
    fault = await identity_fault(of_newer)
    assert fault is not None
    assert "tenfold migrate" in fault
    try:
        await give_access(newer)
        for pool in (reads, of_newer):
            assert await identity_fault(pool) is None
            assert await read_task(pool, Caller(cast.alice), task) is not None
        await give_access(newer, forget_keys=True)
        assert await read_task(of_newer, Caller(cast.alice), task) is not None
        with pytest.raises(IdentityRefused):
            await read_task(reads, Caller(cast.alice), task)
    finally:
        await give_access(settings, forget_keys=True)
        await of_newer.close()


async def test_a_wrong_clock_is_told_as_one(reads: ReadPool, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await identity_fault(reads) is None
    later = time.time() + 3 * HOUR_SECONDS
    monkeypatch.setattr(time, "time", lambda: later)
    fault = await identity_fault(reads)
    assert fault is not None
    assert "clocks" in fault


async def test_a_key_that_was_changed_in_the_database_is_told_and_mended(
    settings: Settings, reads: ReadPool, owner: asyncpg.Connection, cast: Cast
) -> None:
    await owner.execute("UPDATE identity_keys SET inner_pad = outer_pad")
    fault = await identity_fault(reads)
    assert fault is not None
    assert "was changed" in fault
    await give_access(settings)
    assert await identity_fault(reads) is None
    assert await own_password_hash(reads, cast.alice) == PASSWORD_HASH


async def test_an_identity_is_verified_once_a_statement_and_not_once_a_row(
    settings: Settings, superuser: asyncpg.Connection, identities: Identities, cast: Cast
) -> None:
    many = "INSERT INTO tasks (user_id, title) SELECT $1, 'x' FROM generate_series(1, 500)"
    await superuser.execute(many, cast.alice)
    name = settings.database_url.rpartition("/")[2]
    await superuser.execute(f"ALTER DATABASE {name} SET track_functions = 'all'")
    try:
        assert settings.api_database_url is not None
        async with connection(settings.api_database_url) as api:
            sql = TASKS.replace("LIMIT 100", "LIMIT 1000")
            for _ in range(10):  # by a custom plan and by the generic one
                assert await api.fetchval(sql, identities.user(cast.alice)) == 500
        calls = "SELECT sum(calls)::int FROM pg_stat_user_functions WHERE funcname = 'verified_identity'"
        async with asyncio.timeout(5):
            while not (found := await superuser.fetchval(calls)):
                await asyncio.sleep(0.05)
        assert found == 10
    finally:
        await superuser.execute(f"ALTER DATABASE {name} RESET track_functions")
