"""What an operator does with users: applied at once, with clear words where it cannot be."""

import asyncpg
import pytest

from core.cache import Miss, PageCache
from core.database.read_pool import ReadPool
from core.settings import Settings
from core.users.admin import UserFault, create_user, list_users, promote, set_password
from core.users.passwords import password_matches
from core.users.queries import credentials_of
from tests.core.conftest import Cast
from tests.harness import cache_link

PASSWORD = "a password of good length"


async def test_a_made_user_can_log_in_and_the_profile_shows_no_hash(settings: Settings, reads: ReadPool) -> None:
    profile = await create_user(settings, "Ada.L-1_x", "ada@example.com", PASSWORD)
    assert profile["username"] == "Ada.L-1_x"
    assert profile["role"] == "user"
    assert "password_hash" not in profile
    found = await credentials_of(reads, "ada.l-1_X")
    assert found is not None
    assert password_matches(PASSWORD, found.password_hash)


async def test_a_user_can_be_made_an_admin_at_once(settings: Settings) -> None:
    assert (await create_user(settings, "root", "root@example.com", PASSWORD, "admin"))["role"] == "admin"


@pytest.mark.parametrize(
    ("username", "email", "password", "named"),
    [
        ("al", "a@example.com", PASSWORD, "username"),
        ("a b", "a@example.com", PASSWORD, "username"),
        ("alice\n", "a@example.com", PASSWORD, "username"),
        ("alice", "no address", PASSWORD, "email"),
        ("alice", "a@example.com", "short", "password"),
        ("alice", "a@example.com", "x" * 257, "password"),
    ],
)
async def test_what_is_not_valid_is_told_by_its_field_and_without_the_password(
    settings: Settings, username: str, email: str, password: str, named: str
) -> None:
    with pytest.raises(UserFault, match=f"^{named}: ") as caught:
        await create_user(settings, username, email, password)
    assert password not in str(caught.value)
    assert await list_users(settings) == []


async def test_a_name_that_is_taken_in_any_case_is_refused(settings: Settings, cast: Cast) -> None:
    with pytest.raises(UserFault, match="ALICE already"):
        await create_user(settings, "ALICE", "a@example.com", PASSWORD)


async def test_users_are_listed_in_the_order_of_their_making(settings: Settings, cast: Cast) -> None:
    users = await list_users(settings)
    assert [user["username"] for user in users] == ["alice", "bob", "admin"]
    assert all(set(user) == {"id", "username", "email", "role", "created_at"} for user in users)


async def test_a_role_is_given_and_taken_and_cached_pages_are_forgotten(settings: Settings, cast: Cast) -> None:
    async with cache_link(settings.redis_url) as link:
        cache = PageCache(link, ttl_seconds=60)
        cache.suspect = False
        miss = await cache.look_up(cast.alice, "q")
        assert isinstance(miss, Miss)
        cache.store(cast.alice, "q", miss, b"page")
        assert await cache.look_up(cast.alice, "q") == b"page"
        await promote(settings, "Alice")
        assert isinstance(await cache.look_up(cast.alice, "q"), Miss)
        assert {user["username"]: user["role"] for user in await list_users(settings)}["alice"] == "admin"
        await promote(settings, "alice", "user")
        assert {user["username"]: user["role"] for user in await list_users(settings)}["alice"] == "user"


async def test_a_new_password_ends_the_users_sessions_and_nobody_elses(
    settings: Settings, owner: asyncpg.Connection, reads: ReadPool, cast: Cast
) -> None:
    await owner.execute(
        "INSERT INTO sessions (id, user_id, expires_at)"
        " SELECT gen_random_uuid(), id, now() + interval '1 day' FROM users"
    )
    await set_password(settings, "alice", "another good password")
    found = await credentials_of(reads, "alice")
    assert found is not None
    assert password_matches("another good password", found.password_hash)
    revoked = await owner.fetch("SELECT user_id FROM sessions WHERE revoked_at IS NOT NULL")
    assert [row["user_id"] for row in revoked] == [cast.alice]


async def test_a_password_that_is_too_short_is_refused_and_changes_nothing(
    settings: Settings, owner: asyncpg.Connection, cast: Cast
) -> None:
    before = await owner.fetchval("SELECT password_hash FROM users WHERE id = $1", cast.alice)
    with pytest.raises(UserFault, match="password"):
        await set_password(settings, "alice", "short")
    assert await owner.fetchval("SELECT password_hash FROM users WHERE id = $1", cast.alice) == before


async def test_a_user_who_is_not_there_is_told_by_name(settings: Settings) -> None:
    with pytest.raises(UserFault, match="no user nobody"):
        await promote(settings, "nobody")
    with pytest.raises(UserFault, match="no user nobody"):
        await set_password(settings, "nobody", PASSWORD)
