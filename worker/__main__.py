"""`python -m worker [--queue NAME …]`: one worker process."""

import argparse
import gc
import os
import sys
from collections.abc import Sequence

import uvloop

from core import logs
from core.settings import Settings, SettingsError
from worker.main import QUEUES_OF_JOBS, CannotListen, serve

BULK = "bulk"
BULK_NICENESS = 5
# While a thread parses a file, the event loop waits so long, in seconds, for its turn; Python's default is five times
# as much, and a chunk's transaction has a dozen round trips.
SWITCH_SECONDS = 0.001
# Tells whoever supervises the process that starting it again is of no use.
BAD_SETTINGS = 2


def main(settings: Settings, queues: Sequence[str]) -> None:
    """Runs a worker until it is told to stop; no names mean every queue. Exits with a message where a port is taken.

    Raises:
        ValueError: a queue's name is unknown.
    """
    unknown = set(queues) - set(QUEUES_OF_JOBS)
    if unknown:
        raise ValueError(f"unknown queue {', '.join(sorted(unknown))}: choose from {', '.join(QUEUES_OF_JOBS)}")
    # What is loaded by now lives as long as the process: the collector need not look at it again and again.
    gc.freeze()
    logs.configure(settings, tier="worker")
    sys.setswitchinterval(SWITCH_SECONDS)
    if list(queues) == [BULK]:
        os.nice(BULK_NICENESS)  # where the processor is short, those who wait for a write go first
    try:
        uvloop.run(serve(settings, list(queues) or list(QUEUES_OF_JOBS)))
    except CannotListen as error:
        sys.exit(str(error))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="worker", description="One Tenfold worker process.")
    parser.add_argument("--queue", action="append", default=[], choices=list(QUEUES_OF_JOBS))
    arguments = parser.parse_args()
    try:
        main(Settings.from_env(tier="WORKER"), arguments.queue)
    except SettingsError as error:
        print("\n".join(error.faults), file=sys.stderr)  # noqa: T201
        sys.exit(BAD_SETTINGS)
