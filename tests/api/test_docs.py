"""/docs works from this service's own files, in a real browser, up to a call with a real user's token."""

import re

import pytest
from playwright.async_api import Locator, Page, expect
from yarl import URL

from api.app import ENDPOINTS
from api.docs import ASSETS
from tests.api.browsing import Browsing
from tests.harness import PASSWORD, Service


async def asset_addresses(service: Service) -> list[str]:
    page = await service.anonymous.get("/docs")
    return re.findall(r'(?:src|href)="([^"]+/[^"]+)"', page.body.decode())


async def test_the_page_names_only_files_of_its_own(service: Service) -> None:
    page = await service.anonymous.get("/docs")
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "://" not in page.body.decode()
    addresses = await asset_addresses(service)
    assert len(addresses) == 4
    for address in addresses:
        answer = await service.anonymous.get(f"/{address}")
        assert answer.status == 200, address
        assert answer.body == ASSETS[address.rpartition("/")[2]].read_bytes()


async def test_assets_are_kept_for_ever_because_their_address_changes_with_them(service: Service) -> None:
    for address in await asset_addresses(service):
        answer = await service.anonymous.get(f"/{address}")
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        again = await service.anonymous.get(f"/{address}", headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status == 304
        [_, revision, name] = address.split("/")
        assert re.fullmatch("[0-9a-f]{12}", revision)
        assert (await service.anonymous.get(f"/docs/000000000000/{name}")).status == 404


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fdocs.html", "..%2F..%2F__init__.py", "%2Fetc%2Fpasswd", "%00"])
async def test_no_other_file_can_be_asked_for(service: Service, name: str) -> None:
    [address, *_] = await asset_addresses(service)
    folder = address.rpartition("/")[0]
    answer = await service.anonymous.get(URL(f"{service.base}/{folder}/{name}", encoded=True))
    assert answer.status == 404
    assert answer.json["type"] == "/problems/not-found"


async def test_nothing_but_this_origin_is_trusted(service: Service) -> None:
    policy = (await service.anonymous.get("/docs")).headers["Content-Security-Policy"]
    directives = {part.split()[0]: part.split()[1:] for part in policy.split(";")}
    assert directives["default-src"] == ["'none'"]
    assert directives["script-src"] == directives["style-src"] == directives["connect-src"] == ["'self'"]
    assert directives["frame-ancestors"] == ["'none'"]


async def test_the_document_and_its_page_are_not_rate_limited(service: Service) -> None:
    assert not [endpoint.path for endpoint in ENDPOINTS if "docs" in endpoint.handler.__module__ and endpoint.limited]
    answer = await service.anonymous.get("/openapi.json")
    assert "RateLimit" not in answer.headers


async def test_whoever_gets_swagger_ui_gets_its_licence(service: Service) -> None:
    [address, *_] = await asset_addresses(service)
    licence = await service.anonymous.get(f"/{address.rpartition('/')[0]}/LICENSE")
    assert licence.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "Apache License" in licence.body.decode()


async def authorize(page: Page) -> None:
    """Logs in as alice, as a person does."""
    await page.click(".auth-wrapper .btn.authorize")
    await page.fill("#oauth_username", "alice")
    await page.fill("#oauth_password", PASSWORD)
    await page.click(".auth-container .auth-btn-wrapper .btn.authorize")
    await expect(page.locator(".auth-container").first).to_contain_text("Logout")
    await page.click(".modal-ux-header .close-modal")


async def list_tasks(page: Page, status: str) -> Locator:
    """Tries the list of tasks out, and sees that status."""
    operation = page.locator("#operations-tasks-list_visible_tasks")
    await expect(operation.locator(".opblock-summary-control")).to_be_visible()
    if "is-open" not in (await operation.get_attribute("class") or ""):  # as a reload leaves it
        await operation.locator(".opblock-summary-control").click()
    await operation.locator(".try-out__btn").click()
    await operation.locator(".btn.execute").click()
    await expect(operation.locator(".live-responses-table tbody .response-col_status")).to_contain_text(status)
    return operation


async def test_a_person_can_authorize_and_try_a_call_out(service: Service, browsing: Browsing) -> None:
    await service.alice.post("/tasks", {"title": "Seen in the browser"})
    page = browsing.page
    await page.goto(str(service.base / "docs"))
    await expect(page.locator(".info .title")).to_contain_text("Tenfold")
    await expect(page.locator(".opblock").nth(19)).to_be_attached()

    await authorize(page)
    operation = await list_tasks(page, "200")
    await expect(operation).to_contain_text("Seen in the browser")

    assert browsing.complaints == []
    urls = [URL(request.url) for request in browsing.requests if not request.url.startswith("data:")]
    assert {url.origin() for url in urls} == {service.base}
    [listing] = [request for request in browsing.requests if URL(request.url).path == "/tasks"]
    assert (await listing.all_headers())["authorization"].startswith("Bearer ")


async def test_the_login_outlives_a_reload_and_the_browser_keeps_no_password(
    service: Service, browsing: Browsing
) -> None:
    page = browsing.page
    await page.goto(str(service.base / "docs"))
    await authorize(page)
    await page.reload()
    await list_tasks(page, "200")
    kept = await page.evaluate("JSON.stringify([Object.entries(sessionStorage), Object.entries(localStorage)])")
    assert "tenfold-access-token" in kept
    assert PASSWORD not in kept
    assert kept.endswith(",[]]"), "nothing outlives the tab"
    assert (await page.context.cookies()) == []

    await page.click(".auth-wrapper .btn.authorize")
    await page.click(".modal-ux .auth-container .btn:has-text('Logout')")
    await page.click(".modal-ux-header .close-modal")
    await page.reload()
    await list_tasks(page, "401")
    assert await page.evaluate("sessionStorage.length") == 0
    assert [text for text in browsing.complaints if "401" not in text and "deep link" not in text] == []
