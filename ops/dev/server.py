"""Real servers without installing any: PostgreSQL and Valkey out of Python wheels, as processes of ours.

Each server is our child, in a session of its own, so that Ctrl-C in the terminal reaches whoever started it
and not the server: it is stopped when those who use it have finished. Nothing is stopped behind the
caller's back. What a killed run left behind is ended by the next `start()` on the same data folder.
"""

import importlib.util
import signal
import subprocess
import time
from pathlib import Path
from typing import Self

from ops.dev import leftovers
from ops.ports import free_port, port_is_free
from ops.signals import signals_held

HOST = "127.0.0.1"
POLL_SECONDS = 0.02
LOG_TAIL_LINES = 15
PORT_ATTEMPTS = 5


class ServerError(Exception):
    """A server cannot start; the message says why and what to do."""


def wheel_folder(package: str) -> Path:
    """Where a package that carries programs is installed.

    It is not imported: one sets up locks in the user's runtime folder, the other loads a whole client.

    Raises:
        ServerError: it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            f"{package} is not installed: pip install -e '.[embedded]', "
            "or name servers of your own in DATABASE_URL, REDIS_URL and QUEUE_REDIS_URL"
        )
    return Path(spec.submodule_search_locations[0])


class Server:
    """A server process on one data folder: start, stop, kill, and start again on the same port."""

    name = "server"
    executable = "server"

    def __init__(self, data_dir: Path, *, port: int | None = None, log_file: Path | None = None) -> None:
        """
        Args:
            data_dir: made if it is not there.
            port: None lets `start()` choose a free one, which is then kept.
            log_file: by default beside the data folder, with `.log` at its end.
        """
        self.data_dir = data_dir.absolute()
        self.log_file = (log_file or self.data_dir.with_name(self.data_dir.name + ".log")).absolute()
        self._port = port
        self._port_is_fixed = port is not None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        if self._port is None:
            raise ServerError(f"{self.name} has no port yet: start it first")
        return self._port

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerError(f"{self.name} is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def ended(self) -> int | None:
        """The exit status of one that ended by itself, negative for a signal; None while it runs, or was stopped."""
        return None if self._process is None else self._process.poll()

    def start(self, *, timeout: float = 120.0) -> None:
        """Returns when the server answers, recovery after a crash included; a running one is left as it is.

        Raises:
            ServerError: it ended, or did not answer within `timeout` seconds.
        """
        if self.is_running:
            return
        self._forget()
        self.end_leftovers()
        self._prepare()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            if self._port is None:
                self._port = free_port(HOST)
            elif not port_is_free(self._port, HOST):
                raise ServerError(f"{self.name} cannot start: port {self._port} of {HOST} is in use")
            try:
                self._launch(timeout)
            except ServerError:
                # Between choosing a port and binding it, another process may have taken it.
                if self._port_is_fixed or attempt == PORT_ATTEMPTS or port_is_free(self._port, HOST):
                    raise
                self._port = None
            else:
                self._port_is_fixed = True
                return

    def stop(self, *, timeout: float = 60.0) -> None:
        """Stops it cleanly, and hard if that takes longer than `timeout` seconds."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(self._stop_signal())
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        self._forget()

    def kill(self) -> None:
        """SIGKILL, as if the machine had lost its power, except that the disk keeps what it was given."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        leftovers.kill(leftovers.servers_in(self.data_dir, self.executable))
        self._forget()

    def restart(self, *, timeout: float = 120.0) -> None:
        self.stop()
        self.start(timeout=timeout)

    def end_leftovers(self) -> None:
        """Ends what a killed run left working on the data folder; `start()` does it too."""
        leftovers.end(leftovers.servers_in(self.data_dir, self.executable))

    def prefer_port(self, port: int | None) -> None:
        """Sets the port to start on; None lets `start()` choose."""
        self._port, self._port_is_fixed = port, port is not None

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        try:
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    # What each kind of server says for itself.

    def _prepare(self) -> None:
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _spawn(self, log: int) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _stop_signal(self) -> signal.Signals:
        return signal.SIGTERM

    # The common way.

    def _launch(self, timeout: float) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log, signals_held():
            self._process = self._spawn(log.fileno())
        deadline = time.monotonic() + timeout
        try:
            while not self._answers():
                if self._process.poll() is not None:
                    raise ServerError(self._complaint(f"ended at once with status {self._process.returncode}"))
                if time.monotonic() > deadline:
                    raise ServerError(self._complaint(f"did not answer within {timeout:g} seconds"))
                time.sleep(POLL_SECONDS)
        except BaseException:
            self.kill()  # also when Ctrl-C interrupts the wait
            raise

    def _complaint(self, what: str) -> str:
        return f"{self.name} {what}; the end of {self.log_file}:\n{self.log_tail()}"

    def _forget(self) -> None:
        self._process = None
