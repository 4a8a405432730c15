"""Registration, login, refresh tokens, logout, and which access tokens are believed."""

import asyncio
import base64
import hmac
import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from tests.api.problems import assert_problem
from tests.conftest import MakeService
from tests.harness import PASSWORD, SECRET, Answer, Service

NEW_USER = {"username": "Ada.Lovelace-1815_", "email": "ada@example.com", "password": "an engine 4 analysis"}


async def log_in(service: Service, username: str = "alice", password: str = PASSWORD, **options: Any) -> Answer:
    return await service.anonymous.post("/auth/login", {"username": username, "password": password}, **options)


# -- register -------------------------------------------------------------------------------------------------


async def test_who_registers_can_log_in_and_work(service: Service) -> None:
    registered = await service.anonymous.post("/auth/register", NEW_USER)
    assert registered.status == 201
    assert set(registered.json) == {
        "id", "username", "email", "role", "time_zone", "reminder_offsets", "created_at", "updated_at",
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


# -- refresh and logout ---------------------------------------------------------------------------------------


async def refresh(service: Service, token: str, **options: Any) -> Answer:
    return await service.anonymous.post("/auth/refresh", {"refresh_token": token}, **options)


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


# -- access tokens --------------------------------------------------------------------------------------------


def claims_of(service: Service, **changes: Any) -> dict[str, Any]:
    now = int(datetime.now(UTC).timestamp())
    claims = {
        "iss": "tenfold", "sub": str(service.alice.id), "role": "user", "jti": str(uuid.uuid4()), "iat": now,
        "exp": now + 60,
    }  # fmt: skip
    return {name: value for name, value in (claims | changes).items() if value is not ...}


def signed(claims: dict[str, Any], key: bytes, algorithm: str = "HS256") -> str:
    """A token such as a forger makes, who is bound to no library's caution."""
    parts = [json.dumps(part).encode() for part in ({"alg": algorithm, "typ": "JWT"}, claims)]
    content = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = hmac.digest(key, content, f"sha{algorithm[2:]}")
    return b".".join([content, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


async def me(service: Service, token: str) -> Answer:
    return await service.with_token(token).get("/user/me")


async def test_a_token_with_all_claims_is_believed(service: Service) -> None:
    assert (await me(service, jwt.encode(claims_of(service), SECRET, algorithm="HS256"))).status == 200


@pytest.mark.parametrize("claim", ["iss", "sub", "role", "jti", "iat", "exp"])
async def test_a_token_without_one_of_its_claims_is_401(service: Service, claim: str) -> None:
    token = jwt.encode(claims_of(service, **{claim: ...}), SECRET, algorithm="HS256")
    assert_problem(await me(service, token), 401, "invalid-token")


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"exp": int(datetime.now(UTC).timestamp()) - 1},
        {"exp": "soon"},
        {"exp": None},
        {"exp": 1e400},
        {"exp": 10**400},
        {"iat": int(datetime.now(UTC).timestamp()) + 3600},
        {"nbf": int(datetime.now(UTC).timestamp()) + 3600},
        {"iss": "somebody else"},
        {"iss": None},
        {"iss": ["tenfold"]},
        {"sub": "0"},
        {"sub": "-1"},
        {"sub": "x"},
        {"sub": ""},
        {"sub": str(1 << 63)},
        {"sub": "9" * 500},
        {"sub": 4711},
        {"sub": None},
        {"aud": "tenfold:refresh"},
        {"aud": ["another"]},
    ],
    ids=str,
)
async def test_a_token_with_a_wrong_claim_is_401(service: Service, changes: dict[str, Any]) -> None:
    token = signed(claims_of(service, **changes), SECRET.encode())
    assert_problem(await me(service, token), 401, "invalid-token")


async def test_a_token_signed_otherwise_is_401(service: Service) -> None:
    claims = claims_of(service)
    good = jwt.encode(claims, SECRET, algorithm="HS256")
    head, payload, signature = good.split(".")
    unsigned_head = base64.urlsafe_b64encode(b'{"alg":"None","typ":"JWT"}').decode().rstrip("=")
    for token in (
        jwt.encode(claims, "another key of sufficient length 12345", algorithm="HS256"),
        signed(claims, SECRET.encode(), algorithm="HS512"),
        jwt.encode(claims, "", algorithm="none"),
        f"{unsigned_head}.{payload}.",
        f"{unsigned_head}.{payload}.{signature}",
        f"{head}.{payload}.",
        f"{head}.{payload}",
        f"{head}.{payload}.{signature[:-5]}AAAAA",
        f"{head}..{signature}",
        jwt.encode(claims | {"sub": str(service.admin.id)}, "x" * 40, algorithm="HS256"),
        "..",
        "x",
        "a.b.c",
        "ü.ü.ü",
        "A" * 4097,
    ):
        assert_problem(await me(service, token), 401, "invalid-token")


async def test_a_refresh_token_is_no_access_token(service: Service) -> None:
    pair = (await log_in(service)).json
    assert_problem(await me(service, pair["refresh_token"]), 401, "invalid-token")


async def test_an_expired_token_is_401_also_where_it_was_believed_before(service: Service) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=1.5)
    token = jwt.encode(claims_of(service, exp=expires.timestamp()), SECRET, algorithm="HS256")
    assert (await me(service, token)).status == 200
    await asyncio.sleep((expires - datetime.now(UTC)).total_seconds() + 0.05)
    problem = assert_problem(await me(service, token), 401, "invalid-token")
    assert "expired" in problem["detail"]


async def test_a_deleted_users_token_is_401(service: Service) -> None:
    token = service.mint(service.alice.id)
    await service.rows("DELETE FROM users WHERE id = $1", service.alice.id)
    assert_problem(await me(service, token), 401, "invalid-token")


async def test_a_write_of_a_user_who_was_deleted_a_moment_ago_is_401_and_disturbs_nobody(service: Service) -> None:
    assert (await service.charlie.get("/tasks")).status == 200  # the token is remembered from here on
    await service.rows("DELETE FROM users WHERE id = $1", service.charlie.id)
    answers = await asyncio.gather(
        *(user.post("/tasks", {"title": "x"}) for user in (service.alice, service.charlie, service.bob) * 5)
    )
    assert [answer.status for answer in answers] == [201, 401, 201] * 5
    assert_problem(answers[1], 401, "invalid-token")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YWxpY2U6eA==", "bearer", "Token x", "Bearer\tx", "BearerX y"],
)
async def test_another_form_of_authorization_is_401(service: Service, header: str) -> None:
    answer = await service.anonymous.get("/tasks", headers={"Authorization": header})
    assert_problem(answer, 401, "authentication-required")


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
async def test_the_schemes_case_does_not_matter(service: Service, scheme: str) -> None:
    answer = await service.anonymous.get("/tasks", headers={"Authorization": f"{scheme} {service.alice.token}"})
    assert answer.status == 200


# -- keys -----------------------------------------------------------------------------------------------------


def pem(key: Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
async def test_a_public_key_is_no_secret_to_sign_with(
    make_service: MakeService, tmp_path: Path, algorithm: str
) -> None:
    key: Any = (
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
        if algorithm == "RS256"
        else ed25519.Ed25519PrivateKey.generate()
    )
    (tmp_path / "key.pem").write_bytes(pem(key))
    service = await make_service(JWT_ALGORITHM=algorithm, JWT_KEY_FILE=str(tmp_path / "key.pem"), JWT_SECRET_KEY="")
    pair = (await log_in(service)).json
    assert jwt.get_unverified_header(pair["access_token"])["alg"] == algorithm
    assert (await me(service, pair["access_token"])).status == 200
    assert (await refresh(service, pair["refresh_token"])).status == 200

    claims = claims_of(service)
    for secret in (public_pem(key), public_pem(key).strip(), pem(key)):
        assert_problem(await me(service, signed(claims, secret)), 401, "invalid-token")
    assert_problem(await me(service, jwt.encode(claims, "", algorithm="none")), 401, "invalid-token")
    other: Any = (
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
        if algorithm == "RS256"
        else ed25519.Ed25519PrivateKey.generate()
    )
    assert_problem(await me(service, jwt.encode(claims, other, algorithm=algorithm)), 401, "invalid-token")


async def test_the_lifetimes_of_tokens_are_settings(make_service: MakeService) -> None:
    service = await make_service(ACCESS_TOKEN_EXPIRE_MINUTES="2", REFRESH_TOKEN_EXPIRE_DAYS="3")
    pair = (await log_in(service)).json
    assert pair["expires_in"] == 120
    lifetime = jwt.decode(pair["refresh_token"], options={"verify_signature": False})["exp"] - time.time()
    assert abs(lifetime - 3 * 86_400) < 10
