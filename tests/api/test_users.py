"""The caller's own profile."""

from datetime import datetime
from typing import Any

import pytest

from tests.api.problems import assert_problem
from tests.harness import PASSWORD, Service

FIELDS = {
    "id",
    "username",
    "email",
    "role",
    "time_zone",
    "reminder_offsets",
    "all_day_reminder_time",
    "created_at",
    "updated_at",
}


async def test_each_user_reads_the_own_profile(service: Service) -> None:
    for user, role in ((service.alice, "user"), (service.bob, "user"), (service.admin, "admin")):
        answer = await user.get("/user/me")
        assert answer.status == 200
        assert set(answer.json) == FIELDS
        assert (answer.json["id"], answer.json["username"], answer.json["role"]) == (user.id, user.username, role)


@pytest.mark.parametrize(
    ("field", "value"),
    [("email", "alice@new.example"), ("time_zone", "Europe/Berlin"), ("time_zone", "America/Argentina/Salta")],
)
async def test_a_patch_changes_what_it_names(service: Service, field: str, value: str) -> None:
    before = (await service.alice.get("/user/me")).json
    answer = await service.alice.patch("/user/me", {field: value})
    assert answer.status == 200
    assert answer.json == before | {field: value, "updated_at": answer.json["updated_at"]}
    assert datetime.fromisoformat(answer.json["updated_at"]) > datetime.fromisoformat(before["updated_at"])
    assert (await service.alice.get("/user/me")).json == answer.json


async def test_a_patch_changes_nobody_else(service: Service) -> None:
    before = (await service.bob.get("/user/me")).json
    await service.alice.patch("/user/me", {"email": "alice@new.example", "time_zone": "Asia/Tokyo"})
    assert (await service.bob.get("/user/me")).json == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "nobody"),
        ("email", None),
        ("email", 5),
        ("time_zone", "Europe/Atlantis"),
        ("time_zone", "../../etc/passwd"),
        ("time_zone", ""),
        ("time_zone", None),
        ("time_zone", "UTC\x00"),
        ("time_zone", "localtime"),
        ("username", "bob2"),
        ("role", "admin"),
        ("id", 1),
        ("password_hash", "x"),
    ],
)
async def test_an_invalid_change_is_422_and_changes_nothing(service: Service, field: str, value: Any) -> None:
    before = (await service.alice.get("/user/me")).json
    answer = await service.alice.patch("/user/me", {"time_zone": "Asia/Tokyo", field: value})
    assert list(assert_problem(answer, 422, "validation-error")["errors"]) == [field]
    assert (await service.alice.get("/user/me")).json == before


# -- password -------------------------------------------------------------------------------------------------


async def status_of_login(service: Service, password: str) -> int:
    answer = await service.anonymous.post("/auth/login", {"username": "alice", "password": password})
    return answer.status


async def test_a_new_password_replaces_the_old_one(service: Service) -> None:
    answer = await service.alice.patch("/user/me", {"password": "something new", "current_password": PASSWORD})
    assert answer.status == 200
    assert set(answer.json) == FIELDS
    assert (await status_of_login(service, PASSWORD), await status_of_login(service, "something new")) == (401, 200)


async def test_a_new_password_ends_every_session_but_not_those_of_others(service: Service) -> None:
    logins = {
        name: (await service.anonymous.post("/auth/login", {"username": name, "password": PASSWORD})).json
        for name in ("alice", "bob")
    }
    await service.alice.patch("/user/me", {"password": "something new", "current_password": PASSWORD})
    answers = {
        name: await service.anonymous.post("/auth/refresh", {"refresh_token": pair["refresh_token"]})
        for name, pair in logins.items()
    }
    assert_problem(answers["alice"], 401, "invalid-token")
    assert answers["bob"].status == 200


async def test_a_wrong_current_password_is_403_and_changes_nothing(service: Service) -> None:
    before = (await service.alice.get("/user/me")).json
    answer = await service.alice.patch(
        "/user/me", {"password": "something new", "current_password": "wrong", "time_zone": "Asia/Tokyo"}
    )
    assert_problem(answer, 403, "wrong-password")
    assert (await service.alice.get("/user/me")).json == before
    assert await status_of_login(service, PASSWORD) == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"password": "something new"}, "current_password"),
        ({"current_password": PASSWORD}, "password"),
        ({"password": "short", "current_password": PASSWORD}, "password"),
        ({"password": "x" * 257, "current_password": PASSWORD}, "password"),
        ({"password": None, "current_password": PASSWORD}, "password"),
        ({"password": "something new", "current_password": None}, "current_password"),
    ],
)
async def test_a_change_of_password_needs_both_passwords(service: Service, body: dict[str, Any], field: str) -> None:
    answer = await service.alice.patch("/user/me", body)
    assert field in assert_problem(answer, 422, "validation-error")["errors"]
    assert await status_of_login(service, PASSWORD) == 200


async def test_a_change_of_password_can_be_repeated_with_its_key(service: Service) -> None:
    body = {"password": "something new", "current_password": PASSWORD}
    first = await service.alice.patch("/user/me", body, headers={"Idempotency-Key": "change"})
    again = await service.alice.patch("/user/me", body, headers={"Idempotency-Key": "change"})
    assert (first.status, again.status, again.json) == (200, 200, first.json)
    assert again.headers["Idempotent-Replayed"] == "true"
    body["password"] = "something else"
    other = await service.alice.patch("/user/me", body, headers={"Idempotency-Key": "change"})
    assert_problem(other, 422, "idempotency-key-reuse")


async def test_the_empty_patch_changes_nothing_but_is_answered(service: Service) -> None:
    before = (await service.alice.get("/user/me")).json
    answer = await service.alice.patch("/user/me", {})
    assert answer.status == 200
    assert answer.json | {"updated_at": ""} == before | {"updated_at": ""}


async def test_a_change_of_the_profile_to_equal_values_changes_nothing(service: Service) -> None:
    before = (await service.alice.get("/user/me")).json
    same = {name: before[name] for name in ("email", "time_zone", "reminder_offsets", "all_day_reminder_time")}
    for body in (same, {"time_zone": before["time_zone"]}, {}):
        answer = await service.alice.patch("/user/me", body)
        assert (answer.status, answer.json) == (200, before)
    changed = (await service.alice.patch("/user/me", {"all_day_reminder_time": "10:00"})).json
    assert changed["updated_at"] > before["updated_at"]
