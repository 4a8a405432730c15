"""Refusals of what would pass a quota; 0 is no limit."""

from typing import Any

from core import metrics
from core.commands.effects import Effect
from core.quotas.queries import Held
from core.settings import Settings


def quota_exceeded(quota: str, *, limit: int, used: int) -> Effect:
    """The refusal of what would pass a quota; `quota` is its setting's name in small letters without `quota_`."""
    metrics.QUOTA_REFUSALS.labels(quota).inc()
    return Effect.rejected(
        "quota-exceeded",
        f"Of {quota.replace('_', ' ')} {used} are in use, and a user may have {limit}: give some up first.",
        quota=quota,
        limit=limit,
        used=used,
    )


def quota_members(refusal: Effect) -> dict[str, Any]:
    """What such a refusal says besides what every problem does."""
    assert refusal.error is not None
    return {name: refusal.error[name] for name in ("quota", "limit", "used")}


def refusal_of(settings: Settings, held: Held, *, exports: int = 0, size: int = 0) -> Effect | None:
    """The refusal of an import or export for a user who has reached a quota; None: there is room.

    Args:
        settings: with the quotas.
        held: what the user has.
        exports: how many are to be added.
        size: bytes to be stored. An export's are not known: it is only refused where no room is left.
    """
    limit = settings.quota_waiting_jobs
    if limit and held.waiting_jobs >= limit:
        return quota_exceeded("waiting_jobs", limit=limit, used=held.waiting_jobs)
    limit = settings.quota_exports_kept
    if limit and exports and held.exports_kept + exports > limit:
        return quota_exceeded("exports_kept", limit=limit, used=held.exports_kept)
    limit, size = settings.quota_stored_bytes, max(size, exports)
    if limit and size and held.stored_bytes + size > limit:
        return quota_exceeded("stored_bytes", limit=limit, used=held.stored_bytes)
    return None
