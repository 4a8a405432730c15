"""What came of one attempt to deliver."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one attempt to deliver.

    Attributes:
        error: for the channel's owner, without the address; None: it was delivered.
        retry_after: seconds that the receiver asks to be left alone.
        is_gone: whether the receiver wants nothing more, for ever.
    """

    error: str | None = None
    retry_after: float | None = None
    is_gone: bool = False
