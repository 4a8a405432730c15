"""Refresh tokens and logout: a token is good once, and its reuse ends the family."""

import asyncio

import jwt
import pytest

from tests.api.logins import log_in, refresh
from tests.api.problems import assert_problem
from tests.harness import SECRET, Service


async def test_a_refresh_gives_a_new_pair(service: Service) -> None:
    first = (await log_in(service)).json
    answer = await refresh(service, first["refresh_token"])
    assert answer.status == 200
    assert set(answer.json) == set(first)
    assert answer.json["refresh_token"] != first["refresh_token"]
    assert answer.json["access_token"] != first["access_token"]
    assert (await service.with_token(answer.json["access_token"]).get("/user/me")).json["username"] == "alice"
    again = await refresh(service, answer.json["refresh_token"])
    assert again.status == 200


async def test_a_refresh_token_used_twice_ends_its_whole_family(service: Service) -> None:
    stolen = (await log_in(service)).json["refresh_token"]
    newest = (await refresh(service, stolen)).json["refresh_token"]
    assert_problem(await refresh(service, stolen), 401, "invalid-token")
    assert_problem(await refresh(service, newest), 401, "invalid-token")


async def test_the_end_of_one_family_is_not_the_end_of_another(service: Service) -> None:
    one, other = (await log_in(service)).json["refresh_token"], (await log_in(service)).json["refresh_token"]
    await refresh(service, one)
    assert (await refresh(service, one)).status == 401
    assert (await refresh(service, other)).status == 200


async def test_of_many_refreshes_with_one_token_at_once_one_succeeds(service: Service) -> None:
    token = (await log_in(service)).json["refresh_token"]
    answers = await asyncio.gather(*(refresh(service, token) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [200] + [401] * 9
    [winner] = [answer for answer in answers if answer.status == 200]
    assert (await refresh(service, winner.json["refresh_token"])).status == 401


async def test_a_refresh_takes_the_role_that_the_user_has_now(service: Service) -> None:
    token = (await log_in(service)).json["refresh_token"]
    await service.rows("UPDATE users SET role = 'admin' WHERE id = $1", service.alice.id)
    pair = (await refresh(service, token)).json
    assert jwt.decode(pair["access_token"], options={"verify_signature": False})["role"] == "admin"


async def test_a_logout_ends_the_family_and_may_be_repeated(service: Service) -> None:
    pair = (await log_in(service)).json
    newer = (await refresh(service, pair["refresh_token"])).json
    for token in (newer["refresh_token"], newer["refresh_token"], pair["refresh_token"]):
        answer = await service.anonymous.post("/auth/logout", {"refresh_token": token})
        assert (answer.status, answer.body) == (204, b"")
    assert_problem(await refresh(service, newer["refresh_token"]), 401, "invalid-token")
    # Access tokens stay valid until they expire.
    assert (await service.with_token(newer["access_token"]).get("/user/me")).status == 200


async def test_a_session_past_its_end_cannot_be_refreshed(service: Service) -> None:
    token = (await log_in(service)).json["refresh_token"]
    await service.rows("UPDATE sessions SET expires_at = now() - interval '1 second'")
    assert_problem(await refresh(service, token), 401, "invalid-token")


async def test_a_deleted_users_refresh_token_is_401(service: Service) -> None:
    token = (await log_in(service)).json["refresh_token"]
    await service.rows("DELETE FROM users WHERE id = $1", service.alice.id)
    assert_problem(await refresh(service, token), 401, "invalid-token")


@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout"])
async def test_what_is_no_refresh_token_is_401(service: Service, path: str) -> None:
    pair = (await log_in(service)).json
    head, claims, signature = pair["refresh_token"].split(".")
    content = jwt.decode(pair["refresh_token"], options={"verify_signature": False})
    forgeries = [
        "x",
        "a.b.c",
        pair["access_token"],
        f"{head}.{claims}.{signature[:-4]}AAAA",
        f"{head}.{claims}.",
        jwt.encode(content, "another key of sufficient length 12345", algorithm="HS256"),
        jwt.encode(content, "", algorithm="none"),
        jwt.encode(content | {"exp": 1}, SECRET, algorithm="HS256"),
        jwt.encode(content | {"iss": "somebody"}, SECRET, algorithm="HS256"),
        jwt.encode(content | {"sid": "no uuid"}, SECRET, algorithm="HS256"),
        jwt.encode(content | {"gen": "x"}, SECRET, algorithm="HS256"),
        jwt.encode(content | {"gen": None}, SECRET, algorithm="HS256"),
        jwt.encode(content | {"sub": str(1 << 63)}, SECRET, algorithm="HS256"),
    ]
    for forgery in forgeries:
        answer = await service.anonymous.post(path, {"refresh_token": forgery})
        assert_problem(answer, 401, "invalid-token")
    for body in (
        {},
        {"refresh_token": ""},
        {"refresh_token": 5},
        {"refresh_token": "x" * 5000},
        {"refresh_token": None},
    ):
        assert_problem(await service.anonymous.post(path, body), 422, "validation-error")


async def test_a_refresh_token_names_its_own_user(service: Service) -> None:
    content = jwt.decode((await log_in(service)).json["refresh_token"], options={"verify_signature": False})
    forged = jwt.encode(content | {"sub": str(service.bob.id)}, SECRET, algorithm="HS256")
    assert_problem(await refresh(service, forged), 401, "invalid-token")
