"""Servers that die: started again, with growing pauses, and given up after too many times."""

import asyncio
from pathlib import Path

import pytest

from ops.dev import watching
from ops.dev.server import Server, ServerError
from ops.dev.watching import GIVEN_UP_AFTER, keep_running


class Fragile(Server):
    """One that ends soon after each start, or does not start at all."""

    def __init__(self, folder: Path, *, starts: bool = True, ends: int | None = None) -> None:
        super().__init__(folder / "data")
        self.log_file.write_text("PANIC: no room\n")
        self.started = 0
        self._starts = starts
        self._ends = ends
        self._is_dead = True

    @property
    def ended(self) -> int | None:
        return -9 if self._is_dead else None

    def start(self, *, timeout: float = 0) -> None:
        self.started += 1
        if not self._starts:
            raise ServerError("port 1 is in use\nand more")
        self._is_dead = self._ends is None or self.started < self._ends


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.001)


@pytest.mark.parametrize("starts", [True, False], ids=["ends", "does not start"])
async def test_a_server_that_dies_again_and_again_is_given_up_with_its_last_words(tmp_path: Path, starts: bool) -> None:
    told: list[str] = []
    server = Fragile(tmp_path, starts=starts)
    given_up = await asyncio.wait_for(keep_running({"queue": server}, told.append), 10)
    assert server.started == GIVEN_UP_AFTER
    assert f"{GIVEN_UP_AFTER + 1}th time in a row: it is given up" in given_up
    assert given_up.endswith("PANIC: no room")
    assert told[0].startswith("queue ended by SIGKILL; next start in 0.01 s; its log is")
    assert sum("next start in" in line for line in told) == GIVEN_UP_AFTER
    assert any("next start in 0.16 s" in line for line in told), "the pauses grow"
    assert starts or "queue did not start (port 1 is in use); next start in 0.02 s" in told[1]


async def test_one_that_lives_again_is_told_and_watched_on(tmp_path: Path) -> None:
    told: list[str] = []
    server = Fragile(tmp_path, ends=2)
    watcher = asyncio.create_task(keep_running({"cache": server}, told.append))
    while told.count("cache runs again") < 2:
        await asyncio.sleep(0.01)
    assert not watcher.done()
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    assert server.started == 2
