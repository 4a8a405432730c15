"""Pages of other origins: what browsers are told that they may do with answers (CORS)."""

import pytest

from tests.conftest import MakeService
from tests.factories import create_task
from tests.harness import Answer, Service

APP = "https://app.example.com"
ASKING = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization, if-match"}
REQUEST_HEADERS = {
    "authorization", "content-type", "content-disposition", "if-match", "if-none-match", "idempotency-key", "prefer",
    "range", "x-request-id", "last-event-id",
}  # fmt: skip
EXPOSED_HEADERS = {
    "etag", "link", "location", "retry-after", "ratelimit", "ratelimit-policy", "idempotent-replayed",
    "preference-applied", "x-request-id", "content-disposition", "content-range", "www-authenticate",
}  # fmt: skip


def names(answer: Answer, header: str) -> set[str]:
    return {name.strip().lower() for name in answer.headers[header].split(",")}


def cors_headers(answer: Answer) -> list[str]:
    return [name for name in answer.headers if name.lower().startswith("access-control-")]


async def test_without_the_setting_no_page_of_another_origin_reads_anything(service: Service) -> None:
    for answer in (
        await service.alice.get("/tasks", headers={"Origin": APP}),
        await service.alice.request("OPTIONS", "/tasks", headers={"Origin": APP, **ASKING}),
    ):
        assert cors_headers(answer) == []
        assert "Origin" not in answer.headers["Vary"]


@pytest.mark.parametrize("origins", [f"https://other.example.com,{APP}", "*"])
async def test_a_preflight_is_204_with_what_may_be_sent(make_service: MakeService, origins: str) -> None:
    service = await make_service(CORS_ORIGINS=origins, RATE_LIMIT_PER_MINUTE="5")
    for path in ("/tasks", "/tasks/12", "/auth/login", "/nothing") * 2:
        answer = await service.anonymous.request("OPTIONS", path, headers={"Origin": APP, **ASKING})
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["Access-Control-Allow-Origin"] == ("*" if origins == "*" else APP)
        assert answer.headers["Access-Control-Max-Age"] == "600"
        assert names(answer, "Access-Control-Allow-Headers") == REQUEST_HEADERS
        assert {"get", "post", "put", "patch", "delete"} <= names(answer, "Access-Control-Allow-Methods")
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert ("Origin" in answer.headers["Vary"]) == (origins != "*")


@pytest.mark.parametrize("origins", [APP, "*"])
async def test_answers_and_errors_may_be_read(make_service: MakeService, origins: str) -> None:
    service = await make_service(CORS_ORIGINS=origins, RATE_LIMIT_PER_MINUTE="8")
    task = await create_task(service.alice)
    headers = {"Origin": APP}
    answers = [
        await service.alice.get("/tasks", headers=headers),
        await service.alice.get(f"/tasks/{task['id']}", headers=headers | {"If-None-Match": '"1"'}),
        await service.alice.post("/tasks", {}, headers=headers),
        await service.anonymous.get("/tasks", headers=headers),
        await service.alice.get("/nothing", headers=headers),
        await service.alice.request("OPTIONS", "/tasks", headers=headers),
        await service.anonymous.get("/health/live", headers=headers),
        *[await service.alice.get("/tasks", headers=headers) for _ in range(8)],
    ]
    assert {answer.status for answer in answers} == {200, 304, 401, 404, 405, 422, 429}
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == ("*" if origins == "*" else APP)
        assert names(answer, "Access-Control-Expose-Headers") == EXPOSED_HEADERS
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert len(answer.headers.getall("Vary", [])) <= 1
        assert ("Origin" in answer.headers.get("Vary", "")) == (origins != "*")


@pytest.mark.parametrize(
    "origin", ["https://evil.example.com", f"{APP}.evil.com", "http://app.example.com", "null", ""]
)
async def test_other_origins_are_not_let_in(make_service: MakeService, origin: str) -> None:
    service = await make_service(CORS_ORIGINS=APP)
    for answer in (
        await service.alice.get("/tasks", headers={"Origin": origin}),
        await service.alice.request("OPTIONS", "/tasks", headers={"Origin": origin, **ASKING}),
    ):
        assert cors_headers(answer) == []
        assert "Origin" in answer.headers["Vary"]  # a cache must not give this answer to the page that is let in


async def test_what_is_no_request_of_a_page_is_answered_as_ever(make_service: MakeService) -> None:
    service = await make_service(CORS_ORIGINS=APP)
    answer = await service.alice.get("/tasks")
    assert (answer.status, cors_headers(answer)) == (200, [])
    assert answer.headers["Vary"] == "Authorization, Cookie, Origin"
    assert (await service.alice.request("OPTIONS", "/tasks")).status == 405
