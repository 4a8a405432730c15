"""Notifications inside the service itself."""
