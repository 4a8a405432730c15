"""Leases: a worker that does long work tells the database again and again that it is alive.

Work whose lease has lapsed belongs to whoever claims it next. Each claim has an owner's name of its own, and every
write of the work checks it. So a worker that was presumed dead and wakes up finds another name, and stops.
"""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

from core.database.faults import is_transient

LEASE_SECONDS = 20.0

Renew = Callable[[], Awaitable[bool]]
"""Prolongs a lease; False: it is not ours any more, or the work was cancelled."""


class LeaseLost(Exception):
    """The work was cancelled, or somebody else has taken it over: what was begun must not be finished."""


def new_lease_owner() -> str:
    """A name for one claim, which tells an operator where it was made."""
    return f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(6)}"


@contextlib.asynccontextmanager
async def kept_lease(renew: Renew, *, every_seconds: float) -> AsyncIterator[None]:
    """Renews a lease as long as the body runs, and interrupts the body when the lease is lost.

    Args:
        renew: its transient faults are ignored as long as the lease lasts.
        every_seconds: well below `LEASE_SECONDS`; also how soon a cancellation is noticed.

    Raises:
        LeaseLost: the body was interrupted.
    """
    try:
        async with asyncio.timeout(None) as scope:
            renewing = asyncio.create_task(_renew_until_lost(renew, every_seconds, scope), name="lease")
            try:
                yield
            finally:
                renewing.add_done_callback(lambda task: task.cancelled() or task.exception())  # heard, come what may
                renewing.cancel()
                await asyncio.wait({renewing})
                if not renewing.cancelled() and (fault := renewing.exception()) is not None:
                    raise fault
    except TimeoutError:
        if scope.expired():
            raise LeaseLost from None
        raise


async def _renew_until_lost(renew: Renew, every_seconds: float, scope: asyncio.Timeout) -> None:
    loop = asyncio.get_running_loop()
    renewed_at = loop.time()
    while True:
        await asyncio.sleep(every_seconds)
        asked_at = loop.time()
        try:
            async with asyncio.timeout_at(renewed_at + LEASE_SECONDS):
                is_ours = await renew()
        except Exception as error:
            if not is_transient(error):
                scope.reschedule(loop.time())
                raise
            if loop.time() < renewed_at + LEASE_SECONDS:
                continue
            is_ours = False
        if not is_ours:
            scope.reschedule(loop.time())
            return
        renewed_at = asked_at
