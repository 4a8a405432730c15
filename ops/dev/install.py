"""Makes the virtual environment and installs into it, for `make`: says how far it is, and ends quietly on Ctrl-C.

It runs before anything is installed, so it imports the standard library alone.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

INTERRUPTED = 130
TELL_SECONDS = 5.0
"""How often it says how far it is where nobody watches a terminal."""
KEPT_LINES = 20
_FOUND = re.compile(r"(?:Collecting|Processing|Obtaining) ")
_INSTALLING = re.compile(r"Installing collected packages: (.*)")


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description="installs a folder with an extra into a virtual environment")
    parser.add_argument("venv", type=Path)
    parser.add_argument("extra")
    parser.add_argument("--anew", action="store_true", help="make the virtual environment, whatever is there")
    arguments = parser.parse_args()
    python = arguments.venv / "bin/python"
    try:
        if arguments.anew or not _has_pip(python):
            print(f"making {arguments.venv}", flush=True)
            _quietly([sys.executable, "-m", "venv", "--clear", str(arguments.venv)])
        _install(python, "what builds", ["setuptools"])
        _install(python, "packages", ["--no-build-isolation", "-e", f".[{arguments.extra}]"])
    except subprocess.CalledProcessError as error:
        print(f"{error.output}\nnothing could be installed: see above; then run make again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: the next make begins anew", file=sys.stderr)
        return INTERRUPTED
    return 0


def _has_pip(python: Path) -> bool:
    try:
        return subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _quietly(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _install(python: Path, what: str, requirements: Sequence[str]) -> None:
    """Has pip install, and tells how many packages it has found, and that it installs them.

    Raises:
        subprocess.CalledProcessError: pip failed; its output ends as pip's.
    """
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--progress-bar", "off"]
    kept: list[str] = []
    progress = _Progress()
    with subprocess.Popen(
        [*pip, "-c", "constraints.txt", *requirements],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        found = 0
        for line in _lines(process):
            kept = [*kept[1 - KEPT_LINES :], line]
            if _FOUND.match(line):
                found += 1
                progress.tell(f"fetching {what}: {found}")
            elif names := _INSTALLING.match(line):
                progress.tell(f"installing {what}: {len(names[1].split(', '))}", at_once=True)
    progress.end()
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, pip, output="".join(kept))


def _lines(process: "subprocess.Popen[str]") -> Iterator[str]:
    assert process.stdout is not None
    try:
        yield from process.stdout
    except KeyboardInterrupt:
        # Ctrl-C has reached pip, too; nobody reads what it says of it.
        process.stdout.close()
        process.wait()
        raise


class _Progress:
    """A line that is written over on a terminal; elsewhere one now and then."""

    def __init__(self) -> None:
        self._overwrites = sys.stdout.isatty()
        self._told_at = time.monotonic()

    def tell(self, text: str, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if self._overwrites:
            print(f"\r\x1b[K{text}", end="", flush=True)
        elif at_once or now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            print(text, flush=True)

    def end(self) -> None:
        if self._overwrites:
            print("\r\x1b[K", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
