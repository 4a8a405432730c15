"""Guesses which columns of a CSV are which fields, from the words of its header and from what stands below.

The guess is a mapping as clients write it (`mapping.py`), so that it can be offered, changed and sent back. Columns
whose meaning cannot be guessed become lines of the description: what a file holds is not lost.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC
from typing import Any

from core.formats.dates import day_order, parse_moment
from core.formats.failed_rows import ERROR
from core.formats.words import plain, priority_of, status_of

# In English, German, French, Spanish, Portuguese, Italian, Polish, Dutch, Russian, and some in other languages; the
# likelier first.
_WORDS = {
    "title": """title|task|task name|task title|name|summary|subject|todo|to do|to do item|item|issue|issue title|story
        |user story|headline|what|activity|action|action item|card name|card title
        |titel|aufgabe|betreff|bezeichnung|thema|vorgang|titre|tâche|tache|sujet|nom|résumé|título|titulo|tarea|asunto
        |nombre|resumen|tarefa|assunto|nome|resumo|titolo|attività|attivita|compito|oggetto|riepilogo|tytuł|zadanie
        |temat|nazwa|podsumowanie|taak|onderwerp|naam|samenvatting|название|задача|заголовок|тема|имя|наименование
        |uppgift|rubrik|ärende|opgave|oppgave|tittel|název|úkol|başlık|görev|назва|завдання|otsikko|tehtävä
        |タイトル|件名|タスク|标题|任务|標題|名称|제목|작업""",
    "description": """description|notes|note|body|details|content|text|memo|desc|comment|comments|long description
        |card description|remarks|beschreibung|notiz|notizen|bemerkung|bemerkungen|anmerkung|details|inhalt|kommentar
        |remarque|remarques|contenu|descripción|descripcion|notas|nota|comentario|comentarios|contenido|descrição
        |descricao|observações|conteúdo|comentário|descrizione|contenuto|commento|opis|notatka|notatki|uwagi|treść
        |komentarz|beschrijving|omschrijving|notitie|notities|opmerking|inhoud|описание|заметка|заметки|примечание
        |комментарий|содержание|beskrivning|beskrivelse|anteckning|popis|poznámka|açıklama|опис|kuvaus|説明|メモ|内容|描述
        |备注|설명|메모""",
    "status": """status|state|stage|progress|workflow state|column|column name|list|list name|done|completed|complete
        |finished|closed|is done|is completed|checked|zustand|stand|erledigt|fertig|état|etat|statut|terminé|fait
        |estado|hecho|completado|situação|situacao|concluído|feito|stato|fatto|completato|stan|gotowe|zrobione|gereed
        |klaar|статус|состояние|готово|выполнено|stav|hotovo|durum|tila|状態|ステータス|状态|状況|상태""",
    "priority": """priority|prio|importance|urgency|severity|priorität|wichtigkeit|dringlichkeit|priorité|importance
        |prioridad|prioridade|importância|priorità|importanza|priorytet|ważność|prioriteit|приоритет|важность|prioritet
        |priorita|öncelik|пріоритет|prioriteetti|優先度|优先级|重要度|우선순위""",
    "due_date": """due date|due|due at|due on|deadline|duedate|due by|target date|finish by|end date|end|date|when
        |fällig|fällig am|fälligkeit|fälligkeitsdatum|frist|termin|enddatum|datum|bis|échéance|date d'échéance
        |date limite|date de fin|vencimiento|fecha de vencimiento|fecha límite|fecha limite|fecha|fecha fin|vencimento
        |data de vencimento|prazo|data limite|data|scadenza|data di scadenza|termin wykonania|termin realizacji
        |vervaldatum|einddatum|срок|срок выполнения|срок исполнения|дата|дедлайн|förfallodatum|forfaldsdato|frist
        |termín|son tarih|bitiş tarihi|eräpäivä|期限|期日|締切|截止日期|到期日|마감일|기한""",
    "labels": """labels|label|tags|tag|categories|category|keywords|keyword|context|contexts|etiketten|schlagworte
        |schlagwörter|kategorie|kategorien|stichwörter|étiquettes|étiquette|catégorie|catégories|etiquetas|etiqueta
        |categoría|categoria|categorias|etichette|etichetta|categorie|etykiety|etykieta|tagi|kategoria|trefwoorden
        |метки|метка|теги|тег|категория|категории|etiketter|štítky|etiketler|мітки|ラベル|タグ|标签|标记|라벨|태그""",
    "created_at": """created at|created|date created|created date|created on|created time|creation date|creation time
        |opened|opened at|open date|added|date added|added on|erstellt|erstellt am|angelegt am|erstellungsdatum|créé le
        |date de création|créé|création|creado|creada|fecha de creación|creado el|criado em|criado|data de criação
        |creato|creato il|data di creazione|data creazione|utworzono|data utworzenia|aangemaakt|aangemaakt op|gemaakt
        |создано|дата создания|создан|skapad|oprettet|opprettet|vytvořeno|oluşturuldu|створено|luotu|作成日|作成日時
        |创建时间|创建日期|생성일""",
    "completed_at": """completed at|completed on|completed time|date completed|completion date|closed at|closed on
        |closed date|date closed|finished at|done at|done on|resolved at|resolved|resolution date|completed|closed
        |done|finished|erledigt am|abgeschlossen am|erledigt|terminé le|fermé le|date de fin réelle|completado el
        |fecha de finalización|cerrado|concluído em|data de conclusão|completato il|data completamento|ukończono
        |data zakończenia|zamknięto|afgerond op|voltooid op|завершено|дата завершения|закрыто|completedat|完了日
        |完了日時|完成时间|완료일""",
    "external_id": """uuid|guid|uid|issue key|key|task id|issue id|id|identifier|card id|ticket|ref|reference|url
        |html url|issue url|permalink""",
    "source": "url|html url|link|permalink|web url|issue url|weblink|adresse|lien|enlace|ссылка|链接|リンク",
    "parent": """parent|parent task|parent title|epic|parent issue|übergeordnet|elternaufgabe|parent summary
        |tâche parente|tarea principal|tarefa principal""",
    "": "updated|updated at|last updated|modified|modified at|last modified|date modified|last activity",
}
_RANKS: dict[str, dict[str, int]] = {
    field: {word.strip(): rank for rank, word in enumerate(words.split("|"))} for field, words in _WORDS.items()
}
_ALL_WORDS = frozenset(word for ranks in _RANKS.values() for word in ranks)
# What stands for nothing in a cell that is no text.
NOTHING = frozenset(
    ["", "none", "null", "nil", "n/a", "na", "nan", "-", "--", "—", "–", "never", "undefined", "nat", "0000-00-00"]
)
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?%?\Z")
_URL = re.compile(r"https?://\S+\Z", re.IGNORECASE)
# Keys such as ABC-12, UUIDs and addresses of issues are the only ones of their kind. A mere number is not, as every
# program counts from 1: as an id it would make one file's tasks out of another's.
_KEY = re.compile(
    r"[A-Za-z][A-Za-z0-9_]*-\d+\Z|[0-9a-fA-F]{24,}\Z|[0-9a-fA-F-]{36}\Z|https?://\S+/(?:issues|pull|browse)/[\w-]+\Z"
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_DATES = frozenset({"due_date", "created_at", "completed_at"})
_DETAILS_MAXIMUM = 50
_MOST = 0.8


class _Column:
    """What the sample tells of a column; empty cells, and those that say nothing, do not count."""

    def __init__(self, position: int, name: str, key: str, sample: Sequence[Sequence[str]]) -> None:
        self.position = position
        self.word = plain(_CAMEL.sub(" ", name))
        self.key = key
        self.rows = len(sample)
        cells = (row[position].strip() for row in sample if position < len(row))
        self.said = [cell for cell in cells if cell.casefold() not in NOTHING]
        self.dates = self._share(_is_date)
        self.numbers = self._share(lambda cell: bool(_NUMBER.match(cell)))
        self.urls = self._share(lambda cell: bool(_URL.match(cell)))
        self.keys = self._share(lambda cell: bool(_KEY.match(cell)))
        self.statuses = self._share(lambda cell: status_of(cell) is not None)
        self.words = sum(len(cell.split()) for cell in self.said) / len(self.said) if self.said else 0.0
        self.length = sum(map(len, self.said)) / len(self.said) if self.said else 0.0
        self.is_unique = len(set(self.said)) == len(self.said) == self.rows

    def _share(self, test: Callable[[str], bool]) -> float:
        return sum(map(test, self.said)) / len(self.said) if self.said else 0.0

    @property
    def is_text(self) -> bool:
        return bool(self.said) and max(self.dates, self.numbers, self.urls, self.keys) < _MOST

    @property
    def is_list(self) -> bool:
        """Whether cells are lists of words that come again and again, as labels do."""
        lists = [[part.strip() for part in cell.split(",")] for cell in self.said]
        parts = [part for items in lists for part in items]
        several = sum(len(items) > 1 for items in lists)
        return (
            self.is_text
            and several >= 0.5 * len(lists)
            and len(set(parts)) <= 0.5 * len(parts)
            and all(len(part) <= 50 for part in parts)
        )

    @property
    def is_worth_keeping(self) -> bool:
        """Whether it tells anything: not where it only counts the rows, and has no name."""
        is_counter = self.is_unique and self.said == [str(number) for number in range(1, self.rows + 1)]
        return bool(self.word or (self.said and not is_counter))

    @property
    def priorities(self) -> bool:
        """Whether all of it can be our priorities: words, or numbers from 1 to 10."""
        return bool(self.said) and all(
            (cell.isdecimal() and len(cell) < 3 and 1 <= int(cell) <= 10) or priority_of(cell) is not None
            for cell in self.said
        )


def _is_date(cell: str) -> bool:
    if len(cell) < 6 or not any(map(str.isdecimal, cell)) or (cell.isdecimal() and len(cell) != 8):
        return False
    try:
        parse_moment(cell, UTC, day_first=True)
    except ValueError:
        return False
    return True


def has_header(sample: Sequence[Sequence[str]]) -> bool:
    """Whether the first record names the columns, and is none of the data."""
    first = [cell.strip() for cell in sample[0]] if sample else []
    if first[-1:] == [ERROR]:  # our own file of failed rows
        return True
    if any(_NUMBER.match(cell) or _URL.match(cell) or _is_date(cell) for cell in first):
        return False
    if any(plain(_CAMEL.sub(" ", cell)) in _ALL_WORDS for cell in first):
        return True
    below = sample[1:]
    if not below or len(first) < 2:
        return False
    columns = [_Column(position, "", "", below) for position in range(len(first))]
    return any(max(column.dates, column.numbers, column.urls, column.keys) >= _MOST for column in columns)


def guess(header: Sequence[str] | None, sample: Sequence[Sequence[str]]) -> dict[str, Any] | None:
    """A mapping for a file.

    Args:
        header: the names of the columns; None: the file has none.
        sample: its first records, without the header.

    Returns:
        None where no column can be a title.
    """
    columns = _columns(header, sample)
    if header and header[-1] == ERROR:  # the reasons that our own file of failed rows has added
        columns = [column for column in columns if column.key != ERROR]
    fields = _by_words(columns)
    _add_by_content(columns, fields)
    if "title" not in fields.values():
        return None
    _add_details(columns, fields)
    mapping: dict[str, Any] = {
        "header": header is not None,
        "columns": {column.key: fields[column.key] for column in columns if fields.get(column.key)},
    }
    dates = [column for column in columns if fields.get(column.key) in _DATES]
    day_first = day_order(cell for column in dates for cell in column.said)
    if day_first is not None:
        mapping["date_format"] = "day-first" if day_first else "month-first"
    return mapping


def _columns(header: Sequence[str] | None, sample: Sequence[Sequence[str]]) -> list[_Column]:
    """The columns, of those that have one name the first: a name means all the columns that have it."""
    names = list(header) if header is not None else [""] * max(map(len, sample), default=0)
    return [
        _Column(position, name, name or str(position + 1), sample)
        for position, name in enumerate(names)
        if not name or names.index(name) == position
    ]


def _suits(column: _Column, field: str) -> bool:
    """Whether the cells of a column are not against the meaning of its name."""
    if not column.said:
        return field not in ("title", "external_id")
    if field == "title":
        return max(column.dates, column.urls) < _MOST
    if field == "description":
        return column.is_text
    if field in _DATES:
        return column.dates >= _MOST
    if field == "status":
        return column.statuses >= _MOST
    if field == "priority":
        return column.priorities
    if field == "source":
        return column.urls >= _MOST
    if field == "external_id":
        return column.is_unique and column.keys >= _MOST
    if field == "labels":
        return column.is_text and column.length <= 100
    return True


def _by_words(columns: list[_Column]) -> dict[str, str]:
    """Key of a column → field, as the header's words have it; an empty field for a column that is passed over."""
    fields: dict[str, str] = {}
    for field, ranks in _RANKS.items():
        fitting = sorted(
            (ranks[column.word], column.position, column)
            for column in columns
            if column.word in ranks and column.key not in fields and _suits(column, field)
        )
        if field in ("description", "labels", ""):
            fields.update((column.key, field) for _, _, column in fitting)
        elif fitting:
            fields[fitting[0][2].key] = field
    return fields


def _add_by_content(columns: list[_Column], fields: dict[str, str]) -> None:
    """Adds what only the cells tell."""
    if "title" not in fields.values():
        _add_title(_left(columns, fields), fields)
    for field in ("status", "labels", "external_id", "source"):
        if field not in fields.values():
            nameless = (column for column in _left(columns, fields) if not column.word)
            found = next((column for column in nameless if _shows(column, field)), None)
            if found is not None:
                fields[found.key] = field


def _add_title(left: list[_Column], fields: dict[str, str]) -> None:
    """Takes the column of most words for the title."""
    texts = [column for column in left if column.is_text and not column.is_list and column.statuses < _MOST]
    wordy = sorted(texts, key=lambda column: (-column.words, column.position))
    if not wordy:
        return
    # Of two columns of sentences, the longer one explains the other.
    two = sorted(wordy[:2], key=lambda column: (column.length, column.position))
    is_pair = len(two) == 2 and two[0].words >= 2 and two[1].length > 1.5 * two[0].length
    fields[(two[0] if is_pair else wordy[0]).key] = "title"
    if is_pair and "description" not in fields.values():
        fields[two[1].key] = "description"


def _add_details(columns: list[_Column], fields: dict[str, str]) -> None:
    """Makes lines of the description of what is left."""
    left = [column for column in _left(columns, fields) if column.is_worth_keeping]
    fields.update((column.key, "detail") for column in left[:_DETAILS_MAXIMUM])


def _left(columns: list[_Column], fields: dict[str, str]) -> list[_Column]:
    return [column for column in columns if column.key not in fields]


def _shows(column: _Column, field: str) -> bool:
    """Whether the cells alone tell the meaning of a column."""
    if field == "labels":
        return column.is_list
    return _suits(column, field) and bool(column.said) and (field != "status" or column.numbers < _MOST)
