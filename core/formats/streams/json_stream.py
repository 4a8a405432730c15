"""JSON of which only one item at a time is in memory, and JSON documents that are small enough to be held."""

import codecs
import io
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from core.formats.rows import BadRow, ImportRefused, excerpt
from core.formats.streams.utf8 import as_utf8

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ITEM_MAXIMUM = 1024 * 1024
DOCUMENT_MAXIMUM = 32 * 1024 * 1024
_VALUES_MAXIMUM = 4_000_000  # of a document: some 400 MB of objects, at the very worst
_BLOCK = 256 * 1024
_SPACE = re.compile(r"[ \t\r\n]*")
_SAMPLE = 200

# Finds where an item ends, quickly, because it is written in C. Numbers are not looked at (int() refuses those of
# thousands of digits); what an item holds is read by orjson, which keeps to the standard.
_scan = json.JSONDecoder(parse_int=float).raw_decode


def json_items(stream: BinaryIO, encoding: str | None) -> Iterator[tuple[int, dict[str, Any], str] | BadRow]:
    """The objects in an array, or objects that simply follow each other, each with its number from 1 and its text.

    Several arrays one after the other, as a loop over pages leaves them, are read as one.

    Raises:
        ImportRefused: the text is not (or from some place on not any more) JSON, breaks off, or has an item of more
            than `ITEM_MAXIMUM` characters. The items before have been given.
    """
    text = _Text(as_utf8(stream, encoding))
    number = 0
    is_in_array = False
    while mark := text.next_mark():
        if mark == ("]" if is_in_array else "["):
            is_in_array = not is_in_array
            text.skip()
        elif mark == ",":
            text.skip()
        else:
            number += 1
            source = text.take_value()
            try:
                content = orjson.loads(source)
            except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
                yield BadRow(number, None, f"Not valid JSON: {error}", excerpt(source[:_SAMPLE]), source=source)
                continue
            if isinstance(content, dict):
                yield number, content, source
            else:
                yield BadRow(number, None, "Not an object.", excerpt(content), source=source)
    if is_in_array:
        raise ImportRefused(
            "import-unreadable", f"The file breaks off {text.where()}, within its list: it is not whole. Send it again."
        )


class _Text:
    """A text that is read as it is needed."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        # Bytes that are not UTF-8 become lone surrogates, which orjson refuses where they are.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text = ""
        self._at = 0
        self._is_over = False
        self._lines = 0  # before what is held
        self._column = 0  # of the last of these lines

    def where(self, ahead: int = 0) -> str:
        """Where we are, or so many characters on, as a person would find it."""
        end = self._at + ahead
        lines = self._text.count("\n", 0, end)
        column = end - self._text.rfind("\n", 0, end) - 1 if lines else self._column + end
        return f"at line {self._lines + lines + 1:,}, column {column + 1:,}"

    def next_mark(self) -> str:
        """The next character that is no white space; empty at the end. It stays to be read."""
        while True:
            space = _SPACE.match(self._text, self._at)
            assert space is not None, "no white space is a match, too"
            self._at = space.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if self._is_over:
                return ""
            self._fill()

    def skip(self) -> None:
        """Passes over a character."""
        self._at += 1

    def take_value(self) -> str:
        """The source of the value that begins here."""
        while True:
            problem = None
            try:
                _, end = _scan(self._text, self._at)
            except json.JSONDecodeError as error:
                problem = error
            except RecursionError:
                raise ImportRefused(
                    "import-unreadable", f"The item that begins {self.where()} is nested too deeply."
                ) from None
            else:
                if end < len(self._text) or self._is_over:  # else a number could go on
                    break
            size = len(self._text) - self._at
            if problem is not None and (self._is_over or _is_hopeless(problem, len(self._text))):
                raise ImportRefused("import-unreadable", self._about(problem))
            if size > ITEM_MAXIMUM + _BLOCK:
                raise self._too_long()
            self._fill()
        if end - self._at > ITEM_MAXIMUM:
            raise self._too_long()
        source = self._text[self._at : end]
        self._at = end
        return source

    def _fill(self) -> None:
        lines = self._text.count("\n", 0, self._at)
        if lines:
            self._column = self._at - self._text.rfind("\n", 0, self._at) - 1
            self._lines += lines
        else:
            self._column += self._at
        block = self._stream.read(_BLOCK)
        self._is_over = not block
        self._text = self._text[self._at :] + self._decoder.decode(block, self._is_over)
        self._at = 0

    def _about(self, problem: json.JSONDecodeError) -> str:
        rest = self._text[problem.pos :].strip()
        if problem.msg.startswith("Unterminated string") or any(word.startswith(rest) for word in _WORDS):
            return f"The file breaks off: the item that begins {self.where()} is not whole. Send it again."
        return f"Not valid JSON {self.where(problem.pos - self._at)}: {problem.msg}."

    def _too_long(self) -> ImportRefused:
        return ImportRefused(
            "import-unreadable",
            f"The item that begins {self.where()} has more than {ITEM_MAXIMUM:,} characters. Take it out.",
        )


_LONGEST_TOKEN = 64  # of those that are no strings, and are told where they begin
_WORDS = ("true", "false", "null", "-", "\\u0000")


def _is_hopeless(problem: json.JSONDecodeError, size: int) -> bool:
    """Whether no more text can make it right: it is wrong well before the text's end."""
    return not problem.msg.startswith("Unterminated string") and problem.pos < size - _LONGEST_TOKEN


def json_document(stream: BinaryIO, encoding: str | None) -> Any:
    """A JSON document as a whole.

    Raises:
        ImportRefused: `import-too-large` over `DOCUMENT_MAXIMUM` bytes, `import-unreadable` where it is not JSON.
    """
    data = read_document(as_utf8(stream, encoding))
    if sum(map(data.count, (b",", b"[", b"{"))) > _VALUES_MAXIMUM:
        raise ImportRefused("import-too-large", f"The file has more than {_VALUES_MAXIMUM:,} values. Split it.")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as problem:
        if "surrogate" in problem.msg:
            return _with_surrogates(data)
        if problem.pos >= len(problem.doc.rstrip()):
            detail = f"The file breaks off after {len(data):,} bytes: it is not whole. Send it again."
        else:
            detail = (
                f"Not valid JSON at line {problem.lineno:,}, column {problem.colno:,}: {problem.msg.split(':')[0]}."
            )
        raise ImportRefused("import-unreadable", detail) from None


def limited(stream: BinaryIO) -> BinaryIO:
    """The same stream, for a reader that holds what it reads.

    Raises:
        ImportRefused: when reading, `import-too-large` over `DOCUMENT_MAXIMUM` bytes.
    """
    return io.BufferedReader(_Limited(stream), _BLOCK)


class _Limited(io.RawIOBase):
    """A stream that refuses to be longer than what may be held in memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = DOCUMENT_MAXIMUM

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        target = memoryview(buffer)
        block = self._stream.read(len(target))
        self._left -= len(block)
        if self._left < 0:
            raise _document_too_large()
        target[: len(block)] = block
        return len(block)


def read_document(stream: BinaryIO) -> bytes:
    """All of a stream, in UTF-8 or whatever it is.

    Raises:
        ImportRefused: `import-too-large` over `DOCUMENT_MAXIMUM` bytes; `import-empty` where there is nothing.
    """
    data = stream.read(DOCUMENT_MAXIMUM + 1)
    if len(data) > DOCUMENT_MAXIMUM:
        raise _document_too_large()
    if not data.strip():
        raise ImportRefused("import-empty", "The file is empty.")
    return data


def _with_surrogates(data: bytes) -> Any:
    """Half a surrogate pair, as JavaScript leaves it when it cuts a text, spoils its row, but not the document."""
    try:
        return json.loads(data.decode(errors="surrogateescape"), parse_int=float)
    except json.JSONDecodeError as problem:
        detail = f"Not valid JSON at line {problem.lineno:,}, column {problem.colno:,}: {problem.msg}."
    except RecursionError:
        detail = "The file is nested too deeply."
    raise ImportRefused("import-unreadable", detail)


def _document_too_large() -> ImportRefused:
    return ImportRefused(
        "import-too-large", f"The file is larger than {DOCUMENT_MAXIMUM:,} bytes, the most for its format. Split it."
    )
