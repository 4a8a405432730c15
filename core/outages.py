"""Outages: logged once when they begin and once when they are over. Between, one looks again less and less often."""

import random
import time

from core.logs import get_logger

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0

log = get_logger()


def pause(times: int, *, first: float = FIRST_PAUSE_SECONDS, longest: float = LONGEST_PAUSE_SECONDS) -> float:
    """Seconds to wait after so many faults in a row: doubling, and jittered, so that a fleet does not return as one."""
    full: float = min(longest, first * 2 ** min(times, 16))
    return full * random.uniform(0.5, 1.0)  # noqa: S311


class Outage:
    """An outage of something that one component needs: a warning when it begins, a line when it is over."""

    def __init__(self, of: str) -> None:
        """
        Args:
            of: what is away, and for what it is needed, as the log shall tell it.
        """
        self._of = of
        self._since: float | None = None
        self._faults = 0

    @property
    def lasts(self) -> bool:
        return self._since is not None

    def noticed(self, error: BaseException) -> float:
        """To be called when it is (still) away; returns after how many seconds to look again.

        The pauses double up to `LONGEST_PAUSE_SECONDS`.
        """
        if self._since is None:
            self._since = time.monotonic()
            self._faults = 0
            log.warning("outage begins", of=self._of, error=repr(error))
        self._faults += 1
        return pause(self._faults)

    def over(self) -> None:
        """To be called when it answers. If it was away, logs for how long."""
        if self._since is not None:
            seconds = round(time.monotonic() - self._since, 3)
            self._since = None
            log.info("outage is over", of=self._of, seconds=seconds, faults=self._faults)


class Outages(dict[str, Outage]):
    """The outages of one process, by what is away."""

    def __missing__(self, of: str) -> Outage:
        outage = self[of] = Outage(of)
        return outage
