"""What `make` says while it installs; pip is a stand-in."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

INSTALL = Path(__file__).parents[2] / "ops/dev/install.py"


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    (tmp_path / "venv/bin").mkdir(parents=True)
    return tmp_path / "venv"


def pip_that(venv: Path, shell: str) -> None:
    python = venv / "bin/python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *--version) exit 0;; esac\necho "$*" >> {venv}/asked\n{shell}\n')
    python.chmod(0o755)


def begun(venv: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, INSTALL, venv, "embedded"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def test_it_says_what_it_installs_and_how_much(venv: Path) -> None:
    pip_that(venv, "echo 'Collecting a>=1 (from b)'; echo Installing collected packages: a, b, c")
    process = begun(venv)
    told, complaints = process.communicate(timeout=30)
    assert (process.returncode, complaints) == (0, "")
    assert "installing packages: 3" in told
    assert "Collecting" not in told
    first, second = (venv / "asked").read_text().splitlines()
    assert first.endswith("-c constraints.txt setuptools")
    assert second.endswith("-c constraints.txt --no-build-isolation -e .[embedded]")


def test_pips_last_words_are_told_where_it_fails(venv: Path) -> None:
    pip_that(venv, "echo 'ERROR: No matching distribution found for arq'; exit 1")
    process = begun(venv)
    _, complaints = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "No matching distribution found for arq" in complaints
    assert "Traceback" not in complaints


def test_ctrl_c_ends_it_quietly(venv: Path) -> None:
    pip_that(venv, f"touch {venv}/up; trap 'echo Traceback; exit 1' INT; while true; do sleep 0.05; done")
    process = begun(venv)
    while not (venv / "up").exists():
        pass
    os.killpg(process.pid, signal.SIGINT)
    told, complaints = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told == ""
    assert complaints.strip() == "interrupted: the next make begins anew"
