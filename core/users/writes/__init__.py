"""Writes of users."""
