"""`tenfold tasks` against a running server: added, listed, shown and completed, by people and by programs."""

import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.cells import cell_len

from core import clock
from ops.client import listing
from ops.client.dates import due_of
from ops.client.listing import plain
from ops.client.server import _Busy
from ops.faults import Fault
from tests.factories import create_task, create_tasks
from tests.harness import PASSWORD, SECRET, Service
from tests.ops.connections import connected, run
from tests.ops.running import TENFOLD, environment, tenfold


async def test_a_task_is_added_listed_shown_and_completed_by_the_id_that_is_listed(
    service: Service, tmp_path: Path
) -> None:
    added = await run(
        service, tmp_path, "tasks", "add", "Buy milk", "--due", "2030-01-31", "-p", "2", "-l", "home", "-l", "shop"
    )
    assert added.returncode == 0, added.stderr
    assert added.stdout.startswith("added ")
    listed = await run(service, tmp_path, "tasks", "list")
    header, line = listed.stdout.splitlines()
    assert header.split() == ["id", "priority", "due", "status", "title", "labels"]
    task_id = line.split()[0]
    assert line.split()[1:] == ["2", "2030-01-31", "pending", "Buy", "milk", "home,", "shop"]
    shown = await run(service, tmp_path, "tasks", "show", task_id)
    assert "2030-01-31" in shown.stdout
    assert "Buy milk" in shown.stdout
    done = await run(service, tmp_path, "tasks", "done", task_id)
    assert done.stdout == f"done {task_id}: Buy milk\n"
    assert (await run(service, tmp_path, "tasks", "list")).stdout == "no tasks\n"
    assert task_id in (await run(service, tmp_path, "tasks", "list", "--all")).stdout


async def test_programs_get_what_the_server_answers(service: Service, tmp_path: Path) -> None:
    task = orjson.loads((await run(service, tmp_path, "tasks", "add", "Ü", "--json")).stdout)
    assert orjson.loads((await run(service, tmp_path, "tasks", "list", "--json")).stdout) == [task]
    assert orjson.loads((await run(service, tmp_path, "tasks", "show", str(task["id"]), "--json")).stdout) == task
    [completed] = orjson.loads((await run(service, tmp_path, "tasks", "done", str(task["id"]), "--json")).stdout)
    assert completed["status"] == "completed"


async def test_a_list_goes_over_pages_filters_and_says_that_there_is_more(
    service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE", 2)
    await create_tasks(service.alice, [{"title": f"number {n}", "priority": 10 - n} for n in range(7)])
    async with connected(str(service.base), service) as server:
        await listing.show_list(server, {"sort": "priority"}, 5, as_json=False)
        told = capsys.readouterr()
        assert last_words(told.out) == ["6", "5", "4", "3", "2"]
        assert "--limit 10 shows them" in told.err
        await listing.show_list(server, {"sort": "priority", "priority": "4,5"}, 5, as_json=False)
        assert last_words(capsys.readouterr().out) == ["6", "5"]


def last_words(output: str) -> list[str]:
    return [line.split()[-1] for line in table_of(output)[1:]]


def table_of(output: str) -> list[str]:
    """Without what the service in our process logs."""
    return [line for line in output.splitlines() if not line.startswith("{")]


async def test_one_that_cannot_be_completed_is_told_and_the_others_are(service: Service, tmp_path: Path) -> None:
    task = await create_task(service.alice, title="there")
    ran = await run(service, tmp_path, "tasks", "done", "1", str(task["id"]))
    assert ran.returncode == 1
    assert ran.stderr.startswith("tenfold: 1: ")
    assert ran.stdout == f"done {task['id']}: there\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("add", "x", "--due", "someday"), "'someday' is no date: give today, tomorrow, a day such as 2030-01-31"),
        (("add", ""), "title"),
        (("list", "--status", "lost"), "status"),
        (("show", "12345"), "task"),
    ],
    ids=str,
)
async def test_what_is_wrong_is_told_plainly(
    service: Service, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    ran = await run(service, tmp_path, "tasks", *arguments)
    assert ran.returncode == 1
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr


def test_dates_are_read_as_people_write_them() -> None:
    here = clock.now().astimezone()
    assert due_of("2030-01-31") == "2030-01-31"
    assert due_of("today") == here.date().isoformat()
    assert due_of("Tomorrow") == (here + timedelta(days=1)).date().isoformat()
    assert due_of("2030-01-31T17:00:00+05:00") == "2030-01-31T17:00:00+05:00"
    assert due_of("2030-01-31 17:00").startswith("2030-01-31T17:00:00")
    assert due_of("2030-01-31 17:00")[-6] in "+-"
    with pytest.raises(Fault):
        due_of("2030-02-31")


def test_nothing_in_a_title_is_obeyed_by_the_terminal() -> None:
    assert plain("a\x1b[2Jb\r\nc\x9b1m\u202ed\u2028e\x00") == "a�[2Jb��c�1m�d�e�"
    assert plain("日本 ü 👍🏽 العربية") == "日本 ü 👍🏽 العربية"


async def test_a_table_fits_its_terminal_whatever_the_letters(
    service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = await create_tasks(
        service.alice, [{"title": title * 20, "labels": ["長い名前"]} for title in ("日本語", "[bold]x[/]", "👍🏽")]
    )
    async with connected(str(service.base), service) as server:
        await listing.show_list(server, {}, 5, as_json=False)
        assert "[bold]x[/]" * 20 in capsys.readouterr().out, "what goes to a file is not cut, nor understood"
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", "60")
        await listing.show_list(server, {}, 5, as_json=False)
    lines = table_of(re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out))
    assert len(lines) == 4
    assert all(cell_len(line) <= 60 for line in lines), lines
    assert "…" in lines[1]
    assert all(str(task["id"]) in line for task, line in zip(tasks, lines[1:], strict=True)), "ids are whole"


async def test_who_is_nobody_is_told_how_to_log_in(service: Service, tmp_path: Path) -> None:
    ran = await run(service, tmp_path, "tasks", "list", TENFOLD_TOKEN="")
    assert (ran.returncode, ran.stderr.splitlines()[0]) == (1, "tenfold: who are you?")
    ran = await run(
        service,
        tmp_path,
        *("tasks", "list", "--username", "alice", "--password-stdin"),
        stdin=f"{PASSWORD}\n",
        TENFOLD_TOKEN="",
    )
    assert ran.stdout == "no tasks\n"
    ran = await run(service, tmp_path, "tasks", "list", TENFOLD_TOKEN="expired")
    assert ran.stderr.startswith("tenfold: the token is not valid, or has expired.")


def test_where_nobody_can_be_asked_for_a_password_that_is_told_with_what_helps(tmp_path: Path) -> None:
    here = environment(TENFOLD_URL="http://127.0.0.1:1", DATABASE_URL="postgresql://h", REDIS_URL="redis://h")
    for command, others in (
        (("tasks", "list", "--username", "nobody"), ", or a token with --token or TENFOLD_TOKEN"),
        (("users", "password", "nobody"), ""),
    ):
        ran = subprocess.run(
            [*TENFOLD, *command],
            cwd=tmp_path,
            env={**here, "JWT_SECRET_KEY": SECRET, "TENFOLD_ENV": "development"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,  # which has no terminal
        )
        told = f"there is no terminal to ask for the password: give it with --password-stdin{others}"
        assert (ran.returncode, ran.stderr) == (1, f"tenfold: {told}\n")


def test_a_server_that_is_not_there_is_told_with_advice(tmp_path: Path) -> None:
    for url, why in (
        ("http://localhost:1", "Connection refused"),
        ("http://no.invalid", "there is no host no.invalid"),
    ):
        ran = tenfold("tasks", "list", "--server", url, "--token", "x", cwd=tmp_path)
        told = f"{url} cannot be reached: {why}; does Tenfold run there? --server or TENFOLD_URL names another"
        assert (ran.returncode, ran.stderr.splitlines()[-1]) == (1, f"tenfold: {told}")
        assert "Connect call" not in ran.stderr


async def test_a_limit_is_waited_out_and_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    async with connected(str(service.base), service, said) as server:
        opened = server.opened

        def busy_once(*arguments: Any, **options: Any) -> Any:
            monkeypatch.setattr(server, "opened", opened)
            raise _Busy("Too many requests.", 1.0)

        monkeypatch.setattr(server, "opened", busy_once)
        assert (await server.ask("GET", "/user/me"))["username"] == "alice"
    assert said == ["Too many requests. Going on in 1 s."]


async def test_a_limit_that_lasts_longer_than_anybody_waits_is_told_as_that(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.client.server.PATIENCE_SECONDS", 0.5)

    def busy(*_: Any, **__: Any) -> Any:
        raise _Busy("Too many wrong passwords.", 1800)

    async with connected(str(service.base), service) as server:
        await server.ask("GET", "/user/me")
        monkeypatch.setattr(server, "opened", busy)
        with pytest.raises(Fault, match=r"Too many wrong passwords\. The server asks to come again in 1800 s\."):
            await server.ask("GET", "/user/me")


@pytest.mark.parametrize("place", ["nowhere/t.csv", ".", "/proc/t.csv"])
async def test_where_an_export_goes_is_looked_at_before_anything_is_done(
    service: Service, tmp_path: Path, place: str
) -> None:
    ran = await run(service, tmp_path, "export", "-o", place, "--format", "csv", TENFOLD_URL="http://127.0.0.1:1")
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"tenfold: {place} cannot be written: ")


@pytest.mark.parametrize("command", [("export", "-o", "t.csv"), ("import",)], ids=lambda command: command[0])
async def test_of_a_wrong_id_only_that_is_told(service: Service, tmp_path: Path, command: tuple[str, ...]) -> None:
    for wrong in ("01a22f6d-a440-7137-a948-714c3c014c6e", "mine"):
        ran = await run(service, tmp_path, *command, "--id", wrong)
        assert ran.returncode == 1
        assert len(ran.stderr.splitlines()) == 1, ran.stderr
