"""The places of channels and hosts: how many deliveries may be on their way to them, and how many to claim ahead."""

from collections import deque
from dataclasses import dataclass, field

from core.deliveries.writes import ClaimedDelivery

# What is claimed ahead for those that take things quickly: so much that they never wait for the next claim.
AHEAD_OF_A_QUICK_CHANNEL = 512
AHEAD_OF_A_QUICK_GROUP = 1024
QUICK_SECONDS = 0.25
# So long after the last answer of a receiver that was quick, nobody knows when the next one comes.
STALLED_SECONDS = 1.0
STALLED_PACE = 1.0
# By how much one attempt changes what is thought of the speed of a host, behind which many channels may be.
PACE_WEIGHT = 0.1


@dataclass(eq=False, slots=True)
class Group:
    """Channels that share places: those of one host, or all that send through Apprise.

    Attributes:
        places: how many may be sending at a time.
        sending: how many are.
        pace: seconds that an attempt takes, of late.
        heard_at: when an attempt last ended, or the first of several began, on the monotonic clock.
        waiting: channels in which something waits, the first to wait first.
        members: all its channels, by their ids.
    """

    places: int
    sending: int = 0
    pace: float = QUICK_SECONDS
    heard_at: float = 0.0
    waiting: "dict[Channel, None]" = field(default_factory=dict)
    members: "dict[int, Channel]" = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return self.sending >= self.places

    @property
    def is_quick(self) -> bool:
        """Whether a place becomes free so soon that it pays to wait for it with what was claimed."""
        return self.pace < QUICK_SECONDS

    @property
    def is_closed(self) -> bool:
        """Whether no more is to be claimed for channels that have no place."""
        return self.is_full and not (
            self.is_quick and sum(len(channel.waiting) for channel in self.waiting) < AHEAD_OF_A_QUICK_GROUP
        )

    def note_pace(self, seconds: float) -> None:
        self.pace += (seconds - self.pace) * PACE_WEIGHT


@dataclass(eq=False, slots=True)
class Channel:
    """What one channel has on its way in this process.

    Attributes:
        places: how many of it may be sending at a time.
        groups: whose places it needs, too.
        url_encrypted: the address that they follow from.
        waiting: what was claimed and is not being sent yet.
        sending: how many are.
        is_quick: whether the last one was delivered so fast that it pays to claim ahead.
        heard_at: as a group's.
    """

    places: int
    groups: tuple[Group, ...]
    url_encrypted: bytes
    waiting: deque[ClaimedDelivery] = field(default_factory=deque)
    sending: int = 0
    is_quick: bool = False
    heard_at: float = 0.0

    @property
    def counted(self) -> "tuple[Channel | Group, ...]":
        """All whose places it takes."""
        return (self, *self.groups)

    @property
    def is_busy(self) -> bool:
        return bool(self.waiting) or self.sending > 0

    @property
    def can_send(self) -> bool:
        return bool(self.waiting) and self.sending < self.places and not any(group.is_full for group in self.groups)

    @property
    def is_held_up(self) -> bool:
        """Whether others have all the places, and will have them for a while."""
        return not self.sending and any(group.is_full and not group.is_quick for group in self.groups)

    @property
    def room(self) -> int:
        """How many more to claim for it, unless one of its groups is closed."""
        most = AHEAD_OF_A_QUICK_CHANNEL if self.is_quick and self.places > 1 else self.places
        return max(0, most - len(self.waiting) - self.sending)
