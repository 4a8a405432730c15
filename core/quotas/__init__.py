"""Quotas: how much one user may have of what takes room or others' time."""
