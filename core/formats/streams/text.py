"""A stream of bytes as text, in blocks: which encoding it is in, and what to do with bytes that are none of it.

An encoding that the client names, and that fails, ends the import. One that was found out goes on: the bytes that do
not fit are marked in the text (`MARK`), so that only the rows that hold them fail.
"""

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO

from charset_normalizer import from_bytes

from core.formats.rows import ImportRefused
from core.formats.streams.utf8 import encoding_of

BLOCK = 256 * 1024

# A byte that could not be decoded stands as U+DC00 plus its value: a lone surrogate, which no decoder yields.
MARK = re.compile(r"[\udc00-\udcff]")
_MARKING = "tenfold.mark"


def _marked(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_MARKING, _marked)

# Python's codecs that turn bytes into text, but are no encodings of files.
_NO_ENCODINGS = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "utf-7"})
# Encodings with letters of their own, among which `charset-normalizer` chooses. Not the Western and Central European
# ones: they differ in a few letters, for which it takes a guess.
_SCRIPTS = [
    "cp1251",
    "koi8_r",
    "cp1253",
    "cp1255",
    "cp1256",
    "shift_jis",
    "euc_jp",
    "gb18030",
    "big5",
    "cp949",
]
# ł, ą, ż and ľ of Windows-1250 are ³, ¹, ¿ and ¾ in Windows-1252, which do not stand inside a word.
_CENTRAL_EUROPEAN = re.compile(rb"[A-Za-z\x80-\xff][\xb3\xb9\xbe\xbf][a-z]|\s[\xbf\xb3][a-z]+[\xb3\xb9\xea][a-z]?")
_SAMPLE = 16 * 1024


class Text:
    """A stream's text.

    Attributes:
        encoding: the name of the encoding, as far as it is known: `ascii` until a byte tells more.
        has_marks: whether a byte could not be decoded so far.
    """

    def __init__(self, stream: BinaryIO, encoding: str | None) -> None:
        """Reads the first block.

        Raises:
            ImportRefused: `import-unreadable`: there is no encoding of that name.
        """
        self._stream = stream
        self._is_named = encoding is not None
        self._position = 0
        self.has_marks = False
        self._first = self._read()
        marked, mark_bytes = encoding_of(self._first)
        self._first = self._first[mark_bytes:]
        self._position += mark_bytes
        name = marked or encoding or wide_encoding(self._first) or "ascii"
        self.encoding = _normal(name)
        self._is_settled = name != "ascii" or self._is_named
        self._decoder = self._new_decoder()

    def blocks(self) -> Iterator[str]:
        """The text in order, once.

        Raises:
            ImportRefused: `import-unreadable`: bytes are none of the encoding that the client named.
        """
        block = self._first
        self._first = b""
        is_mac: bool | None = None
        while block:
            if text := self._decode(block, False):
                # Files of a Mac of old, and of Excel's "CSV (Macintosh)", end their lines with a mere CR.
                if is_mac is None:
                    is_mac = "\n" not in text and "\r" in text.rstrip("\r")
                yield text.replace("\r", "\n") if is_mac else text
            block = self._read()
        if text := self._decode(b"", True):
            yield text

    def _read(self) -> bytes:
        """A full block, unless the stream ends."""
        parts = []
        size = 0
        while size < BLOCK and (part := self._stream.read(BLOCK - size)):
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    def _new_decoder(self) -> codecs.IncrementalDecoder:
        return codecs.getincrementaldecoder(self.encoding)("strict" if self._is_named else _MARKING)

    def _decode(self, block: bytes, is_last: bool) -> str:
        if not self._is_settled and not block.isascii():
            self.encoding = _narrow_encoding(block)
            self._is_settled = True
            self._decoder = self._new_decoder()
        waiting = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(block, is_last)
        except UnicodeError as error:
            where = self._position - waiting + (error.start if isinstance(error, UnicodeDecodeError) else 0)
            raise ImportRefused(
                "import-unreadable",
                f"The file is not {self.encoding}: byte {where:,} (counted from 0) does not fit. Leave out the encoding"
                " to have it found out, or name the right one.",
            ) from None
        self._position += len(block)
        if not self.has_marks and not self._is_named and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                self.has_marks = True
        return text


def _normal(name: str) -> str:
    """Python's own name of an encoding."""
    try:
        codec = codecs.lookup(name)
        # Others turn bytes into bytes, or text into text.
        is_encoding = isinstance(codec.incrementaldecoder().decode(b""), str)
    except (LookupError, TypeError, ValueError):
        is_encoding = False
    if not is_encoding or codec.name in _NO_ENCODINGS:
        raise ImportRefused("import-unreadable", f"There is no encoding {name!r}; utf-8 and windows-1252 are common.")
    return codec.name


def wide_encoding(block: bytes) -> str | None:
    """UTF-16 without a mark: in the text of most languages, every other byte of many characters is 0."""
    even, odd = block[0:4096:2], block[1:4096:2]
    if len(odd) < 2:
        return None
    zeros_even, zeros_odd = even.count(0) / len(even), odd.count(0) / len(odd)
    if zeros_odd > 0.4 and zeros_even < 0.1:
        return "utf-16-le"
    if zeros_even > 0.4 and zeros_odd < 0.1:
        return "utf-16-be"
    return None


def _narrow_encoding(block: bytes) -> str:
    """The encoding of a block in which the first bytes stand that are not ASCII."""
    try:
        # The end of a full block may cut a character.
        codecs.utf_8_decode(block, "strict", len(block) < BLOCK)
    except UnicodeDecodeError:
        pass
    else:
        return "utf-8"
    text = block.decode(errors=_MARKING)
    marks = len(MARK.findall(text))
    others = sum(character > "\x7f" for character in text) - marks
    if others > marks:
        return "utf-8"
    lines = b"\n".join(line for line in block.split(b"\n") if not line.isascii())[:_SAMPLE]
    letters = sum(byte > 0x7F or chr(byte).isalpha() for byte in lines)
    if sum(byte > 0x7F for byte in lines) > letters / 2:
        best = from_bytes(lines, cp_isolation=_SCRIPTS).best()
        if best is not None:
            return best.encoding
    return "cp1250" if _CENTRAL_EUROPEAN.search(lines) else "cp1252"
