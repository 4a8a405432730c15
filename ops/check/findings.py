"""What a check finds: all is well, something to know, or a fault with its remedy."""

from dataclasses import dataclass
from enum import StrEnum

CONNECT_SECONDS = 5.0


class Verdict(StrEnum):
    OK = "OK"
    NOTE = "NOTE"
    """It works, and an operator should know."""
    FAULT = "FAULT"


@dataclass(frozen=True)
class Finding:
    verdict: Verdict
    subject: str
    detail: str
    remedy: str = ""


def ok(subject: str, detail: str) -> Finding:
    return Finding(Verdict.OK, subject, detail)


def note(subject: str, detail: str, remedy: str) -> Finding:
    return Finding(Verdict.NOTE, subject, detail, remedy)


def fault(subject: str, detail: str, remedy: str) -> Finding:
    return Finding(Verdict.FAULT, subject, detail, remedy)


def told(error: BaseException) -> str:
    """A driver's error in one line."""
    return (str(error) or type(error).__name__).splitlines()[0]
