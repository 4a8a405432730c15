"""What columns are called: with units in brackets, underscores, stars and colons, and in other languages."""

from typing import Any

import pytest

from core.formats.csv.headers import bare, unit_of
from core.formats.csv.words import RANKS, word_of
from core.formats.programs.any_csv import FORMAT
from tests.core.formats.harness import BERLIN, read


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("Created At (UTC)", "created at"),
        ("created_at", "created at"),
        ("createdAt", "created at"),
        ("Title *", "title"),
        ("* Title", "title"),
        ("Due date:", "due date"),
        ("Due Date [dd.mm.yyyy]", "due date"),
        ("期限（必須）", "期限"),
        ("fields.summary", "summary"),
        ("fields.status.name", "status"),
        ("No.", "no"),
        ("(UTC)", "(utc)"),
    ],
)
def test_a_name_is_known_whatever_stands_around_it(name: str, word: str) -> None:
    assert word_of(name) == word


def test_a_unit_is_what_stands_in_brackets_at_the_end() -> None:
    assert (unit_of("Created At (UTC)"), unit_of("a (b) c"), unit_of("Due [d/m/y]:")) == ("UTC", "", "d/m/y")
    assert (bare("()"), bare("Résolu(e)")) == ("()", "Résolu")


LANGUAGES: dict[str, dict[str, str]] = {
    "de": {"title": "Titel", "description": "Beschreibung", "status": "Status", "priority": "Priorität",
           "due_date": "Fälligkeitsdatum", "labels": "Etiketten", "created_at": "Erstellt am",
           "completed_at": "Abgeschlossen am", "list": "Liste"},
    "fr": {"title": "Titre", "description": "Remarques", "status": "Statut", "priority": "Priorité",
           "due_date": "Date d’échéance", "labels": "Étiquettes", "created_at": "Date de création",
           "completed_at": "Terminé le", "list": "Projet"},
    "es": {"title": "Título", "description": "Descripción", "status": "Estado", "priority": "Prioridad",
           "due_date": "Fecha de vencimiento", "labels": "Etiquetas", "created_at": "Fecha de creación",
           "completed_at": "Fecha de finalización", "list": "Proyecto"},
    "it": {"title": "Titolo", "description": "Descrizione", "status": "Stato", "priority": "Priorità",
           "due_date": "Data di scadenza", "labels": "Etichette", "created_at": "Data di creazione",
           "completed_at": "Data di completamento", "list": "Progetto"},
    "pt": {"title": "Título", "description": "Descrição", "status": "Situação", "priority": "Prioridade",
           "due_date": "Data de vencimento", "labels": "Marcadores", "created_at": "Data de criação",
           "completed_at": "Data de conclusão", "list": "Projeto"},
    "nl": {"title": "Taaknaam", "description": "Omschrijving", "status": "Status", "priority": "Prioriteit",
           "due_date": "Vervaldatum", "labels": "Labels", "created_at": "Aangemaakt op",
           "completed_at": "Voltooid op", "list": "Lijst"},
    "ja": {"title": "タイトル", "description": "説明", "status": "ステータス", "priority": "優先度", "due_date": "期限",
           "labels": "ラベル", "created_at": "作成日", "completed_at": "完了日", "list": "リスト"},
    "zh": {"title": "标题", "description": "描述", "status": "状态", "priority": "优先级", "due_date": "截止日期",
           "labels": "标签", "created_at": "创建时间", "completed_at": "完成时间", "list": "清单"},
    "ru": {"title": "Название", "description": "Описание", "status": "Статус", "priority": "Приоритет",
           "due_date": "Срок", "labels": "Метки", "created_at": "Дата создания", "completed_at": "Дата завершения",
           "list": "Проект"},
}  # fmt: skip


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_columns_are_known_in_a_language(language: str) -> None:
    for field, name in LANGUAGES[language].items():
        assert word_of(name) in RANKS[field], (field, name)
        assert word_of(f"{name} *") in RANKS[field]


def test_a_zone_in_the_header_is_that_of_the_columns_dates() -> None:
    data = (
        "Title,Created At (UTC),Updated At (UTC),Closed At (GMT+02:00),Due Date\n"
        "a,2023-01-28 14:25:11,2023-01-30 15:27:35,2023-01-30 15:27:32,2023-02-01\n"
    )
    result = read(FORMAT, data, time_zone=BERLIN)
    assert result.one["created_at"] == "2023-01-28T14:25:11+00:00"
    assert result.one["completed_at"] == "2023-01-30T13:27:32+00:00"
    assert result.one["due_day"] == "2023-02-01"
    again = read(FORMAT, data, time_zone=BERLIN, mapping=result.report.mapping)
    assert again.fields == result.fields


@pytest.mark.parametrize(
    ("unit", "due"), [("dd/mm/yyyy", "2030-04-03"), ("MM/DD/YYYY", "2030-03-04"), ("TT/MM/JJJJ", "2030-04-03")]
)
def test_a_unit_tells_how_dates_are_written(unit: str, due: str) -> None:
    assert read(FORMAT, f"Title,Due ({unit})\na,03/04/2030\n").one["due_day"] == due


ODD = [
    ("Due Date", ["2030-02-27", "TBD", "2030-03-01"], "due_date"),
    ("Deadline:", ["TBD", "soon", "2030-03-01"], "due_date"),
    ("Priority", ["High", "?", "0"], "priority"),
    ("Prio (1-5)", ["3", "?", "99"], "priority"),
    ("Status", ["Marinating", "On the boil", "Done"], "status"),
    ("Created at", ["yesterday", "2030-01-01", "?"], "created_at"),
]


@pytest.mark.parametrize(("name", "cells", "field"), ODD)
def test_a_header_that_names_a_field_exactly_is_that_field_and_odd_cells_are_warnings(
    name: str, cells: list[str], field: str
) -> None:
    rows = "".join(f"task {number},{cell}\n" for number, cell in enumerate(cells))
    result = read(FORMAT, f"Task,{name}\n{rows}")
    assert not result.bad
    mapping: Any = result.report.mapping
    assert mapping["columns"][name] == field
    taken = [number for number, row in enumerate(result.fields, 1) if field in row]
    told = [number for number, column in result.warned if column == name]
    assert sorted(taken + told) == [1, 2, 3]
    for number in told:
        assert cells[number - 1] in result.fields[number - 1]["description"]


def test_one_odd_priority_among_a_hundred_takes_none_from_the_others() -> None:
    rows = "".join(f"T{number},{'?' if number == 50 else 'High'}\n" for number in range(100))
    result = read(FORMAT, f"Task,Prio\n{rows}")
    assert [row.get("priority") for row in result.fields] == [3] * 50 + [None] + [3] * 49
    assert result.warned == [(51, "Prio")]


@pytest.mark.parametrize(("cell", "priority"), [("3.0", 3), ("1 (High)", 3), ("10", 10), ("2 - urgent", 1)])
def test_priorities_of_spreadsheets_and_with_words_beside_numbers(cell: str, priority: int) -> None:
    assert read(FORMAT, f"Task,Priority\na,{cell}\n").one["priority"] == priority
