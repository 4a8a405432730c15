"""Follows users who have changed their time zone: what they have due all day ends at another moment there."""

from core.logs import get_logger
from core.tasks.writes.days import end_moving, move_some_days
from worker.runner import Services

log = get_logger()


async def move_days(services: Services) -> None:
    """Moves the all-day tasks of such users. Cached pages go after each part, also if a worker died before it could."""
    tasks = 0
    while not services.stopping.is_set():
        moved = await move_some_days(services.pool)
        if moved is None:
            break
        tasks += moved.tasks
        await services.invalidator.forget_users([moved.user_id])
        if moved.is_last:
            await end_moving(services.pool, moved)
    if tasks:
        log.info("days moved to another time zone", tasks=tasks)
