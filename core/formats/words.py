"""Words for states and priorities, in the languages that programs speak to their users."""

import re

_STATUS_WORDS = {
    "pending": """
        to do|todo|open|opened|new|backlog|selected for development|reopened|reopen|pending|not started|planned|proposed
        |ready|ready for development|triage|untriaged|unresolved|inbox|next|someday|normal|created|draft|needs action
        |offen|zu erledigen|neu|geplant|nicht begonnen|nicht gestartet|ausstehend|wieder geöffnet
        |à faire|a faire|ouvert|ouverte|nouveau|nouvelle|non commencé|non commencée|rouvert|rouverte
        |por hacer|tareas por hacer|abierto|abierta|nuevo|nueva|pendiente|sin empezar|no iniciado|no iniciada|reabierto
        |a fazer|tarefas pendentes|itens pendentes|aberto|aberta|novo|nova|pendente|não iniciado|não iniciada|reaberto
        |da fare|da completare|aperto|aperta|nuovo|nuova|da iniziare|non iniziato|riaperto
        |do zrobienia|otwarte|otwarty|nowe|nowy|oczekujące|nie rozpoczęto
        |te doen|nog te doen|nieuw|niet gestart|heropend
        |к выполнению|сделать|открыт|открыта|открыто|новый|новая|новое|запланировано|не начато|нужно сделать
        |att göra|öppen|ny|åben|at gøre|å gjøre|åpen|k vyřízení|otevřeno|nový|yapılacaklar|açık|yapılacak
        |зробити|відкрито|avoin|tehtävä|未着手|未対応|待办|待處理|待处理|未开始|打开|新建|할 일|해야 할 일
        |false|no|0|nein|non|nej|nie|нет""",
    "in_progress": """
        in progress|inprogress|doing|started|in development|development|in review|review|code review|reviewing|in test
        |in testing|testing|test|qa|in qa|active|ongoing|wip|working|work in progress|under review|in process
        |ready for review|ready for qa|ready for testing|implementing|assigned|in analysis
        |in arbeit|in bearbeitung|begonnen|läuft|in prüfung|wird bearbeitet|angefangen
        |en cours|commencé|commencée|en révision|en revue|en cours de révision
        |en curso|en progreso|en proceso|en revisión|iniciado|iniciada|haciendo
        |em andamento|em progresso|em curso|em revisão|em análise|fazendo
        |in corso|in lavorazione|in revisione|iniziato
        |w toku|w trakcie|w realizacji|w trakcie realizacji|rozpoczęte|w trakcie przeglądu
        |in uitvoering|bezig|in behandeling|mee bezig|gestart|wordt aan gewerkt
        |в работе|в процессе|выполняется|на проверке|начато|в разработке|на рассмотрении
        |pågår|pågående|i gang|igangværende|probíhá|v řešení|zpracovává se|devam ediyor|devam eden|в роботі|kesken
        |käynnissä|進行中|作業中|処理中|进行中|正在进行|處理中|处理中|진행 중|진행중""",
    "blocked": """
        blocked|on hold|hold|waiting|waiting for customer|waiting for support|waiting for approval|paused|suspended
        |stalled|deferred|postponed|impeded|delegated
        |blockiert|wartend|warten|wartet|zurückgestellt|angehalten|pausiert
        |bloqué|bloquée|en attente|en pause|bloqueado|bloqueada|en espera|em espera|aguardando|em pausa
        |bloccato|bloccata|in attesa|sospeso|sospesa|zablokowane|zablokowany|wstrzymane|wstrzymany|oczekuje
        |geblokkeerd|wachten|in de wacht|wacht
        |заблокировано|заблокирован|ожидание|ожидает|отложено|приостановлено|blockerad|blokeret|blokovaný|保留|阻塞|보류""",
    "completed": """
        done|closed|resolved|complete|completed|finished|fixed|released|deployed|verified|accepted|merged|shipped|archived
        |erledigt|fertig|geschlossen|gelöst|abgeschlossen|beendet|fertiggestellt
        |terminé|terminée|terminé(e)|fermé|fermée|résolu|résolue|clos|fait|achevé
        |hecho|hecha|listo|lista|finalizado|finalizada|terminado|terminada|cerrado|cerrada|resuelto|resuelta|completado
        |completada|concluído|concluída|feito|feita|pronto|fechado|fechada|resolvido|resolvida|itens concluídos|completo
        |completato|completata|fatto|fatta|chiuso|chiusa|risolto|risolta|finito|terminato|terminata
        |gotowe|zrobione|zamknięte|zamknięty|rozwiązane|rozwiązany|ukończone|zakończone|wykonane
        |gereed|klaar|gedaan|gesloten|opgelost|voltooid|afgerond
        |готово|сделано|закрыт|закрыта|закрыто|решен|решён|решена|решено|выполнено|завершено|выполнен|завершен
        |klar|klart|färdig|stängd|löst|slutförd|færdig|udført|lukket|løst|ferdig|utført|hotovo|dokončeno|uzavřeno
        |vyřešeno|tamamlandı|bitti|kapalı|зроблено|закрито|valmis|完了|終了|解決済み|クローズ|完成|已完成|已关闭|已解决|关闭
        |완료|완료됨|해결됨
        |true|yes|1|x|✓|✔|✅|☑|ja|oui|sí|sì|si|sim|tak|да|100%""",
    "cancelled": """
        cancelled|canceled|won't do|won't fix|wont do|wont fix|wontfix|rejected|declined|duplicate|invalid|abandoned
        |dropped|discarded|obsolete|not planned|deleted|withdrawn|cannot reproduce|not a bug|not a problem
        |abgebrochen|abgelehnt|verworfen|storniert|wird nicht erledigt
        |annulé|annulée|rejeté|rejetée|abandonné|abandonnée|cancelado|cancelada|rechazado|rechazada|descartado|anulado
        |anulada|rejeitado|rejeitada|annullato|annullata|rifiutato|respinto|scartato
        |anulowane|anulowany|odrzucone|odrzucony|geannuleerd|afgewezen
        |отменено|отменен|отменён|отменена|отклонено|отклонен|отклонён|avbruten|annulleret|avbrutt|zrušeno|iptal
        |iptal edildi|скасовано|peruttu|キャンセル|取消|已取消|취소|취소됨""",
}
_PRIORITY_WORDS = {
    1: """blocker|highest|urgent|immediate|top|very high|p0|emergency|show stopper|showstopper
        |höchste|höchster|sehr hoch|sofort|dringend|la plus élevée|le plus élevé|plus élevée|très haute|très élevée
        |urgente|bloquant|bloquante|más alta|más alto|la más alta|muy alta|bloqueador|mais alta|muito alta|altíssima
        |massima|più alta|molto alta|najwyższy|najwyższa|najwyższe|pilny|pilne|hoogste|zeer hoog|наивысший|самый высокий
        |наивысшая|срочно|срочный|очень высокий|högsta|højeste|høyest|nejvyšší|最高|緊急|紧急|최상""",
    2: """critical|p1|kritisch|critique|crítica|crítico|critica|critico|krytyczny|krytyczna|kritiek|критический
        |критичный|критично|重大|严重""",
    3: """high|important|hoch|wichtig|élevée|élevé|haute|haut|importante|alta|alto|wysoki|wysoka|wysokie|ważny|hoog
        |belangrijk|высокий|высокая|важно|hög|høj|høy|vysoká|vysoký|yüksek|korkea|високий|高|높음""",
    4: "major|p2|majeure|majeur|mayor|maior",
    5: """medium|normal|moderate|average|default|regular|none|no priority|unprioritized|not set|mittel|keine|moyenne
        |moyen|normale|aucune|aucun|media|medio|ninguna|média|médio|nenhuma|nessuna|średni|średnia|średnie|brak|normalny
        |gemiddeld|midden|normaal|geen|средний|средняя|обычный|нормальный|нет|medel|mellem|middels|střední|orta|середній
        |中|普通|중간""",
    7: """low|minor|p3|niedrig|gering|basse|bas|faible|mineure|mineur|baja|bajo|menor|baixa|baixo|bassa|basso|niski
        |niska|niskie|laag|низкий|низкая|незначительный|låg|lav|nízká|nízký|düşük|matala|низький|低|낮음""",
    9: """lowest|trivial|p4|very low|niedrigste|sehr niedrig|la plus basse|plus basse|très basse|triviale|más baja
        |la más baja|muy baja|mais baixa|muito baixa|minima|più bassa|najniższy|najniższa|najniższe|trywialny|laagste
        |наименьший|самый низкий|низший|тривиальный|lägsta|laveste|lavest|nejnižší|最低|최하""",
    10: "p5",
}


STATUSES_BY_WORD = {word.strip(): status for status, words in _STATUS_WORDS.items() for word in words.split("|")}
PRIORITIES_BY_WORD = {word.strip(): value for value, words in _PRIORITY_WORDS.items() for word in words.split("|")}
_FILLING = re.compile(r"[\s_-]+")


def plain(word: str) -> str:
    """A word as it stands in the tables."""
    return _FILLING.sub(" ", word.replace("’", "'")).strip().casefold()


def status_of(word: str) -> str | None:
    """Our status for another program's; None: the word is not known."""
    return STATUSES_BY_WORD.get(plain(word))


def priority_of(word: str) -> int | None:
    """Our priority for another program's word, also with a number or a sign around it; None: it is not known.

    Highest 1, critical 2, high 3, major 4, medium 5, low and minor 7, lowest and trivial 9; P0 to P5: 1, 2, 4, 7, 9
    and 10.
    """
    known = plain(word)
    if known in PRIORITIES_BY_WORD:
        return PRIORITIES_BY_WORD[known]
    # "1 - High", "(3) Low", "High!", "🔴 High": the word tells more than a number of an unknown scale.
    letters = " ".join(re.findall(r"[^\W\d_]+", known))
    return PRIORITIES_BY_WORD.get(letters)
