"""Headless Chromium, driven over its DevTools protocol: enough to use a page as a person does."""

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--window-size=1280,1600",
)


class Page:
    """One tab, and what it asked for and complained of."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.requests: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def listen(self) -> None:
        async for message in self._socket:
            if message.type is not WSMsgType.TEXT:
                break
            content = message.json()
            if "id" in content:
                self._answers.pop(content["id"]).set_result(content)
            else:
                self._note(content["method"], content["params"])

    def _note(self, event: str, details: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(details["request"])
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(str(details["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and details["type"] in {"error", "warning", "assert"}:
            self.complaints.append(str([argument.get("value") for argument in details["args"]]))
        elif event == "Log.entryAdded" and details["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(f"{details['entry']['text']} {details['entry'].get('url', '')}")

    async def command(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        content = await answer
        assert "error" not in content, content
        return content["result"]

    async def evaluate(self, script: str) -> Any:
        answer = await self.command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def wait_for(self, script: str, *, timeout: float = 20) -> Any:
        """Until the expression is true."""
        try:
            async with asyncio.timeout(timeout):
                while not (found := await self.evaluate(script)):
                    await asyncio.sleep(0.05)
                return found
        except TimeoutError:
            text = await self.evaluate("document.body.innerText")
            raise AssertionError(f"waited in vain for {script}\n{self.complaints}\n{text}") from None

    async def click(self, selector: str) -> None:
        await self.wait_for(f"!!document.querySelector({selector!r})")
        await self.evaluate(f"document.querySelector({selector!r}).click()")

    async def type_into(self, selector: str, text: str) -> None:
        await self.wait_for(f"!!document.querySelector({selector!r})")
        await self.evaluate(f"document.querySelector({selector!r}).focus()")
        await self.command("Input.insertText", text=text)


@contextlib.asynccontextmanager
async def open_page() -> AsyncIterator[Page]:
    """An empty page in a browser of its own, which is ended afterwards."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(prefix="tenfold-browser-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            *_FLAGS,
            f"--user-data-dir={profile}",
            "about:blank",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", ""), "HOME": profile},
        )
        try:
            port = await _port(Path(profile))
            async with ClientSession(f"http://127.0.0.1:{port}") as http:
                async with http.get("/json/list", headers={"Connection": "close"}) as response:
                    [address] = [tab["webSocketDebuggerUrl"] for tab in await response.json() if tab["type"] == "page"]
                async with http.ws_connect(address, max_msg_size=0) as socket:
                    page = Page(socket)
                    listening = asyncio.create_task(page.listen())
                    for domain in ("Network", "Runtime", "Log", "Page"):
                        await page.command(f"{domain}.enable")
                    yield page
                    await socket.close()
                    await listening
        finally:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _port(profile: Path) -> int:
    """Where the browser listens: it says so in a file once it does."""
    told = profile / "DevToolsActivePort"
    async with asyncio.timeout(30):
        while not told.exists() or not (lines := told.read_text().splitlines()):
            await asyncio.sleep(0.05)
    return int(lines[0])
