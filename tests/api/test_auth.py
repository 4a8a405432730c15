"""Registration and login: who gets an account, and tokens for it."""

import asyncio
import json
import time
from typing import Any

import jwt
import pytest

from tests.api.logins import log_in
from tests.api.problems import assert_problem
from tests.conftest import MakeService
from tests.harness import PASSWORD, SECRET, Service

NEW_USER = {"username": "Ada.Lovelace-1815_", "email": "ada@example.com", "password": "an engine 4 analysis"}


# -- register -------------------------------------------------------------------------------------------------


async def test_who_registers_can_log_in_and_work(service: Service) -> None:
    registered = await service.anonymous.post("/auth/register", NEW_USER)
    assert registered.status == 201
    assert set(registered.json) == {
        "id", "username", "email", "role", "time_zone", "reminder_offsets", "all_day_reminder_time", "created_at",
        "updated_at",
    }  # fmt: skip
    assert registered.json["username"] == NEW_USER["username"]
    assert (registered.json["role"], registered.json["time_zone"]) == ("user", "UTC")
    login = await log_in(service, NEW_USER["username"], NEW_USER["password"])
    client = service.with_token(login.json["access_token"])
    assert (await client.get("/user/me")).json == registered.json
    task = await client.post("/tasks", {"title": "First"})
    assert task.json["user_id"] == registered.json["id"]


async def test_a_taken_name_is_409_in_any_case(service: Service) -> None:
    for name in ("alice", "ALICE", "Alice"):
        answer = await service.anonymous.post("/auth/register", NEW_USER | {"username": name})
        assert_problem(answer, 409, "username-taken")
    assert await service.rows("SELECT count(*) AS n FROM users") == [{"n": 4}]


async def test_of_many_who_want_one_name_at_once_one_gets_it(service: Service) -> None:
    names = ["grace", "Grace", "GRACE", "gRaCe"] * 3
    answers = await asyncio.gather(
        *(service.anonymous.post("/auth/register", NEW_USER | {"username": name}) for name in names)
    )
    assert sorted(answer.status for answer in answers) == [201] + [409] * 11


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", "ab"),
        ("username", "a" * 65),
        ("username", "with space"),
        ("username", "ümlaut"),
        ("username", "a\x00b"),
        ("username", "new\nline"),
        ("username", "name\n"),
        ("username", ""),
        ("username", None),
        ("username", 12345),
        ("password", "seven77"),
        ("password", "x" * 257),
        ("password", "nul\x00nul\x00"),
        ("password", None),
        ("password", 12345678),
        ("email", "nobody"),
        ("email", "a@b"),
        ("email", "a\x00@example.com"),
        ("email", f"{'a' * 250}@example.com"),
        ("email", None),
        ("role", "admin"),
        ("id", 1),
    ],
)
async def test_an_invalid_registration_is_422_by_the_field(service: Service, field: str, value: Any) -> None:
    answer = await service.anonymous.post("/auth/register", NEW_USER | {field: value})
    assert list(assert_problem(answer, 422, "validation-error")["errors"]) == [field]
    assert str(NEW_USER["password"]) not in answer.body.decode()


@pytest.mark.parametrize("password", ["12345678", "x" * 256, "pässwörter 🔑", "        "])
async def test_any_password_of_8_to_256_characters_will_do(service: Service, password: str) -> None:
    user = NEW_USER | {"password": password}
    assert (await service.anonymous.post("/auth/register", user)).status == 201
    assert (await log_in(service, NEW_USER["username"], password)).status == 200
    assert (await log_in(service, NEW_USER["username"], password + "x")).status == 401


@pytest.mark.parametrize("name", ["abc", "a" * 64, "..."])
async def test_names_of_3_to_64_characters_will_do(service: Service, name: str) -> None:
    assert (await service.anonymous.post("/auth/register", NEW_USER | {"username": name})).status == 201


async def test_registration_can_be_closed(make_service: MakeService) -> None:
    service = await make_service(REGISTRATION_OPEN="false")
    answer = await service.anonymous.post("/auth/register", NEW_USER)
    assert_problem(answer, 403, "registration-closed")
    assert (await log_in(service)).status == 200


async def test_no_password_reaches_the_queue_or_a_row(make_service: MakeService) -> None:
    service = await make_service(with_worker=False, WRITE_WAIT_SECONDS="0")
    await service.anonymous.post("/auth/register", NEW_USER)
    async with service.queue() as queue:
        keys = await queue.keys("*")
        streams = [await queue.xrange(key) for key in keys if await queue.type(key) == b"stream"]
    assert "user.register" in str(streams)
    assert NEW_USER["password"] not in str(streams)
    await service.worker.start()
    await log_in(service, NEW_USER["username"], NEW_USER["password"])
    for table in ("users", "jobs", "sessions"):
        assert NEW_USER["password"] not in str(await service.rows(f"SELECT * FROM {table}"))


# -- login ----------------------------------------------------------------------------------------------------


async def test_a_login_gives_a_pair_of_tokens(service: Service) -> None:
    answer = await log_in(service)
    assert answer.status == 200
    assert set(answer.json) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert (answer.json["token_type"], answer.json["expires_in"]) == ("bearer", 30 * 60)
    assert answer.headers["Cache-Control"] == "no-store"
    claims = jwt.decode(answer.json["access_token"], SECRET, algorithms=["HS256"], issuer="tenfold")
    assert {"iss", "sub", "role", "jti", "iat", "exp"} <= set(claims)
    assert (claims["sub"], claims["role"]) == (str(service.alice.id), "user")
    assert claims["exp"] - claims["iat"] == 30 * 60
    assert (await service.with_token(answer.json["access_token"]).get("/user/me")).json["username"] == "alice"


async def test_what_a_login_came_to_is_told_as_all_json_is(service: Service) -> None:
    await log_in(service)
    body = (await service.alice.get("/jobs?kind=session.open")).body
    assert b'"issued_at":"' in body
    assert b"+00:00" not in body


async def test_the_names_case_does_not_matter(service: Service) -> None:
    assert (await log_in(service, "ALICE")).status == 200


async def test_wrong_name_and_wrong_password_are_one_answer(service: Service) -> None:
    answers = [
        await log_in(service, "alice", "wrong password"),
        await log_in(service, "nobody", "wrong password"),
        await log_in(service, "nobody", PASSWORD),
        await log_in(service, "", ""),
        await log_in(service, "a\x00b", "c\x00d"),
        await log_in(service, "alice", PASSWORD + " "),
        await log_in(service, "alice", PASSWORD.upper()),
        await log_in(service, "ali_e"),
        await log_in(service, "%"),
    ]
    problems = [assert_problem(answer, 401, "wrong-credentials") for answer in answers]
    assert len({json.dumps(problem | {"request_id": ""}) for problem in problems}) == 1
    assert len({answer.headers["WWW-Authenticate"] for answer in answers}) == 1


async def test_wrong_name_and_wrong_password_take_the_same_time(service: Service) -> None:
    seconds: dict[str, list[float]] = {"alice": [], "nobody": []}
    for _ in range(10):
        for name, taken in seconds.items():
            started = time.perf_counter()
            await log_in(service, name, "wrong password")
            taken.append(time.perf_counter() - started)
    # The quickest of each: what a busy machine adds is no difference between the two.
    known, unknown = (min(taken) for taken in seconds.values())
    assert 0.6 < unknown / known < 1.7, seconds


@pytest.mark.parametrize(
    "body", [{}, {"username": "alice"}, {"password": PASSWORD}, {"username": 1, "password": 2}, []]
)
async def test_a_login_without_name_and_password_is_422(service: Service, body: Any) -> None:
    assert_problem(await service.anonymous.post("/auth/login", body), 422, "validation-error")


async def test_a_token_in_the_header_does_not_disturb_a_login(service: Service) -> None:
    answer = await log_in(service, headers={"Authorization": "Bearer nonsense"})
    assert answer.status == 200


async def test_logins_at_once_are_all_answered(service: Service) -> None:
    answers = await asyncio.gather(*(log_in(service, name) for name in ("alice", "bob", "charlie", "admin") * 3))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.json["refresh_token"] for answer in answers}) == 12


async def test_an_oauth_2_password_form_logs_in(service: Service) -> None:
    answer = await service.anonymous.post(
        "/auth/token", data={"grant_type": "password", "username": "alice", "password": PASSWORD, "scope": ""}
    )
    assert answer.status == 200
    assert set(answer.json) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert (await service.with_token(answer.json["access_token"]).get("/user/me")).status == 200
    refused = await service.anonymous.post("/auth/token", data={"username": "alice", "password": "wrong"})
    assert_problem(refused, 401, "wrong-credentials")


@pytest.mark.parametrize(
    ("content_type", "body", "status", "name"),
    [
        ("application/json", b'{"username": "alice", "password": "x"}', 415, "unsupported-media-type"),
        ("multipart/form-data; boundary=x", b"--x--", 415, "unsupported-media-type"),
        ("application/x-www-form-urlencoded", b"", 422, "validation-error"),
        ("application/x-www-form-urlencoded", b"username=alice", 422, "validation-error"),
        ("application/x-www-form-urlencoded", b"username=a&username=b&password=c", 422, "validation-error"),
        ("application/x-www-form-urlencoded", b"username=a&password=b&grant_type=x", 422, "validation-error"),
        ("application/x-www-form-urlencoded", b"username=a&password=b&unknown=ignored", 401, "wrong-credentials"),
        ("application/x-www-form-urlencoded", b"username=\xff\xfe&password=b", 400, "bad-request"),
        ("application/x-www-form-urlencoded", b"username=%ED%A0%80&password=b", 400, "bad-request"),
        ("application/x-www-form-urlencoded", b"a=1&" * 1000, 400, "bad-request"),
        ("application/x-www-form-urlencoded; charset=utf-16", b"username=a&password=b", 401, "wrong-credentials"),
        ("application/x-www-form-urlencoded; charset=nonsense", b"username=a&password=b", 401, "wrong-credentials"),
        ("application/x-www-form-urlencoded", b"username=a%00b&password=b%00", 401, "wrong-credentials"),
    ],
)
async def test_a_bad_form_is_refused_for_what_it_is(
    service: Service, content_type: str, body: bytes, status: int, name: str
) -> None:
    answer = await service.anonymous.post("/auth/token", data=body, headers={"Content-Type": content_type})
    assert_problem(answer, status, name)


async def test_a_login_while_no_worker_runs_is_503_and_not_202(make_service: MakeService) -> None:
    service = await make_service(with_worker=False, WRITE_WAIT_SECONDS="0.2")
    answer = await log_in(service)
    assert_problem(answer, 503, "database-unavailable")
