"""Partitions of `tasks`, by the time of their making."""
