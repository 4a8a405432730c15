"""TENFOLD_HOME: what `tenfold dev` keeps between runs, and the lock that keeps a second run out of it."""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from ops.faults import Fault

LARGEST_LOG_BYTES = 10 << 20
KEPT_LOGS = 2
"""How many of each log are kept beside the one that is written."""
ENVIRONMENT_FILE = "environment.json"


class Home:
    """Data folders, logs, remembered ports and the key that signs tokens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.logs = self.folder / "logs"

    @property
    def shown(self) -> str:
        """The folder as a person would write it here."""
        here = Path.cwd()
        return str(self.folder.relative_to(here) if self.folder.is_relative_to(here) else self.folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder and keeps it to ourselves; the lock goes with the process, however it ends.

        Raises:
            Fault: another run has it, or it cannot be made.
        """
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Fault(
                f"{self.shown} cannot be used ({error.strerror}): choose another folder with TENFOLD_HOME"
            ) from None
        with os.fdopen(descriptor, "r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Fault(
                    f"Tenfold is running from {self.shown} already (process {file.read().strip() or '?'}): "
                    "stop it, or choose another folder with TENFOLD_HOME, and another PORT"
                ) from None
            file.truncate()
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def is_in_use(self) -> bool:
        """Whether `tenfold dev` runs from here."""
        try:
            with (self.folder / "lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def tell_environment(self, variables: dict[str, str]) -> None:
        """Lets other commands know how to reach what runs here."""
        self._write(self.folder / ENVIRONMENT_FILE, json.dumps(variables, indent=2) + "\n")

    def forget_environment(self) -> None:
        (self.folder / ENVIRONMENT_FILE).unlink(missing_ok=True)

    def environment(self) -> dict[str, str]:
        """What `tenfold dev` runs with, if it runs from here and has come so far."""
        try:
            variables = json.loads((self.folder / ENVIRONMENT_FILE).read_text())
        except (OSError, ValueError):
            return {}
        return variables if self.is_in_use() and isinstance(variables, dict) else {}

    def port_of(self, server: str) -> int | None:
        """The port that a server had before."""
        return self._ports().get(server)

    def remember_port(self, server: str, port: int) -> None:
        text = json.dumps({**self._ports(), server: port}, indent=2)
        self._write(self.folder / "ports.json", text + "\n")

    def signing_secret(self) -> str:
        """Made once, so that tokens outlive a restart; readable by us alone."""
        return self._secret("jwt_secret_key", 48)

    def tier_urls(self, database_url: str) -> dict[str, str]:
        """API_DATABASE_URL and WORKER_DATABASE_URL for a database: logins of their own, whose passwords are kept here.

        Args:
            database_url: of the owner.
        """
        parts = urlsplit(database_url)
        address = parts.netloc.rpartition("@")[2]
        return {
            f"{tier.upper()}_DATABASE_URL": parts._replace(
                netloc=f"tenfold_{tier}_login:{self._secret(f'{tier}_database_password', 24)}@{address}"
            ).geturl()
            for tier in ("api", "worker")
        }

    def log_file(self, name: str) -> Path:
        """Where `name` logs."""
        return self.logs / f"{name}.log"

    def rotate_logs(self) -> list[Path]:
        """Begins those logs anew that are long, and keeps what they held as `.1`, and what that held as `.2`.

        They are copied and emptied: whoever writes has them open to append, and goes on at their new beginning. A line
        that comes in between is lost.

        Returns:
            The logs that are empty now.
        """
        long = [file for file in sorted(self.logs.glob("*.log")) if file.stat().st_size > LARGEST_LOG_BYTES]
        for file in long:
            for number in range(KEPT_LOGS, 1, -1):
                older = file.with_suffix(f".log.{number - 1}")
                if older.exists():
                    older.replace(file.with_suffix(f".log.{number}"))
            shutil.copyfile(file, file.with_suffix(".log.1"))
            os.truncate(file, 0)
        return long

    def _secret(self, name: str, length: int) -> str:
        file = self.folder / name
        if not file.exists() or not file.read_text().strip():
            self._write(file, secrets.token_urlsafe(length) + "\n")
        return file.read_text().strip()

    def _ports(self) -> dict[str, int]:
        try:
            ports = json.loads((self.folder / "ports.json").read_text())
        except (OSError, ValueError):
            return {}
        # Whatever else stands there was not written by us.
        return {name: port for name, port in ports.items() if isinstance(port, int)} if isinstance(ports, dict) else {}

    def _write(self, file: Path, text: str) -> None:
        new = file.with_name(file.name + ".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
        new.replace(file)
