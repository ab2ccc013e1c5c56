"""Messages on the wire: rollout tasks and experience as msgpack, checked field by field on arrival.

A message is one msgpack map. Arrays are its bins, little-endian, without their shape: the consumer knows the
shape and the byte sizes must fit it. The map around the fields is ``dials_async.messaging.envelope``'s.
"""

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dials_async.messaging.envelope import (
    MAX_INTEGER,
    MAX_LIST,
    check_integer,
    check_text,
    require,
    seal,
    unseal,
)
from dials_async.messaging.envelope import MAX_MESSAGE_BYTES as MAX_MESSAGE_BYTES
from dials_async.messaging.envelope import SCHEMA_VERSION as SCHEMA_VERSION

#: Episodes of one task: what the configuration allows; a worker makes arrays of this size.
MAX_EPISODES = 4096

#: A log-probability may exceed log(1) by the rounding of a float32 log-sum-exp, not by more.
LOG_PROB_SLACK = 1e-6

#: No action is drawn whose weight beside the likeliest is 0 as a float32 number, the least of which is
#: exp(-103.3); the weights of 256 actions sum up to 256 at most.
LEAST_LOG_PROB = -109.0

#: What a reward may exceed the bound by, relative to it: rewards are rounded to float32.
REWARD_SLACK = 1e-6

#: Rewards of a step, where the domain does not say how large its own can be.
LARGEST_REWARD = 1e6

_IALS, _GS = "ials", "gs"


class Origin(NamedTuple):
    """What a message belongs to; what differs here would be other results, silently."""

    run: str
    life: str
    """Drawn when the run was made, and again when it was restored."""
    configuration: str
    """Fingerprint of all that results depend on."""
    numerics: str
    """Of experience: what the arithmetic of its maker computes; of a task: what the run's does."""

    def differs(self, expected: "Origin", numerics: Collection[str] | None = None) -> str:
        """What is not as ``expected``, in words, or ""; any of ``numerics`` will do, if they are given."""
        for name, found, wanted in zip(self._fields, self, expected, strict=True):
            among = numerics if name == "numerics" and numerics is not None else (wanted,)
            if found not in among:
                return f"of {name} '{found}', not '{wanted}'"
        return ""


@dataclass(frozen=True, slots=True)
class RolloutTask:
    """An order for whole episodes under pinned policies and AIPs: all that a worker needs."""

    origin: Origin
    kind: str
    """"ials": the local simulators of one group; "gs": a joint episode of all groups."""
    group: int
    """The group to simulate; -1 for gs tasks, which serve all groups."""
    update: int
    """The update k -> k+1 that will consume the experience."""
    index: int
    """Which of the tasks of this update."""
    episodes: int
    policy_versions: tuple[int, ...]
    """ials: one entry; gs: one per group. -1 is "the newest committed", used at policy lag > 0."""
    aip_version: int
    """-1 is "the newest committed"; 0 for gs tasks, which use no AIP."""

    @property
    def task_id(self) -> str:
        """Unique within a run and equal for every copy of the task, for example ``ials/g0/u12/t1``."""
        return task_id(self.kind, self.group, self.update, self.index)


@dataclass(frozen=True, slots=True, eq=False)
class Experience:
    """What one agent saw and did in the episodes of one task."""

    origin: Origin
    task_id: str
    agent: int
    update: int
    index: int
    policy_version: int
    aip_version: int
    worker: str
    made_at: float
    """Unix time of its simulation, in seconds: for its age; nothing is computed from it."""
    observations: NDArray[np.uint8]  # [episodes, steps + 1, bytes], packed; the last one is for the bootstrap
    actions: NDArray[np.uint8]  # [episodes, steps]
    rewards: NDArray[np.float32]  # [episodes, steps]
    log_probs: NDArray[np.float32]  # [episodes, steps], of the behaviour policy
    terminated: NDArray[np.uint8]  # [episodes], 1: the episode reached an end state
    truncated: NDArray[np.uint8]  # [episodes], 1: the time limit cut it; exactly one of the two is set


class _Layout(NamedTuple):
    """One array of an Experience."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    n_bytes: int


@dataclass(frozen=True)
class ExperienceShape:
    """The sizes that a consumer expects of every experience message of one agent."""

    episodes: int
    steps: int
    observation_bytes: int
    n_actions: int
    largest_reward: float = LARGEST_REWARD
    """No reward of a step is further from 0."""

    def __post_init__(self) -> None:
        if min(self.episodes, self.steps, self.observation_bytes) < 1 or not 1 <= self.n_actions <= 256:
            raise ValueError(f"sizes must be positive and actions fit one byte: {self}")

    def layout(self) -> tuple[_Layout, ...]:
        """The arrays of a message: name, dtype, shape, bytes."""
        episodes, steps = self.episodes, self.steps
        observations = (episodes, steps + 1, self.observation_bytes)
        cells = episodes * steps
        return (
            _Layout("observations", "|u1", observations, episodes * (steps + 1) * self.observation_bytes),
            _Layout("actions", "|u1", (episodes, steps), cells),
            _Layout("rewards", "<f4", (episodes, steps), 4 * cells),
            _Layout("log_probs", "<f4", (episodes, steps), 4 * cells),
            _Layout("terminated", "|u1", (episodes,), episodes),
            _Layout("truncated", "|u1", (episodes,), episodes),
        )


_TASK_KEYS = tuple(field.name for field in fields(RolloutTask))
_EXPERIENCE_KEYS = tuple(field.name for field in fields(Experience))


def task_id(kind: str, group: int, update: int, index: int) -> str:
    """What a task of these is called; ``group`` does not matter for "gs"."""
    part = "" if kind == _GS else f"/g{group}"
    return f"{kind}{part}/u{update}/t{index}"


def encode_task(task: RolloutTask) -> bytes:
    """The message of ``task``. Raises BadMessageError if a consumer would refuse it."""
    values = {key: getattr(task, key) for key in _TASK_KEYS}
    _check_task(values)
    return seal(values)


def decode_task(body: bytes) -> RolloutTask:
    """The task in ``body``. Raises BadMessageError, with the reason in one line, for anything else."""
    values = _with_origin(unseal(body, _TASK_KEYS))
    versions = values["policy_versions"]
    values["policy_versions"] = tuple(versions) if type(versions) is list else versions
    _check_task(values)
    return RolloutTask(**values)


def encode_experience(experience: Experience, largest_reward: float = LARGEST_REWARD) -> bytes:
    """The message of ``experience``. Raises BadMessageError if a consumer would refuse it."""
    values = {key: getattr(experience, key) for key in _EXPERIENCE_KEYS}
    require(experience.observations.ndim == 3, "observations: expected [episodes, steps + 1, bytes]")
    episodes, samples, observation_bytes = experience.observations.shape
    require(min(episodes, samples - 1, observation_bytes) >= 1, "observations: an axis is empty")
    shape = ExperienceShape(episodes, samples - 1, observation_bytes, 256, largest_reward)
    for name, dtype, expected, _ in shape.layout():
        array = values[name]
        require(array.dtype == dtype, f"{name}: expected {dtype}, got {array.dtype}")
        require(array.shape == expected, f"{name}: expected shape {expected}, got {array.shape}")
    _check_experience(values, shape)
    for name, *_ in shape.layout():
        values[name] = values[name].tobytes()
    return seal(values)


def decode_experience(body: bytes, expected: ExperienceShape) -> Experience:
    """The experience in ``body``; its arrays are read-only. Raises BadMessageError for anything else.

    The arrays are views of the bins that msgpack took out of the body, not of the body itself: there they lie
    at odd offsets, and an unaligned array is another type to Numba, which would compile each kernel again.
    """
    values = _with_origin(unseal(body, _EXPERIENCE_KEYS))
    for name, dtype, shape, n_bytes in expected.layout():
        data = values[name]
        require(type(data) is bytes, f"{name}: expected bytes, got {type(data).__name__}")
        require(len(data) == n_bytes, f"{name}: expected {n_bytes} bytes for {shape}, got {len(data)}")
        values[name] = np.frombuffer(data, dtype).reshape(shape)
    _check_experience(values, expected)
    return Experience(**values)


def _with_origin(values: dict[str, Any]) -> dict[str, Any]:
    origin = values["origin"]
    require(
        type(origin) is list and len(origin) == len(Origin._fields), "origin: expected a list of four texts"
    )
    values["origin"] = Origin(*origin)
    return values


def _check_origin(values: dict[str, Any]) -> None:
    origin = values["origin"]._asdict()
    for name in origin:
        check_text(origin, name)


def _check_task(values: dict[str, Any]) -> None:
    _check_origin(values)
    require(values["kind"] in (_IALS, _GS), f"kind: expected {_IALS} or {_GS}")
    is_gs = values["kind"] == _GS
    check_integer(values, "group", -1 if is_gs else 0, -1 if is_gs else MAX_INTEGER)
    check_integer(values, "update", 0)
    check_integer(values, "index", 0)
    check_integer(values, "episodes", 1, MAX_EPISODES)
    check_integer(values, "aip_version", 0 if is_gs else -1, 0 if is_gs else MAX_INTEGER)
    versions = values["policy_versions"]
    require(type(versions) is tuple, "policy_versions: expected a list")
    low, high = 1, MAX_LIST if is_gs else 1
    require(low <= len(versions) <= high, f"policy_versions: expected {low} to {high}, got {len(versions)}")
    for version in versions:
        require(type(version) is int and -1 <= version <= MAX_INTEGER, "policy_versions: not a version")


def _check_experience(values: dict[str, Any], shape: ExperienceShape) -> None:
    _check_origin(values)
    for name in ("task_id", "worker"):
        check_text(values, name)
    for name in ("agent", "update", "index", "policy_version", "aip_version"):
        check_integer(values, name, 0)
    made_at = values["made_at"]
    require(type(made_at) is float and 0.0 <= made_at < MAX_INTEGER, "made_at: not a time")
    top = int(values["actions"].max())
    require(top < shape.n_actions, f"actions: {top} is outside of 0..{shape.n_actions - 1}")
    rewards = values["rewards"]
    require(bool(np.isfinite(rewards).all()), "rewards: a number is not finite")
    largest = float(np.abs(rewards).max())
    require(
        largest <= shape.largest_reward * (1 + REWARD_SLACK),
        f"rewards: {largest:g} is beyond {shape.largest_reward:g}, the domain's largest",
    )
    log_probs = values["log_probs"]
    require(bool(np.isfinite(log_probs).all()), "log_probs: a number is not finite")
    require(bool(log_probs.max() <= LOG_PROB_SLACK), "log_probs: a probability is above 1")
    require(bool(log_probs.min() >= LEAST_LOG_PROB), "log_probs: an action that is never drawn")
    terminated, truncated = values["terminated"], values["truncated"]
    require(bool(max(terminated.max(), truncated.max()) <= 1), "terminated, truncated: a flag is not 0 or 1")
    require(
        bool((terminated ^ truncated).all()), "terminated, truncated: an episode needs exactly one of them"
    )
