"""Demo users and believable tasks, so that a first look finds something to look at."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import orjson

from core import clock
from core.users.passwords import hash_password

SEED = 10


@dataclass(frozen=True)
class DemoUser:
    username: str
    email: str
    password: str
    role: str
    time_zone: str
    tasks: int
    reminder_offsets: tuple[str, ...] = ()


# Known to everybody: the development server listens on this machine only, unless HOST says otherwise.
USERS = (
    DemoUser("admin", "admin@example.org", "admin-password", "admin", "UTC", 40),
    DemoUser("demo", "demo@example.org", "demo-password", "user", "Europe/Berlin", 360),
    DemoUser("zoe", "zoe@example.org", "zoe-password", "user", "America/Sao_Paulo", 80, ("P1D", "PT1H")),
)

# What is done, to what, and why: each area speaks its own language.
AREAS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "Infrastructure": (
        ("Renew", "Rotate", "Upgrade", "Monitor", "Document", "Move", "Retire", "Load-test"),
        (
            "the TLS certificates of the mail gateway", "the PostgreSQL primary", "the backup keys",
            "the staging cluster", "DNS for käsefuß.example", "the old build agents", "the VPN concentrator",
            "disk alerts of the archive hosts", "the SSO metadata", "log shipping in Frankfurt",
        ),
        (
            "Expires this quarter; the last renewal took two days because the contact had left.",
            "Rehearse on staging first. Roll back with the snapshot of the same morning.",
            "See the post-mortem of the 14th: the alert fired, and nobody was on call.",
        ),
    ),
    "Customers": (
        ("Call back", "Send an offer to", "Visit", "Prepare the review with", "Answer", "Onboard", "Refund"),
        (
            "Bäckerei Grünwald", "Nordvik Shipping AS", "Müller & Söhne", "Café Olé", "東京フーズ",
            "Łódź Logistics", "Ferme des Érables", "Harbour Dental", "Kołodziej i Wspólnicy", "Aït Ben Tours",
        ),
        (
            "They would like the yearly plan, invoiced in advance.",
            "Second reminder. Ask for Ms. Ibáñez, not for the switchboard.",
            "Bring the printed contract; they do not sign electronically.",
        ),
    ),
    "Billing": (
        ("Check", "Book", "Dispute", "Chase", "Archive", "Reconcile"),
        (
            "the March invoices", "travel expenses of the sales team", "the hosting bill",
            "open items over 90 days", "the VAT return", "card payments of last week",
            "the deposit for the fair",
        ),
        (
            "The amount differs by €1,203.40 from the order.",
            "Tax office wants it by the tenth; the advisor needs three working days.",
            "Two entries share one receipt number.",
        ),
    ),
    "Product": (
        ("Fix", "Investigate", "Write tests for", "Review", "Sketch", "Release", "Measure"),
        (
            "time zones in reminders", "the slow start page", "CSV import with semicolons",
            "emoji in task titles 🎉", "keyboard navigation", "the export of archived tasks",
            "pagination beyond page 100", "double e-mails after a retry", "right-to-left layout (العربية)",
        ),
        (
            "Happens once in a few hundred requests; a trace is attached to the ticket.",
            "Decide: mend it, or say in the manual that it is meant.",
            "Reported by three customers independently.",
        ),
    ),
    "People": (
        ("Interview", "Write the reference for", "Plan the first week of", "Thank", "Talk with"),
        (
            "the candidate for support", "Jürgen", "the new colleague in Kraków", "Siobhán",
            "the working students",
            "Zoë about the conference", "the night shift",
        ),
        (
            "Forty-five minutes; leave ten for questions.",
            "Laptop, key card, accounts, and somebody to have lunch with.",
            "Not by e-mail.",
        ),
    ),
    "Office": (
        ("Order", "Repair", "Clear out", "Label", "Book", "Water"),
        (
            "the coffee machine", "paper and toner", "the large meeting room for Thursday",
            "the bicycle cellar",
            "the plants on the third floor", "the emergency exit sign", "chairs for the workshop",
        ),
        ("The old supplier has closed.", "Key is at the reception.", "Before the inspection, please."),
    ),
}  # fmt: skip
STATUSES = ("pending", "in_progress", "blocked", "completed", "cancelled")
STATUS_WEIGHTS = (45, 15, 6, 30, 4)
PRIORITY_WEIGHTS = (3, 6, 10, 14, 26, 14, 11, 8, 5, 3)
OLDEST_DAYS = 120
RECURRING_AREAS = ("Infrastructure", "Billing", "Office")
RECURRENCES = ("FREQ=WEEKLY", "FREQ=WEEKLY;INTERVAL=2", "FREQ=MONTHLY", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1")
LABELS = ("quick win", "waiting for reply", "needs budget", "on-call", "für Zoë", "次回")


def demo_tasks(count: int, now: datetime, *, seed: int) -> Iterator[dict[str, Any]]:
    """Yields `count` tasks as rows; the same for the same arguments. The oldest comes first."""
    dice = random.Random(seed)
    ages = sorted((dice.triangular(0, OLDEST_DAYS, 8) for _ in range(count)), reverse=True)
    for age in ages:
        yield _demo_task(dice, now - timedelta(days=age, seconds=dice.randrange(3600)), now)


def _demo_task(dice: random.Random, created_at: datetime, now: datetime) -> dict[str, Any]:
    area, (verbs, things, reasons) = dice.choice(list(AREAS.items()))
    status = dice.choices(STATUSES, STATUS_WEIGHTS)[0]
    due_date = _due(dice, created_at, now, status)
    updated_at = created_at + (now - created_at) * dice.random() ** 2 if status != "pending" else created_at
    return {
        "title": f"{dice.choice(verbs)} {dice.choice(things)}",
        "description": f"{area}. {dice.choice(reasons)}" if dice.random() < 0.7 else None,
        "priority": dice.choices(range(1, 11), PRIORITY_WEIGHTS)[0],
        "status": status,
        "due_date": due_date,
        "labels": _labels(dice, area),
        "created_at": created_at,
        "updated_at": updated_at,
        "completed_at": updated_at if status == "completed" else None,
        "recurrence": _recurrence(dice) if due_date and status == "pending" and area in RECURRING_AREAS else None,
    }


def _recurrence(dice: random.Random) -> str | None:
    """Some of what is done regularly is in the list as such."""
    return dice.choice(RECURRENCES) if dice.random() < 0.3 else None


def _labels(dice: random.Random, area: str) -> list[str]:
    """Some tasks have the name of their area, some another label, and some have both."""
    labels = [area.lower()] if dice.random() < 0.4 else []
    return [*labels, dice.choice(LABELS)] if dice.random() < 0.25 else labels


def _due(dice: random.Random, created_at: datetime, now: datetime, status: str) -> datetime | None:
    """Most tasks have a date; of the open ones a few are overdue."""
    if dice.random() < 0.3:
        return None
    start = created_at if status in ("completed", "cancelled") or dice.random() < 0.15 else now
    day = start + timedelta(days=dice.randint(1, 45))
    return day.replace(hour=dice.choice((9, 12, 15, 17)), minute=dice.choice((0, 0, 30)), second=0, microsecond=0)


_USER = """
INSERT INTO users (username, email, password_hash, role, time_zone, reminder_offsets)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING id
"""
_TASKS = """
INSERT INTO tasks (user_id, title, description, priority, status, due_date, labels,
                   created_at, updated_at, completed_at, recurrence)
SELECT $1, title, description, priority, status, due_date, labels, created_at, updated_at, completed_at, recurrence
FROM   jsonb_populate_recordset(NULL::tasks, $2::jsonb)
"""


async def load_demo(database_url: str) -> bool:
    """Makes the demo users and their tasks in a database that has no users yet: all of it, or nothing.

    Returns:
        Whether anything was made.
    """
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
            if await connection.fetchval("SELECT EXISTS (SELECT FROM users)"):
                return False
            for place, user in enumerate(USERS):
                user_id = await connection.fetchval(
                    _USER,
                    user.username,
                    user.email,
                    hash_password(user.password),
                    user.role,
                    user.time_zone,
                    user.reminder_offsets,
                )
                rows = list(demo_tasks(user.tasks, clock.now(), seed=SEED + place))
                await connection.execute(_TASKS, user_id, orjson.dumps(rows).decode())
        await connection.execute("ANALYZE users, tasks")
    finally:
        await connection.close()
    return True
