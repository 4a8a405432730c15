"""What `tenfold dev` keeps, and how logs are shown."""

import json
import os
from pathlib import Path

import pytest

from ops.dev.home import LARGEST_LOG_BYTES, Home
from ops.dev.stream import LINES_AT_ONCE, LONGEST_LINE, LogStream, shorten
from ops.faults import Fault


def test_a_home_can_be_had_once_at_a_time_and_again_afterwards(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home")
    for _ in range(2):
        with home.locked(), pytest.raises(Fault, match=rf"\(process {os.getpid()}\)"), Home(home.folder).locked():
            pass


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Fault, match=r"file/home cannot be used .*TENFOLD_HOME"), Home(tmp_path / "file/home").locked():
        pass


def test_the_signing_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    secret = home.signing_secret()
    assert len(secret) >= 48
    assert Home(tmp_path).signing_secret() == secret
    assert (tmp_path / "jwt_secret_key").stat().st_mode & 0o777 == 0o600
    assert Home(tmp_path / "..").folder != home.folder


def test_a_secret_that_was_lost_half_way_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "jwt_secret_key").write_text("")
    assert len(Home(tmp_path).signing_secret()) >= 48


def test_ports_are_remembered(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.port_of("queue") is None
    home.remember_port("cache", 1)
    home.remember_port("queue", 15_001)
    assert Home(tmp_path).port_of("queue") == 15_001


@pytest.mark.parametrize("damaged", ["", "{", "[1]", '{"queue": "x"}'])
def test_damaged_ports_are_as_good_as_none(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "ports.json").write_text(damaged)
    assert Home(tmp_path).port_of("queue") is None


def test_a_long_log_is_kept_under_a_number_and_begun_anew_while_others_write_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.logs.mkdir()
    log = home.log_file("postgres")
    with log.open("a") as writer:
        for number in range(5):
            writer.write(f"{number}\n")
            writer.flush()
            assert home.rotate_logs() == [], "it is short"
            os.truncate(log, LARGEST_LOG_BYTES + 1)
            assert home.rotate_logs() == [log]
            assert log.stat().st_size == 0
    kept = sorted(home.logs.iterdir())
    assert [file.name for file in kept] == ["postgres.log", "postgres.log.1", "postgres.log.2"]
    assert [file.read_text()[0] for file in kept[1:]] == ["4", "3"]


def test_the_stream_goes_on_with_a_log_that_was_begun_anew_and_is_as_long_again(tmp_path: Path) -> None:
    log, told = tmp_path / "api.log", list[str]()
    stream = LogStream([("api", log)], told.append)
    log.write_text("first\n")
    stream.look()
    stream.begin_anew(log)
    log.write_text("other\n")
    stream.look()
    assert told == ["api    │ first", "api    │ other"]


def test_a_structured_line_becomes_text_and_any_other_stays() -> None:
    line = json.dumps({"event": "request", "level": "info", "timestamp": "2026-01-02T03:04:05Z", "tier": "api", "n": 1})
    assert shorten(line) == "03:04:05 info    request n=1"
    assert shorten("Traceback (most recent call last):") == "Traceback (most recent call last):"
    assert shorten("[1, 2]") == "[1, 2]"
    assert len(shorten("x" * 1000)) == LONGEST_LINE


def test_the_stream_tells_what_is_new_line_by_line(tmp_path: Path) -> None:
    log, told = tmp_path / "api.log", list[str]()
    log.write_text("old\n")
    stream = LogStream([("api", log)], told.append)
    stream.look()
    with log.open("a") as file:
        file.write("first\nsec")
    stream.look()
    with log.open("a") as file:
        file.write("ond\n")
    stream.look()
    assert told == ["api    │ first", "api    │ second"]


def test_the_stream_follows_a_log_that_appears_late_and_starts_over(tmp_path: Path) -> None:
    log, told = tmp_path / "api.log", list[str]()
    stream = LogStream([("api", log)], told.append)
    stream.look()
    log.write_text("a long first line\n")
    stream.look()
    log.write_text("anew\n")
    stream.look()
    assert told == ["api    │ a long first line", "api    │ anew"]


def test_of_a_flood_the_stream_tells_the_end(tmp_path: Path) -> None:
    log, told = tmp_path / "api.log", list[str]()
    stream = LogStream([("api", log)], told.append)
    log.write_text("".join(f"{n}\n" for n in range(1000)))
    stream.look()
    assert told[0] == f"api    │ … {1000 - LINES_AT_ONCE} lines, which are in api.log"
    assert told[-1] == "api    │ 999"
    assert len(told) == LINES_AT_ONCE + 1
