"""The store port: committed versions of policies and AIPs, the only truth of a run (docs/architecture.md)."""

from collections.abc import Collection, Mapping
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


@dataclass(frozen=True)
class KeepRules:
    """How many versions a store keeps, those apart that something still needs (``Store.commit_group``).

    Of all but the newest version of a group the weights alone.
    """

    keep_last: int = 4  # a worker may still read what was the newest when its task was published
    keep_last_aips: int = 4

    def __post_init__(self) -> None:
        if min(self.keep_last, self.keep_last_aips) < 1:
            raise ValueError(f"numbers of kept versions must be positive: {self}")


@dataclass(frozen=True, eq=False)
class GroupSnapshot:
    """All that a store knows of one group."""

    state: GroupState
    weights: Mapping[int, Array]  # of the older versions that are kept
    holds: Mapping[int, frozenset[str]]  # version -> what it is still needed for; never empty


@dataclass(frozen=True, eq=False)
class StoreSnapshot:
    """A consistent cut of a store; its arrays are shared with the store, and read-only."""

    groups: Mapping[int, GroupSnapshot]
    aips: tuple[AipState, ...]  # by rising version
    records: Mapping[str, tuple[str, ...]]  # by kind, each a JSON object, in order of arrival


class Store(Protocol):
    """Versions of policies and AIPs, and small records; used by many threads."""

    @property
    def life(self) -> str:
        """Which life of the run this is: drawn when the store was made, or made again after it was lost."""
        ...

    def commit_group(self, state: GroupState, hold: Collection[str] = ()) -> None:
        """Make ``state`` the newest of its group, whole or not at all; its arrays are copied.

        ``hold`` names what needs this version, in one word each: its weights are kept until each of these is
        released.

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

    def release(self, group: int, version: int, purpose: str) -> None:
        """``purpose`` needs this version no longer. One that does not hold it is ignored."""
        ...

    def held(self, group: int, purpose: str) -> list[int]:
        """The versions of ``group`` that ``purpose`` still needs, by rising version."""
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

    @property
    def refusal(self) -> str | None:
        """Why calls wait although the store is there, in few words; None if they do not."""
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
