"""Writes of maintenance."""
