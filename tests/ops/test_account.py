"""PostgreSQL's own system user, when we are root: what it is let into, and no more."""

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.dev.account import Account, AccountError, let_reach, let_run, server_account

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user")


@pytest.fixture
def account() -> Account:
    found = server_account()
    assert found is not None
    return found


@pytest.fixture
def private() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tenfold-account-") as name:
        (Path(name) / "inner").mkdir(mode=0o700)
        yield Path(name)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def program(folder: Path) -> Path:
    """A program that needs a file from beside it, installed under a umask that shut others out."""
    (folder / "libs").mkdir(mode=0o700)
    (folder / "libs/part").write_text("part")
    (folder / "libs/part").chmod(0o600)
    path = folder / "program"
    path.write_text(f'#!/bin/sh\nread line < {folder}/libs/part || [ -n "$line" ]\n')
    path.chmod(0o700)
    return path


def test_it_is_not_root_and_is_made_once(account: Account) -> None:
    assert account.uid != 0
    assert server_account() == account


def test_folders_above_are_opened_for_passing_and_not_for_looking(account: Account, private: Path) -> None:
    assert let_reach(account, private / "inner/data") == [private / "inner", private]
    assert mode(private) == mode(private / "inner") == 0o701
    assert let_reach(account, private / "inner/data") == []


def test_folders_that_can_be_passed_are_left_alone(account: Account, private: Path) -> None:
    private.chmod(0o755)
    os.chown(private / "inner", account.uid, account.gid)
    let_reach(account, private / "inner/data")
    assert (mode(private), mode(private / "inner")) == (0o755, 0o700)


def test_a_private_installation_is_opened_so_far_that_it_runs(account: Account, private: Path) -> None:
    path = program(private / "inner")
    assert let_run(account, [path], [private / "inner"]) == [private / "inner", private]
    run = subprocess.run([path], user=account.uid, group=account.gid, extra_groups=(), cwd="/", check=False)
    assert run.returncode == 0
    assert mode(private / "inner/libs/part") == 0o644
    assert mode(private) == 0o701


def test_a_program_that_runs_is_left_alone(account: Account, private: Path) -> None:
    (private / "inner/secret").touch(mode=0o600)
    let_run(account, [Path("/bin/true")], [private / "inner"])
    assert mode(private / "inner/secret") == 0o600


def test_a_program_that_never_runs_is_told(account: Account, private: Path) -> None:
    with pytest.raises(AccountError, match="does not run as the system user"):
        let_run(account, [private / "inner/absent"], [private / "inner"])
