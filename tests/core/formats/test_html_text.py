"""The text of HTML."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.formats.html_text import text_of_html


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain &amp; simple", "plain & simple"),
        ("<p>one\n two</p><p>three</p>", "one two\n\nthree"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<div>a</div>\n<div>b</div><div><br></div><div>c</div>", "a\nb\n\nc"),
        ("<ul>\n<li>one</li>\n<li>two</li>\n</ul>", "- one\n- two"),
        ('<a href="https://example.org/?a=1&amp;b=2">here</a>', "here (https://example.org/?a=1&b=2)"),
        ('<a href="https://example.org">https://example.org</a>', "https://example.org"),
        ("<style>p {}</style><script>x<y</script>shown", "shown"),
        ("<pre>a\n    b</pre>", "a\n    b"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<!-- no --><b>yes</b>", "yes"),
        ("<", "<"),
    ],
)
def test_html_becomes_text(source: str, text: str) -> None:
    assert text_of_html(source) == text


@given(st.text(st.sampled_from("<>/!?-&;# ab\n=\"'pre"), max_size=80))
def test_any_html_becomes_some_text(source: str) -> None:
    assert isinstance(text_of_html(source), str)
