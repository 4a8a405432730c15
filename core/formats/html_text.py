"""The text of HTML, as programs keep descriptions in it."""

import html
import re

# No "<" inside, so that what never ends is not looked for again and again.
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)([^<>]*)>|<[!?][^<>]*>")
_ADDRESS = re.compile(r"\bhref\s*=\s*[\"']?([^\"'\s]+)", re.IGNORECASE)
_LINE_TAGS = frozenset({"br", "div", "dd", "dt", "li", "ol", "td", "tr", "ul"})
_PARAGRAPH_TAGS = frozenset({"blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "p", "pre", "table"})
_HIDDEN_TAGS = frozenset({"head", "script", "style", "title"})
_SPACES = re.compile(r"\s+")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")


def text_of_html(source: str) -> str:
    """The text of an HTML fragment: paragraphs, lines, list items and the addresses of links stay."""
    writer = _Writer()
    position = 0
    for tag in _TAG.finditer(source):
        writer.add(source[position : tag.start()])
        writer.pass_tag((tag[2] or "").lower(), tag[3], is_end=bool(tag[1]))
        position = tag.end()
    writer.add(source[position:])
    return writer.text()


class _Writer:
    """Writes the text between tags."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._hidden = ""  # the element whose contents are not shown
        self._preformatted = 0  # how many such elements are open
        self._address = ""
        self._link_begin = 0  # among the parts

    def add(self, data: str) -> None:
        """Adds what stands between two tags."""
        if data and not self._hidden:
            text = html.unescape(data)
            if not self._preformatted:
                text = _SPACES.sub(" ", text)
            if text != " " or not self._is_line_begun():
                self._parts.append(text)

    def pass_tag(self, name: str, attributes: str, *, is_end: bool) -> None:
        """Heeds a tag; a comment has no name."""
        if self._hidden:
            if is_end and name == self._hidden:
                self._hidden = ""
        elif name in _HIDDEN_TAGS:
            self._hidden = "" if is_end else name
        elif name == "a":
            if is_end:
                self._end_link()
            else:
                self._begin_link(attributes)
        elif name in _PARAGRAPH_TAGS:
            self._parts.append("\n\n")
            if name == "pre":
                self._preformatted = max(0, self._preformatted + (-1 if is_end else 1))
        elif name in _LINE_TAGS:
            self._break_line(name, is_end)

    def text(self) -> str:
        """All of it, with at most one blank line between two lines."""
        lines = "".join(self._parts).split("\n")
        # What is preformatted keeps its indentation.
        stripped = [line.rstrip() if line.startswith("  ") else line.strip() for line in lines]
        return _BLANK_LINES.sub("\n\n", "\n".join(stripped)).strip()

    def _is_line_begun(self) -> bool:
        return not self._parts or self._parts[-1].endswith("\n")

    def _begin_link(self, attributes: str) -> None:
        found = _ADDRESS.search(attributes)
        self._address = html.unescape(found[1]) if found else ""
        self._link_begin = len(self._parts)

    def _end_link(self) -> None:
        if "://" in self._address and self._address not in "".join(self._parts[self._link_begin :]):
            self._parts.append(f" ({self._address})")
        self._address = ""

    def _break_line(self, name: str, is_end: bool) -> None:
        if name == "br" or not self._is_line_begun():
            self._parts.append("\n")
        if name == "li" and not is_end:
            self._parts.append("- ")
