"""Which access tokens are believed, and by which keys."""

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

from tests.api.logins import log_in, refresh
from tests.api.problems import assert_problem
from tests.conftest import MakeService
from tests.harness import SECRET, Answer, Service

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
