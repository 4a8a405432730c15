"""Logs: one JSON object a line from both tiers and from libraries, with their context and without secrets."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).parents[2]
SECRETS = ("hunter2-database", "hunter2-queue", "kV0m2/8qZrX7cTn4yLwS1uHgBfJeDaPo", "hunter2-local")
PREAMBLE = """
import logging, structlog
from core import logs
from core.settings import Settings
settings = Settings.from_env()
logs.configure(settings, tier="worker")
log = logs.get_logger()
"""


def run(program: str, **variables: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", PREAMBLE + program],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": f"postgresql://tenfold:{SECRETS[0]}@localhost/tenfold",
            "REDIS_URL": f"redis://:{SECRETS[1]}@localhost/0",
            "JWT_SECRET_KEY": SECRETS[2],
            **variables,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    return result.stdout.splitlines()


def lines(program: str, **variables: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in run(program, **variables)]


def test_a_line_is_one_json_object_with_time_level_tier_and_what_was_said() -> None:
    [line] = lines("log.info('hello\\nworld', count=3, name='é')")
    assert (line["event"], line["level"], line["tier"]) == ("hello\nworld", "info", "worker")
    assert (line["count"], line["name"]) == (3, "é")
    assert line["timestamp"].endswith("Z")


def test_what_is_bound_to_a_request_or_job_stands_on_its_lines_alone() -> None:
    first, second = lines("""
with structlog.contextvars.bound_contextvars(request_id="r-1", job="j-1"):
    log.info("inside")
log.info("outside")
""")
    assert (first["request_id"], first["job"]) == ("r-1", "j-1")
    assert "request_id" not in second


def test_libraries_write_in_the_same_form_and_only_what_matters() -> None:
    [line] = lines("""
logging.getLogger("arq.worker").info("every job twice")
with structlog.contextvars.bound_contextvars(request_id="r-1"):
    logging.getLogger("asyncio").warning("slow %s", "callback")
""")
    assert (line["event"], line["level"], line["request_id"]) == ("slow callback", "warning", "r-1")


def test_lines_below_the_level_are_not_written() -> None:
    assert [line["event"] for line in lines("log.info('no'); log.warning('yes')", LOG_LEVEL="warning")] == ["yes"]


# In two halves, because Python 3.13 shows the source lines of what was given as `-c`.
FAILING = f"""
def fail(password):
    url = settings.database_url
    raise ValueError("went wrong")
for write in (log.exception, logging.getLogger("library").exception):
    try:
        fail("{SECRETS[3][:8]}" + "{SECRETS[3][8:]}")
    except ValueError:
        write("failed")
"""


def test_a_traceback_is_told_and_shows_no_values_of_variables() -> None:
    for form in ("json", "console"):
        text = "\n".join(run(FAILING, LOG_FORMAT=form))
        assert text.count("went wrong") >= 2
        assert not [secret for secret in SECRETS if secret in text]


def test_settings_that_are_logged_by_mistake_show_no_secret() -> None:
    text = "\n".join(run("log.info('settings', settings=settings, plain=str(settings))"))
    assert not [secret for secret in SECRETS if secret in text]


def test_what_cannot_be_told_in_json_is_told_as_text_and_never_raises() -> None:
    [line] = lines("log.info('odd', thing=object(), key={1: 2}, data=b'x', exception=ValueError('why'))")
    assert "object at" in line["thing"]
    assert line["key"] == {"1": 2}


def test_on_request_lines_are_for_people() -> None:
    [line] = run("log.info('hello', count=3)", LOG_FORMAT="console")
    assert "hello" in line
    assert "count" in line
    assert not line.startswith("{")
