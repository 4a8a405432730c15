"""The limits of channels and hosts: how many deliveries may be on their way to them, and how many to claim ahead.

A limit is a number of places. Users share them as the ports of a switch share its buffers (Choudhury and Hahne,
"Dynamic queue length thresholds", 1998): nobody may hold more than are free. One user alone holds half of them, however
slow his receivers are; the second finds a place at once, and so does the third. One that becomes free goes to who holds
the fewest.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from core.deliveries.writes.claims import ClaimedDelivery

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
        held: how many of them by each user who has any.
        pace: seconds that an attempt takes, of late.
        heard_at: when an attempt last ended, or the first of several began, on the monotonic clock.
        waiting: by user, channels in which something waits, the first to wait first.
        members: all its channels, by their ids.
    """

    places: int
    sending: int = 0
    held: Counter[int] = field(default_factory=Counter)
    pace: float = QUICK_SECONDS
    heard_at: float = 0.0
    waiting: "dict[int, dict[Channel, None]]" = field(default_factory=dict)
    members: "dict[int, Channel]" = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return self.sending >= self.places

    @property
    def is_quick(self) -> bool:
        """Whether a place becomes free so soon that it pays to wait for it with what was claimed."""
        return self.pace < QUICK_SECONDS

    def has_place_for(self, user_id: int) -> bool:
        return self.held[user_id] < self.places - self.sending

    def take(self, user_id: int) -> None:
        self.sending += 1
        self.held[user_id] += 1

    def give(self, user_id: int) -> None:
        self.sending -= 1
        self.held[user_id] -= 1
        if not self.held[user_id]:
            del self.held[user_id]

    def queue(self, channel: "Channel") -> None:
        """Notes whether something waits in a channel."""
        if channel.waiting:
            self.waiting.setdefault(channel.user_id, {}).setdefault(channel)
        elif (channels := self.waiting.get(channel.user_id)) is not None:
            channels.pop(channel, None)
            if not channels:
                del self.waiting[channel.user_id]

    def waiting_channels(self) -> "list[Channel]":
        return [channel for channels in self.waiting.values() for channel in channels]

    def rooms(self) -> dict[int, int]:
        """How many to claim for members that would not get a place soon: one of a user who has nothing here yet."""
        if self.is_full:
            cut_off = None
        elif not (cut_off := {user_id for user_id in self.held if not self.has_place_for(user_id)}):
            return {}
        if self.is_quick and sum(len(one.waiting) for one in self.waiting_channels()) < AHEAD_OF_A_QUICK_GROUP:
            return {}
        return {
            channel_id: 0 if channel.user_id in self.held or channel.user_id in self.waiting else 1
            for channel_id, channel in self.members.items()
            if not channel.sending and (cut_off is None or channel.user_id in cut_off)
        }

    def note_pace(self, seconds: float) -> None:
        self.pace += (seconds - self.pace) * PACE_WEIGHT


@dataclass(eq=False, slots=True)
class Channel:
    """What one channel has on its way in this process.

    Attributes:
        user_id: whose it is.
        places: how many of it may be sending at a time.
        groups: whose places it needs, too.
        url_encrypted: the address that they follow from.
        waiting: what was claimed and is not being sent yet.
        sending: how many are.
        is_quick: whether the last one was delivered so fast that it pays to claim ahead.
        heard_at: as a group's.
    """

    user_id: int
    places: int
    groups: tuple[Group, ...]
    url_encrypted: bytes
    waiting: deque[ClaimedDelivery] = field(default_factory=deque)
    sending: int = 0
    is_quick: bool = False
    heard_at: float = 0.0

    @property
    def is_busy(self) -> bool:
        return bool(self.waiting) or self.sending > 0

    @property
    def can_send(self) -> bool:
        return (
            bool(self.waiting)
            and self.sending < self.places
            and all(group.has_place_for(self.user_id) for group in self.groups)
        )

    @property
    def is_held_up(self) -> bool:
        """Whether it gets no place, and will get none for a while."""
        return not self.sending and any(
            not group.has_place_for(self.user_id) and not group.is_quick for group in self.groups
        )

    def take(self, now: float) -> None:
        """Takes the places for one attempt."""
        if not self.sending:
            self.heard_at = now
        self.sending += 1
        for group in self.groups:
            if not group.sending:
                group.heard_at = now
            group.take(self.user_id)

    def give(self, now: float) -> None:
        """Gives back what `take` took."""
        self.sending -= 1
        self.heard_at = now
        for group in self.groups:
            group.give(self.user_id)
            group.heard_at = now

    def queue(self) -> None:
        """Lets the groups know whether something waits in it."""
        for group in self.groups:
            group.queue(self)

    @property
    def room(self) -> int:
        """How many more to claim for it, unless one of its groups or its user has enough."""
        most = AHEAD_OF_A_QUICK_CHANNEL if self.is_quick and self.places > 1 else self.places
        return max(0, most - len(self.waiting) - self.sending)


def next_to_send(groups: Iterable[Group]) -> Channel | None:
    """Of all channels that wait in some groups and may send, that of the user who holds the fewest places there.

    Of one user's it is the one that has the fewest on their way.
    """
    best: Channel | None = None
    fewest = 0
    for group in groups:
        for user_id, channels in group.waiting.items():
            held = group.held[user_id]
            if best is not None and held >= fewest:
                continue
            if not group.has_place_for(user_id):
                continue
            found: Channel | None = None
            for channel in channels:
                if channel.can_send and (found is None or channel.sending < found.sending):
                    found = channel
                    if not found.sending:  # mostly the first: there may be thousands
                        break
            if found is not None:
                best, fewest = found, held
                if not held:
                    return best
    return best
