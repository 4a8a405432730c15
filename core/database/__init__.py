"""PostgreSQL: pools, reads, transactions, and which faults will pass."""
