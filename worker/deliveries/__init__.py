"""Deliveries: what events have for channels is claimed, sent by webhook or through Apprise, and recorded."""
