"""PostgreSQL refuses to run as root. When we are root, it runs as a system user that has no other use."""

import os
import pwd
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ACCOUNT = "embedded_postgres"
MAKERS = (
    ("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT),
    ("adduser", "-S", "-D", "-H", ACCOUNT),  # BusyBox
)


class AccountError(Exception):
    """PostgreSQL cannot be run from here; the message says what to do."""


@dataclass(frozen=True)
class Account:
    """Whom the server runs as."""

    uid: int
    gid: int


def server_account() -> Account | None:
    """None where we are not root: the server then runs as ourselves."""
    if os.geteuid() != 0:
        return None
    entry = _entry()
    if entry is None:
        _make()
        entry = _entry()
    if entry is None:
        raise AccountError(
            f"PostgreSQL does not run as root, and the system user {ACCOUNT} could not be made: "
            "make it by hand, or run this as a normal user"
        )
    return Account(entry.pw_uid, entry.pw_gid)


def let_reach(account: Account, path: Path) -> list[Path]:
    """Lets the account pass through the folders above `path`: search permission only, where it is missing.

    Returns:
        Those that were opened so far.
    """
    opened = []
    for folder in path.absolute().parents:
        status = folder.stat()
        if _may_search(account, status):
            continue
        try:
            folder.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
        except OSError as error:
            raise AccountError(
                f"the system user {ACCOUNT}, as whom PostgreSQL runs, cannot pass through {folder} "
                f"({error.strerror}): choose another TENFOLD_HOME, or run this as a normal user"
            ) from None
        opened.append(folder)
    return opened


def let_run(account: Account, programs: Sequence[Path], folders: Sequence[Path]) -> list[Path]:
    """Lets the account run `programs`, which with their libraries lie in `folders`.

    Returns:
        The folders above them that were opened, as `let_reach`.
    """
    opened = [folder for program in programs for folder in let_reach(account, program)]
    if all(_runs(account, program) for program in programs):
        return opened
    # Installed under a umask that shut others out.
    for folder in folders:
        for inner, _, files in os.walk(folder):
            _open(Path(inner))
            for name in files:
                _open(Path(inner, name))
    for program in programs:
        if not _runs(account, program):
            raise AccountError(
                f"{program} does not run as the system user {ACCOUNT}: "
                "install into a folder that all may read, or run this as a normal user"
            )
    return opened


def _entry() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        return None


def _make() -> None:
    for command in MAKERS:
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            # Not that kind of system; or another run has just made it, which the caller sees.
            continue
        return


def _may_search(account: Account, status: os.stat_result) -> bool:
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _open(path: Path) -> None:
    if path.is_symlink():
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    search = stat.S_IXGRP | stat.S_IXOTH if mode & stat.S_IXUSR else 0
    path.chmod(mode | stat.S_IRGRP | stat.S_IROTH | search)


def _runs(account: Account, program: Path) -> bool:
    try:
        result = subprocess.run(
            [program, "--version"],
            cwd="/",
            capture_output=True,
            check=False,
            user=account.uid,
            group=account.gid,
            extra_groups=[],
        )
    except OSError:
        return False
    return result.returncode == 0
