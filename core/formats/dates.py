"""Dates as programs and people write them, in several languages, become RFC 3339 in UTC.

What is decided here, for every format:

- A date and time without a zone is in the reader's time zone. A time that a clock change skips is taken an hour later
  (02:30 becomes 03:30 in summer time), one that comes twice is its first occurrence, as RFC 5545 has it.
- A date alone is the first instant of its day. As a *due* date it is the day (`parse_due`), and so is a midnight: most
  programs which know only days write them so, and nobody means the first instant of a day by "due".
- `03/04/2024` is ambiguous. A file tells: `day_order` looks at some of its dates, and what it finds goes in as
  `day_first`. Without it an ambiguous date is an error, as a wrong date would be worse. Dates with dots are day first.
- Years of two digits are 1969 to 2068, as POSIX has it.

Long because the names of months and days in all languages stand here, before what reads them.
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache

# Names and abbreviations as Jira, Excel, Java's and browsers' locale data write them, January to December. A name
# stands in one place only; names which mean different months in different languages are left out.
_MONTH_NAMES = (
    # English, German, French, Spanish, Portuguese, Italian, Dutch, Polish, Russian, Swedish, Danish, Czech, Ukrainian,
    # Turkish, Finnish
    "january jan januar jänner jän janvier janv enero ene janeiro gennaio gen januari styczeń stycznia sty "
    "январь января янв leden ledna led січень січня січ ocak oca tammikuu tammikuuta tammi",
    "february feb februar feber février févr fév fevrier febrero fevereiro fev febbraio februari luty lutego lut "
    "февраль февраля фев февр febr únor února úno лютий лютого лют şubat şub helmikuu helmikuuta helmi",
    "march mar märz mär mrz marz mars marzo março marco maart mrt marzec marca март марта мар marts březen března "
    "bře березень березня бер mart maaliskuu maaliskuuta maalis",
    "april apr avril avr abril abr aprile kwiecień kwietnia kwi апрель апреля апр duben dubna dub квітень квітня кві "
    "квіт nisan nis huhtikuu huhtikuuta huhti",
    "may mai mayo maio maggio mag mei maj maja май мая květen května kvě травень травня тра трав mayıs toukokuu "
    "toukokuuta touko",
    "june jun juni juin junio junho giugno giu czerwiec czerwca cze июнь июня июн červen června čvn червень червня "
    "чер черв haziran haz kesäkuu kesäkuuta kesä",
    "july jul juli juillet juil julio julho luglio lug lipiec lipca lip июль июля июл červenec července čvc липень "
    "липня лип temmuz tem heinäkuu heinäkuuta heinä",
    "august aug août aout agosto ago augustus sierpień sierpnia sie август августа авг augusti srpen srpna srp "
    "серпень серпня сер серп ağustos ağu elokuu elokuuta elo",
    "september sep sept septembre septiembre setiembre setembro set settembre wrzesień września wrz сентябрь "
    "сентября сен сент září zář вересень вересня вер eylül eyl syyskuu syyskuuta syys",
    "october oct oktober okt octobre octubre outubro out ottobre ott październik października paź paz октябрь "
    "октября окт říjen října říj жовтень жовтня жов жовт ekim eki lokakuu lokakuuta loka",
    "november nov novembre noviembre novembro listopad listopada lis ноябрь ноября ноя нояб листопад листопада лис "
    "kasım kas marraskuu marraskuuta marras",
    "december dec dezember dez décembre déc decembre diciembre dic dezembro dicembre grudzień grudnia gru декабрь "
    "декабря дек prosinec prosince pro грудень грудня гру груд aralık ara joulukuu joulukuuta joulu",
)
MONTHS: dict[str, int] = {
    name: number for number, names in enumerate(_MONTH_NAMES, start=1) for name in names.split()
} | {f"{number}{suffix}": number for number in range(1, 13) for suffix in "月월"}

# RFC 822's, which the mails of this world still say, and those of Central and Eastern Europe.
_FARTHEST_ZONE = 14 * 3600
_QUARTER_HOUR = 900
_ZONES = {
    **dict.fromkeys(("z", "ut", "utc", "gmt", "wet"), 0),
    **dict.fromkeys(("cet", "mez", "west"), 1),
    **dict.fromkeys(("cest", "mesz", "eet"), 2),
    **dict.fromkeys(("eest", "msk"), 3),
    "est": -5,
    "edt": -4,
    "cst": -6,
    "cdt": -5,
    "mst": -7,
    "mdt": -6,
    "pst": -8,
    "pdt": -7,
}
_WEEKDAYS = frozenset(
    [
        "mon",
        "tue",
        "wed",
        "thu",
        "fri",
        "sat",
        "sun",
        "tues",
        "thur",
        "thurs",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
    ]
)

_SPACES = re.compile(r"[\s\u00a0\u2007\u200e\u200f\u202f]+")
_TIME = re.compile(
    r"""
    (?: (?<=\d) t | (?<![\d:.+-]) )                     # a T after the date, or nothing that would go on before it
    (?P<hour> \d{1,2} )
    (?: (?P<mark> [:h.] ) (?P<minute> \d{2} ) (?: [:.] (?P<second> \d{2} ) (?: [.,] (?P<fraction> \d{1,9} ) )? )? )?
    (?: \ ? (?P<half> [ap] \.? \ ? m \b \.? ) )?
    (?: \ uhr \b )?
    (?: \ ? (?P<zone>
        (?: utc | gmt )? (?P<sign> [+-] ) (?P<hours> \d{2} ) (?: :? (?P<minutes> \d{2} ) )? (?! [\d:] )
        | (?P<name> z | [a-z]{2,4} ) (?! \w )
    ) )?
    """,
    re.VERBOSE,
)
_PREPOSITION = re.compile(r"[ ,]+(?:at|um|à|a las|a la|às|as|alle|ore|om|o|kl\.?|в|о)?[ ,]*$")
_AFTER_YEAR = re.compile(r"\d{4},? (?:um |o |om |kl\. ?)?$")
_COMMENT = re.compile(r" ?(\([^)]*\)|\[[^\]]*\])$")
_YEAR_FIRST = re.compile(r"(\d{4})[-/. ](\d{1,2})[-/. ](\d{1,2})\.?$")
_CJK = re.compile(r"(\d{4}) ?[年년] ?(\d{1,2}) ?[月월] ?(\d{1,2}) ?[日일]$")
_NUMERIC = re.compile(r"(\d{1,2})(?:([/-])|\. ?)(\d{1,2})(?:[/-]|\. ?)(\d{4}|\d{2})(?: г\.?)?$")
_DAY_NAMED = re.compile(
    r"(\d{1,2})(?:st|nd|rd|th|er|º|ª|\.)?[ ./-]*(?:de |of )?((?:\d{1,2})?[^\W\d_]+)\.?,?[ ./-]*(?:de |del )?"
    r"(\d{4}|\d{2})(?: г\.?)?$"
)
_NAMED_DAY = re.compile(r"([^\W\d_]+)\.?[ ./-]*(\d{1,2})(?:st|nd|rd|th)?,?[ ./-]+(\d{4})$")
_YEAR_NAMED = re.compile(r"(\d{4})[ ./-]*([^\W\d_]+)\.?[ ./-]*(\d{1,2})$")
_SEPARATED = re.compile(r"\s*(\d{1,2})[/-](\d{1,2})[/-](?:\d{4}|\d{2})(?!\d)")
# No date is longer; some expressions above take the square of a text's length.
_LONGEST = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BASIC = re.compile(r"(\d{4})(\d\d)(\d\d)t(\d\d)(\d\d)(\d\d)?(?=$|[+\-z])")


def parse_moment(text: str, time_zone: tzinfo, *, day_first: bool | None = None) -> str:
    """A date, with or without a time, as RFC 3339 in UTC.

    Understood are ISO 8601 (basic and extended, padded or not), RFC 822, numeric dates, dates with the names of months
    in the languages of `MONTHS`, times of 12 and 24 hours, and seconds or milliseconds since 1970.

    Args:
        text: the date; spaces around it do not matter.
        time_zone: of dates that have none.
        day_first: what an ambiguous `03/04/2024` begins with; None: unknown, which makes such a date an error.

    Raises:
        ValueError: there is no such date, or it cannot be told which one is meant; with a text for its writer.
    """
    return _in_utc(_read(text, day_first), time_zone, text)


def parse_due(text: str, time_zone: tzinfo, *, day_first: bool | None = None) -> str:
    """A due date: as `parse_moment`, but a date alone is a day (`2026-01-31`), and so is a midnight of the time zone.

    `14/Mar/26 12:00 AM` and `2026-03-13T23:00:00Z` for a reader in Berlin are March 14th.
    """
    moment = _read(text, day_first)
    if "24:00" not in text:
        try:
            local = moment if moment.tzinfo is None else moment.astimezone(time_zone)
        except (ValueError, OverflowError):
            raise _out_of_range(text) from None
        if local.time() == time():
            return local.date().isoformat()
    return _in_utc(moment, time_zone, text)


def is_day(due: str) -> bool:
    """Whether what `parse_due` found is a day."""
    return len(due) == len("2026-01-31")


@lru_cache(maxsize=4096)  # a file's days come again and again
def end_of_day(day: str, time_zone: tzinfo) -> str:
    """The last second of a day, RFC 3339 in UTC."""
    end = datetime.combine(date.fromisoformat(day), time(23, 59, 59), tzinfo=time_zone)
    try:
        return end.astimezone(UTC).isoformat()
    except OverflowError:
        return end.replace(tzinfo=UTC).isoformat()


def is_end_of_day(moment: str, day: str) -> bool:
    """Whether a moment, RFC 3339, is the last second of a day in the time zone of anybody."""
    end = datetime.combine(date.fromisoformat(day), time(23, 59, 59), tzinfo=UTC)
    seconds = abs((datetime.fromisoformat(moment) - end).total_seconds())
    return seconds <= _FARTHEST_ZONE and seconds % _QUARTER_HOUR == 0


def day_order(samples: Iterable[str]) -> bool | None:
    """Whether dates such as `03/04/2024` begin with the day, as told by those of them that can be read in one way only.

    Returns:
        True: day first. False: month first. None: nothing tells, or both occur.
    """
    found = set()
    for sample in samples:
        if match := _SEPARATED.match(sample):
            first, second = int(match[1]), int(match[2])
            if first > 12 >= second:
                found.add(True)
            elif second > 12 >= first:
                found.add(False)
    return found.pop() if len(found) == 1 else None


def _quoted(text: str) -> str:
    text = text.strip()
    return f"“{text[:60]}…”" if len(text) > 60 else f"“{text}”"


def _unreadable(text: str) -> ValueError:
    return ValueError(f"{_quoted(text)} cannot be read as a date; write it as 2026-01-31 or 2026-01-31T17:00:00+01:00.")


def _no_such_time(text: str) -> ValueError:
    return ValueError(f"{_quoted(text)} has a time that does not exist.")


def _out_of_range(text: str) -> ValueError:
    return ValueError(f"{_quoted(text)} is outside the years 1 to 9999.")


def _in_utc(moment: datetime, time_zone: tzinfo, text: str) -> str:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=time_zone)
    try:
        return moment.astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise _out_of_range(text) from None


def _read(text: str, day_first: bool | None) -> datetime:
    """The date as it is written: naive where it names no zone, at midnight where it names no time."""
    stripped = text.strip()
    # Most files hold ISO dates, which Python reads fast; what it is too strict for is read below.
    if stripped[4:5] == "-" and stripped[7:8] == "-":
        try:
            return datetime.fromisoformat(stripped)
        except ValueError:
            pass
    if len(stripped) > _LONGEST:
        raise _unreadable(text)
    plain = _SPACES.sub(" ", stripped).casefold()
    if plain.isdecimal() and plain.isascii():
        return _of_digits(plain, text)
    plain = _BASIC.sub(_extended, _COMMENT.sub("", plain))
    day, clock, zone = _split(plain, text)
    midnight = datetime.combine(_date(day, text, day_first), time(tzinfo=zone))
    if clock is None:
        return midnight
    hours, minutes, seconds, microseconds = clock
    if hours == 24 and not minutes and not seconds:
        try:
            return midnight + timedelta(days=1)
        except OverflowError:
            raise _no_such_time(text) from None
    try:
        return midnight.replace(hour=hours, minute=minutes, second=seconds, microsecond=microseconds)
    except ValueError:
        raise _no_such_time(text) from None


def _extended(basic: re.Match[str]) -> str:
    return f"{basic[1]}-{basic[2]}-{basic[3]}t{basic[4]}:{basic[5]}:{basic[6] or '00'}"


def _of_digits(plain: str, text: str) -> datetime:
    """20251004, 20251004193000, seconds (10 digits: 2001 to 2286) or milliseconds (13) since 1970."""
    if len(plain) == 8:
        return datetime.combine(_existing(int(plain[:4]), int(plain[4:6]), int(plain[6:]), text), time())
    if len(plain) == 14:
        return _read(f"{plain[:4]}-{plain[4:6]}-{plain[6:8]} {plain[8:10]}:{plain[10:12]}:{plain[12:]}", None)
    if len(plain) in (10, 13):
        return _EPOCH + timedelta(milliseconds=int(plain) * (1000 if len(plain) == 10 else 1))
    raise _unreadable(text)


_Clock = tuple[int, int, int, int]


def _split(plain: str, text: str) -> tuple[str, _Clock | None, tzinfo | None]:
    """What is left of the date without its time, the time, and the zone."""
    for match in _TIME.finditer(plain):
        before, after = plain[: match.start()], plain[match.end() :]
        if match["minute"] is None and match["half"] is None:
            continue
        # 14.30 is a time after a year only; elsewhere it is a day and a month.
        if match["mark"] == "." and not _AFTER_YEAR.search(before):
            continue
        zone = _zone(match, text)
        hours = int(match["hour"])
        if match["half"] is not None:
            if hours == 0 or hours > (12 if match["half"][0] == "a" else 23):
                raise ValueError(f"{_quoted(text)} has a time that does not exist.")
            if match["half"][0] == "a":
                hours %= 12
            elif hours < 12:
                hours += 12
        fraction = (match["fraction"] or "0").ljust(6, "0")[:6]
        clock = (hours, int(match["minute"] or 0), int(match["second"] or 0), int(fraction))
        day = _SPACES.sub(" ", f"{_PREPOSITION.sub('', before)} {after}").strip(" ,")
        return day, clock, zone
    return plain, None, None


def _zone(match: re.Match[str], text: str) -> tzinfo | None:
    if match["zone"] is None:
        return None
    if match["sign"] is None:
        if match["name"] not in _ZONES:
            raise ValueError(f"{_quoted(text)} names a time zone that is not known; write it as +01:00.")
        return timezone(timedelta(hours=_ZONES[match["name"]]))
    offset = timedelta(hours=int(match["hours"]), minutes=int(match["minutes"] or 0))
    if offset >= timedelta(days=1):
        raise ValueError(f"{_quoted(text)} has an offset of a day or more.")
    return timezone(-offset if match["sign"] == "-" else offset)


def _existing(year: int, month: int, day: int, text: str) -> date:
    try:
        return date(year, month, day)
    except ValueError:
        if not 1 <= month <= 12:
            raise ValueError(f"{_quoted(text)} is no date: there is no month {month}.") from None
        raise ValueError(f"{_quoted(text)} is no date: there is no {year:04}-{month:02}-{day:02}.") from None


def _year(digits: str) -> int:
    year = int(digits)
    if len(digits) == 4:
        return year
    return year + (2000 if year < 69 else 1900)


def _date(plain: str, text: str, day_first: bool | None) -> date:
    if match := _YEAR_FIRST.match(plain) or _CJK.match(plain):
        return _existing(int(match[1]), int(match[2]), int(match[3]), text)
    if match := _NUMERIC.match(plain):
        first, second, year = int(match[1]), int(match[3]), _year(match[4])
        if match[2] is None or first > 12:  # dots, or no month
            return _existing(year, second, first, text)
        if second > 12:
            return _existing(year, first, second, text)
        if day_first is None and first != second:
            raise ValueError(
                f"{_quoted(text)} can be {year:04}-{second:02}-{first:02} or {year:04}-{first:02}-{second:02};"
                " write it as one of these, or say with a mapping's date_format which comes first."
            )
        return _existing(year, second, first, text) if day_first else _existing(year, first, second, text)
    head, _, rest = plain.partition(" ")
    if head.endswith(",") or head.rstrip(".") in _WEEKDAYS:
        plain = rest
        if _NUMERIC.match(rest) or _YEAR_FIRST.match(rest):
            return _date(rest, text, day_first)
    if (match := _DAY_NAMED.match(plain)) and match[2] in MONTHS:
        return _existing(_year(match[3]), MONTHS[match[2]], int(match[1]), text)
    if (match := _NAMED_DAY.match(plain)) and match[1] in MONTHS:
        return _existing(int(match[3]), MONTHS[match[1]], int(match[2]), text)
    if (match := _YEAR_NAMED.match(plain)) and match[2] in MONTHS:
        return _existing(int(match[1]), MONTHS[match[2]], int(match[3]), text)
    raise _unreadable(text)
