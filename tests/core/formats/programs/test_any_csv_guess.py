"""A CSV of any program, by a guess: from its header's words and from its cells."""

from typing import Any

import pytest

from core.formats.programs.any_csv import FORMAT
from tests.core.formats.harness import read


def guessed(data: str) -> dict[str, Any]:
    mapping = read(FORMAT, data).report.mapping
    assert mapping is not None
    columns: dict[str, Any] = mapping["columns"]
    return columns


def test_a_guess_goes_by_the_headers_words() -> None:
    result = read(
        FORMAT,
        "Task Name,Notes,Priority,State,DueDate,Tags,created_at,URL,Owner\n"
        "Paint,white,high,open,2024-01-31,a; b,2024-01-01 10:00,https://example.com/7,Eve\n"
        "Mow,,low,closed,,,2024-01-02 10:00,,Bob\n",
    )
    assert result.report.mapping == {
        "header": True,
        "columns": {
            "Task Name": "title",
            "Notes": "description",
            "Priority": "priority",
            "State": "status",
            "DueDate": "due_date",
            "Tags": "labels",
            "created_at": "created_at",
            "URL": "source",
            "Owner": "detail",
        },
    }
    assert result.fields[0] == {
        "title": "Paint",
        "description": "white\n\nSource: https://example.com/7\nOwner: Eve",
        "priority": 3,
        "status": "pending",
        "due_date": "2024-01-31T23:59:59+00:00",
        "due_day": "2024-01-31",
        "labels": ["a", "b"],
        "created_at": "2024-01-01T10:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        ("Aufgabe;Beschreibung;Priorität;Erledigt;Fällig am", "hoch;ja;31.12.2024"),
        ("Tâche;Remarques;Priorité;Terminé;Échéance", "haute;oui;31/12/2024"),
        ("Tarea;Notas;Prioridad;Hecho;Fecha límite", "alta;sí;31/12/2024"),
        ("Tarefa;Observações;Prioridade;Concluído;Prazo", "alta;sim;31/12/2024"),
        ("Attività;Descrizione;Priorità;Fatto;Scadenza", "alta;sì;31/12/2024"),
        ("Zadanie;Uwagi;Priorytet;Zrobione;Termin wykonania", "wysoki;tak;31.12.2024"),
        ("Taak;Notities;Prioriteit;Klaar;Vervaldatum", "hoog;ja;31-12-2024"),
        ("Задача;Примечание;Приоритет;Готово;Срок", "высокий;да;31.12.2024"),
    ],
)
def test_a_guess_knows_the_words_of_a_language(header: str, fields: str) -> None:
    result = read(FORMAT, f"{header}\nA b c;text;{fields}\n")
    assert result.one == {
        "title": "A b c",
        "description": "text",
        "priority": 3,
        "status": "completed",
        "due_date": "2024-12-31T23:59:59+00:00",
        "due_day": "2024-12-31",
    }


def test_a_guess_without_a_header_goes_by_the_cells() -> None:
    rows = "".join(
        f"house; {number}; open; Paint the wall number {number * 7}; https://example.com/issues/{number}; red, big\n"
        for number in range(20, 30)
    )
    result = read(FORMAT, rows)
    assert result.report.mapping == {
        "header": False,
        "columns": {"1": "detail", "2": "detail", "3": "status", "4": "title", "5": "external_id", "6": "labels"},
    }
    assert result.fields[0] == {
        "title": "Paint the wall number 140",
        "external_id": "https://example.com/issues/20",
        "status": "pending",
        "labels": ["red", "big"],
        "description": "Column 1: house\nColumn 2: 20\nSource: https://example.com/issues/20",
    }


def test_of_two_columns_of_sentences_the_longer_one_is_the_description() -> None:
    assert guessed(
        "1\tBuild an API\tUpdate the model so that all of it can connect\n2\tDo the UI\tAll of the pages\n"
    ) == {
        "2": "title",
        "3": "description",
    }


def test_a_list_of_lines_is_a_list_of_titles() -> None:
    result = read(FORMAT, "Paint the house\nMow the lawn\nCall mother\n")
    assert [row["title"] for row in result.fields] == ["Paint the house", "Mow the lawn", "Call mother"]


def test_a_guess_looks_at_the_cells_before_it_believes_a_word_that_means_many_things() -> None:
    columns = guessed(
        "Number,Title,Date,Closed,Comments,Severity,Stage\n"
        "12,a,soon,None,3,-1,7\n13,b,later,2024-01-01 10:00:00,0,2,8\n14,c,never,None,5,0,9\n"
    )
    assert columns == {
        "Number": "detail",
        "Title": "title",
        "Date": "detail",
        "Closed": "completed_at",
        "Comments": "detail",
        "Severity": "detail",
        "Stage": "detail",
    }


def test_a_mere_number_is_no_external_id_but_a_key_is() -> None:
    assert guessed("id,title\n12,a\n13,b\n")["id"] == "detail"
    assert guessed("id,title\nAB-12,a\nAB-13,b\n")["id"] == "external_id"
    assert guessed("id,title\nAB-12,a\nAB-12,b\n")["id"] == "detail"


def test_words_that_a_guess_does_not_know_stand_in_the_description() -> None:
    rows = "".join(f"task {number},high,open\n" for number in range(9))
    result = read(FORMAT, f"Title,Priority,State\n{rows}odd,high,marinating\n")
    assert not result.bad
    assert result.fields[-1] == {"title": "odd", "priority": 3, "description": "State: marinating"}


def test_a_guess_says_which_of_day_and_month_comes_first() -> None:
    report = read(FORMAT, "Title,Due\na,03/04/2024\nb,25/12/2024\n").report
    assert report.mapping is not None
    assert report.mapping["date_format"] == "day-first"


def test_a_guess_can_be_sent_back_as_the_mapping() -> None:
    data = "Title,Due,Owner\na,25/12/2024,Eve\nb,03/04/2024,Bob\n"
    first = read(FORMAT, data)
    assert read(FORMAT, data, mapping=first.report.mapping).fields == first.fields
