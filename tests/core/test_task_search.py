"""Words that are looked for in texts: case, accents and code points do not count."""

from unicodedata import category, normalize

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.tasks.search import _forms, fold, pattern_of

FINDS = "SELECT $1::text ~ $2"


async def found(owner: asyncpg.Connection, text: str, words: str) -> bool:
    return all([await owner.fetchval(FINDS, text, pattern_of(word)) for word in words.split()])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cafe\u0301", "CAFÉ"),
        ("Café", "cafe"),
        ("cafe", "café"),
        ("Straße", "STRASSE"),
        ("STRASSE", "straße"),
        ("Straße", "stras"),
        ("Großes ß", "sses"),
        ("Maßstab", "massstab"),
        ("ﬂuﬀy ﬁsh", "fluffy fish"),
        ("İstanbul", "istanbul"),
        ("ISTANBUL", "ıstanbul"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("σίσυφος", "ΣΙΣΥΦΟΣ"),
        ("Đặng Thị Hoà", "dang thi hoa"),
        ("Ёлка", "елка"),
        ("МОЙ", "мои"),  # who cannot type й finds it
        ("Łódź", "lodz"),
        ("Ærø", "aero"),
        ("ﬁne", "fine"),
        ("ＦＵＬＬ", "full"),
        ("ｶﾞｲﾄﾞ", "ガイド"),
        ("한국", normalize("NFD", "한국")),
        (normalize("NFD", "한국"), "한국"),
        ("שָׁלוֹם", "שלום"),
        ("كِتَاب", "كتاب"),
        ("हिन्दी", "हिन्दी"),
        ("𐐐", "𐐸"),
        ("a.b*c(d)[e]{2}|^$", "a.b*c(d)[e]{2}|^$"),
        ("50%_\\", "50%_\\"),
        ("x-]^y", "-]^"),
        ("***=a", "***=a"),
    ],
)
async def test_what_is_written_another_way_is_found(owner: asyncpg.Connection, text: str, words: str) -> None:
    assert await found(owner, text, words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("abc", "a.c"),
        ("がくせい", "かくせい"),  # another syllable
        ("हिन्दी", "हन्द"),
        ("cat", "cut"),
        ("ab", "ba"),
        ("Maße", "mase"),
    ],
)
async def test_what_is_another_word_is_not(owner: asyncpg.Connection, text: str, words: str) -> None:
    assert not await found(owner, text, words)


LETTERS = st.text(
    st.sampled_from("aAäÄéİıIßẞsSσςΣøØđĐйиЙёñ가각がかカﾞｶ\u0301\u0308\u0327.*+?()[]{}|^$\\-_%𝔸ﬁĳ☕"),
    min_size=1,
    max_size=6,
)
# Of signs that stand for sentences or units only the same are found.
ANY = st.text(
    st.characters(codec="utf-8", categories=["L", "Nd"]).filter(lambda char: 1 <= len(fold(char)) <= 3), min_size=1
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=ANY, word=st.one_of(LETTERS, ANY), after=ANY, form=st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
async def test_a_text_has_its_own_words_in_every_form(
    owner: asyncpg.Connection, before: str, word: str, after: str, form: str
) -> None:
    text = f"{before} {word} {after}"
    assert await owner.fetchval(FINDS, text, pattern_of(word))
    if fold(word):
        assert await owner.fetchval(FINDS, normalize(form, text), pattern_of(word))  # type: ignore[arg-type]
        assert await owner.fetchval(FINDS, text, pattern_of(normalize(form, word)))  # type: ignore[arg-type]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=LETTERS, word=LETTERS)
async def test_what_is_found_is_there_when_both_are_folded(owner: asyncpg.Connection, text: str, word: str) -> None:
    if fold(word) and await owner.fetchval(FINDS, text, pattern_of(word)):
        assert normalize("NFD", fold(word)) in normalize("NFD", fold(text))


def test_each_letter_that_folds_to_another_is_among_the_forms_of_that() -> None:
    forms = _forms()
    letters = (char for char in map(chr, range(0x21, 0x32000)) if category(char)[0] == "L" or category(char) == "Nd")
    for char in letters:
        folded = fold(char)
        if 1 < len(folded) <= 3:
            assert char in forms.several[folded]
        elif len(folded) == 1:
            assert char in forms.of(folded)
