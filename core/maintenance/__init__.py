"""Maintenance: what runs by the clock, once a tick, and what came of it."""
