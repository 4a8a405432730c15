"""Processes that an earlier run left behind: found by what cannot be faked by a reused pid, and ended."""

import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

DELETED = " (deleted)"  # what Linux adds to the path of a folder that is gone
KILL_SECONDS = 10.0
POLL_SECONDS = 0.01


def servers_in(directory: Path, executable: str) -> list[psutil.Process]:
    """Processes of `executable` that work in `directory`: a server moves into its data folder and stays.

    The folder, not the pid file, tells whose they are: pids are used again, and PostgreSQL's backends
    outlive a killed postmaster under other names.
    """
    wanted = str(directory.resolve())
    found = []
    for process in psutil.process_iter():
        try:
            if process.name() == executable and process.cwd().removesuffix(DELETED) == wanted:
                found.append(process)
        except psutil.Error:
            continue  # it ended while we looked, or is another user's
    return found


def processes_marked(variable: str, value: str) -> list[psutil.Process]:
    """Processes that were started with the environment variable `variable` set to `value`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(variable) == value:
                found.append(process)
        except psutil.Error:
            continue
    return found


def end(processes: Iterable[psutil.Process], *, timeout: float = 10.0) -> None:
    """SIGTERM, and SIGKILL to what is left after `timeout` seconds; returns when all are gone."""
    waiting = list(processes)
    _signal(waiting, signal.SIGTERM)
    kill(_left_after(waiting, timeout))


def kill(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL to all; returns when all are gone."""
    waiting = list(processes)
    _signal(waiting, signal.SIGKILL)
    _left_after(waiting, KILL_SECONDS)


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _left_after(processes: Iterable[psutil.Process], timeout: float) -> list[psutil.Process]:
    deadline = time.monotonic() + timeout
    alive = [process for process in processes if _is_alive(process)]
    while alive and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        alive = [process for process in alive if _is_alive(process)]
    return alive


def _is_alive(process: psutil.Process) -> bool:
    # Not `psutil.wait_procs`: it waits for zombies too, and an orphan stays one in a container
    # whose first process does not collect them.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
