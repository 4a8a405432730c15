"""Jira's CSV ("current fields" or "all fields"), of Cloud and Server, in the language of whoever exported it.

- Priorities: Blocker and Highest 1, Critical 2, High 3, Major 4, Medium 5, Low and Minor 7, Lowest and Trivial 9; one
  of the site's own leaves the default, and stands in the description.
- The status goes by `Status`, or by `Status Category` where the word is the site's own; one that still is not known is
  `pending`, or `completed` where there is a resolution date, and stands in the description. What was resolved as
  Won't Do, Duplicate and the like is `cancelled`.
- Labels of all columns of that name are kept, also where one cell has several. The type, resolution, components,
  versions, sprint, people, comments and attachments stand in the description; other columns are passed over.
- The project's name becomes a label if that is wanted for lists.
- The issue's key is its `external_id`. `Part of: …` names the parent, by its title where the file tells it before.
- Dates are as Jira writes them by default (`12/Dec/19 10:56`), with months in many languages, or in any other notation.
"""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from core.formats.csv.headers import bare, first_records, positions_of
from core.formats.csv.records import Records
from core.formats.csv.rows import parsed_rows
from core.formats.dates import day_order
from core.formats.parsed_task import ParsedTask
from core.formats.rows import Certainty, FileReport, Format, Head, ImportRefused, ReadOptions, Rows
from core.formats.values import quoted
from core.formats.words import plain, status_of

# As Jira calls its columns in English, Spanish, German, French, Portuguese, Italian, Polish, Dutch, Russian, and some
# in Swedish, Danish, Norwegian, Czech, Turkish, Ukrainian, Finnish, Japanese, Chinese, Korean.
_NAMES = {
    "summary": """summary|resumen|zusammenfassung|résumé|resumo|riepilogo|podsumowanie|samenvatting|тема|sammanfattning
        |resumé|sammendrag|souhrn|özet|зведення|підсумок|yhteenveto|要約|概要|摘要|요약""",
    "key": """issue key|key|work item key|work key|ticket key|clave de incidencia|clave|vorgangsschlüssel|schlüssel
        |clé de ticket|clé de demande|clé de l'élément|clé|chave da item|chave do item|chave de item|chave
        |chave da issue|chiave ticket|chiave segnalazione|chiave|klucz zgłoszenia|klucz|issuecode|issuesleutel|sleutel
        |code|ключ проблемы|ключ задачи|код задачи|ключ запроса|ключ|ärendenyckel|sagsnøgle|saksnøkkel|nøgle|nøkkel
        |klíč požadavku|klíč|sorun anahtarı|anahtar|ключ завдання|課題キー|キー|问题关键字|密钥|关键字|이슈 키|키""",
    "id": """issue id|work item id|id de la incidencia|vorgangs-id|id de ticket|id da item|id do item|id ticket
        |id. zgłoszenia|id zgłoszenia|issue-id|идентификатор задачи|id задачи|идентификатор проблемы""",
    "type": """issue type|work type|work item type|type|tipo de incidencia|vorgangstyp|type de ticket|type de demande
        |tipo de item|tipo ticket|tipo di ticket|typ zgłoszenia|issuetype|type issue|тип задачи|тип проблемы
        |тип запроса|ärendetyp|sagstype|sakstype|typ požadavku|課題タイプ|問題類型|问题类型|이슈 유형""",
    "status": "status|estado|état|statut|situação|stato|статус|durum|stav|tila|ステータス|状态|상태",
    "category": """status category|statuskategorie|categoría de estado|catégorie d'état|catégorie de statut
        |categoria de status|categoria di stato|kategoria statusu|statuscategorie|категория статуса""",
    "priority": """priority|prioridad|priorität|priorité|prioridade|priorità|priorytet|prioriteit|приоритет|prioritet
        |priorita|öncelik|пріоритет|prioriteetti|優先度|优先级|우선순위""",
    "resolution": """resolution|resolución|lösung|résolution|resolução|risoluzione|rozwiązanie|oplossing|решение
        |resolutie|解決状況|解决结果|해결책""",
    "resolved": """resolved|resolution date|resolutiondate|resuelta|resuelto|erledigt|gelöst|résolu|résolue|résolu(e)
        |resolvido|resolvida|risolto|risolta|rozwiązane|opgelost|дата решения|решено|решена|решенные|resolved date
        |解決日|已解决|해결""",
    "created": """created|creada|creado|erstellt|création|créé|créée|créé(e)|criado|criada|creato|creata|creazione
        |utworzono|gemaakt|aangemaakt|создано|создана|создан|skapad|oprettet|opprettet|vytvořeno|oluşturuldu
        |створено|luotu|作成日|创建日期|已创建|생성일|생성""",
    "updated": """updated|actualizada|actualizado|aktualisiert|mise à jour|mis à jour|mis(e) à jour|atualizado
        |atualizada|aggiornato|aggiornata|zaktualizowano|bijgewerkt|обновлено|обновлена|обновлен|uppdaterad|opdateret
        |oppdatert|aktualizováno|güncellendi|оновлено|päivitetty|更新日|已更新|업데이트""",
    "due": """due date|due|duedate|fecha de vencimiento|fälligkeitsdatum|fälligkeit|fällig|fällig am|date d'échéance
        |échéance|data limite|data de vencimento|data de entrega|data di scadenza|scadenza|termin|termin wykonania
        |einddatum|vervaldatum|срок исполнения|срок выполнения|дата выполнения|срок|förfallodatum|forfaldsdato
        |forfallsdato|termín dokončení|son tarih|eräpäivä|期限|到期日|到期日期|기한""",
    "description": """description|descripción|beschreibung|descrição|descrizione|opis|beschrijving|omschrijving
        |описание|beskrivning|beskrivelse|popis|açıklama|опис|kuvaus|説明|描述|설명""",
    "labels": """labels|label|etiquetas|stichwörter|étiquettes|rótulos|categorias|etichette|etykiety|метки|etiketter
        |štítky|etiketler|мітки|ラベル|标签|레이블""",
    "components": """component/s|components|component|componentes|komponenten|composants|componenti|komponenty
        |componenten|компоненты""",
    "versions": """fix version/s|fix versions|versiones de corrección|lösungsversionen|versions corrigées
        |versões corrigidas|versioni di correzione|wersje naprawy|исправить в версиях|исправления в версиях""",
    "affected": "affects version/s|affects versions|affected versions|affected version",
    "sprint": "sprint|спринт|スプリント",
    "environment": "environment|entorno|umgebung|environnement|ambiente|środowisko|omgeving|окружение",
    "assignee": """assignee|persona asignada|responsable|zugewiesene person|bearbeiter|zuständig|personne assignée
        |attribution|responsável|assegnatario|osoba przypisana|uitvoerder|toegewezene|toegewezen aan|исполнитель
        |tilldelad|ansvarlig|řešitel|担当者|经办人|담당자""",
    "reporter": """reporter|informador|autor|rapporteur|relator|segnalatore|reporter zgłoszenia|osoba zgłaszająca
        |melder|автор|報告者|报告人|보고자""",
    "parent": """parent|parent key|parent id|principal|übergeordnet|übergeordneter vorgang|parente|pai|item pai
        |padre|element nadrzędny|zgłoszenie nadrzędne|bovenliggend|bovenliggend item|родитель|родительская задача""",
    "parent summary": """parent summary|resumen de la principal|resumen del principal|zusammenfassung des übergeordneten
        |résumé du parent|resumo do pai|riepilogo padre|podsumowanie elementu nadrzędnego""",
    "epic": "custom field (epic link)|epic link|epik link|epos-link|custom field (parent link)",
    "epic summary": "epic link summary",
    "comment": """comment|comments|comentario|comentarios|kommentar|kommentare|commentaire|commentaires|comentário
        |comentários|commento|commenti|komentarz|komentarze|opmerking|opmerkingen|комментарий|комментарии""",
    "attachment": """attachment|attachments|adjunto|archivo adjunto|anhang|anhänge|pièce jointe|anexo|allegato
        |załącznik|bijlage|вложение""",
    "url": "issue url|url|link",
    "project": """project name|project|nombre del proyecto|projektname|nom du projet|nome do projeto|nome del progetto
        |nome progetto|nazwa projektu|projectnaam|название проекта|プロジェクト名|项目名称|프로젝트 이름""",
}
_MEANINGS = {name.strip(): meaning for meaning, names in _NAMES.items() for name in names.split("|")}
_DISMISSALS = """won't do|won't fix|wont do|wont fix|duplicate|invalid|declined|rejected|abandoned|cancelled|canceled
    |not a bug|not a problem|cannot reproduce|incomplete|no se hará|duplicado|wird nicht erledigt|duplikat
    |ne sera pas fait|doublon|não será feito|non verrà eseguito|nie zostanie zrobione|не будет сделано|дубликат"""
_DISMISSED = frozenset(word.strip() for word in _DISMISSALS.split("|"))
# Titles of issues by key and id, to name parents by; bounded, so that a giant file does not fill the memory.
_TITLES_MAXIMUM = 20_000


def _meanings(header: Iterable[str]) -> dict[str, list[int]]:
    """Meaning → positions of the columns."""
    positions: dict[str, list[int]] = {}
    for position, name in enumerate(header):
        word = " ".join(name.replace("’", "'").casefold().split())
        meaning = _MEANINGS.get(word) or _MEANINGS.get(bare(word))
        if meaning:
            positions.setdefault(meaning, []).append(position)
    return positions


def _recognise(head: Head) -> Certainty:
    records = first_records(head)
    names = _meanings(records[0]).keys() if records else set()
    if not {"summary", "key"} <= names or not names & {"status", "type"}:
        return 0
    return 3 if {"status", "type", "created"} <= names else 2


def _read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    records = Records(stream, options, report)
    header = records.header()
    positions_of(header, report)
    positions = _meanings(header)
    if "summary" not in positions:
        raise ImportRefused(
            "import-wrong-format",
            "A Jira CSV has a column Summary, in whatever language; this header has none. The format csv reads others.",
        )
    reader = _Reader(header, positions, records, options)
    yield from parsed_rows(records, len(header), reader.parse, reader.columns)


class _Reader:
    """Makes tasks of one file's issues.

    Attributes:
        columns: field → the header's name of it.
    """

    def __init__(
        self, header: list[str], positions: dict[str, list[int]], records: Records, options: ReadOptions
    ) -> None:
        self._header = header
        self._positions = positions
        self._options = options
        self._titles: dict[str, str] = {}
        dates = [index for meaning in ("created", "updated", "resolved", "due") for index in positions.get(meaning, ())]
        self._day_first = day_order(
            record[index] for record in records.sample for index in dates if index < len(record)
        )
        fields = {
            "title": "summary",
            "description": "description",
            "priority": "priority",
            "status": "status",
            "due_date": "due",
            "labels": "labels",
            "created_at": "created",
            "completed_at": "resolved",
            "external_id": "key" if "key" in positions else "id",
        }
        self.columns = {field: header[positions[name][0]] for field, name in fields.items() if name in positions}

    def parse(self, cells: list[str]) -> ParsedTask:
        """The task that a record becomes."""
        first = {meaning: next(self._all(meaning, cells), "") for meaning in self._positions}

        def cell(meaning: str) -> str:
            return first.get(meaning, "")

        task = ParsedTask(cell("summary"), cell("key") or cell("id"))
        task.body = cell("description")
        task.parent = self._parent(cells, cell("parent summary") or cell("epic summary"))
        self._remember(task.title, cell("key"), cell("id"))
        task.fact("Type", cell("type"))
        self._set_status(task, cells, first)
        task.set_priority(cell("priority"), self.columns.get("priority", ""), name="Priority")
        task.set(created_at=self._moment(task, "created", cells))
        for text, column in self._said("due", cells):
            task.set_due(text, column, self._options.time_zone, day_first=self._day_first)
            break
        for labels in self._all("labels", cells):
            # Server puts all of them into one cell; a label of Jira's has no blanks.
            for label in labels.replace(",", " ").split():
                task.label(label)
        if self._options.lists_as == "labels":
            task.label(cell("project"))
        for name, meaning in (
            ("Components", "components"),
            ("Fix versions", "versions"),
            ("Affected versions", "affected"),
            ("Sprint", "sprint"),
            ("Environment", "environment"),
            ("Assignee", "assignee"),
            ("Reporter", "reporter"),
            ("Source", "url"),
        ):
            task.fact(name, ", ".join(dict.fromkeys(self._all(meaning, cells))))
        for attachment in self._all("attachment", cells):
            # When; who; name; address.
            parts = attachment.split(";", 3)
            task.fact("Attachment", " ".join(parts[2:]) if len(parts) == 4 else attachment)
        for comment in self._all("comment", cells):
            when, who, text = ["", "", *comment.split(";", 2)][-3:] if comment.count(";") >= 2 else ("", "", comment)
            task.comment(text, who, when)
        return task

    def _all(self, meaning: str, cells: list[str]) -> Iterator[str]:
        """What stands in the columns of a meaning, without empty cells."""
        return (text for text, _ in self._said(meaning, cells))

    def _said(self, meaning: str, cells: list[str]) -> Iterator[tuple[str, str]]:
        """What stands in the columns of a meaning, each with the column's name."""
        for position in self._positions.get(meaning, ()):
            if position < len(cells) and (cell := cells[position].strip()):
                yield cell, self._header[position]

    def _moment(self, task: ParsedTask, meaning: str, cells: list[str]) -> str | None:
        for text, column in self._said(meaning, cells):
            return task.moment(text, column, self._options.time_zone, day_first=self._day_first)
        return None

    def _parent(self, cells: list[str], title: str) -> str:
        if title:
            return title
        named = [*self._all("parent", cells), *self._all("epic", cells)]
        for name in named:
            if name in self._titles:
                return self._titles[name]
        # A key says more than an id, which is a mere number.
        return next((name for name in named if not name.isdecimal()), named[0] if named else "")

    def _remember(self, title: str, *names: str) -> None:
        if len(self._titles) < _TITLES_MAXIMUM:
            self._titles.update((name, title) for name in names if name)

    def _set_status(self, task: ParsedTask, cells: list[str], first: dict[str, str]) -> None:
        word, category, resolution = (first.get(name, "") for name in ("status", "category", "resolution"))
        resolved_at = self._moment(task, "resolved", cells)
        status = status_of(word) if word else None
        if status is None:
            status = status_of(category) if category else None
            task.fact("Status", word)
        if status is None and word:
            status = "completed" if resolved_at else "pending"
            message = f"{quoted(word)} is no known status: it is {status}, and the word stands in the description."
            task.warn(self.columns["status"], message)
        if status == "completed" and plain(resolution) in _DISMISSED:
            status = "cancelled"
        task.set(status=status)
        if status == "completed":
            task.complete(resolved_at, self._moment(task, "updated", cells))
        elif resolved_at:
            task.fact("Resolved", resolved_at)
        task.fact("Resolution", resolution)


FORMAT = Format("jira-csv", "Jira CSV", _recognise, _read, form="csv")
