"""/docs works from this service's own files, in a real browser, up to a call with a real user's token."""

import hashlib
import re

import pytest
from yarl import URL

from api.app import ENDPOINTS
from api.docs import ASSETS, STATIC
from tests.api.browser import CHROMIUM, open_page
from tests.harness import PASSWORD, Service

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look at /docs with")


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


def test_the_files_of_swagger_ui_are_those_of_the_release_that_is_named() -> None:
    folder = STATIC / "swagger-ui"
    text = (folder / "README.md").read_text()
    assert re.match(r"# Swagger UI 5\.\d+\.\d+\n", text)
    checksums = re.findall(r"^([0-9a-f]{64})  (\S+)$", text, re.MULTILINE)
    assert len(checksums) == 5
    for checksum, name in checksums:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum, name
    assert "Apache License" in (folder / "LICENSE").read_text()


@in_a_browser
async def test_a_person_can_authorize_and_try_a_call_out(service: Service) -> None:
    await service.alice.post("/tasks", {"title": "Seen in the browser"})
    async with open_page() as page:
        await page.command("Page.navigate", url=str(service.base / "docs"))
        await page.wait_for("document.querySelectorAll('.opblock').length >= 20")
        assert "Tenfold" in await page.evaluate("document.querySelector('.info .title').innerText")

        await page.click(".auth-wrapper .btn.authorize")
        await page.type_into("#oauth_username", "alice")
        await page.type_into("#oauth_password", PASSWORD)
        await page.click(".auth-container .auth-btn-wrapper .btn.authorize")
        await page.wait_for("!!document.querySelector('.auth-container .auth-btn-wrapper .btn:not(.authorize)')")
        await page.wait_for("document.querySelector('.auth-container').innerText.includes('Logout')")
        await page.click(".modal-ux-header .close-modal")

        operation = "#operations-tasks-list_visible_tasks"
        await page.click(f"{operation} .opblock-summary-control")
        await page.click(f"{operation} .try-out__btn")
        await page.click(f"{operation} .btn.execute")
        status = f"document.querySelector('{operation} .live-responses-table tbody .response-col_status')"
        await page.wait_for(f"!!{status}")
        assert (await page.evaluate(f"{status}.innerText")).strip().startswith("200")
        assert "Seen in the browser" in await page.evaluate(f"document.querySelector('{operation}').innerText")

    assert page.complaints == []
    origins = {URL(request["url"]).origin() for request in page.requests if not request["url"].startswith("data:")}
    assert origins == {service.base}
    [listing] = [request for request in page.requests if URL(request["url"]).path == "/tasks"]
    assert listing["headers"]["Authorization"].startswith("Bearer ")
