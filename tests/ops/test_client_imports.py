"""`tenfold import` against a running server, over good connections and bad ones."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ops.client import bars
from ops.client.imports import Sending, import_files, mapping_of
from ops.faults import Fault
from tests.harness import Service
from tests.ops.connections import Link, connected, names_in, run


def test_a_mapping_is_json_or_a_file_that_holds_it(tmp_path: Path) -> None:
    file = tmp_path / "mapping.json"
    file.write_text('\ufeff{"columns": {"Übersicht": "title"}}')
    assert mapping_of(str(file)) == mapping_of(' {"columns":{"Übersicht":"title"}}')
    for given in (str(tmp_path / "nothing"), "{", "[]"):
        with pytest.raises(Fault, match="mapping"):
            mapping_of(given)


NDJSON = "".join(json.dumps({"title": f"task {number} ü", "priority": number % 10 + 1}) + "\n" for number in range(200))


async def titles(service: Service) -> list[str]:
    rows = await service.rows("SELECT title FROM tasks WHERE user_id = $1 ORDER BY id", service.alice.id)
    return [row["title"] for row in rows]


async def test_a_file_is_imported_and_told_of(serving: Service, tmp_path: Path) -> None:
    (tmp_path / "tasks.ndjson").write_text(NDJSON)
    ran = await run(serving, tmp_path, "import", "tasks.ndjson")
    assert ran.returncode == 0, ran.stderr
    lines = (line.split() for line in ran.stderr.splitlines())
    shown = {name: value for name, *_, value in filter(None, lines) if name in ("created", "failed")}
    assert shown == {"created": "200", "failed": "0"}
    assert await titles(serving) == [f"task {number} ü" for number in range(200)]
    [listed] = (await serving.alice.get("/imports")).items
    assert listed["filename"] == "tasks.ndjson"


async def test_standard_input_is_imported(serving: Service, tmp_path: Path) -> None:
    ran = await run(serving, tmp_path, "import", "-", "--format", "tenfold-ndjson", stdin=NDJSON)
    assert ran.returncode == 0, ran.stderr
    assert len(await titles(serving)) == 200


async def test_rows_that_failed_are_written_and_make_the_exit_status_1(serving: Service, tmp_path: Path) -> None:
    (tmp_path / "tasks.csv").write_text("title,priority\ngood,1\nbad,eleven\n")
    ran = await run(serving, tmp_path, "import", "tasks.csv", "--format", "tenfold-csv", "--errors", "errors.csv")
    assert ran.returncode == 1, ran.stderr
    [row] = csv.DictReader((tmp_path / "errors.csv").open())
    assert (row["title"], row["priority"]) == ("bad", "eleven")
    assert row["error"]
    assert await titles(serving) == ["good"]


async def test_a_dry_run_changes_nothing(serving: Service, tmp_path: Path) -> None:
    (tmp_path / "tasks.ndjson").write_text(NDJSON)
    ran = await run(serving, tmp_path, "import", "tasks.ndjson", "--dry-run")
    assert (ran.returncode, await titles(serving)) == (0, []), ran.stderr
    assert "nothing was changed" in ran.stderr


async def test_several_files_are_told_in_a_line_each_and_together(serving: Service, tmp_path: Path) -> None:
    (tmp_path / "good.ndjson").write_text('{"title": "a"}\n{"title": "b"}\n')
    (tmp_path / "bad.ndjson").write_text('{"title": "c"}\n{"title": "", "priority": 0}\n')
    (tmp_path / "none.bin").write_bytes(bytes(range(256)) * 10)
    files = ("good.ndjson", "none.bin", "bad.ndjson")
    ran = await run(serving, tmp_path, "import", *files, "--errors", "failed")
    assert ran.returncode == 1
    lines = ran.stderr.splitlines()
    [good] = [line for line in lines if line.startswith("good.ndjson: ")]
    assert "2 read, 2 created" in good
    [bad] = [line for line in lines if line.startswith("bad.ndjson: ")]
    assert "2 read, 1 created, 1 failed" in bad
    assert any(line.startswith("tenfold: none.bin: ") for line in lines)
    assert "3 files: 4 read, 3 created, 1 failed" in lines
    assert await titles(serving) == ["a", "b", "c"]
    assert [path.name for path in (tmp_path / "failed").iterdir()] == ["bad.ndjson"]
    fine = await run(serving, tmp_path, "import", "good.ndjson", "good.ndjson")
    assert (fine.returncode, "2 files: 4 read, 4 skipped" in fine.stderr) == (0, True), fine.stderr


async def test_a_dry_run_shows_the_first_tasks_as_a_table(serving: Service, tmp_path: Path) -> None:
    (tmp_path / "tasks.csv").write_text("Task,Prio,Owner\nWater the plants,high,ann\n,low,bob\n")
    ran = await run(serving, tmp_path, "import", "tasks.csv", "--dry-run")
    assert (ran.returncode, await titles(serving)) == (1, [])
    lines = [line.split() for line in ran.stderr.splitlines()]
    assert ["title", "status", "priority", "description"] in lines
    assert ["Water", "the", "plants", "pending", "3", "Owner:", "ann"] in lines
    assert "row 2, Task: " in ran.stderr
    assert json.loads(ran.stdout)["columns"]["Task"] == "title"


async def test_lists_and_columns_go_where_the_options_say(serving: Service, tmp_path: Path) -> None:
    board = {
        "shortUrl": "u",
        "prefs": {},
        "lists": [{"id": "l", "name": "Doing", "idBoard": "b"}, {"id": "m", "name": "Garden", "idBoard": "b"}],
        "cards": [{"id": f"{n:024x}", "idBoard": "b", "idList": "lm"[n], "name": f"card {n}"} for n in range(2)],
    }
    (tmp_path / "board.json").write_text(json.dumps(board))
    ran = await run(serving, tmp_path, "import", "board.json", "--lists-as", "labels", "--columns-as", "statuses")
    assert ran.returncode == 0, ran.stderr
    rows = await serving.rows("SELECT status, labels FROM tasks WHERE user_id = $1 ORDER BY id", serving.alice.id)
    assert [tuple(row.values()) for row in rows] == [("in_progress", []), ("pending", ["Garden"])]


async def test_an_import_is_taken_back(serving: Service, tmp_path: Path) -> None:
    (tmp_path / "tasks.ndjson").write_text(NDJSON)
    begun = await run(serving, tmp_path, "import", "tasks.ndjson", "--no-watch")
    import_id = begun.stdout.strip()
    assert (await run(serving, tmp_path, "import", "--id", import_id)).returncode == 0
    ran = await run(serving, tmp_path, "import", "--undo", import_id)
    assert ran.returncode == 0, ran.stderr
    assert [line.split() for line in ran.stderr.splitlines() if line.startswith("taken back")] == [
        ["taken", "back", "200"]
    ]
    assert await titles(serving) == []
    again = await run(serving, tmp_path, "import", "--undo", import_id)
    told = "no task is left to take back: what it made (200 tasks) was taken back before"
    assert (again.returncode, again.stderr) == (0, f"import {import_id}: {told}\n")


async def test_an_id_that_nobody_has_is_told_and_nothing_else(serving: Service, tmp_path: Path) -> None:
    unknown = "01a20000-0000-7000-8000-000000000000"
    for option in ("--id", "--undo"):
        ran = await run(serving, tmp_path, "import", option, unknown)
        assert (ran.returncode, ran.stderr) == (1, "tenfold: There is no such import.\n")


def test_the_bar_of_rows_is_there_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    narrow = Console(width=80, force_terminal=True, file=output, soft_wrap=True, color_system=None)
    monkeypatch.setattr(bars, "console", narrow)
    with bars.row_bars(with_estimates=False) as progress:
        counts = "43,210 read, 43,100 created, 110 failed, 2,000 warned, 35,000/s, 0:00:05 left"
        progress.add_task("importing", total=100, completed=43, counts=counts)
        narrow.print(progress.get_renderable())
    shown = next(line for line in output.getvalue().splitlines() if "importing" in line)
    assert "━" * 8 in shown
    assert "43,210 read" in shown


async def test_an_import_that_is_refused_or_fails_makes_the_exit_status_1(serving: Service, tmp_path: Path) -> None:
    (tmp_path / "tasks.bin").write_bytes(bytes(range(256)) * 10)
    ran = await run(serving, tmp_path, "import", "tasks.bin", "--format", "nonsense")
    assert (ran.returncode, "format" in ran.stderr) == (1, True)
    ran = await run(serving, tmp_path, "import", "tasks.bin")
    assert ran.returncode == 1
    ran = await run(serving, tmp_path, "import", "nothing.csv")
    assert (ran.returncode, ran.stderr) == (1, "tenfold: nothing.csv cannot be read: No such file or directory\n")


async def test_what_is_wrong_with_a_whole_file_is_told_once(serving: Service, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "none.bin").write_bytes(bytes(range(256)) * 10)
    for file, told in (("empty.csv", "The file is empty."), ("none.bin", "It cannot be told what program wrote")):
        ran = await run(serving, tmp_path, "import", file)
        assert (ran.returncode, ran.stderr.count(told)) == (1, 1), ran.stderr


@pytest.mark.parametrize(
    ("files", "errors"),
    [(("a.csv",), "/proc/nope.csv"), (("a.csv", "a.csv"), "a.csv"), (("a.csv", "a.csv"), "/proc/nope")],
)
async def test_where_rows_that_failed_go_is_looked_at_before_anything_is_sent(
    service: Service, tmp_path: Path, files: tuple[str, ...], errors: str
) -> None:
    (tmp_path / "a.csv").write_text("title\na\n")
    ran = await run(service, tmp_path, "import", *files, "--errors", errors, TENFOLD_URL="http://127.0.0.1:1")
    assert (ran.returncode, len(ran.stderr.splitlines())) == (1, 1)
    assert ran.stderr.startswith(f"tenfold: {errors} cannot be ")
    assert ran.stderr.endswith("; choose another place\n")
    assert names_in(tmp_path) == {"a.csv"}


async def test_unwatched_it_prints_the_id_to_watch_later(serving: Service, tmp_path: Path) -> None:
    (tmp_path / "tasks.ndjson").write_text(NDJSON)
    ran = await run(serving, tmp_path, "import", "tasks.ndjson", "--no-watch")
    assert ran.returncode == 0, ran.stderr
    later = await run(serving, tmp_path, "import", "--id", ran.stdout.strip())
    assert later.returncode == 0, later.stderr
    assert len(await titles(serving)) == 200


@pytest.mark.parametrize("cuts", [{"sent": [200_000, 300_000]}, {"received": [1, 1]}], ids=["upload", "answer"])
async def test_an_upload_over_a_bad_connection_is_imported_once(
    serving: Service, tmp_path: Path, cuts: dict[str, Any]
) -> None:
    file = tmp_path / "tasks.ndjson"
    file.write_text(
        "".join(json.dumps({"title": f"task {number}", "description": "x" * 5000}) + "\n" for number in range(200))
    )
    async with Link(serving) as link, connected(link.url, serving) as server:
        link.cut_after_sent[:] = cuts.get("sent", [])
        link.cut_after_received[:] = cuts.get("received", [])
        assert await import_files(server, [str(file)], Sending()) == 0
        assert link.cut_after_sent == link.cut_after_received == []
    assert len(await titles(serving)) == 200
    assert len((await serving.alice.get("/imports")).items) == 1


async def test_the_file_and_the_password_cannot_both_be_standard_input(serving: Service, tmp_path: Path) -> None:
    for arguments in (("-", "--password-stdin", "--username", "alice"), (), ("x", "--id", "y")):
        ran = await run(serving, tmp_path, "import", *arguments)
        assert (ran.returncode, ran.stderr.startswith("tenfold: ")) == (1, True)
