"""Ports: is one free, and which one can a server have."""

import random
import socket

# Below Linux's range for outgoing connections (32768 and up). A client that keeps knocking at a local
# port of that range, while its server is down, may be given this very port as its own end: it then talks to
# itself, and the server can no longer bind.
LOWEST, HIGHEST = 15_000, 31_999
ATTEMPTS = 200


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a listener could bind to `port` now; sockets in TIME_WAIT do not count."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free now; by the time a server binds it may not be, so be ready to ask again.

    Raises:
        OSError: none was found.
    """
    for _ in range(ATTEMPTS):
        port = random.randint(LOWEST, HIGHEST)
        if port_is_free(port, host):
            return port
    raise OSError(f"no free port between {LOWEST} and {HIGHEST} on {host}")
