"""What the slices of a large batch came to, until the last one is done and the job's row holds all of it.

A batch is no transaction: each operation has its own fate. So it is carried out in slices, each a transaction that also
writes a row here. Whoever carries on after a worker has died begins behind the last slice.
"""
