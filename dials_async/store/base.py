"""The store port: committed versions of policies and AIPs, the only truth of a run (DESIGN, invariant 1)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Meta = Mapping[str, int | float | str]

#: The array of a group that is kept for older versions too: what a rollout needs.
WEIGHTS = "weights"

#: A record is a row of numbers; whoever puts an array into it finds out here.
MAX_RECORD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class GroupState:
    """Everything a learner needs to go on with a group: one commit."""

    group: int
    version: int
    steps_per_agent: int
    arrays: (
        Arrays  # "weights" float32 [agents, parameters], and what the learner needs: "adam_m", "adam_v", ...
    )
    meta: Meta = field(default_factory=dict)  # schedules, counters, RNG


@dataclass(frozen=True, slots=True, eq=False)
class AipState:
    """The AIPs of all groups after one refresh."""

    version: int
    steps_per_agent: int  # of the policies the AIPs were trained for, the slowest group's
    arrays: Arrays  # keyed by group: "g0", "g1", ...
    meta: Meta = field(default_factory=dict)  # CE before and after, in nats


@dataclass(frozen=True, slots=True)
class Mark:
    """When a version became the newest: it is the first at or after every step in (steps_before, steps]."""

    version: int
    steps_before: int  # -1 for version 0, so that step 0 is its own
    steps: int
    held: bool
    """Not released yet: if it is a boundary version, its weights stay."""

    def answers(self, steps: int) -> bool:
        """Whether this is the first version at or after ``steps``."""
        return self.steps_before < steps <= self.steps


@dataclass(frozen=True)
class KeepRules:
    """Which versions a store keeps.

    The newest ``keep_last`` versions of a group; and each boundary version, the first at or after a multiple
    of one of ``boundary_steps`` (F and E; 0 is a multiple), until it is released. Of all but the newest
    version the weights alone. Which version a boundary was is remembered for good. Of the AIPs the last
    ``keep_last_aips``.
    """

    boundary_steps: tuple[int, ...] = ()
    keep_last: int = 4  # a worker may still read what was the newest when its task was published
    keep_last_aips: int = 4

    def __post_init__(self) -> None:
        if min(self.keep_last, self.keep_last_aips, *self.boundary_steps, 1) < 1:
            raise ValueError(f"intervals and numbers of kept versions must be positive: {self}")

    def is_boundary(self, mark: Mark) -> bool:
        """Whether a multiple of an interval lies in (steps_before, steps]."""
        return any(mark.steps // every > mark.steps_before // every for every in self.boundary_steps)

    def keeps_mark(self, mark: Mark, newest: int) -> bool:
        """Whether ``boundary_version`` must know this version when ``newest`` is the newest."""
        return mark.version > newest - self.keep_last or self.is_boundary(mark)

    def keeps_weights(self, mark: Mark, newest: int) -> bool:
        """Whether the weights of this version are kept when ``newest`` is the newest."""
        return mark.version > newest - self.keep_last or (mark.held and self.is_boundary(mark))


@dataclass(frozen=True, eq=False)
class GroupSnapshot:
    """All that a store knows of one group."""

    state: GroupState
    weights: Mapping[int, Array]  # of the older versions that are kept
    marks: tuple[Mark, ...]  # by rising version


@dataclass(frozen=True, eq=False)
class StoreSnapshot:
    """A consistent cut of a store; its arrays are shared with the store, and read-only."""

    groups: Mapping[int, GroupSnapshot]
    aips: tuple[AipState, ...]  # by rising version
    records: Mapping[str, tuple[str, ...]]  # by kind, each a JSON object, in order of arrival


class Store(Protocol):
    """Versions of policies and AIPs, and small records; used by many threads."""

    def commit_group(self, state: GroupState) -> None:
        """Make ``state`` the newest of its group, whole or not at all; its arrays are copied.

        Raises VersionConflictError unless the newest is ``state.version - 1``, or there is none and the
        version is 0; StoreError if the state is malformed or counts fewer steps than the newest.
        """
        ...

    def latest_group(self, group: int) -> GroupState | None:
        """The newest state of ``group``, or None."""
        ...

    def group_version(self, group: int) -> int:
        """The newest version of ``group``, -1 if there is none."""
        ...

    def weights(self, group: int, version: int) -> Array:
        """The array "weights" of that version, read-only. Raises VersionGoneError if it is not kept."""
        ...

    def boundary_version(self, group: int, steps: int) -> int | None:
        """The first version of ``group`` with ``steps_per_agent >= steps``, None if there is none yet.

        Raises VersionGoneError if that is long past and ``steps`` is no multiple of a boundary interval.
        """
        ...

    def release(self, group: int, version: int) -> None:
        """A boundary version has been used: keep it no longer than others. Unknown versions are ignored."""
        ...

    def commit_aip(self, state: AipState) -> None:
        """Make ``state`` the newest AIPs; compare-and-set and errors as in ``commit_group``."""
        ...

    def latest_aip(self) -> AipState | None:
        """The newest AIPs, or None."""
        ...

    def aip_version(self) -> int:
        """The newest version of the AIPs, -1 if there is none."""
        ...

    def aip(self, version: int) -> AipState:
        """The AIPs of that version. Raises VersionGoneError if they are not kept."""
        ...

    def append_record(self, kind: str, record: Mapping[str, Any]) -> bool:
        """Append a JSON object with a text ``record["id"]``; False, and nothing done, if that id exists.

        Raises StoreError if it has no such id, is not JSON, or is longer than MAX_RECORD_BYTES.
        """
        ...

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Copies of all records of ``kind``, in order of arrival."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Wait until something was committed or appended since this thread's last wait; False at the timeout.

        A hint only: look again either way. Since it counts from the last wait, a commit between looking and
        waiting is not slept over.
        """
        ...

    @property
    def connected(self) -> bool:
        """Whether the store answered when it was last asked; answers at once."""
        ...

    @property
    def reconnects(self) -> int:
        """How many outages of the store were outlasted."""
        ...

    def snapshot(self) -> StoreSnapshot:
        """A consistent cut of everything; cheap, no array is copied."""
        ...

    def restore(self, snapshot: StoreSnapshot) -> None:
        """Take over ``snapshot``. Raises StoreError unless the store is empty."""
        ...

    def close(self) -> None:
        """Leave the store; what it holds stays, if it outlives the process. Twice is allowed."""
        ...
