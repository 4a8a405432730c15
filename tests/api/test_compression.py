"""Answers travel compressed where they are long enough and the client understands that."""

import gzip
from typing import Any

import pytest
from aiohttp import ClientSession

from api import compression
from tests.api.test_cache import in_use
from tests.conftest import MakeService
from tests.factories import create_task, create_tasks
from tests.harness import PASSWORD, Answer, Client, Service

GZIP = {"Accept-Encoding": "gzip"}
PLAIN = {"Accept-Encoding": "identity"}


async def ask(client: Client, path: str, headers: dict[str, str], method: str = "GET", **options: Any) -> Answer:
    """As it came over the wire: the usual client of these tests decodes what it gets."""
    async with ClientSession(auto_decompress=False) as http:
        return await Client(http, client._base, client.token).request(method, path, headers=headers, **options)


async def long_task(service: Service, characters: int = 2000) -> str:
    task = await create_task(service.alice, description="word " * (characters // 5))
    return f"/tasks/{task['id']}"


async def test_a_list_and_a_document_are_compressed_for_who_takes_it(service: Service) -> None:
    path = await long_task(service)
    for wanted in ("/tasks", "/user/tasks", path, "/openapi.json", "/metrics"):
        plain, packed = await ask(service.alice, wanted, PLAIN), await ask(service.alice, wanted, GZIP)
        assert "Content-Encoding" not in plain.headers, wanted
        assert packed.headers.getall("Content-Encoding") == ["gzip"], wanted
        assert len(packed.body) == int(packed.headers["Content-Length"]) < len(plain.body)
        if wanted != "/metrics":
            assert gzip.decompress(packed.body) == plain.body
        for answer in (plain, packed):
            [vary] = answer.headers.getall("Vary")
            assert "Accept-Encoding" in vary
            assert ("Authorization, Cookie" in vary) == (wanted != "/openapi.json")


@pytest.mark.parametrize("number", [1, 100])
async def test_what_is_long_is_the_same_whether_it_is_compressed_here_or_in_a_thread(
    service: Service, number: int
) -> None:
    for _ in range(number):
        await long_task(service)
    plain, packed = await ask(service.alice, "/tasks", PLAIN), await ask(service.alice, "/tasks", GZIP)
    assert (len(plain.body) > compression.IN_LOOP_BYTES) == (number > 1)
    assert gzip.decompress(packed.body) == plain.body


async def test_short_answers_stay_as_they_are(service: Service) -> None:
    task = await create_task(service.alice, description=None)
    for path in ("/tasks", f"/tasks/{task['id']}", "/health/live", "/nothing"):
        answer = await ask(service.alice, path, GZIP)
        assert len(answer.body) <= 1024
        assert "Content-Encoding" not in answer.headers
        assert "Accept-Encoding" not in answer.headers.get("Vary", "")


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=0.5", True),
        ("br, gzip, *;q=0", True),
        ("*", True),
        ("x-gzip", True),
        ("", False),
        ("gzip;q=0", False),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("identity, gzip;q=0.5", False),
        ("br, zstd", False),
        ("gzip;q=x", False),
        ("gzipped", False),
    ],
)
async def test_only_what_the_client_accepts_is_sent(service: Service, accepted: str, is_packed: bool) -> None:
    await long_task(service)
    for path in ("/tasks", "/openapi.json"):
        answer = await ask(service.alice, path, {"Accept-Encoding": accepted})
        assert ("Content-Encoding" in answer.headers) == is_packed


def _named(answer: Answer, header: str) -> set[str]:
    return {name.strip() for line in answer.headers.getall(header) for name in line.split(",")}


async def test_the_tag_of_a_compressed_version_is_weak_and_good_for_conditions(service: Service) -> None:
    path = await long_task(service)
    packed = await ask(service.alice, path, GZIP)
    assert packed.headers["ETag"] == 'W/"1"'
    assert (await ask(service.alice, path, PLAIN)).headers["ETag"] == '"1"'
    again = await ask(service.alice, path, GZIP | {"If-None-Match": packed.headers["ETag"]})
    assert again.status == 304
    assert again.headers["ETag"] == packed.headers["ETag"]
    assert _named(again, "Vary") == _named(packed, "Vary")
    changed = await service.alice.patch(path, {"priority": 1}, headers={"If-Match": packed.headers["ETag"]})
    assert (changed.status, changed.json["version"]) == (200, 2)
    stale = await service.alice.patch(path, {"priority": 2}, headers={"If-Match": packed.headers["ETag"]})
    assert stale.status == 412


async def test_a_document_has_a_tag_for_each_encoding_and_either_is_known(service: Service) -> None:
    page = (await service.anonymous.get("/docs")).body.decode()
    script = "/" + page.partition('<script src="')[2].partition('"')[0]
    for path in ("/openapi.json", script):
        plain, packed = await ask(service.anonymous, path, PLAIN), await ask(service.anonymous, path, GZIP)
        assert gzip.decompress(packed.body) == plain.body
        tags = [answer.headers["ETag"] for answer in (plain, packed)]
        assert len(set(tags)) == 2
        for tag in tags:
            for accepted in (PLAIN, GZIP):
                again = await ask(service.anonymous, path, accepted | {"If-None-Match": tag})
                assert (again.status, again.body) == (304, b"")


async def test_what_holds_a_token_is_never_compressed(make_service: MakeService) -> None:
    service = await make_service(JWT_ISSUER="x" * 1000)  # so that the tokens are long
    credentials = {"username": "alice", "password": PASSWORD}
    login = await ask(service.anonymous, "/auth/login", GZIP, "POST", json=credentials)
    assert login.status == 200
    assert len(login.body) > 1024
    assert "Content-Encoding" not in login.headers


async def test_a_part_of_a_file_is_never_compressed(service: Service, make_service: MakeService) -> None:
    service = await make_service(queues=("writes", "bulk"))
    await long_task(service, 5000)
    export = (await service.alice.post("/exports", {"format": "json"})).headers["Location"]
    assert (await service.alice.get(export, headers={"Prefer": "wait=5"})).json["state"] == "succeeded"
    whole = await ask(service.alice, f"{export}/file", GZIP)
    part = await ask(service.alice, f"{export}/file", GZIP | {"Range": "bytes=0-2999"})
    assert (part.status, part.body) == (206, whole.body[:3000])
    assert "Content-Encoding" not in part.headers
    assert part.headers["ETag"] == whole.headers["ETag"]


def decoded(answer: Answer) -> bytes:
    return gzip.decompress(answer.body) if "Content-Encoding" in answer.headers else answer.body


async def test_pages_are_cached_compressed_beside_the_plain_ones(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_use(service)
    path = await long_task(service)
    await create_tasks(service.alice, [{"labels": [f"a label of many {number}"]} for number in range(60)])
    wanted = ["/tasks", "/tasks?limit=2", "/tasks?limit=1&sort=-id", "/user/tasks", path, "/labels", "/labels?limit=1"]
    first = {
        (name, accept): await ask(service.alice, name, {"Accept-Encoding": accept})
        for name in wanted
        for accept in ("gzip", "identity")
    }
    for name in wanted:
        assert decoded(first[name, "gzip"]) == first[name, "identity"].body
    # Behind everybody's back: what is read now did not come from the database, and is not compressed again.
    await service.rows("UPDATE tasks SET title = 'changed', labels = '{}'")
    monkeypatch.setattr(compression, "gzipped", None)
    for (name, accept), before in first.items():
        again = await ask(service.alice, name, {"Accept-Encoding": accept})
        assert (again.status, again.body) == (200, before.body)
        for header in ("Content-Encoding", "Content-Type", "Content-Length", "ETag", "Link", "Vary", "Cache-Control"):
            assert again.headers.getall(header, None) == before.headers.getall(header, None)
    conditional = {"Accept-Encoding": "gzip", "If-None-Match": first[path, "gzip"].headers["ETag"]}
    known = await ask(service.alice, path, conditional)
    assert (known.status, known.body, "Content-Encoding" in known.headers) == (304, b"", False)


async def test_a_compressed_page_is_made_from_the_plain_one_that_is_cached(service: Service) -> None:
    await in_use(service)
    await long_task(service)
    plain = await ask(service.alice, "/tasks", PLAIN)
    await service.rows("UPDATE tasks SET title = 'changed'")
    assert decoded(await ask(service.alice, "/tasks", GZIP)) == plain.body


async def test_a_compressed_page_is_never_stale(service: Service) -> None:
    await in_use(service)
    path = await long_task(service)
    for name in ("/tasks", path):
        await ask(service.alice, name, GZIP)
    await service.alice.patch(path, {"title": "changed"})
    for name in ("/tasks", path):
        assert b"changed" in decoded(await ask(service.alice, name, GZIP))


async def test_what_is_not_cached_is_compressed_all_the_same(make_service: MakeService) -> None:
    service = await make_service(CACHE_TTL_SECONDS="0")
    path = await long_task(service)
    for client in (service.alice, service.admin):
        for name in ("/tasks", "/tasks?overdue=false", path):
            answer = await ask(client, name, GZIP)
            assert answer.headers.getall("Content-Encoding") == ["gzip"]
            assert b"word" in gzip.decompress(answer.body)


async def test_short_pages_stay_plain_from_the_cache_too(service: Service) -> None:
    await in_use(service)
    await create_task(service.alice)
    for _ in range(2):
        for name in ("/tasks", "/labels", "/tasks/count"):
            answer = await ask(service.alice, name, GZIP)
            assert "Content-Encoding" not in answer.headers
            assert answer.headers["Vary"] == "Authorization, Cookie"
