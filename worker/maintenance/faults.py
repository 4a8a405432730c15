"""Which faults of maintenance will pass."""

from core.database.faults import is_unavailable
from core.errors import StorageUnavailable
from core.redis.clients import REDIS_FAULTS


def will_pass(error: Exception) -> bool:
    """Whether a server is away, or the store: the next look may find it."""
    return is_unavailable(error) or isinstance(error, (*REDIS_FAULTS, StorageUnavailable))
