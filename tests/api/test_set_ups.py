"""The clients and set-ups that failed: a page of another origin, a proxy that compresses, a proxy with a prefix."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import ClientSession, web
from yarl import URL

from tests.api.browsing import Browsing
from tests.api.nginx import behind_nginx
from tests.conftest import MakeService
from tests.factories import create_task, create_tasks
from tests.harness import Answer, Client, Service

# What a page does: reads, pages, writes with conditions and keys, and reads what refused it.
PAGE = """
async ([base, token]) => {
  const ask = async (path, options = {}) => {
    const headers = {Authorization: `Bearer ${token}`, "X-Request-Id": "from-a-page", ...options.headers};
    const answer = await fetch(base + path, {...options, headers});
    const read = Object.fromEntries(
      ["ETag", "Link", "Location", "RateLimit", "RateLimit-Policy", "Idempotent-Replayed", "Preference-Applied",
       "X-Request-Id", "WWW-Authenticate", "Retry-After"].map((name) => [name, answer.headers.get(name)]));
    return {status: answer.status, body: answer.status === 204 ? null : await answer.json(), ...read};
  };
  const json = {"Content-Type": "application/json"};
  const body = JSON.stringify({title: "from a page"});
  const key = {...json, "Idempotency-Key": "page-1"};
  const made = await ask("/tasks", {method: "POST", body, headers: key});
  return {
    made,
    again: await ask("/tasks", {method: "POST", body, headers: key}),
    queued: await ask("/tasks", {method: "POST", body, headers: {...json, Prefer: "respond-async"}}),
    page: await ask("/tasks?limit=1"),
    changed: await ask(`/tasks/${made.body.id}`, {
      method: "PATCH", body: JSON.stringify({priority: 1}), headers: {...json, "If-Match": made.ETag}}),
    stale: await ask(`/tasks/${made.body.id}`, {method: "DELETE", headers: {"If-Match": made.ETag}}),
    refused: await ask("/tasks", {headers: {Authorization: "Bearer nonsense"}}),
    missing: await ask("/nothing"),
  };
}
"""


@asynccontextmanager
async def another_origin() -> AsyncIterator[URL]:
    """A site with an empty page."""
    app = web.Application()

    async def empty(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>x</title><link rel=icon href=data:,>", content_type="text/html")

    app.router.add_get("/", empty)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield URL(f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


async def test_a_page_of_another_origin_reads_writes_and_sees_why_it_is_refused(
    make_service: MakeService, browsing: Browsing
) -> None:
    async with another_origin() as origin:
        service = await make_service(CORS_ORIGINS=str(origin).rstrip("/"), RATE_LIMIT_PER_MINUTE="1000")
        await browsing.page.goto(str(origin))
        told = await browsing.page.evaluate(PAGE, [str(service.base).rstrip("/"), service.alice.token])
        statuses = {name: answer["status"] for name, answer in told.items()}
        assert statuses == {
            "made": 201, "again": 201, "queued": 202, "page": 200, "changed": 200, "stale": 412, "refused": 401,
            "missing": 404,
        }  # fmt: skip
        assert told["made"]["ETag"] == '"1"'
        assert told["made"]["Location"] == f"/tasks/{told['made']['body']['id']}"
        assert told["again"]["Idempotent-Replayed"] == "true"
        assert told["queued"]["Preference-Applied"] == "respond-async"
        assert 'rel="next"' in told["page"]["Link"]
        assert told["stale"]["body"]["type"] == "/problems/version-conflict"
        assert "invalid_token" in told["refused"]["WWW-Authenticate"]
        for answer in told.values():
            assert answer["X-Request-Id"] == "from-a-page"
            assert answer["RateLimit"].startswith('"default";r=')


async def test_a_page_of_an_origin_that_is_not_named_reads_nothing(
    make_service: MakeService, browsing: Browsing
) -> None:
    async with another_origin() as origin:
        service = await make_service(CORS_ORIGINS="https://app.example.com")
        await browsing.page.goto(str(origin))
        error = await browsing.page.evaluate(
            "(address) => fetch(address).then(() => 'read', (error) => error.message)", str(service.base / "tasks")
        )
        assert error == "Failed to fetch"


async def ask(service: Service, base: URL, method: str, path: str, **options: object) -> Answer:
    async with ClientSession(auto_decompress=False) as http:
        return await Client(http, base, service.alice.token).request(method, path, **options)


async def test_behind_a_proxy_that_compresses_versions_are_what_they_were(service: Service, tmp_path: Path) -> None:
    locations = f"""
        gzip on;
        gzip_types application/json;
        gzip_proxied any;
        location / {{ proxy_pass {service.base}; proxy_set_header Accept-Encoding ""; }}
    """
    task = await create_task(service.alice, description="long " * 500)
    path = f"/tasks/{task['id']}"
    async with behind_nginx(tmp_path, locations) as base:
        packed = {"Accept-Encoding": "gzip"}
        read = await ask(service, base, "GET", path, headers=packed)
        assert read.headers["Content-Encoding"] == "gzip"
        assert read.headers["ETag"] == 'W/"1"', "nginx has made it weak"
        assert gzip.decompress(read.body) == (await service.alice.get(path)).body
        known = await ask(service, base, "GET", path, headers={**packed, "If-None-Match": 'W/"1"'})
        assert known.status == 304
        change = {"json": {"priority": 1}, "headers": {"If-Match": 'W/"1"'}}
        assert (await ask(service, base, "PATCH", path, **change)).status == 200
        assert (await ask(service, base, "PATCH", path, **change)).status == 412


async def test_behind_a_proxy_with_a_prefix_every_address_leads_back(make_service: MakeService, tmp_path: Path) -> None:
    # One location takes the prefix away, the other does not.
    service = await make_service(PUBLIC_URL="https://example.com/ten")
    origin = str(service.base).rstrip("/")
    locations = f"""
        location = /health/live {{ proxy_pass {origin}; }}
        location /ten/ {{ proxy_pass {origin}/; }}
        location /ten/jobs/ {{ proxy_pass {origin}; }}
    """
    await create_tasks(service.alice, [{}] * 3)
    async with behind_nginx(tmp_path, locations) as base:

        def here(address: str) -> str:
            assert address.startswith("https://example.com/ten/")
            return address.removeprefix("https://example.com")

        made = await ask(service, base, "POST", "/ten/tasks", json={"title": "x"})
        assert (await ask(service, base, "GET", here(made.headers["Location"]))).json == made.json
        queued = await ask(
            service, base, "POST", "/ten/tasks", json={"title": "y"}, headers={"Prefer": "respond-async"}
        )
        job = await ask(service, base, "GET", here(queued.headers["Location"]), headers={"Prefer": "wait=5"})
        assert job.json["state"] == "succeeded"
        page = await ask(service, base, "GET", "/ten/tasks?limit=2")
        following = here(page.headers["Link"].removeprefix("<").partition(">")[0])
        assert len((await ask(service, base, "GET", following)).items) == 2
        slash = await ask(service, base, "GET", "/ten/tasks/")
        assert (slash.status, here(slash.headers["Location"])) == (308, "/ten/tasks")
        documentation = (await ask(service, base, "GET", "/ten/")).json["links"]["documentation"]
        assert (await ask(service, base, "GET", here(documentation))).status == 200
        openapi = (await ask(service, base, "GET", "/ten/openapi.json", headers={"Accept-Encoding": "identity"})).json
        assert openapi["servers"] == [{"url": "https://example.com/ten"}]
