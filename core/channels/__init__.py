"""Channels: where a user wants to be told of events."""
