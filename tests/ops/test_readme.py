"""The README's tour and its section on being told, word for word, against a service that its first command started."""

import csv
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from core.exports.schemas import FORMATS as EXPORT_FORMATS
from core.formats.registry import FORMATS as IMPORT_FORMATS
from core.settings import Settings
from ops.ports import free_port
from tests.ops.running import ROOT, Running, environment

README = (ROOT / "README.md").read_text(encoding="utf-8")
README_PORT = 8000


def tour(section: str = "tour") -> dict[str, str]:
    """Name → the commands under it."""
    return dict(re.findall(rf"<!-- {section}:(\w+) -->\n```sh\n(.*?)```", README, re.DOTALL))


def told() -> dict[str, str]:
    """As the tour; but with what is installed here, ports that are free, and a reminder in some seconds."""
    commands = tour("told")
    install, _, rest = commands["receivers"].partition("\n")
    assert install == "python3 -m venv receivers && receivers/bin/pip install -q standardwebhooks aiosmtpd"
    this_python = f"mkdir -p receivers/bin; printf '#!/bin/sh\\nexec {sys.executable} \"$@\"\\n' > receivers/bin/python"
    commands["receivers"] = f"{this_python}; chmod +x receivers/bin/python\n{rest}"
    changes = {"minutes=2": "seconds=66", "sleep 65": "sleep 12", "9900": str(free_port()), "2525": str(free_port())}
    for old, new in changes.items():
        assert any(old in text for text in commands.values())
        commands = {name: text.replace(old, new) for name, text in commands.items()}
    return commands


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Not pytest's, which other runs of it close to the user that PostgreSQL runs as when we are root."""
    with tempfile.TemporaryDirectory(prefix="tenfold-tour-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def answers(folder: Path) -> Iterator[dict[str, str]]:
    """What each step of the tour prints, run in order in one shell."""
    port = free_port()
    variables = {"PORT": str(port), "WORKER_METRICS_PORT": "0", "TENFOLD_HOME": str(folder / "home")}
    commands_by_step = tour() | {"idempotency_again": tour()["idempotency"]} | told()
    steps = "\n".join(f"echo '@@ {name}'\n{commands}\necho" for name, commands in commands_by_step.items())
    with Running("dev", cwd=folder, variables=variables) as service:
        service.wait_for("Tenfold is ready", timeout=100)
        shell = subprocess.run(
            ["bash", "-eu", "-o", "pipefail"],
            input=steps.replace(f"localhost:{README_PORT}", f"localhost:{port}"),
            env=environment(),
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert shell.returncode == 0, shell.stderr
        yield dict(re.findall(r"^@@ (\w+)\n(.*?)(?=^@@ |\Z)", shell.stdout, re.DOTALL | re.MULTILINE))


def test_the_tour_begins_with_a_login_and_names_every_step_once() -> None:
    assert next(iter(tour())) == "login"
    assert len(tour()) == README.count("<!-- tour:")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            '{"type": "/problems/unauthorized", "detail": "The access token has expired."}',
            "The access token has expired.",
        ),
        ('{"type": "/problems/rate-limited", "detail": "Too many requests."}', "Too many requests."),
        ("", "no answer: does make run still run?"),
    ],
    ids=["401", "429", "nothing"],
)
def test_a_step_that_is_refused_says_why(answer: str, told: str) -> None:
    field = tour()["login"].partition("TOKEN=")[0]
    shell = subprocess.run(
        ["bash", "-euc", f"{field}printf '%s' '{answer}' | field id"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (shell.returncode, shell.stdout, shell.stderr) == (1, "", told + "\n")


def test_the_most_urgent_tasks_come_first(answers: dict[str, str]) -> None:
    page = orjson.loads(answers["list"])
    priorities = [task["priority"] for task in page["items"]]
    assert len(priorities) == 3
    assert priorities == sorted(priorities)
    assert page["next_cursor"]


def test_creating_answers_201_with_location_and_etag(answers: dict[str, str]) -> None:
    head, _, body = answers["create"].partition("\n\n")
    task = orjson.loads(body)
    assert head.startswith("HTTP/1.1 201 Created")
    assert f"Location: /tasks/{task['id']}" in head
    assert 'ETag: "1"' in head
    assert task["due_date"] == "2030-01-31T16:00:00Z"


def test_a_repeat_answers_the_same_task(answers: dict[str, str]) -> None:
    first, second = answers["idempotency"], answers["idempotency_again"]
    assert first.splitlines()[0] == second.splitlines()[0] == "HTTP/1.1 201 Created"
    assert "Idempotent-Replayed: true" not in first
    assert "Idempotent-Replayed: true" in second
    assert orjson.loads(first.partition("\n\n")[2]) == orjson.loads(second.partition("\n\n")[2])


def test_another_version_is_412_and_says_what_to_do(answers: dict[str, str]) -> None:
    problem = orjson.loads(answers["conflict"])
    assert problem["status"] == 412
    assert "read it again" in problem["detail"]


def test_the_job_of_a_write_that_nobody_waited_for_succeeds(answers: dict[str, str]) -> None:
    job = orjson.loads(answers["async"])
    assert job["state"] == "succeeded"
    assert job["result"]["title"] == "Whenever you like"


def test_each_operation_of_a_batch_has_its_own_fate(answers: dict[str, str]) -> None:
    results = orjson.loads(answers["batch"])["results"]
    assert [result["status"] for result in results] == [201, 422, 404]


def test_a_file_is_imported_and_its_bad_row_told(answers: dict[str, str]) -> None:
    shown, _, errors = answers["import"].partition("\n")
    counts = orjson.loads(shown)
    assert [counts[name] for name in ("state", "read", "created", "failed")] == ["succeeded", 2, 1, 1]
    header, bad = errors.strip().splitlines()
    assert header == "title,priority,labels,error"
    assert bad.startswith("Pack,eleven,moving,")


def test_what_was_imported_is_exported(answers: dict[str, str]) -> None:
    shown, _, file = answers["export"].partition("\n")
    assert orjson.loads(shown)["state"] == "succeeded"
    [task] = csv.DictReader(file.strip().splitlines())
    assert (task["title"], task["priority"], task["labels"]) == ("Hire a van", "2", "moving")


def test_a_reminder_is_printed_by_the_receiver_who_verified_it_and_by_the_mail_server(answers: dict[str, str]) -> None:
    printed = answers["look"]
    assert printed.count("'type': 'task.reminder'") == 1
    assert printed.count("'type': 'task.completed'") == 1
    assert printed.count("Subject: Reminder: Take the cake out") == 1


def test_what_was_told_is_in_the_deliveries_and_in_the_notifications(answers: dict[str, str]) -> None:
    deliveries, notifications, completed, following = [
        orjson.loads(line) for line in answers["look"].splitlines() if line.startswith('{"')
    ]
    assert [one["event"] for one in deliveries["items"]] == ["task.reminder", "task.reminder"]
    assert notifications["items"][0]["text"].startswith("Take the cake out, due ")
    assert (completed["status"], completed["recurrence"]) == ("completed", None)
    assert [task["recurrence"] for task in following["items"]] == ["FREQ=WEEKLY"]


def test_every_format_has_its_command_in_the_readme() -> None:
    section = README.partition("## Moving in and out")[2].partition("\n## ")[0]
    for name in (*IMPORT_FORMATS, *EXPORT_FORMATS):
        rows = [line for line in section.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1]]
        assert rows, name
        assert all("`tenfold " in row for row in rows), name


def test_every_setting_in_the_table_exists_and_none_is_missing() -> None:
    table = README.partition("## Configuration")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", table))
    assert named == {name.upper() for name in Settings.__dataclass_fields__}


def test_every_file_that_the_readme_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(ROOT) / target).exists(), target
