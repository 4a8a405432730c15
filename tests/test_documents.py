"""The documents against the code: what they name exists, and decisions are numbered and indexed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("ARCHITECTURE.md", "CONTRIBUTING.md", "README.md")
PATH = r"(?:\.ci|api|core|worker|migrations|ops|tests)/[\w./-]*"


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def anchor(heading: str) -> str:
    """What a heading is linked by: lower case, without punctuation, hyphens for spaces."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def paths_in(document: str) -> set[str]:
    """In backquotes, or as what `make test` shall run."""
    text = text_of(document)
    chosen = " ".join(re.findall(r"^make test ARGS='([^']*)'", text, re.MULTILINE))
    return {*re.findall(f"`({PATH})`", text), *re.findall(rf"(?<!\S){PATH}", chosen)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_that_a_document_names_exists_but_those_that_its_reader_shall_make(document: str) -> None:
    named = paths_in(document)
    to_be_made = set(re.findall(f"Make `({PATH})`", text_of(document)))
    assert named, f"{document} names no path"
    assert {path for path in named if not (ROOT / path).exists()} <= to_be_made


def test_decisions_are_numbered_without_a_gap_and_each_stands_in_the_index() -> None:
    _, _, decisions = text_of("ARCHITECTURE.md").partition("\n## Decisions\n")
    headings = re.findall(r"^### (.+)$", decisions, re.MULTILINE)
    assert [int(heading.split(".")[0]) for heading in headings] == list(range(1, len(headings) + 1))
    index = re.findall(r"^- \[(.+)\]\(#(.+)\)$", decisions, re.MULTILINE)
    assert sorted(index) == sorted((heading, anchor(heading)) for heading in headings)


def the_map(tier: str) -> str:
    """A tier's lines of the map."""
    _, _, drawn = text_of("ARCHITECTURE.md").partition("\n## The map\n")
    lines = drawn.split("```")[1].splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"{tier}/"))
    end = next((number for number, line in enumerate(lines[begin + 1 :], begin + 1) if line[0] != " "), len(lines))
    return "\n".join(lines[begin:end])


@pytest.mark.parametrize("tier", ["core", "api", "worker"])
def test_every_module_of_a_tier_is_on_the_map_and_every_file_on_the_map_is_in_its_tier(tier: str) -> None:
    drawn = the_map(tier)
    modules = {path.name for path in (ROOT / tier).glob("[!_]*.py")}
    packages = {f"{path.parent.name}/" for path in (ROOT / tier).glob("*/__init__.py")}
    assert {name for name in modules | packages if not re.search(rf"(?<![\w/]){name}", drawn)} == set()
    files = {path.name for path in (ROOT / tier).rglob("*.py")}
    assert set(re.findall(r"\w+\.py", drawn)) <= files
