"""What every answer says: who may keep it, how to take it, and nothing of what the service runs on."""

from typing import Any

import pytest

from api.app import create_app
from core.settings import SettingsError
from tests.api.problems import assert_problem
from tests.conftest import MakeService, MakeSettings
from tests.factories import create_task, task_fields
from tests.harness import PASSWORD, Answer, Service

HOST = b"Host: localhost\r\n"


def is_of_the_caller(answer: Answer) -> bool:
    return answer.headers.getall("Cache-Control") == ["private, no-cache"] and answer.headers.getall("Vary") == [
        "Authorization, Cookie"
    ]


async def test_what_a_caller_is_answered_is_kept_for_nobody_else(service: Service) -> None:
    task = await create_task(service.alice)
    path = f"/tasks/{task['id']}"
    answers = [
        await service.alice.get("/tasks"),
        await service.alice.get(path),
        await service.alice.get(path),
        await service.alice.get(path, headers={"If-None-Match": '"1"'}),
        await service.alice.patch(path, {"priority": 1}),
        await service.alice.post("/tasks", task_fields()),
        await service.alice.post("/tasks", task_fields(), headers={"Prefer": "respond-async"}),
        await service.alice.post("/tasks", {}),
        await service.alice.delete(path),
        await service.alice.get(path),
        await service.alice.get("/user/me"),
        await service.alice.get("/nothing/here"),
        await service.alice.request("PUT", "/tasks"),
        await service.anonymous.get("/tasks"),
        await service.alice.get("/jobs/00000000-0000-0000-0000-000000000000"),
    ]
    assert [a.status for a in answers] == [200, 200, 200, 304, 200, 201, 202, 422, 204, 404, 200, 404, 405, 401, 404]
    assert [answer for answer in answers if not is_of_the_caller(answer)] == []


async def test_an_answer_with_tokens_is_not_stored(service: Service) -> None:
    login = await service.anonymous.post("/auth/login", {"username": "alice", "password": PASSWORD})
    form = await service.anonymous.post("/auth/token", data={"username": "alice", "password": PASSWORD})
    refreshed = await service.anonymous.post("/auth/refresh", {"refresh_token": login.json["refresh_token"]})
    channel = await service.alice.post("/channels", {"url": "https://8.8.8.8/hook", "events": ["task.created"]})
    renewed = await service.alice.post(f"/channels/{channel.json['id']}/secret")
    assert "secret" in channel.json
    assert "secret" in renewed.json
    for answer in (login, form, refreshed, channel, renewed):
        assert answer.status in (200, 201)
        assert answer.headers.getall("Cache-Control") == ["no-store"]


async def test_every_answer_is_taken_for_what_it_says_and_tells_no_versions(service: Service) -> None:
    answers = [
        await service.alice.get("/tasks"),
        await service.anonymous.get("/tasks"),
        await service.anonymous.get("/nothing"),
        await service.anonymous.request("OPTIONS", "/tasks"),
        await service.anonymous.get("/health/live"),
        await service.anonymous.get("/health/ready"),
        await service.anonymous.get("/metrics"),
        await service.anonymous.get("/docs"),
        await service.anonymous.get("/openapi.json"),
        await service.anonymous.post("/auth/login", {"username": "alice", "password": PASSWORD}),
        await service.anonymous.get("/tasks/"),
    ]
    for answer in answers:
        assert answer.headers.getall("X-Content-Type-Options") == ["nosniff"]
        assert answer.headers.getall("Server") == ["tenfold"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET /tasks HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 20_000 + b"\r\n\r\n",
        b"POST /tasks HTTP/1.1\r\n" + HOST + b"Expect: something\r\nContent-Length: 2\r\n\r\n",
    ],
)
async def test_so_does_what_is_refused_before_it_is_a_request(service: Service, request_bytes: bytes) -> None:
    answer = await service.raw(request_bytes)
    assert answer.status in (400, 417, 431)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["server"] == "tenfold"


@pytest.mark.parametrize("path", ["/tasks", "/auth/login", "/nothing"])
async def test_two_authorization_headers_are_400(service: Service, path: str) -> None:
    headers = [("Authorization", f"Bearer {service.alice.token}")] * 2
    answer = await service.anonymous.request("GET" if path != "/auth/login" else "POST", path, headers=headers)
    assert_problem(answer, 400, "bad-request")


async def test_two_authorization_headers_are_400_whichever_is_good(service: Service) -> None:
    good, bad = ("Authorization", f"Bearer {service.alice.token}"), ("Authorization", "Bearer nonsense")
    for headers in ([good, bad], [bad, good]):
        assert_problem(await service.anonymous.get("/tasks", headers=headers), 400, "bad-request")
        assert_problem(await service.anonymous.post("/tasks", {"title": "x"}, headers=headers), 400, "bad-request")
    assert await service.rows("SELECT id FROM tasks") == []


# -- addresses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/tasks/", "/tasks"),
        ("/tasks/?limit=5&q=a%20b", "/tasks?limit=5&q=a%20b"),
        ("/tasks/12/", "/tasks/12"),
        ("/tasks//", "/tasks"),
        ("/docs/", "/docs"),
        ("/auth/login/", "/auth/login"),
    ],
)
async def test_a_trailing_slash_redirects(service: Service, path: str, target: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = await service.alice.request(method, path)
        assert (answer.status, answer.headers["Location"]) == (308, target)


@pytest.mark.parametrize(
    "path", [b"//tasks", b"//tasks/", b"//evil.example/", b"/%2Ftasks", b"/\\evil.example/", b"/nothing/"]
)
async def test_what_is_nowhere_is_404_and_never_a_redirect_to_another_host(service: Service, path: bytes) -> None:
    answer = await service.raw(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert_problem(answer, 404, "not-found")
    assert "location" not in answer.headers


async def links_of(service: Service, prefix: str = "") -> list[str]:
    """The addresses that answers name, in headers."""
    for number in range(3):
        await create_task(service.alice, title=f"task {number}")
    created = await service.alice.post(f"{prefix}/tasks", {"title": "x"})
    waiting = await service.alice.post(f"{prefix}/tasks", {"title": "y"}, headers={"Prefer": "respond-async"})
    export = await service.alice.post(f"{prefix}/exports", {"format": "json"})
    page = await service.alice.get(f"{prefix}/tasks?limit=2")
    slash = await service.alice.get(f"{prefix}/tasks/")
    assert [a.status for a in (created, waiting, export, page, slash)] == [201, 202, 202, 200, 308]
    locations = [answer.headers["Location"] for answer in (created, waiting, export, slash)]
    return [*locations, page.headers["Link"].removeprefix("<").partition(">")[0]]


def without_ids(addresses: list[str]) -> list[str]:
    return [address.partition("?")[0].rpartition("/")[0] for address in addresses]


async def test_addresses_are_relative_to_the_host_and_follow_no_header(service: Service) -> None:
    assert without_ids(await links_of(service)) == ["/tasks", "/jobs", "/exports", "", ""]
    answer = await service.alice.get("/tasks/", headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
    assert answer.headers["Location"] == "/tasks"
    document = (await service.anonymous.get("/openapi.json", headers={"Host": "evil.example"})).json
    assert document["servers"] == [{"url": "/"}]


@pytest.mark.parametrize("public_url", ["https://tasks.example.com", "https://example.com/ten/fold"])
async def test_with_a_public_url_all_addresses_begin_with_it(make_service: MakeService, public_url: str) -> None:
    service = await make_service(PUBLIC_URL=public_url)
    path = public_url.removeprefix("https://tasks.example.com").removeprefix("https://example.com")
    for prefix in {"", path}:  # whether or not a proxy takes its path away
        links = await links_of(service, prefix)
        assert without_ids(links) == [f"{public_url}{part}" for part in ("/tasks", "/jobs", "/exports", "", "")]
        document = (await service.anonymous.get(f"{prefix}/openapi.json")).json
        assert document["servers"] == [{"url": public_url}]
        assert document["components"]["securitySchemes"]["password"]["flows"]["password"]["tokenUrl"] == (
            f"{public_url}/auth/token"
        )
    assert (await service.alice.get(links[-1].removeprefix(public_url))).status == 200


@pytest.mark.parametrize("path", ["/tasks", "/docs/here", "/auth"])
async def test_a_public_url_cannot_take_the_place_of_a_resource(make_settings: MakeSettings, path: str) -> None:
    settings = await make_settings(PUBLIC_URL=f"https://example.com{path}")
    with pytest.raises(SettingsError, match="PUBLIC_URL has a path that means something here already"):
        create_app(settings)


async def test_the_same_request_with_the_prefix_and_without_is_one(make_service: MakeService) -> None:
    service = await make_service(PUBLIC_URL="https://example.com/ten")
    key = {"Idempotency-Key": "one"}
    first = await service.alice.post("/tasks", {"title": "x"}, headers=key)
    again = await service.alice.post("/ten/tasks", {"title": "x"}, headers=key)
    assert (again.status, again.json) == (201, first.json)
    assert (await service.alice.get("/tenths/tasks")).status == 404
    assert (await service.alice.get("/ten/ten/tasks")).status == 404
    assert_problem(await service.raw(b"GET /ten//tasks/ HTTP/1.1\r\n" + HOST + b"\r\n"), 404, "not-found")


async def test_lists_in_queries_may_be_given_one_by_one(service: Service) -> None:
    for status in ("pending", "completed", "blocked"):
        await create_task(service.alice, status=status)
    together = await service.alice.get("/tasks?status=pending,completed&priority=1,5&priority=7")
    assert [task["status"] for task in together.items] == ["pending", "completed"]
    apart = await service.alice.get("/tasks?status=pending&priority=7,5&status=completed&priority=1")
    assert (apart.status, apart.json) == (200, together.json)
    first = await service.alice.get("/tasks?status=pending&status=completed&limit=1")
    second = await service.alice.get(f"/tasks?status=completed,pending&limit=1&cursor={first.json['next_cursor']}")
    assert first.items + second.items == together.items
    jobs = await service.alice.get("/jobs?state=succeeded&state=queued")
    assert jobs.json == (await service.alice.get("/jobs?state=succeeded,queued")).json


@pytest.mark.parametrize(
    ("query", "fields"),
    [("limit=1&limit=2", ["limit"]), ("status=pending&status=x", ["status"]), ("q=a&q=b&status=x&status=y", ["q"])],
)
async def test_other_parameters_are_given_once(service: Service, query: str, fields: list[str]) -> None:
    answer: Any = assert_problem(await service.alice.get(f"/tasks?{query}"), 422, "validation-error")
    assert list(answer["errors"]) == fields
