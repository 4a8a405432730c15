"""The queue server and the cache server."""
