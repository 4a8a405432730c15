"""Any commands that a batch may hold, without ids: users, tasks, names and sessions are told by name."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from tests.worker.commands import TAKEN_AT, TAKEN_LATER

USERS = ("alice", "bob", "admin", "gone")
# Two of alice's, two of bob's, one of alice's that was deleted, and one that never was.
TARGETS = ("alice 1", "alice 2", "bob 1", "bob 2", "deleted", "never")
NAMES = ("ada", "Ada", "grace", "x y z")

titles = st.sampled_from(("one", "two", "dr\u00e9i", "\u56db", "", "x" * 256, "\x00", None, 5))
sound_titles = st.sampled_from(("one", "two", "dr\u00e9i", "\u56db"))
due_dates = st.sampled_from((None, "2026-02-01T00:00:00+00:00", "1999-12-31T23:59:59+00:00", "no date"))
statuses = st.sampled_from(("pending", "in_progress", "completed", "completed", "cancelled", "nonsense"))
priorities = st.sampled_from((1, 5, 10, 11, 70_000))


def _mostly(sound: st.SearchStrategy[Any], any_: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(sound, sound, sound, any_)


def _fields(required: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    optional = {
        "description": st.sampled_from((None, "words", "\x00", "d" * 20_001)),
        "priority": _mostly(st.sampled_from((1, 5, 10)), priorities),
        "status": _mostly(st.sampled_from(("pending", "completed")), statuses),
        "due_date": _mostly(st.none(), due_dates),
    }
    return st.fixed_dictionaries(required, optional=optional)


creations = _fields({"title": _mostly(sound_titles, titles)})
changes = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"title": _mostly(sound_titles, titles)}),
    st.fixed_dictionaries({"status": _mostly(st.sampled_from(("pending", "completed")), statuses)}),
    _fields({}),
)
versions = st.sampled_from((None, None, None, [1], [1], [2], [1, 3], []))


@dataclass(frozen=True)
class Abstract:
    """A command whose users, tasks, names and sessions are told by name."""

    kind: str
    user: str
    body: dict[str, Any] = field(default_factory=dict)
    fingerprint: str | None = None
    repeats: int | None = None
    created_at: str = TAKEN_AT


targets = st.sampled_from(TARGETS)
users = st.sampled_from(("alice", "alice", "alice", "bob", "bob", "admin", "gone"))
fingerprints = st.sampled_from((None, None, "f1"))

single_operations = st.one_of(
    st.builds(lambda f: {"op": "create", "fields": f}, creations),
    st.builds(lambda t, f, v: {"op": "update", "target": t, "fields": f, "if_versions": v}, targets, changes, versions),
    st.builds(lambda t, v: {"op": "delete", "target": t, "if_versions": v}, targets, versions),
)
refused = st.just({"error": {"type": "/problems/validation-error", "title": "no", "status": 422, "detail": "no"}})
batches = st.lists(st.one_of(single_operations, single_operations, single_operations, refused), min_size=1, max_size=6)

commands = st.one_of(
    st.builds(lambda u, o, f: Abstract(f"task.{o['op']}", u, o, f), users, single_operations, fingerprints),
    st.builds(lambda u, o, f: Abstract(f"task.{o['op']}", u, o, f), users, single_operations, fingerprints),
    st.builds(lambda u, o: Abstract("task.batch", u, {"operations": o}), users, batches),
    st.builds(lambda n: Abstract("user.register", "", {"name": n}), st.sampled_from(NAMES)),
    st.builds(
        lambda u, e: Abstract("user.update", u, {"email": e, "time_zone": "UTC"}),
        users,
        st.sampled_from(("a@example.com", "b@example.com", "\x00")),
    ),
    st.builds(
        lambda k, u, s, g: Abstract(f"session.{k}", u, {"session": s, "generation": g}),
        st.sampled_from(("open", "rotate", "rotate", "revoke")),
        users,
        st.sampled_from((1, 2)),
        st.sampled_from((0, 0, 1, 2)),
    ),
    st.builds(
        lambda i, c, f: Abstract("repeat", "", repeats=i, created_at=c, fingerprint=f),
        st.integers(0, 20),
        st.sampled_from((TAKEN_AT, TAKEN_LATER)),
        st.sampled_from(("same", "same", "other")),
    ),
)
sequences = st.lists(commands, min_size=1, max_size=14)

# Nothing in these makes a batch go the careful way, in which each command stands alone and waves do not matter.
sound_fields = st.fixed_dictionaries(
    {"title": sound_titles},
    optional={"status": st.sampled_from(("pending", "completed")), "priority": st.sampled_from((1, 5, 10))},
)
sound_operations = st.one_of(
    st.builds(lambda f: {"op": "create", "fields": f}, sound_fields),
    *[
        st.builds(
            lambda t, f, v: {"op": "update", "target": t, "fields": f, "if_versions": v},
            st.sampled_from(("alice 1", "alice 1", "bob 1", "deleted")),
            sound_fields,
            versions,
        )
    ]
    * 2,
    st.builds(
        lambda t, v: {"op": "delete", "target": t, "if_versions": v}, st.sampled_from(("alice 1", "bob 1")), versions
    ),
)
sound_users = st.sampled_from(("alice", "alice", "bob", "admin"))
sound_commands = st.one_of(
    st.builds(lambda u, o: Abstract(f"task.{o['op']}", u, o), sound_users, sound_operations),
    st.builds(
        lambda u, o: Abstract("task.batch", u, {"operations": o}),
        sound_users,
        st.lists(sound_operations, min_size=1, max_size=6),
    ),
    st.builds(lambda n: Abstract("user.register", "", {"name": n}), st.sampled_from(("ada", "Ada", "grace"))),
    st.builds(lambda u, z: Abstract("user.update", u, {"time_zone": z}), sound_users, st.sampled_from(("UTC", "X"))),
    st.builds(
        lambda k, u: Abstract(f"session.{k}", u, {"session": 1, "generation": 0}),
        st.sampled_from(("rotate", "revoke")),
        sound_users,
    ),
)
sizes = st.lists(st.integers(1, 14), min_size=1, max_size=14)
