"""The real servers that development, tests and the benchmark run on."""

from ops.dev.postgres import PostgresServer
from ops.dev.server import Server, ServerError
from ops.dev.valkey import ValkeyServer

__all__ = ["PostgresServer", "Server", "ServerError", "ValkeyServer"]
