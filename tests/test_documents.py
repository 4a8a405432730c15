"""ARCHITECTURE.md against the code: what it names exists, and its decisions are numbered and indexed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("ARCHITECTURE.md", "README.md")
PATH = re.compile(r"`((?:\.ci|api|core|worker|migrations|ops|tests)/[\w./-]*)`")


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def anchor(heading: str) -> str:
    """What a heading is linked by: lower case, without punctuation, hyphens for spaces."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_that_a_document_names_exists(document: str) -> None:
    named = set(PATH.findall(text_of(document)))
    assert named, f"{document} names no path"
    assert not {path for path in named if not (ROOT / path).exists()}


def test_decisions_are_numbered_without_a_gap_and_each_stands_in_the_index() -> None:
    _, _, decisions = text_of("ARCHITECTURE.md").partition("\n## Decisions\n")
    headings = re.findall(r"^### (.+)$", decisions, re.MULTILINE)
    assert [int(heading.split(".")[0]) for heading in headings] == list(range(1, len(headings) + 1))
    index = re.findall(r"^- \[(.+)\]\(#(.+)\)$", decisions, re.MULTILINE)
    assert sorted(index) == sorted((heading, anchor(heading)) for heading in headings)
