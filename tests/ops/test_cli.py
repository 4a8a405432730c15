"""The command line: what it does, and that each fault is told in a line that says what to do."""

import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.settings import Settings
from tests.harness import SECRET, Servers, tier_urls
from tests.ops.running import tenfold

PASSWORD = "correct horse battery staple"


def variables(settings: Settings, **changes: str) -> dict[str, str]:
    return {
        "DATABASE_URL": settings.database_url,
        **tier_urls(settings.database_url),
        "REDIS_URL": settings.redis_url,
        "QUEUE_REDIS_URL": settings.queue_redis_url,
        "JWT_SECRET_KEY": SECRET,
        **changes,
    }


@pytest.fixture
async def empty(servers: Servers) -> AsyncIterator[dict[str, str]]:
    """Variables that name a database in which nothing is."""
    async with servers.database("tenfold_empty") as url:
        yield {
            "DATABASE_URL": url,
            **tier_urls(url),
            "REDIS_URL": servers.cache.url(),
            "QUEUE_REDIS_URL": servers.queue.url(),
            "JWT_SECRET_KEY": SECRET,
        }


# -- settings


def test_bad_settings_are_told_in_a_line_each_with_status_2(tmp_path: Path) -> None:
    run = tenfold("users", "list", cwd=tmp_path, PORT="eighty", REDIS_URL="http://x:hunter2@y")
    assert run.returncode == 2
    assert [line.split()[1] for line in run.stderr.splitlines()] == ["DATABASE_URL", "REDIS_URL", "PORT"]
    assert "hunter2" not in run.stderr


def test_settings_come_from_a_file_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("\ufeffPORT=first\nDEFAULT_PAGE_SIZE='2000'\nREDIS_URL=redis://a$b${c}\nEMPTY\n")
    run = tenfold("users", "list", cwd=tmp_path, PORT="second", DEFAULT_PAGE_SIZE="")
    assert "PORT must be a whole number (it is 'second')" in run.stderr
    run = tenfold("users", "list", cwd=tmp_path, PORT="1", DATABASE_URL="postgresql://h", JWT_SECRET_KEY=SECRET)
    assert run.stderr == "tenfold: DEFAULT_PAGE_SIZE (2000) must not exceed MAX_PAGE_SIZE (1000)\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"PORT=1\nno assignment here\n", ".env cannot be understood in line 2"),
        ("PORT=9\n".encode("utf-16"), ".env is no text in UTF-8"),
        (
            b"RATE_LIMT_PER_MINUTE=5\nPOSTGRES_PASSWORD=x\n",
            "is no setting: RATE_LIMIT_PER_MINUTE may be meant",
        ),
    ],
)
@pytest.mark.parametrize("command", ["check", "dev"])
def test_a_file_that_cannot_be_what_was_meant_is_told_in_a_line(
    tmp_path: Path, command: str, text: bytes, told: str
) -> None:
    (tmp_path / ".env").write_bytes(text)
    run = tenfold(command, cwd=tmp_path)
    assert run.returncode == 2
    [line] = run.stderr.splitlines()
    assert told in line


def test_help_needs_no_settings(tmp_path: Path) -> None:
    run = tenfold("--help", cwd=tmp_path)
    assert run.returncode == 0
    for command in ("dev", "api", "worker", "migrate", "check", "users", "import", "export", "openapi"):
        assert command in run.stdout


# -- migrate


def test_a_database_is_brought_up_and_down_and_up_again(tmp_path: Path, empty: dict[str, str]) -> None:
    first = tenfold("migrate", cwd=tmp_path, **empty)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("applied ")
    assert tenfold("migrate", cwd=tmp_path, **empty).stdout.startswith("the database is up to date\n")
    down = tenfold("migrate", "base", "--down", "--yes", cwd=tmp_path, **empty)
    assert down.stdout == "the database is at base\n", down.stderr
    assert tenfold("migrate", cwd=tmp_path, **empty).stdout == first.stdout


def test_revisions_are_listed_with_what_they_add_and_whether_they_are_applied(
    tmp_path: Path, empty: dict[str, str]
) -> None:
    tenfold("migrate", "0002", cwd=tmp_path, **empty)
    lines = tenfold("migrate", "--list", cwd=tmp_path, **empty).stdout.splitlines()
    assert lines[:3] == [
        "0001  applied  Users, sessions, tasks in partitions, jobs; roles, row-level security and grants.",
        "0002  applied  Labels of tasks; imports, their row errors and what they brought; exports.",
        "0003  to come  Recurring tasks, reminders, channels, events and their deliveries, notifications, runs of "
        "maintenance.",
    ]
    assert [line.split()[1] for line in lines[3:]] == ["to"] * (len(lines) - 3)


def test_going_back_wants_a_revision_and_a_yes(tmp_path: Path, empty: dict[str, str]) -> None:
    nowhere = tenfold("migrate", "--down", cwd=tmp_path, **empty)
    assert (nowhere.returncode, "say where to go back to" in nowhere.stderr) == (1, True)
    unsure = tenfold("migrate", "--down", "base", cwd=tmp_path, **empty)
    assert (unsure.returncode, "repeat it with --yes" in unsure.stderr) == (1, True)


def test_an_unknown_revision_is_told(tmp_path: Path, empty: dict[str, str]) -> None:
    run = tenfold("migrate", "9999", cwd=tmp_path, **empty)
    assert run.returncode == 1
    assert "9999" in run.stderr
    assert "Traceback" not in run.stderr
    tenfold("migrate", cwd=tmp_path, **empty)
    again = tenfold("migrate", "9999", cwd=tmp_path, **empty)
    assert (again.returncode, "9999" in again.stderr) == (1, True)


def test_a_database_that_is_away_is_told(tmp_path: Path, settings: Settings) -> None:
    url = "postgresql://tenfold:hunter2@127.0.0.1:1/tenfold"
    away = variables(settings, DATABASE_URL=url, WORKER_DATABASE_URL=url.replace("tenfold:", "worker:"))
    for command in (("migrate",), ("users", "list")):
        run = tenfold(*command, cwd=tmp_path, **away)
        assert run.returncode == 1
        assert len(run.stderr.splitlines()) == 1, run.stderr
        assert "see `tenfold check`" in run.stderr
        assert "hunter2" not in run.stderr


# -- users


def test_a_user_is_made_listed_promoted_and_given_a_password(tmp_path: Path, settings: Settings) -> None:
    env = variables(settings)
    create = ("users", "create", "Zoë", "--email", "z@example.org", "--password-stdin")
    refused = tenfold(*create, cwd=tmp_path, stdin=PASSWORD, **env)
    assert (refused.returncode, "username" in refused.stderr) == (1, True)

    made = tenfold(*create[:2], "zoe", *create[3:], cwd=tmp_path, stdin=f"{PASSWORD}\n", **env)
    assert made.stdout == "made user zoe\n", made.stderr
    taken = tenfold(*create[:2], "ZOE", *create[3:], cwd=tmp_path, stdin=PASSWORD, **env)
    assert (taken.returncode, len(taken.stderr.splitlines())) == (1, 1)

    assert tenfold("users", "promote", "zoe", cwd=tmp_path, **env).stdout == "zoe is admin now\n"
    row = tenfold("users", "list", cwd=tmp_path, **env).stdout.splitlines()[1].split()
    assert row[1:4] == ["zoe", "z@example.org", "admin"]

    assert (
        tenfold("users", "password", "zoe", "--password-stdin", cwd=tmp_path, stdin="a new password", **env).returncode
        == 0
    )
    short = tenfold("users", "password", "zoe", "--password-stdin", cwd=tmp_path, stdin="short", **env)
    assert short.returncode == 1
    nobody = tenfold("users", "promote", "nobody", cwd=tmp_path, **env)
    assert (nobody.returncode, nobody.stderr) == (1, "tenfold: There is no user nobody.\n")
    for run in (made, taken, short):
        assert PASSWORD not in run.stdout + run.stderr
        assert "Traceback" not in run.stderr


# -- the rest


def test_an_unknown_queue_is_told_with_the_known_ones(tmp_path: Path, settings: Settings) -> None:
    run = tenfold("worker", "--queue", "writes", "--queue", "reads", cwd=tmp_path, **variables(settings))
    assert run.returncode == 1
    assert "there is no queue reads: choose from writes" in run.stderr


def test_a_metrics_port_in_use_is_told_with_the_variable_that_names_it(tmp_path: Path, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        run = tenfold("worker", cwd=tmp_path, **variables(settings, WORKER_METRICS_PORT=port))
    assert run.returncode == 1
    assert f"cannot serve metrics on 127.0.0.1:{port}" in run.stderr
    assert "Choose another WORKER_METRICS_PORT" in run.stderr


def test_the_openapi_document_is_printed_or_written(tmp_path: Path) -> None:
    printed = tenfold("openapi", cwd=tmp_path)
    assert json.loads(printed.stdout)["openapi"].startswith("3.1"), printed.stderr
    assert tenfold("openapi", "-o", "api.json", cwd=tmp_path).returncode == 0
    assert (tmp_path / "api.json").read_text() == printed.stdout
