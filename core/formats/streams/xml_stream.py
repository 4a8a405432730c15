"""XML of which only one element of a kind at a time is in memory; without entities and anything from outside."""

from collections.abc import Collection, Iterable, Iterator
from typing import BinaryIO
from xml.etree.ElementTree import Element, ParseError, tostring

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from core.formats.rows import ImportRefused
from core.formats.streams.json_stream import limited
from core.formats.streams.utf8 import as_utf8

_DEPTH_MAXIMUM = 100
_ELEMENTS_MAXIMUM = 2_000_000
_BLOCK = 1024 * 1024
_BREAKS_OFF = ("no element found", "unclosed token", "unclosed CDATA section", "partial character")


class _InLargeBlocks:
    """What a parser is fed.

    Expat before 2.6 looks at a tag or a comment from its beginning again whenever more of it comes (CVE-2023-52425):
    in pieces of 16 KiB, as ElementTree asks for, a long one takes minutes.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int = _BLOCK) -> bytes:
        """A block, larger than asked for."""
        return self._stream.read(max(size, _BLOCK))


def xml_elements(
    stream: BinaryIO, encoding: str | None, names: Collection[str], roots: Collection[str]
) -> Iterator[Element]:
    """The elements of some names as they end; whoever gets one reads it at once, for then it is emptied.

    One inside another of these elements is not given by itself.

    Args:
        stream: the document; it may have `DOCUMENT_MAXIMUM` bytes.
        encoding: where the client named one; else it is the document's own.
        names: of the elements.
        roots: what the outermost element may be called.

    Raises:
        ImportRefused: `import-unreadable` where it is not XML (any more), or declares entities; `import-wrong-format`
            where the outermost element is another; `import-too-large`.
    """
    if encoding is not None:
        stream = as_utf8(stream, encoding)
    try:
        yield from _wanted(
            iterparse(_InLargeBlocks(limited(stream)), events=("start", "end"), forbid_dtd=True), names, roots
        )
    except ParseError as problem:
        raise _unreadable(problem) from None
    except DefusedXmlException:
        raise ImportRefused(
            "import-unreadable", "The file has a document type, which may define entities: take its DOCTYPE out."
        ) from None
    except (LookupError, ValueError) as problem:  # what expat says of encodings
        raise ImportRefused("import-unreadable", f"The XML cannot be read: {problem}.") from None


def _wanted(events: Iterable[tuple[str, Element]], names: Collection[str], roots: Collection[str]) -> Iterator[Element]:
    depth = 0
    inside = 0  # the depth of the wanted element that we are in
    count = 0
    for event, element in events:
        if event == "start":
            if depth == 0:
                _require_root(element, roots)
            depth += 1
            count += 1
            if not inside and element.tag in names:
                inside = depth
            if count > _ELEMENTS_MAXIMUM:
                raise ImportRefused(
                    "import-too-large", f"The file has more than {_ELEMENTS_MAXIMUM:,} elements. Split it."
                )
            if depth > _DEPTH_MAXIMUM:
                raise ImportRefused("import-unreadable", f"More than {_DEPTH_MAXIMUM} elements inside each other.")
        else:
            if inside == depth:
                yield element
                inside = 0
            if not inside:
                element.clear()
            depth -= 1


def _require_root(element: Element, roots: Collection[str]) -> None:
    if element.tag not in roots:
        wanted = " or ".join(f"<{root}>" for root in roots)
        raise ImportRefused("import-wrong-format", f"The outermost element is <{str(element.tag)[:50]}>, not {wanted}.")


def _unreadable(problem: ParseError) -> ImportRefused:
    line, column = problem.position
    where = f"at line {line:,}, column {column + 1:,}"
    what = str(problem).partition(":")[0]
    if what in _BREAKS_OFF:
        return ImportRefused("import-unreadable", f"The file breaks off {where}: it is not whole. Send it again.")
    return ImportRefused("import-unreadable", f"Not well-formed XML {where}: {what}.")


def source_of(element: Element) -> str:
    """The element as XML."""
    element.tail = None
    return tostring(element, encoding="unicode")


def text_of(element: Element, path: str = ".") -> str:
    """The text of a child without spaces around it; empty where there is none."""
    return (element.findtext(path) or "").strip()
