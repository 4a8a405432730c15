"""The channels that a process has had something to send to, and the limits that they share."""

import time
from collections import Counter
from collections.abc import Iterator

from core.channels.targets import WEBHOOK, host_of
from core.deliveries.writes.claims import ClaimedDelivery
from worker.deliveries.apprise import PROCESSES_MAXIMUM
from worker.deliveries.limits import STALLED_PACE, STALLED_SECONDS, Channel, Group

SENDING_A_CHANNEL = 32
SENDING_A_HOST = 64
# Through Apprise, of whose processes there are few.
SENDING_A_SERVICES_CHANNEL = 1
SENDING_A_SERVICES_HOST = 4
CHANNELS_REMEMBERED = 10_000


class Channels:
    """Channels by their ids, with the groups to which they belong."""

    def __init__(self) -> None:
        self._of: dict[int, Channel] = {}
        self._busy: set[int] = set()  # those of them that have had something to do since the last claim
        self._groups: dict[str, Group] = {}

    def __iter__(self) -> Iterator[Channel]:
        return iter(self._of.values())

    def find(self, delivery: ClaimedDelivery) -> Channel | None:
        """The channel of a delivery; None: it is not known, or has another address since."""
        channel = self._of.get(delivery.channel_id)
        if channel is not None and channel.url_encrypted != delivery.url_encrypted and not channel.is_busy:
            for group in channel.groups:
                # It may be gone from there already: the new address could not be opened the last time.
                group.members.pop(delivery.channel_id, None)
            return None
        return channel

    def add(self, delivery: ClaimedDelivery, url: str) -> Channel:
        """The channel of a delivery, where it was not found; `url` is its address."""
        if delivery.kind == WEBHOOK:
            host = self._group(f"webhooks {host_of(url, WEBHOOK)}", SENDING_A_HOST)
            channel = Channel(delivery.user_id, SENDING_A_CHANNEL, (host,), delivery.url_encrypted)
        else:
            host = self._group(f"services {host_of(url, delivery.kind)}", SENDING_A_SERVICES_HOST)
            groups = (host, self._group("services", PROCESSES_MAXIMUM))
            channel = Channel(delivery.user_id, SENDING_A_SERVICES_CHANNEL, groups, delivery.url_encrypted)
        self._of[delivery.channel_id] = channel
        for group in channel.groups:
            group.members[delivery.channel_id] = channel
        return channel

    def _group(self, name: str, places: int) -> Group:
        return self._groups.setdefault(name, Group(places))

    def let_wait(self, channel: Channel, delivery: ClaimedDelivery) -> None:
        """A delivery was claimed, and waits in its channel."""
        channel.waiting.append(delivery)
        self._busy.add(delivery.channel_id)

    def busy(self) -> list[Channel]:
        """Those that have had something to do since the last claim."""
        return [self._of[channel_id] for channel_id in self._busy]

    def claimed(self) -> int:
        """How many deliveries wait or are on their way."""
        return sum(len(channel.waiting) + channel.sending for channel in self.busy())

    def rooms(self, maximum: int) -> tuple[dict[int, int], list[int]]:
        """How many to claim for the channels for which that is another number than for any; and users who have enough.

        Forgets who was busy.

        Args:
            maximum: so many deliveries may be claimed at a time.
        """
        claimed = Counter[int]()
        for channel in self.busy():
            claimed[channel.user_id] += len(channel.waiting) + channel.sending
        free = maximum - claimed.total()
        sated = [user_id for user_id, held in claimed.items() if held >= free]
        rooms = {channel_id: self._of[channel_id].room for channel_id in self._busy}
        self._busy = {channel_id for channel_id in self._busy if self._of[channel_id].is_busy}
        for group in self._groups.values():
            rooms |= group.rooms()
        return rooms, sated

    def forget_idle(self) -> bool:
        """Forgets those that have nothing to do, where there are very many; returns whether it did."""
        if len(self._of) <= CHANNELS_REMEMBERED:
            return False
        self._of = {channel_id: channel for channel_id, channel in self._of.items() if channel.is_busy}
        self._busy = set(self._of)
        for group in self._groups.values():
            group.members = {channel_id: channel for channel_id, channel in group.members.items() if channel.is_busy}
        self._groups = {name: group for name, group in self._groups.items() if group.members}
        return True

    def stalled(self) -> Iterator[Channel]:
        """Those that were quick and say nothing any more; from now on they do not count as quick."""
        longest_ago = time.monotonic() - STALLED_SECONDS
        for channel in self.busy():
            if channel.sending and channel.heard_at < longest_ago:
                channel.is_quick = False
                yield channel

    def stalled_groups(self) -> Iterator[Group]:
        """As `stalled`, of groups in which something waits."""
        longest_ago = time.monotonic() - STALLED_SECONDS
        for group in self._groups.values():
            if group.is_quick and group.waiting and group.heard_at < longest_ago:
                group.pace = STALLED_PACE
                yield group
