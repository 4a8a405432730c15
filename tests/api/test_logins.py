"""Guessed passwords are held up, and nobody is kept out by those who guess them."""

import asyncio
from typing import Any

import pytest

from tests.api.problems import assert_problem
from tests.api.windows import early_in_the_minute, left_of
from tests.conftest import MakeService
from tests.harness import PASSWORD, Answer, Servers, Service, away, flush

BEHIND_A_PROXY = {"TRUSTED_PROXIES": "127.0.0.1"}


async def log_in(service: Service, name: str, password: str, *, at: str | None = None, **options: Any) -> Answer:
    headers = {} if at is None else {"X-Forwarded-For": at}
    body = {"username": name, "password": password}
    return await service.anonymous.post("/auth/login", body, headers=headers, **options)


async def statuses(service: Service, *attempts: tuple[str, str, str]) -> list[int]:
    """Of logins one after the other, each a name, a password and an address."""
    return [(await log_in(service, name, password, at=at)).status for name, password, at in attempts]


def address(number: int) -> str:
    return f"203.0.113.{number}"


# -- per name and address -------------------------------------------------------------------------------------


async def test_logins_have_a_stricter_limit_of_their_own(make_service: MakeService) -> None:
    service = await make_service(LOGIN_RATE_LIMIT_PER_MINUTE="3", RATE_LIMIT_PER_MINUTE="100")
    await early_in_the_minute()
    answers = [await log_in(service, "alice", "wrong") for _ in range(3)]
    assert [answer.status for answer in answers] == [401] * 3
    refused = await log_in(service, "alice", PASSWORD)
    assert_problem(refused, 429, "too-many-requests")
    assert left_of(refused) == 96  # the general limit goes on counting
    by_form = await service.anonymous.post("/auth/token", data={"username": "ALICE", "password": PASSWORD})
    assert_problem(by_form, 429, "too-many-requests")
    assert (await log_in(service, "bob", PASSWORD)).status == 200
    assert (await service.alice.get("/tasks")).status == 200


async def test_one_limit_is_by_name_and_address(make_service: MakeService) -> None:
    service = await make_service(LOGIN_RATE_LIMIT_PER_MINUTE="1", **BEHIND_A_PROXY)
    await early_in_the_minute()
    attempts = [("alice", "wrong", address(number)) for number in (1, 2, 1, 2)]
    assert await statuses(service, *attempts) == [401, 401, 429, 429]


async def test_unknown_names_are_limited_as_known_ones(make_service: MakeService) -> None:
    service = await make_service(LOGIN_RATE_LIMIT_PER_MINUTE="2")
    await early_in_the_minute()
    for name in ("nobody", "alice"):
        assert [(await log_in(service, name, "wrong")).status for _ in range(3)] == [401, 401, 429]


async def test_a_right_password_is_given_back_to_all_limits(make_service: MakeService) -> None:
    service = await make_service(
        LOGIN_RATE_LIMIT_PER_MINUTE="2",
        LOGIN_RATE_LIMIT_PER_ADDRESS_PER_MINUTE="2",
        LOGIN_RATE_LIMIT_PER_NAME_PER_HOUR="2",
    )
    await early_in_the_minute()
    assert (await log_in(service, "alice", "wrong")).status == 401
    for _ in range(6):
        assert (await log_in(service, "alice", PASSWORD)).status == 200
    assert (await log_in(service, "alice", "wrong")).status == 401
    assert (await log_in(service, "alice", PASSWORD)).status == 429


async def test_what_was_given_back_is_given_back_on_every_process(make_service: MakeService) -> None:
    service = await make_service(LOGIN_RATE_LIMIT_PER_MINUTE="2")
    other = await make_service(settings=service.settings, with_worker=False)
    await early_in_the_minute()
    for one in (service, other) * 3:
        assert (await log_in(one, "alice", PASSWORD)).status == 200
        await asyncio.sleep(0.1)  # until it is told
    for one in (service, other):
        assert (await log_in(one, "alice", "wrong")).status == 401
    assert (await log_in(service, "alice", PASSWORD)).status == 429


# -- per address ----------------------------------------------------------------------------------------------


async def test_one_limit_is_by_address_whatever_the_names(make_service: MakeService) -> None:
    service = await make_service(LOGIN_RATE_LIMIT_PER_ADDRESS_PER_MINUTE="4", **BEHIND_A_PROXY)
    await early_in_the_minute()
    guesses = [(f"user{number}", PASSWORD, address(1)) for number in range(4)]
    assert await statuses(service, *guesses) == [401] * 4
    assert await statuses(service, ("alice", PASSWORD, address(1)), ("alice", PASSWORD, address(2))) == [429, 200]


async def test_all_addresses_of_one_ipv6_network_are_one(make_service: MakeService) -> None:
    service = await make_service(LOGIN_RATE_LIMIT_PER_ADDRESS_PER_MINUTE="2", **BEHIND_A_PROXY)
    await early_in_the_minute()
    attempts = [("bob", "wrong", f"2001:db8::{number}") for number in (1, 2, 3)]
    assert await statuses(service, *attempts, ("bob", "wrong", "2001:db8:1::1")) == [401, 401, 429, 401]


# -- per name over all addresses ------------------------------------------------------------------------------


async def attack(service: Service, name: str, number: int) -> list[int]:
    """As many wrong passwords, each from another address."""
    return await statuses(service, *[(name, "wrong", address(place)) for place in range(100, 100 + number)])


async def test_one_limit_is_by_name_over_all_addresses(make_service: MakeService) -> None:
    service = await make_service(LOGIN_RATE_LIMIT_PER_NAME_PER_HOUR="5", **BEHIND_A_PROXY)
    await early_in_the_minute()
    assert await attack(service, "alice", 7) == [401] * 5 + [429] * 2
    refused = await log_in(service, "alice", PASSWORD, at=address(1))
    problem = assert_problem(refused, 429, "too-many-requests")
    assert "an hour" in problem["detail"]
    assert await statuses(service, ("bob", PASSWORD, address(100))) == [200]


async def test_who_logs_in_from_where_he_did_before_cannot_be_locked_out(make_service: MakeService) -> None:
    service = await make_service(LOGIN_RATE_LIMIT_PER_NAME_PER_HOUR="5", **BEHIND_A_PROXY)
    await early_in_the_minute()
    home = address(1)
    assert await statuses(service, ("Alice", PASSWORD, home)) == [200]
    await flush(service.settings.redis_url)  # what the cache server forgets is known all the same
    other = await make_service(settings=service.settings, with_worker=False)
    assert await attack(service, "alice", 7) == [401] * 5 + [429] * 2
    for process in (service, other):
        assert await statuses(process, ("alice", "wrong", home), ("alice", PASSWORD, home)) == [401, 200]
        assert await statuses(process, ("alice", PASSWORD, address(2))) == [429]
    # It is nobody else's address, and no other name's.
    assert await attack(service, "bob", 5) == [401] * 5
    assert await statuses(service, ("bob", PASSWORD, home)) == [429]


async def test_what_is_exempt_does_not_use_the_limit_up(make_service: MakeService) -> None:
    service = await make_service(LOGIN_RATE_LIMIT_PER_NAME_PER_HOUR="2", **BEHIND_A_PROXY)
    await early_in_the_minute()
    home = address(1)
    assert await statuses(service, ("alice", PASSWORD, home), *[("alice", "wrong", home)] * 4) == [200] + [401] * 4
    assert await attack(service, "alice", 3) == [401, 401, 429]


async def test_an_address_is_remembered_for_30_days_from_the_last_login(make_service: MakeService) -> None:
    service = await make_service(LOGIN_RATE_LIMIT_PER_NAME_PER_HOUR="1", **BEHIND_A_PROXY)
    await early_in_the_minute()
    home = address(1)
    for _ in range(2):  # the second login begins the time anew
        assert await statuses(service, ("alice", PASSWORD, home)) == [200]
        await service.rows("UPDATE login_places SET last_login_at = last_login_at - interval '29 days 23 hours'")
    await attack(service, "alice", 2)
    assert await statuses(service, ("alice", PASSWORD, home)) == [200]
    await service.rows("UPDATE login_places SET last_login_at = now() - interval '30 days 1 hour'")
    assert await statuses(service, ("alice", PASSWORD, home)) == [429]


async def test_nothing_that_is_stored_tells_an_address(make_service: MakeService) -> None:
    service = await make_service(**BEHIND_A_PROXY)
    assert (
        await statuses(service, ("alice", PASSWORD, "198.51.100.23"), ("bob", PASSWORD, "198.51.100.23")) == [200] * 2
    )
    rows = await service.rows("SELECT * FROM login_places")
    assert len({row["place"] for row in rows}) == 2  # nor whether two came from the same
    assert "198.51" not in str(rows)
    assert "198.51" not in str(await service.rows("SELECT * FROM jobs"))


async def test_a_login_whose_password_nobody_could_check_is_given_back(
    make_service: MakeService, breakable_servers: Servers
) -> None:
    service = await make_service(
        on=breakable_servers, LOGIN_RATE_LIMIT_PER_MINUTE="2", LOGIN_RATE_LIMIT_PER_NAME_PER_HOUR="2"
    )
    await early_in_the_minute()
    async with away(breakable_servers.postgres):
        for _ in range(3):
            assert_problem(await log_in(service, "alice", PASSWORD), 503, "database-unavailable")
    assert (await log_in(service, "alice", PASSWORD)).status == 200


async def test_without_the_cache_server_each_process_counts_logins_by_itself(
    make_service: MakeService, breakable_servers: Servers
) -> None:
    service = await make_service(
        on=breakable_servers, LOGIN_RATE_LIMIT_PER_MINUTE="3", LOGIN_RATE_LIMIT_PER_NAME_PER_HOUR="4", **BEHIND_A_PROXY
    )
    async with away(breakable_servers.cache):
        await early_in_the_minute()
        guesses = [("alice", "wrong", address(1))] * 4
        assert await statuses(service, *guesses) == [401] * 3 + [429]
        assert await statuses(service, ("alice", "wrong", address(2)), ("alice", "wrong", address(3))) == [401, 429]
        assert await statuses(service, ("bob", PASSWORD, address(1))) == [200]


# -- what cannot be a name ------------------------------------------------------------------------------------

NO_NAMES = ["admİn", "ADMİN", "ſarah", "al", "a" * 65, "", "alice ", " alice", "ali\x00ce", "alice\n", "алиса", "a@b.c"]


@pytest.mark.parametrize("name", NO_NAMES)
async def test_what_cannot_be_a_username_is_wrong_and_is_not_counted(make_service: MakeService, name: str) -> None:
    service = await make_service(
        LOGIN_RATE_LIMIT_PER_MINUTE="1",
        LOGIN_RATE_LIMIT_PER_ADDRESS_PER_MINUTE="1",
        LOGIN_RATE_LIMIT_PER_NAME_PER_HOUR="1",
    )
    await early_in_the_minute()
    wrong = await log_in(service, "nobody", PASSWORD)
    for _ in range(2):
        answer = await log_in(service, name, PASSWORD)
        problem = assert_problem(answer, 401, "wrong-credentials")
        assert problem | {"request_id": ""} == wrong.json | {"request_id": ""}
        assert answer.headers["WWW-Authenticate"] == wrong.headers["WWW-Authenticate"]


async def test_every_spelling_of_a_name_has_one_bucket(make_service: MakeService) -> None:
    service = await make_service(LOGIN_RATE_LIMIT_PER_MINUTE="3")
    await early_in_the_minute()
    assert [(await log_in(service, name, "wrong")).status for name in ("admin", "ADMIN", "aDmIn")] == [401] * 3
    assert (await log_in(service, "Admin", PASSWORD)).status == 429
    assert (await log_in(service, "admİn", PASSWORD)).status == 401


# -- refreshing, the current password, registering ------------------------------------------------------------


async def test_a_refresh_is_never_touched(make_service: MakeService) -> None:
    service = await make_service(
        LOGIN_RATE_LIMIT_PER_MINUTE="1",
        LOGIN_RATE_LIMIT_PER_ADDRESS_PER_MINUTE="1",
        LOGIN_RATE_LIMIT_PER_NAME_PER_HOUR="1",
    )
    await early_in_the_minute()
    token = (await log_in(service, "alice", PASSWORD)).json["refresh_token"]
    assert [(await log_in(service, "alice", "wrong")).status for _ in range(3)] == [401, 429, 429]
    for _ in range(3):
        answer = await service.anonymous.post("/auth/refresh", {"refresh_token": token})
        assert answer.status == 200
        token = answer.json["refresh_token"]


async def test_wrong_current_passwords_are_counted_against_the_session(make_service: MakeService) -> None:
    service = await make_service(LOGIN_RATE_LIMIT_PER_MINUTE="3")
    await early_in_the_minute()
    first, second = [(await log_in(service, "alice", PASSWORD)).json for _ in range(2)]

    async def change(token: str, current: str) -> Answer:
        body = {"password": "another password", "current_password": current}
        return await service.with_token(token).patch("/user/me", body)

    for _ in range(3):
        assert_problem(await change(first["access_token"], "wrong"), 403, "wrong-password")
    assert_problem(await change(first["access_token"], PASSWORD), 429, "too-many-requests")
    # A new token of the same session is no new session.
    again = await service.anonymous.post("/auth/refresh", {"refresh_token": first["refresh_token"]})
    assert_problem(await change(again.json["access_token"], PASSWORD), 429, "too-many-requests")
    # What needs no password goes on, and so do another session and another user.
    assert (await service.with_token(first["access_token"]).patch("/user/me", {"time_zone": "UTC"})).status == 200
    assert (await change(service.bob.token, PASSWORD)).status == 200
    assert (await change(second["access_token"], PASSWORD)).status == 200


async def test_a_right_current_password_is_given_back(make_service: MakeService) -> None:
    service = await make_service(LOGIN_RATE_LIMIT_PER_MINUTE="1")
    await early_in_the_minute()
    for _ in range(3):
        answer = await service.alice.patch("/user/me", {"password": PASSWORD, "current_password": PASSWORD})
        assert answer.status == 200


def newcomer(number: int) -> dict[str, str]:
    return {"username": f"new{number}", "email": f"new{number}@example.com", "password": "an engine 4 analysis"}


async def test_registrations_of_an_address_are_limited_by_the_hour(make_service: MakeService) -> None:
    service = await make_service(REGISTRATIONS_PER_HOUR="3", **BEHIND_A_PROXY)
    await early_in_the_minute()

    async def register(number: int, at: str) -> Answer:
        return await service.anonymous.post("/auth/register", newcomer(number), headers={"X-Forwarded-For": at})

    assert [(await register(number, address(1))).status for number in range(3)] == [201] * 3
    refused = await register(3, address(1))
    assert "an hour" in assert_problem(refused, 429, "too-many-requests")["detail"]
    assert await service.rows("SELECT id FROM users WHERE username = 'new3'") == []
    assert (await register(3, address(2))).status == 201
    # What is not valid is no registration.
    for _ in range(4):
        invalid = await service.anonymous.post("/auth/register", {}, headers={"X-Forwarded-For": address(3)})
        assert invalid.status == 422
    assert (await register(4, address(3))).status == 201
