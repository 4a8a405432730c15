"""`make` on bare, half-made, moved and unfit machines; nothing is installed here, only what it would do is read."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAMPS = ("installed", "installed-dev")
TARGETS = ("run", "test", "test-quick", "lint", "bench", "clean")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.fixture
def installed(checkout: Path) -> Path:
    """A checkout whose venv is whole."""
    (checkout / ".venv/bin").mkdir(parents=True)
    for stamp in STAMPS:
        (checkout / ".venv" / stamp).write_text(f"{checkout}\n")
    return checkout


def make(checkout: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", *arguments],
        cwd=checkout,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )


def python_that(checkout: Path, *, is_new: bool, can_make_venvs: bool) -> str:
    """A stand-in that answers the questions that the Makefile asks of Python."""
    script = checkout / "python"
    script.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        f"  *version_info*) exit {int(not is_new)};;\n"
        f"  *ensurepip*) exit {int(not can_make_venvs)};;\n"
        "  --version) echo Python 3.9.2;;\n"
        "  *) echo unexpected: $*; exit 99;;\n"
        "esac\n"
    )
    script.chmod(0o755)
    return f"PYTHON={script}"


def would_install(checkout: Path, target: str = "lint") -> list[str]:
    """The extras that it would install."""
    return re.findall(r"ops/dev/install.py .venv (\w+)", make(checkout, "-n", target).stdout)


def test_plain_make_explains_every_target(checkout: Path) -> None:
    told = make(checkout).stdout
    assert all(f"make {target}" in told for target in TARGETS)
    assert make(checkout, "help").stdout == told


def test_an_old_python_is_told_with_how_to_name_another(checkout: Path) -> None:
    run = make(checkout, "run", python_that(checkout, is_new=False, can_make_venvs=True))
    assert run.returncode != 0
    assert "needs Python 3.11 or later" in run.stderr
    assert "Python 3.9.2" in run.stderr
    assert "make run PYTHON=" in run.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_that_is_not_there_is_told(checkout: Path) -> None:
    assert "'nowhere' is not there" in make(checkout, "test", "PYTHON=nowhere").stderr


def test_a_python_without_ensurepip_is_told_with_the_package_to_install(checkout: Path) -> None:
    run = make(checkout, "test", python_that(checkout, is_new=True, can_make_venvs=False))
    assert run.returncode != 0
    assert "apt install python3-venv" in run.stderr


def test_a_whole_venv_is_used_as_it_is(installed: Path) -> None:
    assert would_install(installed) == []


def test_only_tests_and_linters_have_their_packages_installed(checkout: Path, installed: Path) -> None:
    (installed / ".venv/installed-dev").unlink()
    assert [would_install(installed, target) for target in ("run", "bench", "schema")] == [[], [], []]
    assert [would_install(installed, target) for target in ("test", "test-quick", "lint")] == [["dev"]] * 3


def test_a_venv_without_its_stamp_is_half_made_and_made_again(installed: Path) -> None:
    (installed / ".venv/installed").unlink()
    assert would_install(installed) == ["embedded", "dev"]


def test_a_venv_of_another_folder_is_made_again(installed: Path) -> None:
    (installed / ".venv/installed").write_text("/somewhere/else\n")
    assert would_install(installed, "run") == ["embedded"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_what_is_to_be_installed_installs(installed: Path, name: str) -> None:
    stamp = installed / ".venv/installed"
    os.utime(installed / name, (stamp.stat().st_mtime + 10,) * 2)
    assert would_install(installed, "run") == ["embedded"]
    assert would_install(installed) == ["embedded", "dev"]


def test_an_installation_that_fails_leaves_no_stamp(installed: Path) -> None:
    (installed / ".venv/installed").write_text("/somewhere/else\n")
    run = make(installed, "lint", python_that(installed, is_new=True, can_make_venvs=True))
    assert run.returncode != 0
    assert not (installed / ".venv/installed").exists()


def test_clean_keeps_the_data(checkout: Path) -> None:
    for name in (".venv", ".tenfold", "build", "api", "core", "migrations", "ops", "tests", "worker"):
        (checkout / name / "__pycache__").mkdir(parents=True)
    assert make(checkout, "clean").returncode == 0
    assert (checkout / ".tenfold").exists()
    assert not (checkout / ".venv").exists()
    assert not (checkout / "api/__pycache__").exists()


# -- constraints.txt


def pins() -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    return dict(line.split("==") for line in lines if line)


def test_constraints_are_versions_without_addresses() -> None:
    assert "://" not in (ROOT / "constraints.txt").read_text()
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pins().values())


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(w for extra in project["optional-dependencies"].values() for w in extra)]
    named = {normal(re.split(r"[\[><=; ]", requirement)[0]) for requirement in wanted} - {"tenfold"}
    assert len(named) > 25
    assert named <= {normal(name) for name in pins()}


def normal(name: str) -> str:
    return name.lower().replace("_", "-")
