"""Writes: what waits in a lane is read, carried out in transactions, each command once, and its outcome published."""
