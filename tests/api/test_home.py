"""`GET /` says what this is, to programs and to people; people's addresses show the same; there is an icon."""

import re

import pytest
from playwright.async_api import expect
from yarl import URL

from core.version import VERSION
from tests.api.browsing import Browsing
from tests.conftest import MakeService
from tests.harness import Answer, Client, Service

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def links_of(page: Answer) -> list[str]:
    return re.findall(r'href="([^"]+)"', page.body.decode())


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/json, text/html;q=0.9", "image/png"])
async def test_a_program_reads_what_this_is_and_where_to_go_on(service: Service, accept: str | None) -> None:
    answer = await service.anonymous.get("/", headers={"Accept": accept} if accept else {})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert answer.json == {
        "name": "Tenfold",
        "version": VERSION,
        "links": {"documentation": "/docs", "openapi": "/openapi.json", "health": "/health/ready"},
    }
    for address in answer.json["links"].values():
        assert (await service.anonymous.get(address)).status == 200
    assert answer.headers.getall("Vary") == ["Accept"]


async def test_a_browser_gets_a_page_of_links_under_a_strict_policy(service: Service) -> None:
    page = await service.anonymous.get("/", headers=BROWSER)
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert page.headers.getall("Vary") == ["Accept"]
    policy = {part.split()[0]: part.split()[1:] for part in page.headers["Content-Security-Policy"].split(";")}
    assert policy["default-src"] == ["'none'"]
    assert "script-src" not in policy
    assert "unsafe" not in str(policy)
    assert "<script" not in page.body.decode()
    for address in links_of(page):
        assert (await service.anonymous.get(address)).status == 200, address


async def test_with_a_public_url_the_links_begin_with_it(make_service: MakeService) -> None:
    service = await make_service(PUBLIC_URL="https://example.com/ten")
    for path in ("/", "/ten", "/ten/"):
        links = (await service.anonymous.get(path)).json["links"]
        assert links["documentation"] == "https://example.com/ten/docs"
        page = await service.anonymous.get(path, headers=BROWSER)
        assert all(address.startswith("/ten/") for address in links_of(page))
        for address in links_of(page):
            assert (await service.anonymous.get(address)).status == 200, address


@pytest.mark.parametrize("path", ["/app", "/app/", "/app/tasks/7", "/app/tasks/7/", "/app/%3Cscript%3E", "/app//x"])
async def test_peoples_addresses_show_the_page_until_they_have_one(service: Service, path: str) -> None:
    address = URL(f"{service.base}{path}", encoded=True)
    page = await service.anonymous.get(address)
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    links = links_of(await service.anonymous.get("/", headers=BROWSER))
    if "tasks" in path:  # where programs find the same
        links.insert(1, "/tasks/7")
    assert links_of(page) == links
    assert "script" not in page.body.decode()


@pytest.mark.parametrize(("name", "kind"), [("favicon.ico", "image/x-icon"), ("favicon.svg", "image/svg+xml")])
async def test_the_icon_is_kept_for_ever(service: Service, name: str, kind: str) -> None:
    icon = await service.anonymous.get(f"/{name}")
    assert (icon.status, icon.headers["Content-Type"]) == (200, kind)
    assert icon.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    again = await service.anonymous.get(f"/{name}", headers={"If-None-Match": icon.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/app/tasks/7"])
async def test_other_methods_are_answered_as_everywhere(service: Service, path: str) -> None:
    get, head = await service.anonymous.get(path), await service.anonymous.request("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == get.headers["Content-Length"]
    for method in ("OPTIONS", "POST", "DELETE"):
        answer = await service.anonymous.request(method, path)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")


async def test_neither_page_nor_icon_counts_against_a_limit(make_service: MakeService) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="1")
    for path in ("/", "/favicon.ico", "/favicon.svg", "/app/tasks/7"):
        answer = await Client(service.http, service.base).get(path)
        assert (answer.status, "RateLimit" in answer.headers) == (200, False)


async def test_a_person_sees_the_page_and_follows_its_links(service: Service, browsing: Browsing) -> None:
    page = browsing.page
    await page.goto(str(service.base))
    await expect(page.locator("h1")).to_have_text("Tenfold")
    assert await page.evaluate("getComputedStyle(document.body).maxWidth") == "608px", "the style applies"
    await page.click('a[href="/docs"]')
    await expect(page.locator(".info .title")).to_contain_text("Tenfold")
    assert browsing.complaints == []
