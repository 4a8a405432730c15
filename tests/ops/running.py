"""Runs `tenfold …` as a user does: in a process of its own, in a folder of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import psutil

from ops.dev import leftovers
from ops.dev.run import MARK

ROOT = Path(__file__).parents[2]
TENFOLD = (sys.executable, "-m", "ops")


def environment(**changes: str) -> dict[str, str]:
    """Nothing of the environment that the tests run in, but what Python needs."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **changes}


def tenfold(*arguments: str, cwd: Path, stdin: str = "", **changes: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*TENFOLD, *arguments],
        cwd=cwd,
        env=environment(**changes),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class Running:
    """A `tenfold` command that goes on until it is stopped; what it prints goes to a file."""

    def __init__(self, *arguments: str, cwd: Path, variables: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._cwd = cwd
        self._variables = variables
        self._output = cwd / f"output-{time.monotonic_ns()}"
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*TENFOLD, *self._arguments],
                cwd=self._cwd,
                env=environment(**self._variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def wait_for(self, text: str, *, times: int = 1, timeout: float = 60) -> None:
        wait_until(
            lambda: self.output.count(text) >= times or self.process.poll() is not None,
            timeout=timeout,
            told=lambda: f"waited for {text!r}, and it said:\n{self.output}",
        )
        assert self.output.count(text) >= times, self.output

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


def wait_until(
    condition: Callable[[], bool], *, timeout: float = 30, told: Callable[[], str] = lambda: "waited in vain"
) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, told()
        time.sleep(0.05)


def processes_of(home: Path) -> list[psutil.Process]:
    """Whatever runs on behalf of a TENFOLD_HOME, `tenfold dev` itself excepted."""
    found = leftovers.processes_marked(MARK, str(home))
    for name in ("postgres", "postgres.making"):
        found += leftovers.servers_in(home / name, "postgres") + leftovers.servers_in(home / name, "initdb")
    for name in ("queue", "cache"):
        found += leftovers.servers_in(home / name, "valkey-server")
    return found
