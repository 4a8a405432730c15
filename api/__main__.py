"""`python -m api [--reuse-port]`: one API process."""

import argparse
import gc
import sys

import uvloop

from api.app import serve
from core import logs
from core.settings import Settings, SettingsError

COLLECT_AFTER = (100_000, 50, 50)
# Tells whoever supervises the process that starting it again is of no use.
BAD_SETTINGS = 2


def main(settings: Settings, *, reuse_port: bool = False) -> None:
    """Runs one API process until it is told to stop; exits with a message where the port is taken."""
    # What is loaded by now lives as long as the process: the collector need not look at it again and again.
    gc.freeze()
    # A request leaves a few hundred objects and no circles. Looking for those while hundreds of requests are under way
    # stops all of them, for a tenth of the time, and finds what is still in use.
    gc.set_threshold(*COLLECT_AFTER)
    logs.configure(settings, tier="api")
    try:
        uvloop.run(serve(settings, reuse_port=reuse_port))
    except OSError as error:
        sys.exit(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}. Choose another HOST or PORT.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="api", description="One Tenfold API process.")
    parser.add_argument("--reuse-port", action="store_true", help="share the port with other processes")
    arguments = parser.parse_args()
    try:
        main(Settings.from_env(tier="API"), reuse_port=arguments.reuse_port)
    except SettingsError as error:
        print("\n".join(error.faults), file=sys.stderr)  # noqa: T201
        sys.exit(BAD_SETTINGS)
