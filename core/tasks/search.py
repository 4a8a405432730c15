"""Words that are looked for in texts, whatever the case, the accents and the code points of both.

The rows stay as they are: what a word may look like in them is worked out here, as a regular expression. To normalise
each row instead takes three to seven times as long.

Two texts are the same where they fold to the same: without case (`ß` is `ss`, a final sigma a sigma), without
differences of compatibility (full width, ligatures), without accents and the vowel points of Hebrew and Arabic. Letters
that others would call accented are folded, too (`ø`, `đ`, Cyrillic `й`): who cannot type them finds what has them. What
makes another syllable (kana's voicing, the vowel signs of Indic scripts) is no accent.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from unicodedata import normalize

_ACCENTS = "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
_ACCENTS += "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_ACCENT = re.compile(f"[{_ACCENTS}]+")
# Letters with a stroke and the like, which Unicode does not take apart.
_PLAIN = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)
# Where characters have case or other forms: most of the first plane without ideographs and syllables, and some others.
_RANGES = (
    (0x20, 0x3400), (0xA640, 0xAC00), (0xF900, 0xFFF0), (0x10400, 0x10500), (0x10570, 0x105C0), (0x10780, 0x107C0),
    (0x10C80, 0x10D00), (0x118A0, 0x118E0), (0x16E40, 0x16E80), (0x1D400, 0x1D800), (0x1E900, 0x1E944),
    (0x1EE00, 0x1EF00), (0x1F100, 0x1F200), (0x1FBF0, 0x1FBFA), (0x2F800, 0x2FA20),
)  # fmt: skip
_LONGEST_FOLD = 3
_LONGEST_SEGMENT = 8


@dataclass(frozen=True, slots=True)
class _Forms:
    """Which characters fold to what.

    Attributes:
        singles: folded character → those that fold to it.
        several: folded text of several characters → the same.
        beginnings, ends: folded character → those whose fold of several begins, or ends, with it.
    """

    singles: defaultdict[str, str] = field(default_factory=lambda: defaultdict(str))
    several: defaultdict[str, str] = field(default_factory=lambda: defaultdict(str))
    beginnings: defaultdict[str, str] = field(default_factory=lambda: defaultdict(str))
    ends: defaultdict[str, str] = field(default_factory=lambda: defaultdict(str))

    def of(self, char: str) -> str:
        """A folded character, and all that fold to it."""
        found = self.singles.get(char, "")
        return found if char in found else char + found


def fold(text: str) -> str:
    """What is left of a text where case, accents and code points do not count."""
    text = normalize("NFKD", normalize("NFKD", text).casefold())
    return normalize("NFC", _ACCENT.sub("", text).translate(_PLAIN))


@lru_cache(maxsize=1024)
def pattern_of(word: str) -> str:
    """A regular expression of PostgreSQL that finds a word in a text, also within other words."""
    forms = _forms()
    folded = fold(word) or word
    pattern, begin = "", 0
    for end in range(1, len(folded) + 1):
        # A ligature stands for several letters: what lies between two places that none spans is told in all its ways.
        if end - begin >= _LONGEST_SEGMENT or not any(
            folded[first : first + length] in forms.several
            for first in range(begin, end)
            for length in range(end - first + 1, _LONGEST_FOLD + 1)
            if first + length <= len(folded)
        ):
            ways = list(_ways(forms, folded, begin, end))
            pattern += ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"
            begin = end
    if not word.isascii() and folded != word:
        # Rare characters are not among the forms, and some fold to nothing, or to a whole sentence.
        pattern = f"(?:{pattern}|{''.join(map(_escaped, word))})"
    return pattern


def _ways(forms: _Forms, folded: str, begin: int, end: int) -> Iterator[str]:
    """The ways to write a part of a folded word: letter by letter, and with ligatures."""
    if begin == end:
        yield ""
        return
    letter = _letter(forms, folded[begin], is_first=begin == 0, is_last=begin == len(folded) - 1)
    for rest in _ways(forms, folded, begin + 1, end):
        yield letter + rest
    for length in range(2, min(_LONGEST_FOLD, end - begin) + 1):
        if found := forms.several.get(folded[begin : begin + length]):
            for rest in _ways(forms, folded, begin + length, end):
                yield f"{_any_of(found)}[{_ACCENTS}]*{rest}"


def _letter(forms: _Forms, char: str, *, is_first: bool, is_last: bool) -> str:
    """One of the forms of a folded character, and accents."""
    found = forms.of(char)
    found += (forms.ends.get(char, "") if is_first else "") + (forms.beginnings.get(char, "") if is_last else "")
    choice, apart = _any_of(found), normalize("NFD", char)
    if apart != char:
        choice = f"(?:{choice}|{''.join(_any_of(forms.of(part)) for part in apart)})"
    return f"{choice}[{_ACCENTS}]*"


def _any_of(characters: str) -> str:
    return _escaped(characters) if len(characters) == 1 else f"[{''.join(map(_escaped, characters))}]"


def _escaped(char: str) -> str:
    return char if char.isalnum() or ord(char) > 127 else f"\\{char}"


@cache
def _forms() -> _Forms:
    """Made at the first search, in some 20 ms."""
    forms = _Forms()
    for first, end in _RANGES:
        for char in map(chr, range(first, end)):
            folded = fold(char)
            if len(folded) == 1:
                forms.singles[folded] += char
            elif 1 < len(folded) <= _LONGEST_FOLD and char.isalpha():
                forms.several[folded] += char
                forms.beginnings[folded[0]] += char
                forms.ends[folded[-1]] += char
    return forms
