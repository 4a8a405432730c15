"""`make test` and `make test-quick`: which tests they run, what they tell, and how they end."""

import os
import signal
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from tests.parts import INTERRUPTED, PARTS, QUICK, run

ROOT = Path(__file__).parents[1]


def files_of(given: tuple[str, ...]) -> list[Path]:
    left_out = {ROOT / one.removeprefix("--ignore=") for one in given if one.startswith("--ignore=")}
    files: list[Path] = []
    for one in given:
        path = ROOT / one
        if path.is_dir():
            files += [file for file in path.rglob("test_*.py") if file not in left_out]
        elif not one.startswith("--"):
            assert path.is_file(), one
            files.append(path)
    return files


def test_every_test_is_in_one_part() -> None:
    run_by_parts = sorted(file for given in PARTS.values() for file in files_of(tuple(given)))
    assert run_by_parts == sorted((ROOT / "tests").rglob("test_*.py"))


def test_the_quick_tests_have_some_of_every_capability() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    api, worker = (
        next(contract["layers"] for contract in contracts if contract["name"] == name)
        for name in (
            "API: capabilities know neither each other nor the app",
            "Worker: job modules are independent of each other",
        )
    )
    lines = [
        next(layer for layer in layers if name in layer) for layers, name in ((api, "users"), (worker, "reminders"))
    ]
    # Notifications are made and read by reminders' tests.
    capabilities = {name.strip(" ()") for line in lines for name in line.split("|")} - {"gauges", "notifications"}
    assert len(capabilities) > 10
    chosen = [str(file.relative_to(ROOT)) for given in QUICK.values() for file in files_of(tuple(given))]
    # `import_rows` has some in `imports/test_rows_told.py`, for instance.
    words = {name: [word.removesuffix("s") for word in name.split("_")] for name in capabilities}
    without = [
        name for name in sorted(capabilities) if not any(all(word in file for word in words[name]) for file in chosen)
    ]
    assert without == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path


def part(folder: Path, name: str, text: str) -> dict[str, tuple[str, ...]]:
    file = folder / f"test_{name}.py"
    file.write_text(text)
    return {name: (str(file),)}


GOOD = "def test_good(): pass\ndef test_better(): pass\n"
BAD = "import pytest\ndef test_bad(): assert 1 == 2\ndef test_none(): pytest.skip('not here')\n"


def test_parts_that_went_well_are_summed_up(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = part(folder, "one", GOOD) | part(folder, "two", GOOD)
    assert run(parts, folder / "out", []) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("4 passed in 0:")


def test_what_failed_is_told_when_it_fails_and_at_the_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = part(folder, "one", GOOD) | part(folder, "two", BAD)
    assert run(parts, folder / "out", []) == 1
    told = capsys.readouterr().out
    assert told.index("assert 1 == 2") < told.index("not here") < told.rindex("FAILED ")
    assert told.splitlines()[-1].startswith("1 failed, 2 passed, 1 skipped in 0:")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import nowhere\n", "No module named 'nowhere'"),
        ("import os\ndef test_dies(): os._exit(7)\n", "ended with status 7"),
        ("", "no tests ran"),
    ],
    ids=["cannot be read", "dies", "has no tests"],
)
def test_a_part_that_ended_otherwise_is_told_and_fails(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    assert run(part(folder, "one", text), folder / "out", []) == 1
    assert told in capsys.readouterr().out


def test_what_fails_behind_a_test_counts_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "import pytest\n@pytest.fixture\ndef left():\n    yield\n    assert 0\ndef test_it(left): assert 0\n"
    assert run(part(folder, "one", text), folder / "out", []) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 failed in")


def test_asked_to_stop_it_lets_the_tests_clean_up(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "import pathlib, pytest, time\n"
        f"@pytest.fixture\ndef server():\n    pathlib.Path('{folder}/up').touch()\n    yield\n"
        f"    pathlib.Path('{folder}/down').touch()\n"
        "def test_long(server): time.sleep(60)\n"
    )
    heard: list[signal.Signals] = []

    def stop_when_up() -> None:
        while not (folder / "up").exists():
            threading.Event().wait(0.1)
        heard.append(signal.SIGINT)

    thread = threading.Thread(target=stop_when_up)
    thread.start()
    assert run(part(folder, "one", text), folder / "out", heard) == INTERRUPTED
    thread.join()
    assert (folder / "down").exists()


def test_ctrl_c_ends_it_quietly() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.parts", "--quick"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    threading.Event().wait(1.5)
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert b"Traceback" not in output
