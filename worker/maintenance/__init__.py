"""Maintenance: what the clock and admins have run, and the sweeps that look for work nobody was called for."""
