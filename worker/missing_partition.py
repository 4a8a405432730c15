"""The partition for new tasks, for jobs that find that there is none."""

from core.partitions.writes import ensure_partitions
from worker.runner import Services


async def make_missing_partition(services: Services) -> None:
    """Makes the partition for new tasks, which maintenance should have made long ago.

    Raises:
        Exception: a transient fault.
    """
    await ensure_partitions(services.pool, ahead=0, interval=services.settings.partition_interval)
