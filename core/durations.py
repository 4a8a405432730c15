"""Durations of ISO 8601, such as `P1D` or `PT1H30M`: how long before a due date a user is reminded of it."""

import re

DURATION = r"^P(?=[0-9T])([0-9]{1,4}W|([0-9]{1,2}M)?([0-9]{1,4}D)?(T(?=[0-9])([0-9]{1,4}H)?([0-9]{1,5}M)?)?)$"
_DURATION = re.compile(rf"{DURATION.removesuffix('$')}\Z")
_PARTS = re.compile(r"([0-9]+)([WMDHT])|T")
LONGEST_DAYS = 366
DURATION_MAXIMUM = 40
"""Characters of a text that may be one."""

_MINUTES_OF_DATE = {"W": 7 * 24 * 60, "M": 31 * 24 * 60, "D": 24 * 60}
_MINUTES_OF_TIME = {"H": 60, "M": 1}


def normalized_duration(text: str) -> str:
    """The duration in capitals.

    Raises:
        ValueError: it is none, has parts other than weeks, months, days, hours and minutes, or is longer than a year.
    """
    text = text.strip().upper()
    if not _DURATION.match(text):
        raise ValueError(text)
    minutes = 0
    units = _MINUTES_OF_DATE
    for part in _PARTS.finditer(text):
        if part[0] == "T":
            units = _MINUTES_OF_TIME
        else:
            minutes += int(part[1]) * units[part[2]]
    if minutes > LONGEST_DAYS * _MINUTES_OF_DATE["D"]:
        raise ValueError(text)
    return text
