"""Child processes that are kept running: started, watched, started again with growing pauses, and drained."""

import asyncio
import ctypes
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from core.settings import Settings
from ops.faults import MISCONFIGURED, Fault
from ops.ports import port_is_free
from ops.signals import stop_signals

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 30.0
"""A child that ran this long was well: after it, pauses begin at the shortest again."""
DRAIN_SECONDS = 60.0

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

Say = Callable[[str], None]


class Child:
    """One process that shall run until `stop()`.

    It has a session of its own, so that Ctrl-C in the terminal reaches only us, who stop children in order.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | Callable[[], Mapping[str, str]],
        *,
        say: Say,
        log_file: Path | None = None,
        on_end: Callable[[int], None] = lambda _pid: None,
        describe_crash: Callable[[], str] = lambda: "",
    ) -> None:
        """
        Args:
            environment: of its processes; a function is asked before each start.
            say: told, in one line each, of crashes and restarts.
            log_file: gets what the child prints; None lets it print where we do.
            on_end: called with the pid of each process that has ended, before the next starts.
            describe_crash: what else to say of a crash.
        """
        self.name = name
        self._command = command
        self._environment = environment
        self._say = say
        self._log_file = log_file
        self._on_end = on_end
        self._describe_crash = describe_crash
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the process, as long as it runs."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    async def run(self) -> int:
        """Returns when stopped, or when the settings are at fault, which no restart mends.

        Returns:
            The last exit status; negative for a signal.
        """
        pause = FIRST_PAUSE_SECONDS
        while True:
            started = time.monotonic()
            status = await self._run_once()
            if self._stopping.is_set():
                return status
            if status == MISCONFIGURED:
                self._say(f"{self.name} refused its settings{self._describe_crash()}")
                return status
            if time.monotonic() - started > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            self._say(f"{self.name} ended {describe(status)}; next start in {pause:g} s{self._describe_crash()}")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
                return status
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def ask_to_stop(self) -> None:
        """SIGTERM: it finishes what it has begun."""
        self._stopping.set()
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, where somebody does not want to wait."""
        self._stopping.set()
        self._send(signal.SIGKILL)

    async def _run_once(self) -> int:
        log = None if self._log_file is None else os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment() if callable(self._environment) else self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_parent if _libc else None,
            )
        finally:
            if log is not None:
                os.close(log)
        if self._stopping.is_set():  # asked while it was being started
            self._send(signal.SIGTERM)
        status = await self._process.wait()
        self._on_end(self._process.pid)
        return status

    def _send(self, number: signal.Signals) -> None:
        # Not by the process's own send_signal: it takes the exit status of a child that has just ended, and asyncio,
        # which waits for it, then says 255.
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)


def _end_with_parent() -> None:
    """In the child, before its program: if we are killed, it is told to drain and end (Linux)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def describe(status: int) -> str:
    if status < 0:
        return f"by {signal.Signals(-status).name}"
    return f"with status {status}"


async def drain(child: Child, running: "asyncio.Task[int]", seconds: float = DRAIN_SECONDS) -> None:
    """Asks a child to stop and waits until it has; kills it after `seconds`."""
    child.ask_to_stop()
    done, _ = await asyncio.wait([running], timeout=seconds)
    if not done:
        child.kill()
        await running


def serve_api(settings: Settings, environment: Mapping[str, str], processes: int, say: Say) -> int:
    """Runs `processes` API processes on one port until SIGTERM or Ctrl-C, and returns the exit status.

    They share the port through SO_REUSEPORT and their metrics through files.

    Raises:
        Fault: the port is in use.
    """
    if not port_is_free(settings.port, settings.host):
        # SO_REUSEPORT would let us join another service of the same user without a word.
        raise Fault(f"port {settings.port} of {settings.host} is in use: stop what uses it, or choose another PORT")
    metrics_folder = tempfile.mkdtemp(prefix="tenfold-metrics-")
    try:
        command = [sys.executable, "-m", "api", "--reuse-port"]
        child_environment = {**environment, "PROMETHEUS_MULTIPROC_DIR": metrics_folder}

        def forget_metrics(pid: int) -> None:
            mark_process_dead(pid, metrics_folder)  # type: ignore[no-untyped-call]

        children = [
            Child(f"API process {number}", command, child_environment, say=say, on_end=forget_metrics)
            for number in range(1, processes + 1)
        ]
        return asyncio.run(_run_together(children))
    finally:
        shutil.rmtree(metrics_folder, ignore_errors=True)


async def _run_together(children: Sequence[Child]) -> int:
    def stop(first: bool) -> None:
        for child in children:
            if first:
                child.ask_to_stop()
            else:
                child.kill()

    with stop_signals(stop):
        running = [asyncio.create_task(child.run()) for child in children]
        # Either all were asked to stop, or one refused the settings, which are those of all.
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for child in children:
            child.ask_to_stop()
        statuses = await asyncio.gather(*running)
    return max(max(status, 0) for status in statuses)
