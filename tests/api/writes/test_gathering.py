"""The policy of gathering alone: what it does at each step, and what holds whatever happens in whatever order."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from api.writes.gathering import AT_ONCE, NEVER, Bounds, Entry, Gathering

BOUNDS = Bounds()
SMALL = Bounds(worthwhile_commands=4, entry_commands=6, entry_bytes=40)
LANES = ("0", "1")


@dataclass(frozen=True)
class Sent:
    token: int
    encoded: bytes = b"{}"


def gathering(lanes: Iterable[str] = ("0",), bounds: Bounds = BOUNDS) -> Gathering[Sent]:
    """One that has just begun; its clock stands at 0."""
    return Gathering(lanes, 0.0, bounds)


def came(policy: Gathering[Sent], tokens: Iterable[int], now: float = 0.0) -> list[Entry[Sent]]:
    return [entry for token in tokens for entry in policy.came("0", Sent(token), now)]


def tokens(entries: Sequence[Entry[Sent]]) -> list[list[int]]:
    return [[command.token for command in entry.commands] for entry in entries]


def answered(policy: Gathering[Sent], entry: Entry[Sent], now: float = 0.0) -> Sequence[Entry[Sent]]:
    return policy.answered(entry.lane, [command.token for command in entry.commands], now)


def sent_alone(policy: Gathering[Sent], count: int) -> Entry[Sent]:
    """An entry of so many, appended and not answered."""
    assert came(policy, range(1000, 1000 + count)) == []
    [entry] = policy.look(0.0)
    assert not policy.appended(entry, 0.0)
    return entry


def test_what_comes_in_one_turn_to_a_resting_lane_goes_together_when_it_is_over() -> None:
    policy = gathering()
    assert came(policy, range(3)) == []
    assert policy.look_at == AT_ONCE
    assert tokens(policy.look(0.0)) == [[0, 1, 2]]
    assert policy.look_at == BOUNDS.overdue_seconds


def test_of_those_who_were_answered_nearly_half_are_waited_for() -> None:
    policy = gathering()
    assert not answered(policy, sent_alone(policy, 32))
    assert came(policy, range(14)) == []
    assert tokens(came(policy, [14])) == [list(range(15))]


def test_who_does_not_ask_again_is_waited_for_until_then_only() -> None:
    policy = gathering()
    answered(policy, sent_alone(policy, 32))
    assert came(policy, [0]) == []
    assert policy.look_at == BOUNDS.return_seconds
    [entry] = policy.look(BOUNDS.return_seconds)
    assert tokens([entry]) == [[0]]
    policy.appended(entry, BOUNDS.return_seconds)
    answered(policy, entry, BOUNDS.return_seconds)
    assert came(policy, [1], BOUNDS.return_seconds) == []
    assert policy.look_at == AT_ONCE, "nobody is expected any more"


def test_who_was_answered_alone_is_not_waited_for() -> None:
    policy = gathering()
    answered(policy, sent_alone(policy, 1))
    assert came(policy, [0]) == []
    assert policy.look_at == AT_ONCE


def test_while_two_entries_are_under_way_nothing_goes_until_one_is_answered_or_nothing_moves() -> None:
    for ends_by_answer in (True, False):
        policy = gathering()
        first = sent_alone(policy, 1)
        [second] = came(policy, [0])
        assert not policy.appended(second, 0.0)
        assert came(policy, [1, 2]) == []
        if ends_by_answer:
            assert tokens(answered(policy, first)) == [[1, 2]]
        else:
            assert not policy.look(BOUNDS.overdue_seconds - 0.001)
            assert policy.look_at == BOUNDS.overdue_seconds
            assert tokens(policy.look(BOUNDS.overdue_seconds)) == [[1, 2]]


def test_while_an_entry_is_not_appended_nothing_goes_be_it_overdue() -> None:
    policy = gathering()
    came(policy, [0])
    [entry] = policy.look(0.0)
    assert came(policy, [1]) == []
    assert not policy.look(3600.0)
    assert tokens(policy.appended(entry, 3600.0)) == [[1]]


def test_an_entry_that_was_refused_is_under_way_no_more() -> None:
    policy = gathering()
    came(policy, [0])
    [entry] = policy.look(0.0)
    assert not policy.refused(entry, 0.0)
    assert not policy.is_under_way("0")
    assert not answered(policy, entry)
    came(policy, [1])
    assert policy.look_at == AT_ONCE, "the lane rests"


def test_a_lane_to_which_nothing_ever_came_is_as_one_that_has_rested() -> None:
    policy = gathering(LANES)
    policy.look(1.0)
    came(policy, range(32), 1.0)
    [entry] = policy.look(1.0)
    policy.appended(entry, 1.0)
    answered(policy, entry, 1.0)
    assert len(policy.came("1", Sent(99), 1.0)) == 1, "others are expected, but this lane is overdue"


def test_an_entry_has_a_most_of_commands_and_of_bytes() -> None:
    policy = gathering(bounds=SMALL)
    came(policy, range(8))
    [entry] = policy.look(0.0)
    assert tokens([entry]) == [[0, 1, 2, 3, 4, 5]]
    policy = gathering(bounds=SMALL)
    for token, size in enumerate((100, 19, 19, 1)):
        policy.came("0", Sent(token, b"x" * size), 0.0)
    [large] = policy.look(0.0)
    [full] = policy.appended(large, 0.0)
    assert tokens([large, full]) == [[0], [1, 2]]


class AnyOrder(RuleBasedStateMachine):
    """Commands come, go, are appended, refused and answered in any order, while time passes or stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.policy = gathering(LANES, SMALL)
        self.count = 0
        self.commands: dict[int, Sent] = {}
        self.waiting: dict[str, list[int]] = {lane: [] for lane in LANES}
        self.appending: dict[str, Entry[Sent]] = {}
        self.under_way: dict[str, list[set[int]]] = {lane: [] for lane in LANES}
        self.moved_at = dict.fromkeys(LANES, 0.0)
        self.ever_sent: set[int] = set()

    def take(self, entries: Sequence[Entry[Sent]]) -> None:
        """What shall be sent is what waited longest, once, within the bounds."""
        assert len({entry.lane for entry in entries}) == len(entries)
        for entry in entries:
            lane = entry.lane
            sent = [command.token for command in entry.commands]
            assert lane not in self.appending, "one entry of a lane is on its way to the queue server at a time"
            assert sent, "an entry has commands"
            assert sent == self.waiting[lane][: len(sent)], "in their order, and nothing is passed over"
            assert self.ever_sent.isdisjoint(sent), "nothing is sent twice"
            assert len(sent) <= SMALL.entry_commands
            size = sum(len(command.encoded) + 1 for command in entry.commands)
            assert size <= SMALL.entry_bytes or len(sent) == 1
            if len(self.under_way[lane]) >= SMALL.entries_under_way:
                assert self.now >= self.moved_at[lane] + SMALL.overdue_seconds, "more only where nothing moves"
            self.ever_sent.update(sent)
            del self.waiting[lane][: len(sent)]
            self.appending[lane] = entry
            self.under_way[lane].append(set(sent))
            self.moved_at[lane] = self.now

    def look_if_due(self) -> None:
        """As its owner does."""
        while self.policy.look_at <= self.now:
            self.take(self.policy.look(self.now))

    def settle(self, lane: str, tokens: Sequence[int]) -> None:
        for entry in list(self.under_way[lane]):
            if entry and entry.issubset(tokens):
                self.under_way[lane].remove(entry)
                self.moved_at[lane] = self.now
            entry.difference_update(tokens)
        self.take(self.policy.answered(lane, tokens, self.now))

    @rule(lane=st.sampled_from(LANES), size=st.sampled_from([1, 10, 60]), count=st.integers(1, 9))
    def come(self, lane: str, size: int, count: int) -> None:
        for _ in range(count):
            self.count += 1
            self.waiting[lane].append(self.count)
            self.commands[self.count] = Sent(self.count, b"x" * size)
            self.take(self.policy.came(lane, self.commands[self.count], self.now))

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        lane = data.draw(st.sampled_from([lane for lane in LANES if self.waiting[lane]]))
        token = data.draw(st.sampled_from(self.waiting[lane]))
        self.waiting[lane].remove(token)
        self.policy.withdrawn(lane, self.commands[token])

    @precondition(lambda self: self.appending)
    @rule(data=st.data(), is_appended=st.booleans())
    def end_append(self, data: st.DataObject, is_appended: bool) -> None:
        lane = data.draw(st.sampled_from(sorted(self.appending)))
        entry = self.appending.pop(lane)
        if is_appended:
            self.take(self.policy.appended(entry, self.now))
            return
        gone = {command.token for command in entry.commands}
        self.under_way[lane] = [left for left in self.under_way[lane] if not left <= gone]
        self.take(self.policy.refused(entry, self.now))

    @rule(data=st.data(), lane=st.sampled_from(LANES))
    def answer(self, data: st.DataObject, lane: str) -> None:
        """Outcomes are heard, or waiters go away: also before the entry is appended, twice, or of nobody."""
        known = [sorted(entry) for entry in self.under_way[lane]]
        tokens = st.lists(st.sampled_from([-1, *itertools.chain.from_iterable(known)]), max_size=4)
        for entry in known:
            tokens |= st.just(entry)
        self.settle(lane, data.draw(tokens))

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.004, 0.008, 0.025, 1.0]))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while self.policy.look_at <= end:
            self.now = max(self.now, self.policy.look_at)
            self.look_if_due()
        self.now = end

    @invariant()
    def nothing_is_lost(self) -> None:
        for lane in LANES:
            assert len(self.policy.waiting[lane]) == len(self.waiting[lane])
            assert self.policy.is_under_way(lane) == any(self.under_way[lane])

    @invariant()
    def nothing_waits_for_longer_than_its_bound(self) -> None:
        """Unless its lane is appending: then it goes with the reply."""
        for lane in LANES:
            if self.waiting[lane] and lane not in self.appending:
                overdue_at = self.moved_at[lane] + SMALL.overdue_seconds
                assert self.now < overdue_at or self.policy.look_at <= self.now
                assert self.policy.look_at <= overdue_at

    def teardown(self) -> None:
        """At the end nothing more comes: what waits goes, whether or not anybody answers."""
        while any(self.waiting.values()):
            before = sum(map(len, self.waiting.values()))
            for lane in sorted(self.appending):
                self.take(self.policy.appended(self.appending.pop(lane), self.now))
            assert self.policy.look_at < NEVER or self.appending
            self.now = max(self.now, min(self.policy.look_at, self.now + 1.0))
            self.look_if_due()
            assert sum(map(len, self.waiting.values())) < before or self.policy.look_at > self.now
        for lane in LANES:
            assert not self.policy.waiting[lane]


AnyOrder.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
test_any_order = AnyOrder.TestCase
