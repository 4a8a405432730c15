"""What maintenance there is, and when: at ticks that every worker works out alike.

A tick is a multiple of its interval since 1970, moved by an offset that keeps jobs apart. However long all workers were
away, one run makes up for every tick that passed meanwhile.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MINUTE = 60
HOUR = 3600
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Interval:
    """Every so many seconds, so many after a multiple of them."""

    seconds: int
    offset: int = 0

    def tick(self, now: datetime) -> datetime:
        """The latest tick, `now` included."""
        passed = int(now.timestamp()) - self.offset
        return datetime.fromtimestamp(passed // self.seconds * self.seconds + self.offset, UTC)

    def next_tick(self, now: datetime) -> datetime:
        """The first tick after `now`."""
        return self.tick(now) + timedelta(seconds=self.seconds)


SCHEDULE: dict[str, Interval] = {
    "keep_partitions": Interval(HOUR, 7 * MINUTE),
    "purge_finished_jobs": Interval(10 * MINUTE, 20),
    "purge_uploads": Interval(HOUR, 35 * MINUTE + 10),
    "delete_expired_exports": Interval(MINUTE, 50),
    "delete_orphaned_exports": Interval(HOUR, 25 * MINUTE + 30),
    "purge_ended_sessions": Interval(HOUR, 40 * MINUTE + 40),
    "purge_deleted_channels": Interval(MINUTE, 15),
    "purge_events": Interval(10 * MINUTE, 3 * MINUTE + 30),
    "purge_reminders": Interval(HOUR, 50 * MINUTE),
    "purge_notifications": Interval(HOUR, 55 * MINUTE),
    "refresh_statistics": Interval(5 * MINUTE, 40),
}
"""The name of each job that is run once a tick → its ticks."""

SWEEP = Interval(5)
SWEEPS = ("sweep_lanes", "empty_suspect_cache", "sweep_exports", "sweep_imports")
"""These look for work that was left lying. They run every few seconds, also while PostgreSQL is away."""

PARTITION_ORDERS = ("create_partition", "detach_partition", "attach_partition")
"""These run only when an admin orders them."""

NAMES = (*SCHEDULE, *SWEEPS)
"""What an admin can have run by its name."""
