"""Writes of deliveries."""
