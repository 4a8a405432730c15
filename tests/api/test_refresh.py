"""Refresh tokens and logout: a token is good once and a moment longer, and its reuse after that ends the family."""

import asyncio

import jwt
import pytest

from tests.api.logins import log_in, refresh
from tests.api.problems import assert_problem
from tests.conftest import MakeService
from tests.harness import PASSWORD, SECRET, Service


async def pass_grace(service: Service, seconds: int = 10) -> None:
    """Makes the last refresh of every session `seconds` older."""
    await service.rows("UPDATE sessions SET refreshed_at = refreshed_at - make_interval(secs => $1)", seconds)


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


async def test_a_refresh_token_used_again_after_the_grace_ends_its_whole_family(service: Service) -> None:
    stolen = (await log_in(service)).json["refresh_token"]
    newest = (await refresh(service, stolen)).json["refresh_token"]
    await pass_grace(service)
    assert_problem(await refresh(service, stolen), 401, "invalid-token")
    assert_problem(await refresh(service, newest), 401, "invalid-token")


async def test_a_refresh_token_used_again_at_once_gets_the_same_answer(service: Service) -> None:
    token = (await log_in(service)).json["refresh_token"]
    first = await refresh(service, token)
    again = await refresh(service, token)
    assert (again.status, again.body) == (200, first.body)
    assert (again.headers["Cache-Control"], again.headers["Pragma"]) == ("no-store", "no-cache")
    await pass_grace(service, 8)
    assert (await refresh(service, token)).json["refresh_token"] == first.json["refresh_token"]
    assert (await refresh(service, again.json["refresh_token"])).status == 200


async def test_repeats_do_not_make_the_grace_or_the_session_longer(service: Service) -> None:
    token = (await log_in(service)).json["refresh_token"]
    await refresh(service, token)
    [before] = await service.rows("SELECT * FROM sessions")
    for _ in range(3):
        assert (await refresh(service, token)).status == 200
    assert await service.rows("SELECT * FROM sessions") == [before]
    await pass_grace(service)
    assert_problem(await refresh(service, token), 401, "invalid-token")


async def test_once_the_next_token_was_used_the_one_before_it_ends_the_family(service: Service) -> None:
    token = (await log_in(service)).json["refresh_token"]
    second = (await refresh(service, token)).json["refresh_token"]
    third = (await refresh(service, second)).json["refresh_token"]
    assert (await refresh(service, second)).json["refresh_token"] == third
    assert_problem(await refresh(service, token), 401, "invalid-token")
    for revoked in (second, third):
        assert_problem(await refresh(service, revoked), 401, "invalid-token")


async def test_there_is_no_grace_after_a_logout_or_a_new_password(service: Service) -> None:
    token = (await log_in(service)).json["refresh_token"]
    newest = (await refresh(service, token)).json["refresh_token"]
    assert (await service.anonymous.post("/auth/logout", {"refresh_token": newest})).status == 204
    assert_problem(await refresh(service, token), 401, "invalid-token")
    token = (await log_in(service)).json["refresh_token"]
    await refresh(service, token)
    changed = {"password": "another long password", "current_password": PASSWORD}
    assert (await service.alice.patch("/user/me", changed)).status == 200
    assert_problem(await refresh(service, token), 401, "invalid-token")


async def test_two_processes_and_one_started_later_give_the_same_answer(make_service: MakeService) -> None:
    one = await make_service()
    other = await make_service(settings=one.settings, with_worker=False)
    token = (await log_in(one)).json["refresh_token"]
    answers = await asyncio.gather(*(refresh(service, token) for _ in range(10) for service in (one, other)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    await one.worker.stop()
    await one.worker.start()
    later = await make_service(settings=one.settings, with_worker=False)
    assert (await refresh(later, token)).body == answers[0].body


async def test_with_a_key_a_refresh_is_repeated_after_the_grace_and_harms_nobody(service: Service) -> None:
    token = (await log_in(service)).json["refresh_token"]
    first = await refresh(service, token, headers={"Idempotency-Key": "lost-answer"})
    await pass_grace(service)
    again = await refresh(service, token, headers={"Idempotency-Key": "lost-answer"})
    assert (again.status, again.body, again.headers["Idempotent-Replayed"]) == (200, first.body, "true")
    assert (await refresh(service, first.json["refresh_token"])).status == 200


async def test_a_repeat_tells_the_role_that_the_user_has_now(service: Service) -> None:
    token = (await log_in(service, "admin")).json["refresh_token"]
    await refresh(service, token)
    await service.rows("UPDATE users SET role = 'user' WHERE id = $1", service.admin.id)
    pair = (await refresh(service, token)).json
    assert jwt.decode(pair["access_token"], options={"verify_signature": False})["role"] == "user"


async def test_a_stored_refresh_holds_no_token(service: Service) -> None:
    pair = (await refresh(service, (await log_in(service)).json["refresh_token"])).json
    stored = str(await service.rows("SELECT sessions.*, jobs.* FROM sessions, jobs"))
    for token in (pair["access_token"], pair["refresh_token"]):
        assert token not in stored
        assert token.rpartition(".")[2] not in stored, "nor its signature"


async def test_without_a_grace_a_second_use_ends_the_family(make_service: MakeService) -> None:
    service = await make_service(REFRESH_GRACE_SECONDS="0")
    token = (await log_in(service)).json["refresh_token"]
    newest = (await refresh(service, token)).json["refresh_token"]
    assert_problem(await refresh(service, token), 401, "invalid-token")
    assert_problem(await refresh(service, newest), 401, "invalid-token")


async def test_the_end_of_one_family_is_not_the_end_of_another(service: Service) -> None:
    one, other = (await log_in(service)).json["refresh_token"], (await log_in(service)).json["refresh_token"]
    await refresh(service, one)
    await pass_grace(service)
    assert (await refresh(service, one)).status == 401
    assert (await refresh(service, other)).status == 200


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
