"""A real browser, for the pages that people see and for pages of other origins."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from playwright.async_api import ConsoleMessage, Page, Request, async_playwright, expect

# The machine's own: Playwright would download one.
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
expect.set_options(timeout=20_000)


@dataclass
class Browsing:
    """An empty page, and what it asks for and complains of from here on."""

    page: Page
    requests: list[Request] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def note(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning", "assert"}:
            self.complaints.append(f"{message.text} {message.location}")


@asynccontextmanager
async def a_browser() -> AsyncIterator[Browsing]:
    """A browser with one page; skips the test where there is none."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium to look at pages with")
    async with (
        async_playwright() as playwright,
        await playwright.chromium.launch(executable_path=CHROMIUM) as browser,
    ):
        browsing = Browsing(await browser.new_page())
        browsing.page.on("request", lambda request: browsing.requests.append(request))
        browsing.page.on("console", browsing.note)
        browsing.page.on("pageerror", lambda error: browsing.complaints.append(str(error)))
        yield browsing
