"""What programs and people call the columns of tasks, and what stands for nothing in a cell."""

import re

from core.formats.csv.headers import bare
from core.formats.words import plain
from core.tasks.fields import IMPORTED

# In English, German, French, Spanish, Portuguese, Italian, Polish, Dutch, Russian, Japanese, Chinese, and some in other
# languages; the likelier first. Before the two bars stand names that mean the field and nothing else: a column that is
# called so is that field, whatever stands in it. Those behind them mean it where the cells agree.
_WORDS: dict[str, str] = {
    "title": """title|task name|task title|summary|titel|aufgabenname|titre|nom de la tâche|título|titulo
        |nombre de la tarea|nome da tarefa|titolo|nome attività|tytuł|taaknaam|название задачи|タイトル|タスク名
        |任务名称|任务标题|标题|標題
        ||task|name|subject|todo|to do|to do item|item|issue|issue title|story|user story|headline|what|activity|action
        |action item|card name|card title
        |aufgabe|betreff|bezeichnung|thema|vorgang|zusammenfassung|tâche|tache
        |sujet|nom|résumé|tarea|asunto|nombre|resumen|tarefa|assunto|nome|resumo|attività|attivita|compito
        |oggetto|riepilogo|zadanie|temat|nazwa|podsumowanie|taak|onderwerp|naam|samenvatting|название|задача|заголовок|тема|имя
        |наименование|uppgift|rubrik|ärende|opgave|oppgave|tittel|název|úkol|başlık|görev|назва|завдання|otsikko
        |tehtävä|件名|タスク|課題|题目|任务|任務|名称|제목|작업""",
    "description": """description||notes|note|body|details|content|text|memo|desc|comment|comments|long description
        |card description|task description|remarks|beschreibung|notiz|notizen|bemerkung|bemerkungen|anmerkung
        |anmerkungen|inhalt|kommentar|remarque|remarques|contenu|notes de tâche|descripción|descripcion|notas|nota
        |comentario|comentarios|contenido|observaciones|descrição|descricao|observações|conteúdo|comentário|descrizione
        |contenuto|commento|note|opis|notatka|notatki|uwagi|treść|komentarz|beschrijving|omschrijving|notitie|notities
        |opmerking|opmerkingen|inhoud|toelichting|описание|заметка|заметки|примечание|примечания|комментарий|содержание
        |beskrivning|beskrivelse|anteckning|popis|poznámka|açıklama|опис|kuvaus|説明|詳細|メモ|備考|内容|描述|备注|说明|설명
        |메모""",
    "status": """status|state|task status|workflow state|zustand|état|etat|statut|statut de la tâche|estado
        |estado de la tarea|situação|situacao|stato|статус|состояние|stav|durum|tila|状態|ステータス|状态|狀態|状況|상태
        ||stage|progress|column|column name|list|list name|done|completed|complete|finished|closed|is done
        |is completed|checked|stand|erledigt|fertig|abgeschlossen|bearbeitungsstand|terminé|terminée|fait|avancement
        |hecho|completado|completada|terminado|concluído|concluida|feito|andamento|fatto|completato|avanzamento
        |stan|gotowe|zrobione|gereed|klaar|voltooid|voortgang|готово|выполнено|hotovo|完了|完成|是否完成|已完成""",
    "priority": """priority|prio|task priority|priorität|priorité|prioridad|prioridade|priorità|priorytet|prioriteit
        |приоритет|prioritet|priorita|öncelik|пріоритет|prioriteetti|優先度|優先順位|优先级|優先級|우선순위
        ||importance|urgency|severity|wichtigkeit|dringlichkeit|urgence|importancia|urgencia|importância|urgência
        |importanza|urgenza|ważność|belang|urgentie|важность|срочность|重要度|重要性""",
    "due_date": """due date|due|due at|due on|deadline|duedate|due by|due time|fällig|fällig am|fällig bis|fälligkeit
        |fälligkeitsdatum|fälligkeitstermin|frist|zu erledigen bis|échéance|date d'échéance|date limite|à faire avant
        |date butoir|vencimiento|fecha de vencimiento|fecha límite|fecha limite|fecha de entrega|plazo|vencimento
        |data de vencimento|prazo|data limite|data de entrega|scadenza|data di scadenza|data scadenza|termin wykonania
        |termin realizacji|vervaldatum|vervalt op|uiterste datum|срок|срок выполнения|срок исполнения|крайний срок
        |дедлайн|förfallodatum|forfaldsdato|son tarih|bitiş tarihi|eräpäivä|期限|期日|締切|締め切り|締切日|〆切|期限日
        |截止|截止日期|截止时间|到期日|到期日期|到期时间|截止日|마감일|기한
        ||target date|finish by|end date|end|date|when|termin|enddatum|datum|bis|date de fin|fecha|fecha fin|data
        |data fine|data de fim|einddatum|дата|дата окончания|termín|日付|终了日|終了日|日期|结束日期""",
    "labels": """labels|label|tags|tag|etiketten|étiquettes|étiquette|etiquetas|etiqueta|etichette|etichetta|etykiety
        |etykieta|tagi|метки|метка|теги|тег|etiketter|štítky|etiketler|мітки|ラベル|タグ|标签|標籤|标记|라벨|태그
        ||categories|category|keywords|keyword|context|contexts|schlagworte|schlagwörter|kategorie|kategorien
        |stichwörter|catégorie|catégories|mots clés|categoría|categorías|categoria|categorias|rótulos|marcadores
        |categorie|kategoria|trefwoorden|категория|категории|カテゴリ|カテゴリー|分类|類別|类别""",
    "created_at": """created at|created|date created|created date|created on|created time|creation date|creation time
        |date added|added on|erstellt|erstellt am|angelegt am|erstellungsdatum|créé le|créée le|date de création
        |creado el|fecha de creación|criado em|data de criação|creato il|data di creazione|data creazione|utworzono
        |data utworzenia|aangemaakt op|aanmaakdatum|gemaakt op|создано|дата создания|作成日|作成日時|创建时间|创建日期
        |建立日期|생성일
        ||opened|opened at|open date|added|créé|créée|création|creado|creada|criado|creato|aangemaakt|gemaakt|создан
        |skapad|oprettet|opprettet|vytvořeno|oluşturuldu|створено|luotu""",
    "completed_at": """completed at|completed on|completed time|completed date|date completed|completion date|closed at
        |closed on|closed date|date closed|finished at|done at|done on|resolved at|resolution date|completedat
        |erledigt am|abgeschlossen am|abschlussdatum|terminé le|terminée le|fermé le|date d'achèvement|completado el
        |fecha de finalización|cerrado el|concluído em|data de conclusão|completato il|data completamento
        |data di completamento|data zakończenia|afgerond op|voltooid op|дата завершения|дата выполнения|完了日|完了日時
        |完成时间|完成日期|완료일
        ||resolved|completed|closed|done|finished|erledigt|date de fin réelle|cerrado|ukończono|zamknięto|завершено
        |закрыто""",
    "external_id": """external id||uuid|guid|uid|issue key|key|task id|issue id|id|identifier|card id|ticket|ref
        |reference|url|html url|issue url|permalink""",
    "source": "||url|html url|link|permalink|web url|issue url|weblink|adresse|lien|enlace|ссылка|链接|リンク",
    "parent": """||parent|parent task|parent title|epic|parent issue|übergeordnet|elternaufgabe|übergeordnete aufgabe
        |parent summary|tâche parente|tarea principal|tarefa principal|attività principale|bovenliggende taak
        |родительская задача|親タスク|父任务""",
    "recurrence": "recurrence||rrule|recurrence rule|repeat|repeats|recurring|wiederholung|répétition|recurrencia",
    "list": """||list|list name|project|project name|folder|folder name|section|section name|bucket|bucket name|board
        |board name|column|column name|liste|listenname|projekt|projektname|ordner|spalte|bereich|nom de la liste|projet
        |dossier|colonne|section|lista|nombre de la lista|proyecto|carpeta|columna|sección|projeto|pasta|coluna|seção
        |progetto|cartella|colonna|sezione|lijst|project|map|kolom|sectie|список|проект|папка|колонка|раздел|リスト
        |プロジェクト|フォルダ|列|清单|项目|文件夹|列表|看板""",
    "": "||updated|updated at|last updated|modified|modified at|last modified|date modified|last activity",
}
# A column that is called exactly as a field of ours is that field.
_WORDS |= {field.name: field.name.replace("_", " ") for field in IMPORTED if field.name not in _WORDS}


def _ranked(words: str) -> dict[str, int]:
    names = [word.strip() for word in words.split("|")]
    return {word: rank for rank, word in reversed(list(enumerate(names))) if word}


RANKS = {field: _ranked(words) for field, words in _WORDS.items()}
"""Field → name of a column → its rank; the field of no name is for columns that are passed over."""

EXACT = {field: frozenset(_ranked(words.partition("||")[0])) for field, words in _WORDS.items()}
"""Field → names that mean it and nothing else."""

_ALL = frozenset(word for ranks in RANKS.values() for word in ranks)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_PATH = re.compile(r"[^\W\d][\w-]*(?:\.[\w-]+)+")
_MERE_NAMES = ("name", "title", "value", "displayname", "text")

NOTHING = frozenset(
    ["", "none", "null", "nil", "n/a", "na", "nan", "-", "--", "—", "–", "never", "undefined", "nat", "0000-00-00"]
)
"""What stands for nothing in a cell that is no text."""


def word_of(name: str) -> str:
    """A column's name as the tables have it: without underscores and capitals, a unit in brackets, a star, a colon.

    Of a path (`fields.summary`, `fields.status.name`) it is the last word that tells more than that it is a name.
    """
    if _PATH.fullmatch(name):
        parts = [part for part in name.split(".") if part.casefold() not in _MERE_NAMES] or [name]
        name = parts[-1]
    word = plain(_CAMEL.sub(" ", name))
    return word if word in _ALL else plain(_CAMEL.sub(" ", bare(name)))


def is_known(word: str) -> bool:
    """Whether columns are called so."""
    return word in _ALL
