"""What is away: said once when it begins and once when it is over, and looked for less and less often."""

import random
import time

from core.logs import get_logger

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0

log = get_logger()


class Outage:
    """What one component knows of something that it needs. One warning an outage, and one line at its end."""

    def __init__(self, what: str) -> None:
        """
        Args:
            what: is away, and for whom, as the log shall tell it.
        """
        self._what = what
        self._since: float | None = None
        self._times = 0

    @property
    def lasts(self) -> bool:
        return self._since is not None

    def noticed(self, error: BaseException) -> float:
        """It is away (still); returns in how many seconds to look again.

        Doubling to `LONGEST_PAUSE_SECONDS`, and jittered, so that a fleet does not return as one.
        """
        if self._since is None:
            self._since = time.monotonic()
            self._times = 0
            log.warning("outage begins", of=self._what, error=repr(error))
        self._times += 1
        longest: float = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(self._times, 16))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311

    def over(self) -> None:
        """It answers. Says so if there was an outage, and how long it was."""
        if self._since is not None:
            seconds = round(time.monotonic() - self._since, 3)
            self._since = None
            log.info("outage is over", of=self._what, seconds=seconds, faults=self._times)
