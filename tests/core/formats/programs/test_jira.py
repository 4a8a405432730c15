"""Jira's CSV, in the languages of those who export it."""

import pytest

from core.formats.programs.jira import _NAMES, FORMAT
from core.formats.rows import Head
from core.tasks.validation import load_import
from tests.core.formats.harness import BERLIN, read

SMALL = "Summary,Issue key,Issue Type,Status,Priority,Resolution,Created,Resolved,Due date"


def test_an_issue_becomes_a_task() -> None:
    result = read(
        FORMAT,
        "Summary,Issue key,Issue id,Issue Type,Status,Priority,Created,Updated,Due date,Labels,Labels,Description,"
        "Assignee,Sprint,Comment,Comment,Attachment,Custom field (Rank)\n"
        "Write the report,AB-1,100,Story,In Progress,High,06/Sep/24 1:55 PM,07/Sep/24 1:55 PM,14/Mar/26 12:00 AM,"
        'one,two,"First.\n\n* Second.",Eve,Sprint 1,27/Jan/22 7:20 AM;eve;Looks good; really,,'
        "26/Nov/21 10:44 AM;eve;demo.png;https://example.com/demo.png,0|i0\n",
        time_zone=BERLIN,
    )
    assert result.one == {
        "title": "Write the report",
        "external_id": "AB-1",
        "status": "in_progress",
        "priority": 3,
        "created_at": "2024-09-06T11:55:00+00:00",
        "due_date": "2026-03-14T22:59:59+00:00",
        "due_day": "2026-03-14",
        "labels": ["one", "two"],
        "description": (
            "First.\n\n* Second.\n\nType: Story\nSprint: Sprint 1\nAssignee: Eve\n"
            "Attachment: demo.png https://example.com/demo.png\n\n"
            "Comment (eve, 27/Jan/22 7:20 AM):\nLooks good; really"
        ),
    }
    load_import(result.one)
    assert result.good[0].columns["due_date"] == "Due date"
    assert result.report.columns is not None
    assert result.report.columns.count("Labels") == 2


LANGUAGES = {
    "de": (
        "Zusammenfassung;Vorgangsschlüssel;Vorgangstyp;Status;Priorität;Erstellt;Erledigt;Fälligkeitsdatum",
        "Erledigt;Hoch;06/Mär/24 1:55 PM;07.09.2024;31.12.2024",
    ),
    "fr": (
        "Résumé,Clé de ticket,Type de ticket,État,Priorité,Création,Résolue,Date d’échéance",
        "Terminé,Élevée,06/mars/24 13:55,07/sept./24 00:00,31/déc./24",
    ),
    "es": (
        "Resumen,Clave de incidencia,Tipo de Incidencia,Estado,Prioridad,Creada,Resuelta,Fecha de vencimiento",
        "Hecho,Alta,06/mar/24 1:55 PM,07/sep/24 12:00 AM,31/dic/24",
    ),
    "pt": (
        "Resumo,Chave da item,Tipo de item,Status,Prioridade,Criado,Resolvido,Data limite",
        "Concluído,Alta,06/mar/24 1:55 PM,07/set/24 12:00 AM,31/dez/24",
    ),
    "it": (
        "Riepilogo,Chiave ticket,Tipo ticket,Stato,Priorità,Creato,Risolto,Scadenza",
        "Completata,Alta,06/mar/24 1:55 PM,07/set/24 12:00 AM,31/dic/24",
    ),
    "pl": (
        "Podsumowanie,Klucz zgłoszenia,Typ zgłoszenia,Status,Priorytet,Utworzono,Rozwiązane,Termin",
        "Gotowe,Wysoki,06/mar/24 1:55 PM,07/wrz/24 12:00 AM,31/gru/24",
    ),
    "nl": (
        "Samenvatting,Issuecode,Issuetype,Status,Prioriteit,Gemaakt,Opgelost,Einddatum",
        "Gereed,Hoog,06/mrt./24 1:55 PM,07/sep./24 12:00 AM,31/dec./24",
    ),
    "ru": (
        "Тема,Ключ проблемы,Тип задачи,Статус,Приоритет,Создано,Дата решения,Срок исполнения",
        "Готово,Высокий,06/мар/24 1:55 PM,07/сен/24 12:00 AM,31/дек/24",
    ),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_is_understood(language: str) -> None:
    header, rest = LANGUAGES[language]
    delimiter = ";" if ";" in header else ","
    result = read(FORMAT, f"{header}\n{delimiter.join(['Write', 'AB-1', 'Bug'])}{delimiter}{rest}\n")
    fields = result.one
    assert fields.pop("description") == "Type: Bug"
    assert fields == {
        "title": "Write",
        "external_id": "AB-1",
        "status": "completed",
        "priority": 3,
        "created_at": "2024-03-06T13:55:00+00:00",
        "completed_at": "2024-09-07T00:00:00+00:00",
        "due_date": "2024-12-31T23:59:59+00:00",
        "due_day": "2024-12-31",
    }
    text = header + "\n"
    assert FORMAT.recognise(Head(text.encode(), text, "", True)) == 3


@pytest.mark.parametrize(
    ("word", "priority"),
    [
        *(("Blocker", 1), ("Highest", 1), ("Critical", 2), ("High", 3), ("Major", 4), ("Medium", 5)),
        *(("Low", 7), ("Minor", 7), ("Lowest", 9), ("Trivial", 9)),
    ],
)
def test_a_priority_becomes_ours(word: str, priority: int) -> None:
    assert read(FORMAT, f"{SMALL}\na,A-1,Bug,To Do,{word},,,,\n").one["priority"] == priority


def test_a_sites_own_priority_stands_in_the_description() -> None:
    fields = read(FORMAT, f"{SMALL}\na,A-1,Bug,To Do,Purple,,,,\n").one
    assert "priority" not in fields
    assert "Priority: Purple" in fields["description"]


@pytest.mark.parametrize(
    ("status", "category", "resolution", "resolved", "ours"),
    [
        ("To Do", "", "", "", "pending"),
        ("Backlog", "To Do", "", "", "pending"),
        ("In Review", "In Progress", "", "", "in_progress"),
        ("Waiting for customer", "In Progress", "", "", "blocked"),
        ("Closed", "Done", "Fixed", "", "completed"),
        ("Resolved", "", "Won't Fix", "", "cancelled"),
        ("Done", "Done", "Duplicate", "01/Jan/24", "cancelled"),
        ("verifyy", "In Progress", "", "", "in_progress"),
        ("Shipped to Mars", "Fertig", "", "", "completed"),
        ("Marinating", "", "", "", "pending"),
        ("Marinated", "", "Done", "01/Jan/24", "completed"),
    ],
)
def test_a_status_goes_by_its_word_then_its_category_then_its_resolution(
    status: str, category: str, resolution: str, resolved: str, ours: str
) -> None:
    result = read(
        FORMAT,
        "Summary,Issue key,Status,Status Category,Resolution,Resolved\n"
        f"a,A-1,{status},{category},{resolution},{resolved}\n",
    )
    assert result.one["status"] == ours
    assert ("completed_at" in result.one) == (ours == "completed" and bool(resolved))
    load_import(result.one)


def test_what_is_completed_without_a_resolution_date_was_so_when_it_was_updated() -> None:
    result = read(FORMAT, "Summary,Issue key,Status,Updated\na,A-1,Done,05/Jan/24 10:00\n")
    assert result.one["completed_at"] == "2024-01-05T10:00:00+00:00"


def test_a_parent_is_named_by_its_title_where_the_file_tells_it() -> None:
    result = read(
        FORMAT,
        "Summary,Issue key,Issue id,Status,Parent,Parent summary,Custom field (Epic Link)\n"
        "Epic,A-1,1,Open,,,\nby id,A-2,2,Open,1,,\nby summary,A-3,3,Open,9,Elsewhere,\n"
        "by epic,A-4,4,Open,,,A-1\nunknown,A-5,5,Open,,,A-404\n",
    )
    assert [row.get("description") for row in result.fields] == [
        None,
        "Part of: Epic",
        "Part of: Elsewhere",
        "Part of: Epic",
        "Part of: A-404",
    ]


def test_labels_of_one_cell_and_of_many_columns_are_kept() -> None:
    result = read(FORMAT, 'Summary,Issue key,Status,Labels,Labels,Labels\na,A-1,Open,"x, y z",y,\n')
    assert result.one["labels"] == ["x", "y", "z"]


def test_days_and_months_are_told_apart_by_the_whole_file() -> None:
    result = read(FORMAT, f"{SMALL}\na,A-1,Bug,Open,,,03/04/2017 10:00,,\nb,A-2,Bug,Open,,,16/02/2017 15:26,,\n")
    assert [row["created_at"] for row in result.fields] == ["2017-04-03T10:00:00+00:00", "2017-02-16T15:26:00+00:00"]


def test_a_date_that_does_not_exist_is_told_with_the_files_own_column() -> None:
    result = read(
        FORMAT, "Resumen,Clave,Estado,Creada\na,A-1,Por hacer,31/feb/24\nb,A-2,Por hacer,05/ago/26 12:28 AM\n"
    )
    assert result.warned == [(1, "Creada")]
    assert [row["external_id"] for row in result.fields] == ["A-1", "A-2"]


def test_a_row_with_too_many_cells_fails() -> None:
    result = read(FORMAT, f"{SMALL}\na, and b,A-1,Bug,Open,,,,,,x\nc,A-2,Bug,Open\n")
    assert [row.number for row in result.bad] == [1]
    assert [row["title"] for row in result.fields] == ["c"]


def test_an_issue_without_a_key_has_its_id() -> None:
    assert read(FORMAT, "Summary,Issue id,Status\na,17,Open\n").one["external_id"] == "17"


def test_a_header_without_a_summary_is_refused() -> None:
    refused = read(FORMAT, "Issue key,Status\nA-1,Open\n").refused
    assert refused is not None
    assert refused.name == "import-wrong-format"


@pytest.mark.parametrize(
    ("header", "certainty"),
    [
        ("Key,Summary,Status,Priority", 2),
        ("Issue Type, Key, Summary, Status, Created", 3),
        ("title,key,status", 0),
        ("Summary,Status", 0),
        ("", 0),
    ],
)
def test_a_header_of_jiras_is_recognised(header: str, certainty: int) -> None:
    assert FORMAT.recognise(Head(header.encode(), header, "", True)) == certainty


def test_no_name_of_a_column_means_two_things() -> None:
    names = [name.strip() for names in _NAMES.values() for name in names.split("|")]
    assert len(names) == len(set(names))
    assert all(name == " ".join(name.casefold().split()) for name in names)
