"""Files in whatever encoding: found out, named, mixed."""

import io

import pytest

from core.formats.rows import ImportRefused
from core.formats.streams.text import BLOCK, MARK, Text, wide_encoding


class Dribble(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a network does, and says how much it was asked for."""

    def __init__(self, data: bytes, step: int = 7) -> None:
        self._rest = io.BytesIO(data)
        self._step = step
        self.taken = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._rest.read(min(size, self._step) if size >= 0 else self._step)
        self.taken += len(data)
        return data


def decoded(data: bytes, encoding: str | None = None) -> tuple[str, str]:
    text = Text(io.BytesIO(data), encoding)
    content = "".join(text.blocks())
    return content, text.encoding


POLISH = "Zażółć gęślą jaźń, kupić książkę"
RUSSIAN = "Проверить отчёт, отправить письмо и позвонить заказчику"


@pytest.mark.parametrize(
    ("content", "written", "found"),
    [
        ("title\nwater the plants", "ascii", "ascii"),
        ("title\nBlumen gießen", "utf-8", "utf-8"),
        ("title\nBlumen gießen", "utf-8-sig", "utf-8"),
        ("title\nBlumen gießen 🌱", "utf-16", "utf-16-le"),
        ("title\nBlumen gießen", "utf-16-le", "utf-16-le"),
        ("title\nBlumen gießen", "utf-16-be", "utf-16-be"),
        ("title\nBlumen gießen", "utf-32", "utf-32-le"),
        ("title\nBlumen gießen", "cp1252", "cp1252"),
        ("title\nà la française – “déjà vu” für 5 €", "cp1252", "cp1252"),
        ("title\nMüll raus", "cp1252", "cp1252"),
        ("title\ncafé", "cp1252", "cp1252"),
        (f"title\n{POLISH}", "cp1250", "cp1250"),
        (f"title\n{RUSSIAN}", "cp1251", "cp1251"),
        (f"title\n{RUSSIAN}", "koi8_r", "koi8_r"),
        ("title\nこれは日本語のタスクです。買い物に行く", "shift_jis", "shift_jis"),
    ],
)
def test_an_encoding_is_found_out(content: str, written: str, found: str) -> None:
    assert decoded(content.encode(written)) == (content, found)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"])
def test_a_character_may_be_cut_anywhere(encoding: str) -> None:
    content = "title\n" + "gießen äöü€ " * 50
    text = Text(Dribble(content.encode(encoding)), None)  # type: ignore[arg-type]
    assert "".join(text.blocks()) == content


@pytest.mark.parametrize("offset", range(4))
def test_a_character_on_the_edge_of_a_block_is_whole(offset: int) -> None:
    content = "a" * (BLOCK - offset) + "🌱ß" * 10
    assert decoded(content.encode()) == (content, "utf-8")


def test_the_encoding_is_settled_where_the_first_byte_tells_also_late() -> None:
    content = "plain,text\n" * 60_000 + "Blumen gießen\n"
    assert decoded(content.encode("cp1252")) == (content, "cp1252")
    assert decoded(content.encode()) == (content, "utf-8")


def test_bytes_of_another_encoding_are_marked_where_they_stand() -> None:
    text = Text(io.BytesIO("grün, blühen, gießen\n".encode() + "grün\n".encode("cp1252") + "weiß\n".encode()), None)
    content = "".join(text.blocks())
    assert text.encoding == "utf-8"
    assert text.has_marks
    assert MARK.sub("?", content) == "grün, blühen, gießen\ngr?n\nweiß\n"
    assert MARK.findall(content) == [chr(0xDC00 + 0xFC)]


def test_a_whole_file_has_no_marks() -> None:
    text = Text(io.BytesIO("grün".encode()), None)
    assert "".join(text.blocks()) == "grün"
    assert not text.has_marks


@pytest.mark.parametrize("wanted", ["UTF-8", "utf8", "windows-1252", "latin1", "ISO-8859-15"])
def test_a_named_encoding_is_used(wanted: str) -> None:
    assert decoded("grün".encode(wanted), wanted)[0] == "grün"


def test_a_byte_order_mark_goes_before_a_named_encoding() -> None:
    assert decoded("grün".encode("utf-8-sig"), "windows-1252")[0] == "grün"


@pytest.mark.parametrize("before", [0, 10, BLOCK - 1, BLOCK, 3 * BLOCK + 5])
def test_a_named_encoding_that_fails_ends_the_import_and_tells_the_byte(before: int) -> None:
    with pytest.raises(ImportRefused) as refused:
        decoded(b"a" * before + b"\xfcber", "utf-8")
    assert refused.value.name == "import-unreadable"
    assert f"byte {before:,} " in refused.value.detail


def test_a_byte_that_waited_for_the_next_block_is_counted_where_it_stands() -> None:
    with pytest.raises(ImportRefused, match=f"byte {BLOCK - 1:,} "):
        decoded(b"a" * (BLOCK - 1) + b"\xe2(", "utf-8")


@pytest.mark.parametrize("encoding", ["klingon", "base64", "rot13", "zlib", "idna", "punycode", "unicode_escape"])
def test_what_is_no_encoding_of_files_is_refused(encoding: str) -> None:
    with pytest.raises(ImportRefused, match="no encoding") as refused:
        decoded(b"title", encoding)
    assert refused.value.name == "import-unreadable"


def test_lines_of_an_old_mac_end_as_all_others() -> None:
    assert decoded(b"title\rfirst\rsecond\r")[0] == "title\nfirst\nsecond\n"


def test_no_bytes_are_no_text() -> None:
    assert decoded(b"") == ("", "ascii")


def test_no_more_than_a_block_is_read_ahead() -> None:
    stream = Dribble(b"a" * (10 * BLOCK), step=1000)
    text = Text(stream, None)  # type: ignore[arg-type]
    next(text.blocks())
    assert stream.taken == BLOCK


def test_a_row_of_nuls_is_not_taken_for_utf_16() -> None:
    assert wide_encoding(b"title,note\n" + b"\0" * 20 + b"\nfirst,second\n") is None
