"""The faults suite: real processes, real servers, real SIGKILL, under load; then a ledger is checked."""
