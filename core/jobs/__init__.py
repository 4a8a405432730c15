"""Jobs: what became of each command, and the queues that call for work."""
