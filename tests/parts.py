"""`make test`: all tests, in parts that run beside each other; `make test-quick`: some of every capability.

The tests that kill things mostly wait for leases and restarts, and the others leave a core half idle: four processes
of pytest take half as long as one on two cores. Each writes what becomes of its tests into a file, which is looked at
every now and then: failures are told at once, the rest as figures.

This module is also the plugin by which pytest writes that file.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
INTERRUPTED = 130
LOOK_SECONDS = 0.5
TELL_SECONDS = 30.0
KEPT_LINES = 40

_LONG_FAULTS = ("tests/faults/test_imports.py", "tests/faults/test_processes.py", "tests/faults/test_servers.py")
PARTS: Mapping[str, Sequence[str]] = {
    "api": ("tests/api",),
    "core, ops, worker": (
        "tests/core",
        "tests/ops",
        "tests/worker",
        *sorted(f"tests/{file.name}" for file in ROOT.glob("tests/test_*.py")),
    ),
    "long faults": _LONG_FAULTS,
    "faults": ("tests/faults", *(f"--ignore={file}" for file in _LONG_FAULTS)),
}
"""Name → what pytest is given. Every test is in one."""

QUICK: Mapping[str, Sequence[str]] = {
    "api": (
        *(f"tests/api/test_{name}.py" for name in ("auth", "users", "tasks", "task_lists", "task_filters", "batch")),
        *(f"tests/api/test_{name}.py" for name in ("jobs", "reminders", "channels", "deliveries", "admin", "health")),
        *(f"tests/api/test_{name}.py" for name in ("labels", "counts", "due_days", "home")),
        *(f"tests/api/test_{name}.py" for name in ("openapi", "docs", "idempotency", "conditions", "metrics")),
        *(
            "tests/api/imports/test_sending.py",
            "tests/api/imports/test_undo.py",
            "tests/api/imports/test_rows_told.py",
            "tests/api/exports/test_file.py",
            "tests/api/exports/test_ordering.py",
        ),
    ),
    "core, ops, worker": (
        *(f"tests/core/test_{name}.py" for name in ("settings", "task_changes", "task_validation", "pagination")),
        *(f"tests/core/test_{name}.py" for name in ("recurrence", "identity", "cache", "storage", "encryption")),
        *(
            "tests/core/formats/programs",
            "tests/core/formats/test_formats.py",
            "tests/core/database/test_row_security.py",
        ),
        *(f"tests/worker/imports/test_{name}.py" for name in ("rows", "conflicts", "undos")),
        *(
            f"tests/worker/{name}"
            for name in ("writes/test_drain.py", "exports/test_running.py", "test_partitions.py", "test_days.py")
        ),
        *("tests/worker/reminders/test_sending.py", "tests/worker/deliveries/test_attempts.py"),
        *("tests/worker/maintenance/test_scheduled.py", "tests/ops/test_cli.py", "tests/ops/test_check.py"),
        *("tests/ops/test_home.py", "tests/test_architecture.py", "tests/test_documents.py"),
    ),
}
"""As `PARTS`: some tests of every capability, none of which takes long."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 where all went well, 1 where something failed, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.parts", description="runs tests in parts")
    parser.add_argument("--quick", action="store_true", help="some of every capability, in three minutes")
    chosen = QUICK if parser.parse_args(arguments).quick else PARTS
    with tempfile.TemporaryDirectory(prefix="tenfold-parts-") as folder, _heard_signals() as heard:
        return run(chosen, Path(folder), heard)


def run(parts: Mapping[str, Sequence[str]], folder: Path, heard: "list[signal.Signals]") -> int:
    """Runs parts beside each other and tells how far they are.

    Args:
        parts: as `PARTS`.
        folder: for what they write.
        heard: signals to stop, as they come.

    Returns:
        The exit status, as `main`.
    """
    began = told = time.monotonic()
    running = [Part(name, given, folder / str(number)) for number, (name, given) in enumerate(parts.items())]
    is_asked = False
    while sum(part.look() for part in running):  # looks at all
        time.sleep(LOOK_SECONDS)
        if heard and not is_asked:
            is_asked = True
            for part in running:
                part.stop()
        if time.monotonic() - told >= TELL_SECONDS:
            told = time.monotonic()
            say(f"{_clock(told - began)}  {', '.join(map(str, running))}")
    _summarise(running, time.monotonic() - began, is_whole=not heard)
    if heard:
        return INTERRUPTED
    return 1 if any(part.went_wrong for part in running) else 0


class Part:
    """One process of pytest, and what is known of it."""

    def __init__(self, name: str, given: Sequence[str], folder: Path) -> None:
        folder.mkdir()
        self.name = name
        self.outcomes: Counter[str] = Counter()
        self.failed: list[str] = []
        self.skipped: list[str] = []
        self._total = 0
        self._events = folder / "events"
        self._log = folder / "log"
        self._read = 0
        self._events.touch()
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C reaches us alone, and pytest is told to stop once, in its own words.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-p", "tests.parts", f"--events={self._events}", *given],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __str__(self) -> str:
        failed = f", {len(self.failed)} FAILED" if self.failed else ""
        return f"{self.name} {self.outcomes.total()}/{self._total or '?'}{failed}"

    @property
    def went_wrong(self) -> bool:
        return self._process.poll() != 0

    def look(self) -> bool:
        """Reads and tells what is new; returns whether it goes on."""
        goes_on = self._process.poll() is None
        with self._events.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            self._take(json.loads(line))
        return goes_on

    def _take(self, event: Mapping[str, Any]) -> None:
        match event:
            case {"total": total}:
                self._total = total
            case {"failed": test, "text": text}:
                self.failed = list(dict.fromkeys([*self.failed, test]))
                say(f"\n{self.name}: FAILED {test}\n{text}\n")
            case {"reason": reason}:
                self.skipped.append(reason.removeprefix("Skipped: "))
            case {"ended": outcome}:
                self.outcomes[outcome] += 1

    def stop(self) -> None:
        """As Ctrl-C: what the tests have started is stopped, too."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def complaint(self) -> str | None:
        """What pytest said where it ended otherwise than by tests that failed."""
        if self._process.poll() in (0, 1):
            return None
        lines = self._log.read_text(errors="replace").splitlines()[-KEPT_LINES:]
        return "\n".join([f"{self.name}: pytest ended with status {self._process.poll()}", *lines])


def _summarise(parts: Sequence[Part], seconds: float, *, is_whole: bool) -> None:
    for reason, count in Counter(reason for part in parts for reason in part.skipped).items():
        say(f"skipped {count}: {reason}")
    for part in parts:
        if is_whole and (complaint := part.complaint()):
            say(complaint)
        for test in part.failed:
            say(f"FAILED {test}")
    outcomes = sum((part.outcomes for part in parts), Counter())
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    say(f"{'' if is_whole else 'interrupted: '}{counts or 'no tests'} in {_clock(seconds)}")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextmanager
def _heard_signals() -> "Iterator[list[signal.Signals]]":
    heard: list[signal.Signals] = []

    def hear(number: int, _frame: FrameType | None) -> None:
        heard.append(signal.Signals(number))

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# -- the plugin


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--events", metavar="FILE", help="where to write, line by line, what becomes of tests")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Events(config.getoption("--events")))


class _Events:
    def __init__(self, file: str) -> None:
        self._file = open(file, "a", buffering=1)  # noqa: SIM115 - until pytest ends
        self._outcome = "passed"

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._write(total=len(session.items))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Comes three times for each test, for what was before and after it, too."""
        if report.failed:
            self._outcome = "failed"
            self._write(failed=report.nodeid, text=report.longreprtext)
        elif report.skipped and self._outcome == "passed":
            self._outcome = "skipped"
            self._write(reason=str(report.longrepr[-1]) if isinstance(report.longrepr, tuple) else report.longreprtext)
        if report.when == "teardown":
            self._write(ended=self._outcome)
            self._outcome = "passed"

    def _write(self, **event: object) -> None:
        self._file.write(json.dumps(event) + "\n")


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
