"""Exports: a user's tasks as a file."""
